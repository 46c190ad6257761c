"""The affiliate's orders: what each earned, why it is theirs, when the money can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session, aliased

from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id, row_id
from affiliate.core.money import Money
from affiliate.core.pages import money
from affiliate.people.access import affiliates
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import RuleVersion
from affiliate.programs.rule_versions import in_force
from payouts.commissions.counted import CLICKS, LEAD
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.rows import CommissionRow, Status, as_row
from payouts.commissions.rules import Reason
from tracker.attribution.models import Decision
from tracker.attribution.subject import reference_of
from tracker.desks.account import cases, sentences
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place
from tracker.desks.conversions import converted_of
from tracker.desks.files import csv_answer
from tracker.orders.models import Order

PREFIX = "ord"
PAGE_ROWS_MAX = 40
ROWS_PER_FETCH = 1_000


class Shown(StrEnum):
    """Which orders a list shows."""

    ALL = "all"
    PENDING = "pending"
    AVAILABLE = "available"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A commission with the order it comes from, as lists show it."""

    id: str
    """Public id of the order."""
    order_id: str
    """The shop's own."""
    placed_at: datetime
    order_status: str
    commission: CommissionRow
    status: str
    why: str
    when: str

    @property
    def level(self) -> int:
        return self.commission.level


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What one refund took back of one commission, and how it follows."""

    at: datetime
    amount: Money
    sentence: str


@dataclass(frozen=True, slots=True)
class Told:
    """One commission of an order, told in full."""

    row: CommissionRow
    status: str
    version: int
    when: str
    because: list[sentences.Sentence]
    """Why the order was credited; empty at level 2, where it is the recruit's own matter."""
    amount: list[sentences.Sentence]
    taken_back: list[TakenBack]
    via: str | None

    @property
    def because_steps(self) -> list[dict[str, str]]:
        return [asdict(sentence) for sentence in self.because]

    @property
    def amount_steps(self) -> list[dict[str, str]]:
        return [asdict(sentence) for sentence in self.amount]


@account.get("/orders")
@affiliates
@in_program
def orders(place: Place) -> Answer:
    """The list, newest first; `?show=` pending, available or gone."""
    shown = _shown()
    before = request.args.get("before")
    lines = order_lines(
        db.session(),
        place=place,
        shown=shown,
        rows_max=PAGE_ROWS_MAX + 1,
        before_id=row_id("com", before) if before else None,
    )
    more = len(lines) > PAGE_ROWS_MAX
    lines = lines[:PAGE_ROWS_MAX]
    older = (
        url_for(".orders", show=shown.value, before=public_id("com", lines[-1].commission.id))
        if more
        else None
    )
    newest = url_for(".orders", show=shown.value) if before else None
    return page(
        "orders", place, lines=lines, shown=shown, older=older, newest=newest, all=Shown,
        open_cases=cases.open_cases(db.session(), place=place),
        counted=pays_besides(db.session(), place),
    )  # fmt: skip


@account.get("/orders.csv")
@affiliates
@in_program
def orders_csv(place: Place) -> Answer:
    """The same list as a file, of any length."""
    lines = _all_lines(place, _shown())
    head = ("order", "placed_at", "level", "status", "commission", "taken_back", "currency", "why")
    return csv_answer(
        f"orders-{place.program.slug}.csv",
        head,
        (
            (
                line.order_id,
                line.placed_at.isoformat(),
                str(line.level),
                line.status,
                line.commission.amount,
                line.commission.reversed,
                place.currency,
                line.why,
            )
            for line in lines
        ),
    )


def pays_besides(session: Session, place: Place) -> bool:
    """Whether the program pays for leads or clicks, or has ever paid the reader for some."""
    terms = in_force(session, program_id=place.program.id, at=place.now).terms.commission
    if terms.per_lead is not None or terms.per_click is not None:
        return True
    earned = sa.select(Commission.id).where(
        Commission.enrollment_id == place.enrollment.id,
        sa.or_(Commission.reference.startswith(LEAD), Commission.reference.startswith(CLICKS)),
    )
    return session.scalar(earned.limit(1)) is not None


def _all_lines(place: Place, shown: Shown) -> Iterator[OrderLine]:
    """Page by page, each behind the last commission of the one before."""
    before_id: int | None = None
    while True:
        lines = order_lines(
            db.session(), place=place, shown=shown, rows_max=ROWS_PER_FETCH, before_id=before_id
        )
        yield from lines
        if len(lines) < ROWS_PER_FETCH:
            return
        before_id = lines[-1].commission.id


@account.get("/orders/<public>")
@affiliates
@in_program
def order(place: Place, public: str) -> Answer:
    """One order: every step from the click to the balance. NotFound for anybody else's."""
    session = db.session()
    found = session.get(Order, row_id(PREFIX, public))
    told = [] if found is None else tell(session, place=place, order=found)
    if found is None or not told:
        raise NotFound
    return page(
        "order", place, order=found, told=told, events=_events(found, told),
        net=Money(found.net_micros, found.currency), conversion=converted_of(session, found),
        refunded_net=Money(found.refunded_net_micros, found.currency), public=public,
        offer=cases.offer_for_order(session, place=place, order=found),
    )  # fmt: skip


def order_lines(
    session: Session,
    *,
    place: Place,
    shown: Shown = Shown.ALL,
    rows_max: int,
    before_id: int | None = None,
) -> list[OrderLine]:
    """The affiliate's commissions with their orders, newest first, in one query.

    A commission whose decision was replaced by one that credits the same affiliate again is
    left out: it would show the order twice. The order's own page tells both.
    """
    newer, via = aliased(Commission), aliased(Enrollment)
    query = (
        sa.select(Commission, Order, Decision.shares, Affiliate.name)
        .join(Order, Order.id == order_number())
        .outerjoin(
            Decision,
            sa.and_(Decision.order_id == Order.id, Decision.number == Commission.decision),
        )
        .outerjoin(via, via.id == Commission.via_enrollment_id)
        .outerjoin(Affiliate, Affiliate.id == via.affiliate_id)
        .where(
            Commission.enrollment_id == place.enrollment.id,
            *_only(shown),
            ~sa.exists().where(
                newer.reference == Commission.reference,
                newer.level == Commission.level,
                newer.enrollment_id == Commission.enrollment_id,
                newer.decision > Commission.decision,
            ),
        )
        .order_by(Commission.id.desc())
        .limit(rows_max)
    )
    if before_id is not None:
        query = query.where(Commission.id < before_id)
    return [
        _line(place, as_row(commission), order, shares or [], via_name)
        for commission, order, shares, via_name in session.execute(query)
    ]


def order_number() -> sa.ColumnElement[int]:
    """The order's row out of a commission's reference, `order:17`."""
    return sa.case(
        (
            Commission.reference.regexp_match("^order:[0-9]+$"),
            sa.cast(sa.func.substr(Commission.reference, len("order:") + 1), sa.BigInteger),
        )
    )


def tell(session: Session, *, place: Place, order: Order) -> list[Told]:
    """Everything about the affiliate's commissions of an order, the live ones first."""
    if order.program_id != place.program.id:
        return []
    rows = session.execute(
        sa.select(Commission, RuleVersion.number, Decision.trace, Affiliate.name)
        .join(RuleVersion, RuleVersion.id == Commission.rule_version_id)
        .outerjoin(
            Decision,
            sa.and_(Decision.order_id == order.id, Decision.number == Commission.decision),
        )
        .outerjoin(Enrollment, Enrollment.id == Commission.via_enrollment_id)
        .outerjoin(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            Commission.reference == reference_of(order.id),
            Commission.enrollment_id == place.enrollment.id,
        )
        .order_by(Commission.decision.desc(), Commission.level)
    ).all()
    taken = _taken_back(session, [commission.id for commission, *_rest in rows])
    return [
        _told(place, as_row(commission), version, trace or [], via, taken.get(commission.id, []))
        for commission, version, trace, via in rows
    ]


def status_word(row: CommissionRow) -> str:
    """The word under which the badge macro knows the commission's state."""
    if row.status is Status.REVERSED:
        return "refunded"
    if row.reason is Reason.AWAITS_EXCHANGE_RATE and not row.voided_at:
        return "waits"
    if row.status is Status.PENDING and row.reversed:
        return "partly_refunded"
    return row.status.value


def _told(
    place: Place,
    row: CommissionRow,
    version: int,
    trace: list[Any],
    via: str | None,
    taken_back: list[TakenBack],
) -> Told:
    return Told(
        row=row,
        status=status_word(row),
        version=version,
        when=sentences.when(row, place.now),
        because=sentences.attribution(trace, place.enrollment.id) if row.level == 1 else [],
        amount=sentences.commission(row, via),
        taken_back=taken_back,
        via=via,
    )


def _line(
    place: Place, row: CommissionRow, order: Order, shares: list[Any], via: str | None
) -> OrderLine:
    if row.level == 1:
        mine = [s for s in shares if s.get("enrollment_id") == place.enrollment.id]
        why = sentences.credited_because(mine[0] if mine else None, order.placed_at)
    else:
        why = _("Sold by %(name)s, whom you recruited.", name=via or _("an affiliate"))
    return OrderLine(
        id=public_id(PREFIX, order.id),
        order_id=order.order_id,
        placed_at=order.placed_at,
        order_status=order.status,
        commission=row,
        status=status_word(row),
        why=why,
        when=sentences.when(row, place.now),
    )


def _only(shown: Shown) -> tuple[sa.ColumnElement[bool], ...]:
    left = Commission.amount_micros > Commission.reversed_micros
    live = sa.and_(Commission.voided_at.is_(None), left)
    return {
        Shown.ALL: (),
        Shown.PENDING: (live, Commission.released_at.is_(None)),
        Shown.AVAILABLE: (live, Commission.released_at.is_not(None)),
        Shown.GONE: (sa.not_(live),),
    }[shown]


def _shown() -> Shown:
    wanted = request.args.get("show", Shown.ALL.value)
    return Shown(wanted) if wanted in list(Shown) else Shown.ALL


def _taken_back(session: Session, commission_ids: list[int]) -> dict[int, list[TakenBack]]:
    found: dict[int, list[TakenBack]] = {}
    rows = session.scalars(
        sa.select(CommissionReversal)
        .where(CommissionReversal.commission_id.in_(commission_ids))
        .order_by(CommissionReversal.id)
    )
    for row in rows:
        amount = Money(row.amount_micros, row.trace["currency"])
        found.setdefault(row.commission_id, []).append(
            TakenBack(row.reversed_at, amount, sentences.refund(row.trace, amount))
        )
    return found


def _events(order: Order, told: list[Told]) -> list[dict[str, Any]]:
    """What happened, oldest first, for the timeline."""
    events: list[dict[str, Any]] = [
        {"at": order.placed_at, "title": _("Order placed"), "icon": "shopping-cart"}
    ]
    if order.confirmed_at:
        events.append(
            {"at": order.confirmed_at, "title": _("Confirmed by the shop"), "icon": "check",
             "tone": "success"}
        )  # fmt: skip
    for each in told:
        events += _events_of(each)
    return sorted(events, key=lambda event: event["at"])


def _events_of(told: Told) -> list[dict[str, Any]]:
    row = told.row
    credited = _("Credited to you") if row.level == 1 else _("Level 2 credited to you")
    events: list[dict[str, Any]] = [
        {"at": row.earned_at, "title": credited, "icon": "receipt", "tone": "success"}
    ]
    events += [
        {
            "at": taken.at,
            "title": _("Refund to the buyer"),
            "text": _("Took back %(amount)s.", amount=money(taken.amount)),
            "icon": "receipt-refund",
            "tone": "warning",
        }
        for taken in told.taken_back
    ]
    if row.released_at:
        events.append(
            {"at": row.released_at, "title": _("Hold period over, in your balance"),
             "icon": "wallet", "tone": "success"}
        )  # fmt: skip
    if row.voided_at and row.void_reason:
        events.append(
            {"at": row.voided_at, "title": _("Taken back"), "icon": "x", "tone": "danger",
             "text": sentences.VOIDED[row.void_reason]()}
        )  # fmt: skip
    return events
