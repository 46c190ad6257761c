"""No batch is approved while a payout of it is in a safety wait of its account.

The wait stands before the approval, so that it holds on every rail: what is sent by a worker,
what is written into a bank's file, and what a person pays by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict, Phrase
from affiliate.people.models import Affiliate, Enrollment
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.batches.payee_guard import stopped
from payouts.batches.payee_rules import not_due
from payouts.batches.rules import NotDue

NAMES_SHOWN_MAX = 5


class SafetyWait(Conflict):
    code = "safety_wait"
    title = "A payout of this batch is in a safety wait: hold it, or approve the batch later."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A payout that may not be approved yet."""

    item_id: int
    affiliate: str
    why: NotDue
    until: datetime | None
    """None: until a person has looked at it."""


def safety_waits(session: Session, *, batch_id: int, now: datetime) -> list[Waiting]:
    """Payouts of the batch whose account cools off or was disowned, in their order."""
    batch_rail = sa.select(PayoutBatch.rail).where(PayoutBatch.id == batch_id).scalar_subquery()
    rows = session.execute(
        sa.select(PayoutItem.id, Affiliate.name, PayeeAccount.pays_from, stopped(Affiliate.id))
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(
            PayeeAccount,
            sa.and_(
                PayeeAccount.affiliate_id == Affiliate.id,
                PayeeAccount.rail == batch_rail,
                PayeeAccount.replaced_at.is_(None),
                PayeeAccount.destination == PayoutItem.destination,
            ),
        )
        .where(
            PayoutItem.batch_id == batch_id,
            PayoutItem.status == "queued",
            sa.or_(PayeeAccount.pays_from > now, stopped(Affiliate.id)),
        )
        .order_by(PayoutItem.id)
    )
    return [
        Waiting(item_id, name, why, None if is_stopped else until)
        for item_id, name, until, is_stopped in rows
        if (why := not_due(stopped=is_stopped, pays_from=until, now=now))
    ]


def refuse_safety_waits(session: Session, *, batch: PayoutBatch, now: datetime) -> None:
    """Raise SafetyWait with the names of those who wait."""
    found = safety_waits(session, batch_id=batch.id, now=now)
    if not found:
        return
    names = ", ".join(each.affiliate for each in found[:NAMES_SHOWN_MAX])
    raise SafetyWait(
        Phrase(
            "In a safety wait of their account: %(names)s. Hold these payouts, or approve the "
            "batch when the wait is over.",
            names=names if len(found) <= NAMES_SHOWN_MAX else f"{names}, …",
        )
    )
