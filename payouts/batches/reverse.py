"""Money of a paid item that came back, whole or in part, from the bank or the provider."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict
from affiliate.core.money import Money
from payouts.batches.cancel import lock_item
from payouts.batches.models import PayoutBatch, PayoutItem, PayoutReversal
from payouts.batches.rules import ItemReason
from payouts.ledger.accounts import AccountKind, cash, of_enrollment
from payouts.ledger.posting import Kind, Line, post


class NotReversible(Conflict):
    code = "item_not_reversible"
    title = "Of this payout that much has not left, or has come back already."


def reverse_item(
    session: Session, *, item: PayoutItem, amount: Money, reference: str, reason: str, now: datetime
) -> bool:
    """Give the money back to the balance, and take it off what left. False: booked before.

    cash → available, once per `reference` (the bank's or provider's own of the return). Parts
    add up to the item's amount at most; when they reach it, the item is `reversed`. Raises
    NotReversible for an item that was never paid, and for more than is left.
    """
    item = lock_item(session, item_id=item.id)
    known = session.execute(
        sa.select(PayoutReversal.reference, PayoutReversal.amount_micros).where(
            PayoutReversal.item_id == item.id
        )
    ).all()
    if reference in {row.reference for row in known}:
        return False
    back = amount.micros + sum(row.amount_micros for row in known)
    if item.status != "paid" or amount.currency != item.currency or amount.micros <= 0:
        raise NotReversible
    if back > item.amount_micros:
        raise NotReversible
    row = PayoutReversal(
        item_id=item.id,
        reference=reference,
        amount_micros=amount.micros,
        reason=reason,
        transaction_id=_book(session, item, amount, reference, now),
        at=now,
    )
    session.add(row)
    if back == item.amount_micros:
        item.status, item.finished_at = "reversed", now
        item.reason = ItemReason.CAME_BACK.value
    session.flush()
    return True


def came_back(session: Session, *, item_id: int) -> int:
    """How much of an item has come back so far, in micros."""
    back = sa.select(sa.func.coalesce(sa.func.sum(PayoutReversal.amount_micros), 0))
    return int(session.scalar(back.where(PayoutReversal.item_id == item_id)) or 0)


def _book(session: Session, item: PayoutItem, amount: Money, reference: str, now: datetime) -> int:
    program_id, rail = session.execute(
        sa.select(PayoutBatch.program_id, PayoutBatch.rail).where(PayoutBatch.id == item.batch_id)
    ).one()
    balance = of_enrollment(AccountKind.AVAILABLE, program_id, item.enrollment_id, item.currency)
    return post(
        session,
        kind=Kind.REVERSAL,
        reference=f"reversal:item:{item.id}:{reference}",
        reason=ItemReason.CAME_BACK.value,
        lines=[Line(cash(program_id, rail, item.currency), -amount), Line(balance, amount)],
        now=now,
    )
