"""Many orders at once, out of a file: each as if it had been reported alone."""
