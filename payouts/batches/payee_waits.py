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
    """None: a person has to look at it, or to hold the payout."""


def safety_waits(session: Session, *, batch_id: int, now: datetime) -> list[Waiting]:
    """Payouts of the batch whose account cools off or was disowned, in their order.

    Also those to an account that was taken back before its wait was over: it was never one
    that may be paid to, although a withdrawal had been frozen for it meanwhile.
    """
    rail = sa.select(PayoutBatch.rail).where(PayoutBatch.id == batch_id).scalar_subquery()
    named = (
        sa.select(PayeeAccount.pays_from, PayeeAccount.replaced_at)
        .where(
            PayeeAccount.affiliate_id == Affiliate.id,
            PayeeAccount.rail == rail,
            PayeeAccount.destination == PayoutItem.destination,
        )
        .order_by(PayeeAccount.id.desc())
        .limit(1)
        .lateral()
    )
    taken_back = named.c.replaced_at < named.c.pays_from
    rows = session.execute(
        sa.select(
            PayoutItem.id, Affiliate.name, named.c.pays_from, taken_back, stopped(Affiliate.id)
        )
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(named, sa.true())
        .where(
            PayoutItem.batch_id == batch_id,
            PayoutItem.status == "queued",
            sa.or_(named.c.pays_from > now, taken_back, stopped(Affiliate.id)),
        )
        .order_by(PayoutItem.id)
    )
    return [
        Waiting(
            item_id,
            name,
            NotDue.PAYEE_STOPPED if is_stopped else NotDue.COOLING_OFF,
            None if is_stopped or gone else until,
        )
        for item_id, name, until, gone, is_stopped in rows
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
