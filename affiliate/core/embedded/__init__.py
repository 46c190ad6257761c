"""PostgreSQL and Valkey out of wheels, and `kopeck run`: everything under one supervisor."""
