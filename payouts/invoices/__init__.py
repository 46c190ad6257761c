"""Self-billing invoices: the parties, the numbers, the frozen documents and their credits."""
