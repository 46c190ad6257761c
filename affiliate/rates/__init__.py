"""Exchange rates: what a program pays in its own currency for orders in others."""
