"""How an item stands in the ledger: reserve, return, settle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.rules import ItemReason
from payouts.ledger.accounts import AccountKind, cash, of_enrollment
from payouts.ledger.posting import Kind, Line, Posting, post, post_many
from payouts.ledger.sets import enter_moves, mirror_all


def enter_reserves(session: Session, *, batch: PayoutBatch) -> None:
    """available → in_payout for each item of a batch, whose transactions are booked already.

    The caller holds the locks of the balances that it takes from.
    """
    enter_moves(
        session,
        moves="SELECT reserve_transaction_id AS transaction_id, enrollment_id, amount_micros "
        "FROM payout_items WHERE batch_id = :batch_id",
        values={"batch_id": batch.id},
        program_id=batch.program_id,
        currency=batch.currency,
        source=AccountKind.AVAILABLE,
        target=AccountKind.IN_PAYOUT,
    )


def give_back_all(
    session: Session, *, batch: PayoutBatch, reason: ItemReason, now: datetime
) -> None:
    """in_payout → available for every queued item of a batch, as `give_back` does for some."""
    mirror_all(
        session,
        facts="SELECT 'return' AS kind, 'return:item:' || id AS reference, "
        "CAST(:reason AS text) AS reason, reserve_transaction_id AS reverses_id "
        "FROM payout_items WHERE batch_id = :batch_id AND status = 'queued'",
        values={"batch_id": batch.id, "reason": reason.value},
        now=now,
    )


def give_back(
    session: Session,
    *,
    program_id: int,
    items: Sequence[PayoutItem],
    reason: ItemReason,
    now: datetime,
) -> None:
    """in_payout → available: the exact mirror of each item's reserve.

    At most once each: reference and mirrored transaction are unique in the books.
    """
    postings = [_return(program_id, item, reason) for item in items]
    post_many(session, postings=postings, now=now)


def settle(session: Session, *, item: PayoutItem, now: datetime) -> None:
    """in_payout → cash: the money has left."""
    program_id, rail = session.execute(
        sa.select(PayoutBatch.program_id, PayoutBatch.rail).where(PayoutBatch.id == item.batch_id)
    ).one()
    amount = Money(item.amount_micros, item.currency)
    source = of_enrollment(AccountKind.IN_PAYOUT, program_id, item.enrollment_id, item.currency)
    item.settle_transaction_id = post(
        session,
        kind=Kind.SETTLE,
        reference=f"settle:item:{item.id}",
        reason="paid",
        lines=[Line(source, -amount), Line(cash(program_id, rail, item.currency), amount)],
        now=now,
    )


def _return(program_id: int, item: PayoutItem, reason: ItemReason) -> Posting:
    amount = Money(item.amount_micros, item.currency)

    def line(kind: AccountKind, sum_: Money) -> Line:
        return Line(of_enrollment(kind, program_id, item.enrollment_id, item.currency), sum_)

    return Posting(
        Kind.RETURN,
        f"return:item:{item.id}",
        reason.value,
        (line(AccountKind.AVAILABLE, amount), line(AccountKind.IN_PAYOUT, -amount)),
        reverses_id=item.reserve_transaction_id,
    )
