"""Counters and the questions asked of them."""
