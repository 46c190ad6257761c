"""Promo materials: what affiliates sell with, each with their own link already in it."""
