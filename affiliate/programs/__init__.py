"""Programs and the immutable versions of their rules."""
