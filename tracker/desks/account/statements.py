"""Statements: every entry of the ledger in a month, between an opening and a closing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from flask import g
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.people.access import affiliates
from payouts.commissions.models import Commission
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.exports import csv_answer
from tracker.desks.account.language import gettext as _
from tracker.desks.account.orders import PREFIX as ORDER_PREFIX
from tracker.desks.account.orders import order_number
from tracker.desks.account.place import Place
from tracker.orders.models import Order
from tracker.stats.questions import Period, today

MONTHS_MAX = 120
_MONTH = re.compile(r"(?a:[0-9]{4})-(?a:0[1-9]|1[0-2])")
_COMMISSION = re.compile(r"commission:([0-9]+)$")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood in the affiliate's three accounts at an instant, or moved in between."""

    pending: Money
    available: Money
    in_payout: Money

    @classmethod
    def zero(cls, currency: str) -> Standing:
        zero = Money.zero(currency)
        return cls(zero, zero, zero)

    def __add__(self, other: Standing) -> Standing:
        return Standing(
            self.pending + other.pending,
            self.available + other.available,
            self.in_payout + other.in_payout,
        )

    @property
    def owed(self) -> Money:
        return self.pending + self.available + self.in_payout


@dataclass(frozen=True, slots=True)
class Line:
    """One transaction as far as it touches the affiliate."""

    at: datetime
    what: str
    order: str | None
    """The shop's id of the order."""
    order_page: str | None
    moved: Standing


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + every line = closing, by account and in sum."""

    first: date
    last: date
    opening: Standing
    lines: tuple[Line, ...]
    closing: Standing
    earned: Money
    taken_back: Money
    paid: Money
    complete: bool
    """False while the month runs."""


@account.get("/money/statements/<month>")
@affiliates
@in_program
def statement(place: Place, month: str) -> Answer:
    """A month's statement, to read or to print."""
    # Its days are the program's, so its hours must be too: a line of the 1st at midnight
    # would else stand there with the month before.
    g.time_zone = place.program.time_zone
    return page("statement", place, statement=read_statement(db.session(), place, month), key=month)


@account.get("/money/statements/<month>.csv")
@affiliates
@in_program
def statement_csv(place: Place, month: str) -> Answer:
    """The same as a file."""
    found = read_statement(db.session(), place, month)
    head = ("at", "what", "order", "pending", "available", "in_payout", "currency")

    def row(at: str, what: str, order: str, standing: Standing) -> tuple[str, ...]:
        amounts = (standing.pending, standing.available, standing.in_payout)
        return (at, what, order, *(amount.decimal for amount in amounts), place.currency)

    rows = [row(found.first.isoformat(), "opening", "", found.opening)]
    rows += [row(line.at.isoformat(), line.what, line.order or "", line.moved)
             for line in found.lines]  # fmt: skip
    rows.append(row(found.last.isoformat(), "closing", "", found.closing))
    return csv_answer(f"statement-{place.program.slug}-{month}.csv", head, rows)


def months_of(session: Session, place: Place) -> list[date]:
    """The months in which something was booked, newest first."""
    local = sa.func.timezone(place.program.time_zone, LedgerTransaction.occurred_at)
    month = sa.cast(sa.func.date_trunc("month", local), sa.Date)
    rows = session.scalars(
        sa.select(month)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(*_own(place))
        .distinct()
        .order_by(month.desc())
        .limit(MONTHS_MAX)
    )
    return list(rows)


def read_statement(session: Session, place: Place, month: str) -> Statement:
    """The statement of `2026-11` in the program's zone; NotFound for a month not begun yet."""
    if not _MONTH.fullmatch(month):
        raise NotFound
    first = date.fromisoformat(f"{month}-01")
    on = today(place.now, place.program.time_zone)
    if first > on or first.year < 2000:
        raise NotFound
    period = Period(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))
    since, until = period.instants(place.program.time_zone)
    opening = _standing(session, place, until=since)
    kinds, lines = _lines(session, place, since, until)
    zero = Standing.zero(place.currency)
    moved = sum((line.moved for line in lines), zero)
    return Statement(
        first=period.first,
        last=period.last,
        opening=opening,
        lines=lines,
        closing=opening + moved,
        earned=_sum(place, kinds, lines, (Kind.EARN, Kind.BONUS)),
        taken_back=_sum(place, kinds, lines, (Kind.VOID, Kind.CLAW_BACK)),
        paid=_sum(place, kinds, lines, (Kind.SETTLE,)),
        complete=period.last < on,
    )


def _own(place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        LedgerAccount.enrollment_id == place.enrollment.id,
        LedgerAccount.currency == place.currency,
    )


def _by_kind(kind: AccountKind) -> sa.ColumnElement[int]:
    own = sa.func.sum(LedgerEntry.amount_micros).filter(LedgerAccount.kind == kind.value)
    return sa.func.coalesce(own, 0)


_AMOUNTS = (
    _by_kind(AccountKind.PENDING).label("pending"),
    _by_kind(AccountKind.AVAILABLE).label("available"),
    _by_kind(AccountKind.IN_PAYOUT).label("in_payout"),
)


def _standing(session: Session, place: Place, *, until: datetime) -> Standing:
    row = session.execute(
        sa.select(*_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(*_own(place), LedgerTransaction.occurred_at < until)
    ).one()
    return Standing(*(place.money(amount) for amount in row))


def _lines(
    session: Session, place: Place, since: datetime, until: datetime
) -> tuple[Sequence[Kind], tuple[Line, ...]]:
    t = LedgerTransaction
    rows = session.execute(
        sa.select(t.id, t.kind, t.reference, t.reason, t.occurred_at, *_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(t, t.id == LedgerEntry.transaction_id)
        .where(*_own(place), t.occurred_at >= since, t.occurred_at < until)
        .group_by(t.id)
        .order_by(t.occurred_at, t.id)
    ).all()
    orders = _orders(session, place, [row.reference for row in rows])
    lines = []
    for row in rows:
        order = orders.get(row.reference)
        lines.append(
            Line(
                at=row.occurred_at,
                what=KINDS[Kind(row.kind)](),
                order=order[1] if order else None,
                order_page=public_id(ORDER_PREFIX, order[0]) if order else None,
                moved=Standing(
                    place.money(row.pending),
                    place.money(row.available),
                    place.money(row.in_payout),
                ),
            )
        )
    return [Kind(row.kind) for row in rows], tuple(lines)


def _orders(
    session: Session, place: Place, references: Iterable[str]
) -> dict[str, tuple[int, str]]:
    """The order behind each posting of a commission: its row and the shop's id."""
    numbers = {
        reference: int(found.group(1))
        for reference in references
        if (found := _COMMISSION.search(reference))
    }
    if not numbers:
        return {}
    rows = session.execute(
        sa.select(Commission.id, Order.id, Order.order_id)
        .join(Order, Order.id == order_number())
        .where(
            Commission.id.in_(set(numbers.values())),
            Commission.enrollment_id == place.enrollment.id,
        )
    )
    orders = {commission_id: (number, text) for commission_id, number, text in rows}
    return {reference: orders[number] for reference, number in numbers.items() if number in orders}


def _sum(place: Place, kinds: Sequence[Kind], lines: Sequence[Line], of: Sequence[Kind]) -> Money:
    wanted = (line.moved.owed for kind, line in zip(kinds, lines, strict=True) if kind in of)
    return sum(wanted, Money.zero(place.currency))


KINDS = {
    Kind.EARN: lambda: _("Commission earned"),
    Kind.RELEASE: lambda: _("Hold period over"),
    Kind.VOID: lambda: _("Commission taken back"),
    Kind.CLAW_BACK: lambda: _("Deducted after a refund"),
    Kind.BONUS: lambda: _("Bonus"),
    Kind.ADJUST: lambda: _("Correction"),
    Kind.WRITE_OFF: lambda: _("Written off"),
    Kind.RESERVE: lambda: _("Set aside for a payout"),
    Kind.RETURN: lambda: _("Returned from a payout"),
    Kind.SETTLE: lambda: _("Paid to you"),
}
