"""Double entry in micros; the only writer of entries."""
