"""Letters that are written once: about what, to whom, and which of them a person wants."""
