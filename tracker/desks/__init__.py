"""Pages that join the packages: account, finance, manage."""
