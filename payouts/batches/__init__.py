"""Who is due, what is approved, what was sent."""
