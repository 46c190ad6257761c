"""Whether a shop's integration works: what was seen of it, tried, refused, and a canary."""
