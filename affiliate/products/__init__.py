"""The shop's products: the feed they come from, and the feeds that affiliates take away."""
