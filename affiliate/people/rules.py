"""How an enrollment moves from state to state, and the reason given for it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from affiliate.core.errors import Invalid, Phrase

REASON_CHARS_MAX: Final = 1_000


class Status(StrEnum):
    APPLIED = "applied"
    ACTIVE = "active"
    REJECTED = "rejected"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Step(StrEnum):
    """What people do with an enrollment."""

    APPLY_AGAIN = "apply_again"
    APPROVE = "approve"
    REJECT = "reject"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    CLOSE = "close"


TRANSITIONS: dict[tuple[Status, Step], Status] = {
    (Status.REJECTED, Step.APPLY_AGAIN): Status.APPLIED,
    (Status.APPLIED, Step.APPROVE): Status.ACTIVE,
    (Status.REJECTED, Step.APPROVE): Status.ACTIVE,
    (Status.APPLIED, Step.REJECT): Status.REJECTED,
    (Status.ACTIVE, Step.SUSPEND): Status.SUSPENDED,
    (Status.SUSPENDED, Step.REINSTATE): Status.ACTIVE,
    (Status.ACTIVE, Step.CLOSE): Status.CLOSED,
    (Status.SUSPENDED, Step.CLOSE): Status.CLOSED,
}


def next_status(status: Status, step: Step) -> Status | None:
    """Where a step leads, or None when it cannot be taken from here."""
    return TRANSITIONS.get((status, step))


def reason_given(text: str) -> str:
    """The reason for a decision, as it is kept and shown. Raises Invalid (`reason`)."""
    text = text.strip()
    if not 1 <= len(text) <= REASON_CHARS_MAX:
        raise Invalid.field(
            "reason",
            "length",
            Phrase("Give the reason, in at most %(most)s characters.", most=REASON_CHARS_MAX),
        )
    return text
