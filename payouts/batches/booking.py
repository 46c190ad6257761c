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


def reserve(
    session: Session, *, program_id: int, items: Sequence[PayoutItem], now: datetime
) -> None:
    """available → in_payout for each item. The caller holds the balances' locks."""
    postings = [_reserve(program_id, item) for item in items]
    ids = post_many(session, postings=postings, now=now)
    for item in items:
        item.reserve_transaction_id = ids[f"reserve:item:{item.id}"]
    session.flush()


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


def take_in(
    session: Session, *, item: PayoutItem, amount: Money, back_so_far: Money, now: datetime
) -> int:
    """cash → available: `amount` of what was paid came back, `back_so_far` with it.

    What is back is owed again and goes out with the next payout. The sum so far makes the
    reference, so that a part that is told of twice is booked once. The transaction's id.
    """
    program_id, rail = session.execute(
        sa.select(PayoutBatch.program_id, PayoutBatch.rail).where(PayoutBatch.id == item.batch_id)
    ).one()
    owed = of_enrollment(AccountKind.AVAILABLE, program_id, item.enrollment_id, item.currency)
    return post(
        session,
        kind=Kind.REVERSAL,
        reference=f"reversal:item:{item.id}:{back_so_far.micros}",
        reason=ItemReason.CAME_BACK.value,
        lines=[Line(cash(program_id, rail, item.currency), -amount), Line(owed, amount)],
        now=now,
    )


def _reserve(program_id: int, item: PayoutItem) -> Posting:
    amount = Money(item.amount_micros, item.currency)

    def account(kind: AccountKind, sum_: Money) -> Line:
        return Line(of_enrollment(kind, program_id, item.enrollment_id, item.currency), sum_)

    lines = (account(AccountKind.AVAILABLE, -amount), account(AccountKind.IN_PAYOUT, amount))
    return Posting(Kind.RESERVE, f"reserve:item:{item.id}", "frozen_in_batch", lines)


def _return(program_id: int, item: PayoutItem, reason: ItemReason) -> Posting:
    mirrored = _reserve(program_id, item)
    return Posting(
        Kind.RETURN,
        f"return:item:{item.id}",
        reason.value,
        tuple(Line(line.account, -line.amount) for line in mirrored.lines),
        reverses_id=item.reserve_transaction_id,
    )
