"""One payout from end to end: orders behind it, entries of the books, attempts to send it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.models import (
    PayeeAccount,
    PayoutAttempt,
    PayoutBatch,
    PayoutItem,
    PayoutReversal,
)
from payouts.commissions.models import Commission
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.provider.bank import bank_payouts_of
from payouts.provider.models import SeenBankPayout
from tracker.desks.finance.blueprint import BATCH, ITEM
from tracker.desks.sources import Source, sources
from tracker.orders.converting import sale_net_of
from tracker.orders.models import Order

ORDERS_SHOWN_MAX = 500


@dataclass(frozen=True)
class Payout:
    """An item with whom it pays and where it stands."""

    item: PayoutItem
    batch: PayoutBatch
    program: Program
    enrollment: Enrollment
    affiliate: Affiliate
    user: User
    account: str | None
    """Where the affiliate wants to be paid now."""

    @property
    def public(self) -> str:
        return ids.public_id(ITEM, self.item.id)

    @property
    def batch_public(self) -> str:
        return ids.public_id(BATCH, self.batch.id)

    @property
    def amount(self) -> Money:
        return Money(self.item.amount_micros, self.item.currency)


@dataclass(frozen=True)
class Line:
    """A commission that became available since the payout before."""

    order: Order | None
    source: Source
    level: int
    via: str | None
    earned: Money
    left: Money
    released_at: datetime

    @property
    def net(self) -> Money | None:
        """The order's net, in the program's currency."""
        return None if self.order is None else sale_net_of(self.order).net


@dataclass(frozen=True)
class Entry:
    """One side of a transaction of the books."""

    at: datetime
    kind: str
    account: str
    amount: Money
    reference: str


def payout(session: Session, *, programs: dict[int, Program], item_id: int) -> Payout:
    """The item, if it is of one of these programs; NotFound otherwise."""
    row = session.execute(
        sa.select(PayoutItem, PayoutBatch, Enrollment, Affiliate, User, PayeeAccount.destination)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .outerjoin(
            PayeeAccount,
            sa.and_(
                PayeeAccount.affiliate_id == Affiliate.id,
                PayeeAccount.rail == PayoutBatch.rail,
                PayeeAccount.replaced_at.is_(None),
            ),
        )
        .where(PayoutItem.id == item_id, PayoutBatch.program_id.in_(programs))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound
    item, batch, enrollment, affiliate, user, account = row
    return Payout(item, batch, programs[batch.program_id], enrollment, affiliate, user, account)


def frozen_before(session: Session, *, found: Payout) -> datetime | None:
    """When the enrollment's payout before this one was frozen; none at the first."""
    return session.scalar(
        sa.select(sa.func.max(PayoutBatch.frozen_at))
        .join(PayoutItem, PayoutItem.batch_id == PayoutBatch.id)
        .where(
            PayoutItem.enrollment_id == found.item.enrollment_id,
            PayoutItem.id < found.item.id,
            PayoutItem.status.not_in(("cancelled", "failed")),
        )
    )


def lines_behind(session: Session, *, found: Payout, since: datetime | None) -> list[Line]:
    """What was released after the payout before and up to this one's freeze, oldest first."""
    via = sa.select(Affiliate.name).join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
    query = (
        sa.select(
            Commission,
            Order,
            via.where(Enrollment.id == Commission.via_enrollment_id).scalar_subquery(),
        )
        .outerjoin(Order, sa.func.concat("order:", Order.id) == Commission.reference)
        .where(
            Commission.enrollment_id == found.item.enrollment_id,
            Commission.released_at <= found.batch.frozen_at,
            Commission.voided_at.is_(None),
        )
        .order_by(Commission.released_at, Commission.id)
        .limit(ORDERS_SHOWN_MAX)
    )
    if since is not None:
        query = query.where(Commission.released_at > since)
    behind = session.execute(query).all()
    named = sources(session, [commission.reference for commission, _order, _name in behind])
    return [
        Line(
            order=order,
            source=named[commission.reference],
            level=commission.level,
            via=name,
            earned=Money(commission.amount_micros, commission.currency),
            left=Money(commission.amount_micros - commission.reversed_micros, commission.currency),
            released_at=commission.released_at or commission.earned_at,
        )
        for commission, order, name in behind
    ]


def entries_of(session: Session, *, item_id: int) -> list[Entry]:
    """Everything that the books hold of this item, both sides of each."""
    references = [f"{kind}:item:{item_id}" for kind in ("reserve", "return", "settle")]
    came_back = sa.select(PayoutReversal.transaction_id).where(PayoutReversal.item_id == item_id)
    rows = session.execute(
        sa.select(LedgerTransaction, LedgerEntry, LedgerAccount.kind)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(
            sa.or_(LedgerTransaction.reference.in_(references), LedgerTransaction.id.in_(came_back))
        )
        .order_by(LedgerTransaction.id, LedgerEntry.id)
    )
    return [
        Entry(
            transaction.occurred_at,
            transaction.kind,
            kind,
            Money(entry.amount_micros, entry.currency),
            transaction.reference,
        )
        for transaction, entry, kind in rows
    ]


def attempts_of(session: Session, *, item_id: int) -> Sequence[PayoutAttempt]:
    """Every try to send it, in order."""
    return session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id == item_id)
        .order_by(PayoutAttempt.number)
        .execution_options(populate_existing=True)
    ).all()


def sent_on(
    session: Session, *, found: Payout, attempts: Sequence[PayoutAttempt]
) -> list[SeenBankPayout]:
    """What the payee's account sent on to their bank since this payout reached it; newest first.

    A provider sums up what an account has, so that which of them holds this payout is not known.
    """
    if not attempts or found.item.status not in ("paid", "reversed"):
        return []
    return bank_payouts_of(
        session, accounts=[found.item.destination], since=attempts[-1].first_sent_at
    )
