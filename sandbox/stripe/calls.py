"""One call of an endpoint: the checked fields, the open transaction and who asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .wire import Fields

EXPAND_DEPTH_MAX = 4


@dataclass(frozen=True)
class Call:
    """What an endpoint is given. It reads no header and no clock of its own."""

    con: sqlite3.Connection
    fields: Fields
    ids: tuple[str, ...]
    """What stood in the path, from left to right."""
    owner: str
    """The connected account that the call acts as; empty for the platform."""
    now: float
    request_id: str | None
    """None when our own control endpoints cause the change, as Stripe's dashboard would."""
    idempotency_key: str | None
    base_url: str
    platform_country: str
    platform_account: str
    list_lag_s: float = 0.0

    @property
    def created(self) -> int:
        return int(self.now)


Endpoint = Callable[[Call], dict[str, Any]]
