"""What a sale earns, when it is released, how it is taken back."""
