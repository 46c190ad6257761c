"""Letters that join clicks, orders and people: firsts, the weekly digest, the newsletter."""
