"""What shop pages embed."""
