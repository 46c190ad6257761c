"""Seals: committed transactions under Merkle trees, each chained to the head before."""
