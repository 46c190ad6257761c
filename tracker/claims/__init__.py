"""Claims of missing orders, and objections to what was decided: asked, answered, on record."""
