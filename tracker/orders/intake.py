"""An order arrives: once, decided, earned and booked in the caller's one transaction.

Order of work: the id's lock, what attribution reads, then the order with its buyer, report and
decision, the commissions and the ledger, and what was parked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.orm import Session

from affiliate.programs.rule_versions import RuleVersionInForce
from payouts.commissions.rows import CommissionRow
from payouts.commissions.rules import VoidReason
from tracker.attribution.asking import Answer, Reach, ask, reach_of
from tracker.attribution.bindings import bind_customer
from tracker.attribution.decide import decide_again, let_earn
from tracker.attribution.judging import decision_values, judge
from tracker.attribution.selling import earning_by, with_standings
from tracker.attribution.subject import Subject
from tracker.orders.accepting import check_report, exchange_of
from tracker.orders.browser_evidence import browser_evidence
from tracker.orders.converting import (
    NOT_CONVERTED,
    Exchange,
    kept_exchange,
    sale_net,
)
from tracker.orders.customers import forget_customer, remember_customer
from tracker.orders.effects import recount
from tracker.orders.keys import order_keys
from tracker.orders.models import Order
from tracker.orders.records import (
    ProgramFacts,
    add_report,
    customer_evidence,
    evidence_of,
    find_order,
    insert_order,
    lock_for_report,
    order_values,
    subject_of,
)
from tracker.orders.rules import (
    PLACED_AHEAD_MAX,
    PLACED_BACK_MAX,
    PLACED_EARLIEST,
    OrderReportIn,
    Outcome,
    Source,
    content_hash,
    line_documents,
    net_of,
    report_document,
    subscription_document,
)
from tracker.orders.waiting import apply_waiting

log = structlog.get_logger(__name__)

REACH_GUESS: Final = Reach(timedelta(days=30))
_reaches: dict[int, Reach] = {}
"""What the rules that each program's last order was under made it ask for. Evidence is read
together with the rules, for this reach; if it is not theirs, the evidence is read once more."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that has just been written, with all that belongs to it."""

    id: int
    has_parked: bool
    program: ProgramFacts
    order: Mapping[str, Any]
    """Columns of its row."""
    version: RuleVersionInForce
    decision: Mapping[str, Any]
    """Columns of its row."""
    earned: tuple[CommissionRow, ...]
    versions: Mapping[int, RuleVersionInForce]
    """By which commissions are reckoned, where they are others than `version`; by enrollment."""
    exchange: Exchange | None = None
    """How it was converted, where it is in another currency."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report did. CONFLICT is an answer, not an exception: what was said is kept."""

    order_row_id: int
    outcome: Outcome
    new: NewOrder | None = None
    """What was written, where that is all there is to know."""


def report_order(
    session: Session,
    *,
    program_id: int,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    now: datetime,
    may_import: bool = False,
    may_mismatch: bool = False,
) -> Reported:
    """Take a server's report of an order.

    `may_import` allows a placed_at more than 30 days back, `may_mismatch` a total that is not the
    sum of its parts, which a person has looked at. Raises NotFound (no such program),
    Invalid (currency_mismatch, in_the_future, too_old) and TotalMismatch. The first report of
    a server stands; a browser's report gives way to it. Rule: docs/api.md, "Orders".
    """
    evidence = {"server": evidence_of(report)}
    question = ask(
        program_id=program_id,
        # Beyond these the report is refused below; a window may reach past the calendar there.
        placed_at=min(max(report.placed_at, PLACED_EARLIEST), now + PLACED_AHEAD_MAX),
        evidence=evidence,
        reach=reach_guess(program_id),
        keys=order_keys(),
    )
    program, version, known = lock_for_report(
        session,
        program_id=program_id,
        order_id=report.order_id,
        placed_at=report.placed_at,
        question=question,
    )
    _reaches[program_id] = reach_of(version.terms.attribution)
    late = not may_import and now - report.placed_at > PLACED_BACK_MAX
    if late and _server_said(session, program_id, report.order_id):
        may_import = True  # Of an order that is known only the content is compared.
    exchange = exchange_of(session, report, program, now=now)
    check_report(
        report, program, now=now, may_import=may_import, may_mismatch=may_mismatch,
        exchange=exchange,
    )  # fmt: skip
    hashed = content_hash(report_document(report))
    made = add_new(
        session,
        program=program,
        version=version,
        report=report,
        source=source,
        reported_by=reported_by,
        confirmed_by=source.value,
        evidence=evidence,
        hashed=hashed,
        known=known,
        exchange=exchange,
        now=now,
    )
    if made is None:
        return _known(session, program, report, hashed, source, reported_by, exchange, now)
    if made.has_parked:
        apply_parked(session, program=program, order_id=report.order_id, now=now)
        return Reported(made.id, Outcome.CREATED)
    return Reported(made.id, Outcome.CREATED, made)


def reach_guess(program_id: int) -> Reach:
    """What to ask for before the rules are read."""
    return _reaches.get(program_id, REACH_GUESS)


def add_new(
    session: Session,
    *,
    program: ProgramFacts,
    version: RuleVersionInForce,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    confirmed_by: str | None,
    evidence: Mapping[str, Any],
    hashed: bytes,
    now: datetime,
    known: Answer | None = None,
    exchange: Exchange | None = None,
) -> NewOrder | None:
    """Decide, write and let earn an order that is not known yet; None when it is.

    The caller holds the id's lock. What is read to decide is read before the order is
    written, so that one statement writes the order and the decision.
    """
    judged = judge(
        session,
        program_id=program.id,
        placed_at=report.placed_at,
        evidence=evidence,
        program_closed=program.closed_at(report.placed_at),
        version=version,
        now=now,
        known=known,
    )
    confirmed, customer = confirmed_by is not None, report.customer
    order = subject_of_report(report, program, evidence, confirmed=confirmed, exchange=exchange)
    judged = with_standings(session, judged, order=order)
    decision = decision_values(judged, number=1, now=now)
    # A guest's row is taken before the ledger, as every buyer's row that is written is: two
    # orders then wait in one order.
    guest = confirmed and customer is not None and customer.id is None
    made = insert_order(
        session,
        program_id=program.id,
        report=report,
        source=source,
        reported_by=reported_by,
        confirmed_by=confirmed_by,
        evidence=evidence,
        exchange=exchange,
        decision=decision,
        earning=None if guest else earning_by(order=order, number=1, judged=judged, now=now),
        content_hash=hashed,
        now=now,
    )
    if made is None:
        return None
    if guest:
        remember_customer(
            session,
            program_id=program.id,
            order_row_id=made.id,
            customer=customer_evidence(report),
            placed_at=report.placed_at,
        )
    earned = made.earned
    if earned is None:
        order = replace(order, id=made.id)
        earned = let_earn(session, order=order, number=1, judged=judged, now=now)
    if version.terms.attribution.binding is not None:
        bind_customer(session, order_row_id=made.id, now=now)
    return NewOrder(
        made.id, made.has_parked, program, made.order, version, decision, earned, judged.versions,
        exchange,
    )  # fmt: skip


def subject_of_report(
    report: OrderReportIn,
    program: ProgramFacts,
    evidence: Mapping[str, Any],
    *,
    confirmed: bool,
    exchange: Exchange | None = None,
) -> Subject:
    """An order as attribution reads it before its row is written."""
    sale = sale_net(net_of(report), exchange)
    return Subject(
        id=0,
        program_id=program.id,
        placed_at=report.placed_at,
        net=sale.net,
        confirmed=confirmed,
        evidence=evidence,
        program_closed=program.closed_at(report.placed_at),
        lines=line_documents(report),
        subscription=subscription_document(report),
        zone=program.time_zone,
        converted=sale.converted,
        unconverted=sale.unconverted,
    )


def supersede(
    session: Session,
    *,
    order: Order,
    program: ProgramFacts,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    confirmed_by: str,
    hashed: bytes,
    exchange: Exchange | None,
    now: datetime,
) -> None:
    """Put a believed report in the place of a browser's: its amounts win, evidence is added.

    The browser's decision and commissions are voided and kept; the order is decided and
    earns again. A cancelled order gets its true amounts and stays cancelled. A rate of exchange
    stays, unless the order is of another instant or currency than the browser said.
    """
    if (order.currency, order.placed_at) == (report.currency, report.placed_at):
        exchange = kept_exchange(session, order) or exchange
    converted = NOT_CONVERTED if exchange is None else exchange.columns(net_of(report))
    values = order_values(report, report_document(report))
    for name, value in {**values, **converted}.items():
        setattr(order, name, value)
    order.source = source.value
    order.content_hash = hashed
    role = "server" if source is not Source.BROWSER else "browser"
    order.evidence = {**order.evidence, role: evidence_of(report)}
    if source is not Source.BROWSER:
        # Of all who claimed the order, the one is heard whose word fits the server's.
        order.evidence = {**order.evidence, "browser": browser_evidence(session, order, now=now)}
    if order.confirmed_at is None:
        order.confirmed_at, order.confirmed_by = now, confirmed_by
    if order.status == "unconfirmed":
        order.status = "confirmed"
    recount(session, order=order)
    session.flush()
    add_report(
        session,
        order_row_id=order.id,
        report=report,
        source=source,
        reported_by=reported_by,
        content_hash=hashed,
        outcome=Outcome.SUPERSEDED_BROWSER,
        now=now,
    )
    if order.status == "cancelled":
        return
    # Whom the confirmed claim made a customer is none before this very order.
    forget_customer(session, order_row_id=order.id, customer_id=order.customer_id)
    # Nor is somebody bound whom the claim alone named; its true buyer follows below.
    order.customer_id = None
    session.flush()
    decide_again(
        session,
        order=subject_of(order, program),
        reason=VoidReason.ORDER_SUPERSEDED,
        now=now,
    )
    remember_customer(
        session,
        program_id=program.id,
        order_row_id=order.id,
        customer=order.evidence[role]["customer"],
        placed_at=order.placed_at,
    )
    bind_customer(session, order_row_id=order.id, now=now)
    apply_waiting(session, order=order, program=program, now=now)


def apply_parked(session: Session, *, program: ProgramFacts, order_id: str, now: datetime) -> None:
    """Apply what came before the order, in the transaction in which it arrived."""
    order = find_order(session, program_id=program.id, order_id=order_id)
    if order is not None:
        apply_waiting(session, order=order, program=program, now=now)


def _server_said(session: Session, program_id: int, order_id: str) -> bool:
    order = find_order(session, program_id=program_id, order_id=order_id, lock=False)
    return order is not None and order.source != Source.BROWSER


def _known(
    session: Session,
    program: ProgramFacts,
    report: OrderReportIn,
    hashed: bytes,
    source: Source,
    reported_by: str,
    exchange: Exchange | None,
    now: datetime,
) -> Reported:
    order = find_order(session, program_id=program.id, order_id=report.order_id)
    if order is None:
        raise RuntimeError("an order that was just in the way is gone: orders are never deleted")
    if order.source == Source.BROWSER:
        supersede(
            session,
            order=order,
            program=program,
            report=report,
            source=source,
            reported_by=reported_by,
            confirmed_by=source.value,
            hashed=hashed,
            exchange=exchange,
            now=now,
        )
        return Reported(order.id, Outcome.SUPERSEDED_BROWSER)
    if order.content_hash == hashed:
        return Reported(order.id, Outcome.REPLAY)
    log.warning("order.conflict", program=program.slug, order_id=report.order_id)
    add_report(
        session,
        order_row_id=order.id,
        report=report,
        source=source,
        reported_by=reported_by,
        content_hash=hashed,
        outcome=Outcome.CONFLICT,
        now=now,
    )
    return Reported(order.id, Outcome.CONFLICT)
