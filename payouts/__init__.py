"""What is owed and what was paid. Has never heard of a click."""
