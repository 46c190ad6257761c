"""Shop systems that report orders by webhooks of their own."""
