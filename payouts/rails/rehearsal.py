"""What a rail says of a batch before anybody signs it. Values; nothing is sent, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from affiliate.core.money import Money

MayAsk = Callable[[], bool]
"""Asked before each question to a provider: waits for its turn; False: no more questions now."""


class Objection(StrEnum):
    """What a rail has against the account of one payout."""

    UNSOUND = "unsound"
    """The details are none that the rail can pay to: certain to be refused."""
    NOT_READY = "not_ready"
    """It cannot receive now; the payout would wait until it can."""
    GONE = "gone"
    """Closed, or closed to us; the payout would be refused and its amount returned."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A payout as it would be sent."""

    item_id: int
    amount: Money
    destination: str


@dataclass(frozen=True, slots=True)
class Objected:
    """One payout and what the rail has against it."""

    item_id: int
    why: Objection
    code: str = ""
    """In the provider's words."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the rail says now."""

    asked: int
    """How many of the payouts it has looked at, from the first on."""
    objections: tuple[Objected, ...] = ()
    funds: Money | None = None
    """What could be sent now; None where nobody knows."""
    away: str = ""
    """Why nobody answered, in the rail's code; empty: the rail answers, or has nobody to ask."""
