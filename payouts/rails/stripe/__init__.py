"""Stripe Connect: transfers to connected accounts. Only here `stripe` is imported.

`rail` sends, `reading` asks, `answers` says what an error means, `keys` holds the clients of the
current and the previous API key, `signatures` checks webhooks, `currencies` what is enabled.
"""

from payouts.rails.stripe.currencies import CURRENCIES
from payouts.rails.stripe.rail import StripeRail

__all__ = ["CURRENCIES", "StripeRail"]
