"""What the ledger says at an instant and over a period, for accounting."""
