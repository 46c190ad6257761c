"""The ways money leaves: one protocol, one file a rail."""
