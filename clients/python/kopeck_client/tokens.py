"""Amounts, and signed tokens of orders (docs/api.md, "Signed order tokens")."""

from __future__ import annotations

import hashlib
import hmac
import time
from decimal import Decimal


def money(amount: str | Decimal, currency: str) -> dict[str, str]:
    """An amount as the API takes it. A float is refused: it is no amount of money."""
    if not isinstance(amount, str | Decimal):
        raise TypeError("write the amount as a string or a Decimal")
    return {"amount": str(amount), "currency": currency}


def order_token(
    key: bytes,
    *,
    order_id: str,
    total: str,
    net: str,
    currency: str,
    at: int | None = None,
) -> str:
    """What a page passes as `token` with its order, so that the order is confirmed at once.

    Make it on the server: whoever has `key` can confirm any order. `total` and `net` have exactly
    the currency's digits ("4490.00"); `at` is in Unix seconds, now by default; good for 24 hours.
    """
    seconds = str(int(time.time()) if at is None else at)
    text = "\n".join(("kopeck-order-token", "k1", order_id, total, currency, seconds, net))
    return f"k1~{seconds}~{net}~{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"
