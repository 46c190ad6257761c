"""Who earns, and on what terms. Knows no clicks and no ledger."""
