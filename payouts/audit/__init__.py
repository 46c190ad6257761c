"""The audit: named checks that recompute what the books and the payouts must agree on."""
