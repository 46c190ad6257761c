"""By what the canary's own test orders are known: an id that nobody else can make (pure).

Strangers can report test orders of a page as well as it, and so many that no more are taken; by
its id the canary is let through then, and no stranger can make it alarm.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "kopeck-canary-"
RANDOM_CHARS: Final = 16
MAC_CHARS: Final = 32


def canary_order_id(key: bytes, random: str) -> str:
    """`kopeck-canary-<16 random hexadecimal digits>-<HMAC>`."""
    return f"{PREFIX}{random}-{_mac(key, random)}"


def is_canarys(order_id: str, keys: Sequence[bytes]) -> bool:
    """Whether one of this installation's canaries made the id."""
    random, dash, mac = order_id.removeprefix(PREFIX).partition("-")
    if not order_id.startswith(PREFIX) or not dash or len(random) != RANDOM_CHARS:
        return False
    return any(hmac.compare_digest(_mac(key, random).encode(), mac.encode()) for key in keys)


def _mac(key: bytes, random: str) -> str:
    return hmac.digest(key, random.encode(), "sha256").hex()[:MAC_CHARS]
