"""Orders, refunds, confirmations and cancellations as shops report them."""
