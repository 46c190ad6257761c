"""What this package holds about people: inventory, what they take away, erasure."""
