"""What stands on statements, invoices, batches and reports, in the reader's language."""
