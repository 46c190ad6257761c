"""Leads: what a shop reports besides orders, whose they are and what they earn."""
