"""How an enrollment moves from state to state. Pure."""

from __future__ import annotations

from enum import StrEnum


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
