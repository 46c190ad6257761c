"""How a program's batches are approved: by whom, how often signed, what by itself."""
