"""What a buyer's browser says of an order: a claim, attributed and shown, never released.

A server's report stands above it in everything but evidence; strangers who report an order
ahead of the shop change none of its amounts. Rule: docs/api.md, "Reports of browsers".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.rule_versions import in_force
from payouts.commissions.rows import commissions_for
from payouts.commissions.rules import VoidReason
from tracker.attribution.asking import TOKENS_MAX, effective
from tracker.attribution.decide import decide_again
from tracker.attribution.facts import BuyerBy
from tracker.attribution.models import AffiliateSighting
from tracker.attribution.subject import reference_of
from tracker.orders import order_tokens
from tracker.orders.accepting import check_report, exchange_of
from tracker.orders.browser_evidence import confirmed_of, evidence_heard, words_of
from tracker.orders.converting import Exchange
from tracker.orders.hearing import PAGE_AHEAD_MAX, Hearing, Word, hear
from tracker.orders.intake import add_new, apply_parked, supersede
from tracker.orders.keys import order_token_keys
from tracker.orders.models import Order, OrderReport
from tracker.orders.records import (
    ProgramFacts,
    add_report,
    evidence_of,
    find_order,
    lock_order_id,
    subject_of,
)
from tracker.orders.refusals import OrderTokenRefused
from tracker.orders.rules import (
    OrderReportIn,
    Outcome,
    Source,
    content_hash,
    placed_at_fits,
    report_document,
)

REPORTS_ALIKE_MAX: Final = 5
"""More browsers than this saying the same of one order are strangers guessing ids."""
REPORTS_KEPT_MAX: Final = 200
"""Of one order, whatever they say: as many as one address may send in two minutes."""
EVIDENCE_HOURS: Final = 24
"""How long after an order was confirmed a browser may still add what it knows."""
REPORTER: Final = "browser"


def report_from_browser(
    session: Session,
    *,
    program_id: int,
    report: OrderReportIn,
    token: str | None,
    now: datetime,
) -> Outcome:
    """Take a page's report; `token` is the shop's signed order token, if the page has one.

    A valid token confirms the order with the amounts that it signs. A token that does not
    fit raises OrderTokenRefused: the page meant to be believed and is not. Raises what
    `report_order` raises; a placed_at that no server may send is replaced by `now`.
    """
    program = lock_order_id(session, program_id=program_id, order_id=report.order_id)
    if placed_at_fits(report.placed_at, now, may_import=False) is not None:
        report = replace(report, placed_at=now)
    exchange = exchange_of(session, report, program, now=now)
    check_report(report, program, now=now, may_import=False, exchange=exchange)
    if token is not None:
        report = _believed(program_id, report, token, now)
        # The rate is that of the instant which the shop has signed.
        exchange = exchange_of(session, report, program, now=now)
    hashed = content_hash(report_document(report))
    confirmed_by = None if token is None else "token"
    made = add_new(
        session,
        program=program,
        version=in_force(session, program_id=program_id, at=report.placed_at),
        report=report,
        source=Source.BROWSER,
        reported_by=REPORTER,
        confirmed_by=confirmed_by,
        evidence={"browser": evidence_of(report)},
        hashed=hashed,
        exchange=exchange,
        now=now,
    )
    if made is None:
        return _known(session, program, report, hashed, confirmed_by, exchange, now)
    if made.has_parked:
        apply_parked(session, program=program, order_id=report.order_id, now=now)
    return Outcome.CREATED


def _believed(program_id: int, report: OrderReportIn, token: str, now: datetime) -> OrderReportIn:
    read = order_tokens.read(token, report=report, keys=order_token_keys(program_id), now=now)
    if isinstance(read, order_tokens.TokenProblem):
        raise OrderTokenRefused(f"The signed order token is {read.value}.")
    return order_tokens.believed(report, read)


def _known(
    session: Session,
    program: ProgramFacts,
    report: OrderReportIn,
    hashed: bytes,
    confirmed_by: str | None,
    exchange: Exchange | None,
    now: datetime,
) -> Outcome:
    order = find_order(session, program_id=program.id, order_id=report.order_id)
    if order is None:
        raise RuntimeError("an order that was just in the way is gone: orders are never deleted")
    if confirmed_by is not None and order.status == "unconfirmed":
        supersede(
            session,
            order=order,
            program=program,
            report=report,
            source=Source.BROWSER,
            reported_by=REPORTER,
            confirmed_by=confirmed_by,
            hashed=hashed,
            exchange=exchange,
            now=now,
        )
        return Outcome.SUPERSEDED_BROWSER
    outcome, hearing = _heard_as(session, order, report, now)
    if not _may_add(session, order, report, hashed, outcome, now):
        return Outcome.REPLAY
    add_report(
        session,
        order_row_id=order.id,
        report=report,
        source=Source.BROWSER,
        reported_by=REPORTER,
        content_hash=hashed,
        outcome=outcome,
        now=now,
    )
    brought = evidence_of(report)
    if hearing is None:
        _add_evidence(session, order, program, _merged(order.evidence.get("browser"), brought), now)
    elif outcome is not Outcome.NOT_HEARD:
        network = (order.evidence.get("browser") or {}).get("network")
        if outcome is Outcome.EVIDENCE_ADDED:
            network = network or brought.get("network")
        _add_evidence(session, order, program, evidence_heard(hearing, network=network), now)
    return outcome


def _heard_as(
    session: Session, order: Order, report: OrderReportIn, now: datetime
) -> tuple[Outcome, Hearing | None]:
    """What a further browser's word is: of a claim every one is heard, of a confirmed order the
    buyer's alone, of which the hearing with this word in it is told."""
    if order.status == "unconfirmed":
        return Outcome.EVIDENCE_ADDED, None
    word = Word(report.total, now, report.visitor, report.clicks)
    hearing = hear([*words_of(session, order), word], confirmed_of(session, order, now=now))
    if any(one is word for one in hearing.words):
        return Outcome.EVIDENCE_ADDED, hearing
    told = (order.evidence.get("server") or {}).get("clicks")
    contests = not told and any(one is word for one in hearing.contested_by)
    return (Outcome.CONTESTED if contests else Outcome.NOT_HEARD), hearing


def _may_add(
    session: Session,
    order: Order,
    report: OrderReportIn,
    hashed: bytes,
    outcome: Outcome,
    now: datetime,
) -> bool:
    """Whether a further browser's report is kept at all.

    Nobody can use up the places of others by words that do not fit: of a confirmed order each
    outcome has places of its own, and of a claim each total has its own in every minute, as what
    came a minute before the buyer's page is nothing that the page competes with.
    """
    if order.cancelled_at is not None or order.confirmed_by == "token":
        return False
    until = order.confirmed_at and order.confirmed_at + timedelta(hours=EVIDENCE_HOURS)
    if until is not None and now > until:
        return False
    said = session.execute(
        sa.select(
            OrderReport.content_hash,
            OrderReport.outcome,
            OrderReport.received_at,
            sa.cast(OrderReport.body["total_micros"].astext, sa.BigInteger).label("total_micros"),
            OrderReport.body["currency"].astext.label("currency"),
        ).where(OrderReport.order_id == order.id, OrderReport.source == Source.BROWSER.value)
    ).all()
    if len(said) >= REPORTS_KEPT_MAX or hashed in {bytes(each.content_hash) for each in said}:
        return False
    if order.status != "unconfirmed":
        alike = [each for each in said if each.outcome == outcome.value]
        alike = [each for each in alike if each.received_at >= (order.confirmed_at or now)]
    else:
        alike = [
            each
            for each in said
            if Money(each.total_micros, each.currency) == report.total
            and now - each.received_at < PAGE_AHEAD_MAX
        ]
    return len(alike) < REPORTS_ALIKE_MAX


def _add_evidence(
    session: Session,
    order: Order,
    program: ProgramFacts,
    evidence: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Put what browsers are known to say into the order; decide anew where that changes what
    counts.

    What was released stays: evidence that comes later than the hold period comes too late.
    """
    before = effective(order.evidence)
    order.evidence = {**order.evidence, "browser": evidence}
    session.flush()
    if not _matters(session, before, effective(order.evidence)):
        return
    commissions = commissions_for(session, reference=reference_of(order.id))
    if any(row.released_at is not None for row in commissions):
        return
    decide_again(
        session,
        order=subject_of(order, program),
        reason=VoidReason.DECISION_REPLACED,
        now=now,
    )


def _matters(session: Session, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the order has to be decided anew. Nearly every browser tells a network, of which
    only those matter in which an affiliate's account was open."""
    if {**before, "network": None} != {**now, "network": None}:
        return True
    network = now["network"]
    return (
        network != before["network"]
        and session.scalar(
            sa.select(
                sa.exists().where(
                    AffiliateSighting.mark == UUID(network),
                    AffiliateSighting.kind == BuyerBy.ADDRESS.value,
                )
            )
        )
        is True
    )


def _merged(known: Mapping[str, Any] | None, brought: Mapping[str, Any]) -> dict[str, Any]:
    """Every browser's tokens, those of the first reporter kept first; else the first word."""
    known = known or {}
    clicks = list(dict.fromkeys([*known.get("clicks", ()), *brought["clicks"]]))
    network = known.get("network") or brought.get("network")
    return {
        "clicks": clicks[:TOKENS_MAX],
        **{name: known.get(name) or brought[name] for name in ("visitor", "coupon", "customer")},
        **({"network": network} if network else {}),
    }
