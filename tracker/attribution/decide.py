"""Decide whose an order is, write down why, and let it earn; decide again when that changes.

The caller holds the order's row. At most one decision of an order is live (unique index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.exchange import Conversion
from affiliate.core.money import Money
from affiliate.programs.commission_versions import commission_version
from affiliate.programs.rule_versions import RuleVersionInForce, by_ids, in_force
from affiliate.programs.terms import CustomerPolicy
from payouts.commissions.earn import Earning, earn_decided, earning_of, wait_for
from payouts.commissions.rows import CommissionRow, commissions_for
from payouts.commissions.rules import RECRUITER_BUYS, Credit, Sale, VoidReason
from payouts.commissions.standing import asks_for_standing, standing_before
from payouts.commissions.void import take_back, void
from tracker.attribution.asking import Answer, answer, ask, reach_of, visitor_of
from tracker.attribution.assignment import as_assigned
from tracker.attribution.bindings import bind_customer, let_go_of_customer
from tracker.attribution.evidence import NOBODY, Gathered, gather
from tracker.attribution.models import Decision
from tracker.attribution.own import LASTING
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    ReviewReason,
    Share,
    Unattributed,
    attribute,
)
from tracker.attribution.sales import (
    NOTHING_READ,
    Read,
    customer_of,
    is_first_of_customer,
    items_of,
    read_document,
    reads_items,
    standing_values,
    subscription_of,
)
from tracker.attribution.snapshot import (
    buyers_in,
    facts_from,
    share_document,
    snapshot_of,
    trace_document,
)
from tracker.orders.keys import Keys, order_keys
from tracker.orders.models import Order

CLICK_CHECK_HOURS: Final = 24
"""How long the loader's verdict on a credited click is awaited; then the token stands."""
VISITOR_CHECK_HOURS: Final = 1
"""How long an order of nobody that names its visitor is looked at again: their clicks may
still lie in a journal. Shorter, because a shop may name a visitor with every order."""


REFERENCE: Final = "order:"
"""How payouts names an order, before its row's id."""


class WaitsFor(StrEnum):
    """What a commission waits for besides its hold period."""

    CONFIRMATION = "confirmation"
    CLICK_CHECK = "click_check"
    REVIEW = "review"
    EXCHANGE_RATE = "exchange_rate"


class ReviewOutcome(StrEnum):
    """What a person said of an order that was held for them."""

    RELEASED = "released"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Subject:
    """The order as attribution reads it."""

    id: int
    """Its row's; 0 while it is not written."""
    program_id: int
    placed_at: datetime
    net: Money
    confirmed: bool
    evidence: Mapping[str, Any]
    """What servers and browsers brought, each under its name."""
    program_closed: bool
    refunded_net: Money | None = None
    review_outcome: str | None = None
    """What a person said of its suspicious clicks (ReviewOutcome)."""
    lines: Sequence[Mapping[str, Any]] = ()
    """Its items as the order's row keeps them."""
    subscription: Mapping[str, Any] | None = None
    """Which payment of a subscription it is: `id` and `sequence`."""
    zone: str = "UTC"
    """The program's time zone: months of tiers and caps are counted in it."""
    converted: Conversion | None = None
    """How `net`, which is in the program's currency, came out of another."""
    unconverted: Money | None = None
    """The net in its own currency as long as its rate is not known; `net` is zero then."""

    @property
    def reference(self) -> str:
        return reference_of(self.id)


def reference_of(order_row_id: int) -> str:
    """How payouts names the order."""
    return f"{REFERENCE}{order_row_id}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision that is not written yet."""

    version: RuleVersionInForce
    """The program's, by whose attribution terms it was judged."""
    gathered: Gathered
    verdict: Attribution | Unattributed
    click_check_due_at: datetime | None
    review_reason: ReviewReason | None
    versions: Mapping[int, RuleVersionInForce] = field(default_factory=dict)
    """By whose commission terms each credited enrollment earns; `version` where none is named."""
    read: Read = NOTHING_READ
    """What was read besides for what it earns."""


def judge(
    session: Session,
    *,
    program_id: int,
    placed_at: datetime,
    evidence: Mapping[str, Any],
    program_closed: bool,
    version: RuleVersionInForce,
    now: datetime,
    review_declined: bool = False,
    known: Answer | None = None,
    known_before: Mapping[int, BuyerBy] = NOBODY,
) -> Judged:
    """Read the evidence and decide by the terms of `version`; writes nothing.

    `known` is what was read of it already; it counts if it was asked for what the rules ask.
    """
    keys, reach = order_keys(), reach_of(version.terms.attribution)
    if known is None or known.question.reach != reach:
        question = ask(
            program_id=program_id, placed_at=placed_at, evidence=evidence, reach=reach, keys=keys
        )
        known = answer(session, question)
    judged = judge_known(
        known,
        evidence=evidence,
        program_closed=program_closed,
        version=version,
        keys=keys,
        now=now,
        review_declined=review_declined,
        known_before=known_before,
    )
    versions = _versions_of(session, judged.verdict, version, placed_at)
    return replace(judged, versions=versions) if versions else judged


def judge_known(
    known: Answer,
    *,
    evidence: Mapping[str, Any],
    program_closed: bool,
    version: RuleVersionInForce,
    keys: Keys,
    now: datetime,
    review_declined: bool = False,
    known_before: Mapping[int, BuyerBy] = NOBODY,
) -> Judged:
    """Decide by what was read, for the reach of `version`; reads nothing itself."""
    gathered = gather(
        known,
        program_closed=program_closed,
        keys=keys,
        review_declined=review_declined,
        known_before=known_before,
    )
    gathered = as_assigned(gathered, evidence)
    verdict = attribute(gathered.facts, gathered.candidates, version.terms.attribution)
    due_at = _click_check_due_at(verdict, evidence, now)
    return Judged(version, gathered, verdict, due_at, _review_reason(verdict))


def decide(
    session: Session, *, order: Subject, number: int, now: datetime
) -> tuple[CommissionRow, ...]:
    """Make decision `number` of the order and let it earn; answers what it earned.

    The attribution terms are the program's version in force at placed_at. A later decision
    keeps the versions of the one before it, whatever was announced, answered or assigned since.
    """
    version = _version_before(session, order, number)
    judged = judge(
        session,
        program_id=order.program_id,
        placed_at=order.placed_at,
        evidence=order.evidence,
        program_closed=order.program_closed,
        version=version or in_force(session, program_id=order.program_id, at=order.placed_at),
        now=now,
        review_declined=order.review_outcome == ReviewOutcome.DECLINED,
        known_before=_buyers_before(session, order) if number > 1 else NOBODY,
    )
    if number > 1:
        earlier = commissions_for(session, reference=order.reference)
        judged = _as_recruited(judged, earlier)
        if version is not None:
            judged = _as_reckoned(session, judged, earlier)
    judged = with_standings(session, judged, order=order)
    if number > 1:
        judged = replace(
            judged, read=replace(judged.read, first_of_customer=_said_first(session, order))
        )
    row = {"order_id": order.id, **decision_values(judged, number=number, now=now)}
    session.connection().execute(_INSERT, row)
    return let_earn(session, order=order, number=number, judged=judged, now=now)


def with_standings(session: Session, judged: Judged, *, order: Subject) -> Judged:
    """Lock and read what the credited affiliates' terms ask for; mostly that is nothing."""
    if order.converted is not None or order.unconverted is not None:
        read = replace(judged.read, converted=order.converted, unconverted=order.unconverted)
        judged = replace(judged, read=read)
    if isinstance(judged.verdict, Unattributed):
        return judged
    terms = {
        share.enrollment_id: _version_of(judged, share).terms.commission
        for share in judged.verdict.shares
    }
    standings = standing_before(
        session,
        terms=terms,
        reference=order.reference,
        placed_at=order.placed_at,
        zone=order.zone,
        currency=order.net.currency,
    )
    recurring = any(each.recurring is not None for each in terms.values())
    first_paid_at = None
    if recurring and order.subscription is not None and order.subscription["sequence"] > 1:
        first_paid_at = _first_paid_at(session, order.program_id, order.subscription["id"])
    if not standings and first_paid_at is None:
        return judged
    read = replace(judged.read, standings=standings, first_paid_at=first_paid_at)
    return replace(judged, read=read)


_FIRST_PAID: Final = """
    SELECT min(placed_at) FROM orders
    WHERE program_id = CAST(%(program_id)s AS bigint) AND subscription ->> 'id' = %(subscription)s
      AND status <> 'cancelled'
"""


def _first_paid_at(session: Session, program_id: int, subscription: str) -> datetime | None:
    """placed_at of the first payment of a subscription that we know."""
    values = {"program_id": program_id, "subscription": subscription}
    [(found,)] = rows(session, _FIRST_PAID, values)
    return None if found is None else found.astimezone(UTC)


def is_plain(version: RuleVersionInForce) -> bool:
    """Whether an order under these rules needs nothing besides its evidence, before or after."""
    terms = version.terms
    return (
        not version.versions_differ
        and terms.attribution.binding is None
        and terms.commission.recurring is None
        and not asks_for_standing(terms.commission)
    )


def let_earn(
    session: Session, *, order: Subject, number: int, judged: Judged, now: datetime
) -> tuple[CommissionRow, ...]:
    """Earn what a written decision credits, less what was refunded already."""
    earning = earning_by(order=order, number=number, judged=judged, now=now)
    if earning is None:
        return ()
    rows = earn_decided(session, earning=earning)
    if order.refunded_net:
        take_back(
            session,
            reference=order.reference,
            refund=f"refunds_before:{order.reference}:decision:{number}",
            refunded_net=order.refunded_net,
            net=order.net,
            now=now,
        )
        return tuple(commissions_for(session, reference=order.reference))
    return rows


def earning_by(*, order: Subject, number: int, judged: Judged, now: datetime) -> Earning | None:
    """What a decision credits, not written yet; None when it credits nobody."""
    if isinstance(judged.verdict, Unattributed):
        return None
    return earning_of(
        sale_of(order, number, judged, judged.verdict),
        waits_for=waits_for(
            confirmed=order.confirmed,
            click_check_due_at=judged.click_check_due_at,
            to_review=judged.review_reason is not None and order.review_outcome is None,
            unconverted=order.unconverted is not None,
        ),
        now=now,
    )


def _as_recruited(judged: Judged, earlier: Sequence[CommissionRow]) -> Judged:
    """Whom the order credited before keeps the recruiter that its commissions froze, and what
    was known of the recruiter."""
    frozen: dict[int, int | None] = {row.enrollment_id: None for row in earlier if row.level == 1}
    read, buying = judged.gathered.recruiters, dict(judged.gathered.buying_recruiters)
    for row in earlier:
        if row.via_enrollment_id is None:
            continue
        frozen[row.via_enrollment_id] = row.enrollment_id
        by = next((step["by"] for step in row.trace if step["step"] == RECRUITER_BUYS), None)
        # Whose word was read anew may have been corrected since; the rest may be forgotten.
        was_read = read.get(row.via_enrollment_id) == row.enrollment_id
        if by is not None and not (was_read and by in LASTING):
            buying.setdefault(row.enrollment_id, BuyerBy(by))
    recruiters = {**read, **frozen}
    gathered = replace(judged.gathered, recruiters=recruiters, buying_recruiters=buying)
    return replace(judged, gathered=gathered)


def _version_before(session: Session, order: Subject, number: int) -> RuleVersionInForce | None:
    """The version of the order's last decision; None for a first one, or where the shop's own
    report moved the instant at which the order was placed: then that of its true instant."""
    if number == 1:
        return None
    found = session.execute(
        sa.select(Decision.rule_version_id, Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    ).one_or_none()
    if found is None or facts_from(found.snapshot).placed_at != order.placed_at:
        return None
    return by_ids(session, [found.rule_version_id])[found.rule_version_id]


def _as_reckoned(session: Session, judged: Judged, earlier: Sequence[CommissionRow]) -> Judged:
    """Whom the order credited before earns by the version that its commissions froze."""
    frozen = {row.enrollment_id: row.rule_version_id for row in earlier if row.level == 1}
    known = by_ids(session, set(frozen.values()))
    return replace(
        judged, versions={**judged.versions, **{id_: known[v] for id_, v in frozen.items()}}
    )


def _versions_of(
    session: Session,
    verdict: Attribution | Unattributed,
    version: RuleVersionInForce,
    placed_at: datetime,
) -> Mapping[int, RuleVersionInForce]:
    """Whose commission is reckoned by another version; asked only where there may be some."""
    if isinstance(verdict, Unattributed) or not version.versions_differ:
        return {}
    credited = {share.enrollment_id for share in verdict.shares}
    return commission_version(session, enrollment_ids=credited, at=placed_at)


def decision_values(judged: Judged, *, number: int, now: datetime) -> dict[str, Any]:
    """The decision's row, all but whose it is."""
    verdict = judged.verdict
    shares = verdict.shares if isinstance(verdict, Attribution) else ()
    return {
        "number": number,
        "rule_version_id": judged.version.id,
        "outcome": "attributed" if isinstance(verdict, Attribution) else "unattributed",
        "reason": None if isinstance(verdict, Attribution) else verdict.reason.value,
        "shares": [share_document(share) for share in shares],
        "trace": [trace_document(line) for line in verdict.trace],
        "snapshot": _snapshot(judged),
        "decided_at": now,
        "click_check_due_at": judged.click_check_due_at,
        "review_reason": judged.review_reason and judged.review_reason.value,
    }


def _snapshot(judged: Judged) -> dict[str, Any]:
    """Everything that was read: for whose the order is, and for what it earns."""
    gathered = judged.gathered
    document = snapshot_of(gathered.facts, gathered.candidates)
    recruiters = {str(who): by for who, by in gathered.recruiters.items() if by is not None}
    sale = {
        **read_document(judged.read),
        "names_buyer": gathered.names_buyer,
        "first_of_customer": _first_of_customer(judged),
    }
    if recruiters:
        sale["recruiters"] = recruiters
    if gathered.buying_recruiters:
        sale["buying_recruiters"] = {
            str(who): by.value for who, by in gathered.buying_recruiters.items()
        }
    return {**document, "sale": sale}


def decide_again(session: Session, *, order: Subject, reason: VoidReason, now: datetime) -> None:
    """Void the live decision and what it earned, and make the next; both are kept."""
    number = void_decision(session, order_row_id=order.id, reason=reason, now=now)
    decide(session, order=order, number=number + 1, now=now)
    bind_customer(session, order_row_id=order.id, now=now)


def void_decision(session: Session, *, order_row_id: int, reason: VoidReason, now: datetime) -> int:
    """Void the live decision and its commissions. Returns the highest number so far."""
    let_go_of_customer(session, order_row_id=order_row_id, now=now)
    rows = session.execute(
        sa.select(Decision.id, Decision.number, Decision.voided_at)
        .where(Decision.order_id == order_row_id)
        .order_by(Decision.number)
    ).all()
    for row in rows:
        if row.voided_at is None:
            void(
                session,
                reference=reference_of(order_row_id),
                decision=row.number,
                reason=reason,
                now=now,
            )
            session.execute(
                sa.update(Decision)
                .where(Decision.id == row.id)
                .values(voided_at=now, void_reason=reason.value, click_check_due_at=None)
            )
    return max((row.number for row in rows), default=0)


def update_wait(session: Session, *, order_row_id: int, confirmed: bool, now: datetime) -> None:
    """Recompute from the order's facts what its commissions wait for."""
    live = session.execute(
        sa.select(
            Decision.click_check_due_at,
            Decision.review_reason,
            Order.review_outcome,
            sa.and_(Order.converted_to.is_not(None), Order.rate_scaled.is_(None)),
        )
        .join(Order, Order.id == Decision.order_id)
        .where(Decision.order_id == order_row_id, Decision.voided_at.is_(None))
    ).one_or_none()
    due_at, review_reason, outcome, unconverted = live or (None, None, None, False)
    wait_for(
        session,
        reference=reference_of(order_row_id),
        waits_for=waits_for(
            confirmed=confirmed,
            click_check_due_at=due_at,
            to_review=review_reason is not None and outcome is None,
            unconverted=unconverted,
        ),
        now=now,
    )


def waits_for(
    *,
    confirmed: bool,
    click_check_due_at: datetime | None,
    to_review: bool,
    unconverted: bool,
) -> str | None:
    """The one thing to name; the rate first, as there is no amount before it, then the
    confirmation, as it may never come."""
    if unconverted:
        return WaitsFor.EXCHANGE_RATE.value
    if not confirmed:
        return WaitsFor.CONFIRMATION.value
    if click_check_due_at is not None:
        return WaitsFor.CLICK_CHECK.value
    return WaitsFor.REVIEW.value if to_review else None


def _click_check_due_at(
    verdict: Attribution | Unattributed, evidence: Mapping[str, Any], now: datetime
) -> datetime | None:
    """Until when to look again: for the verdict on a click, or for the click of a visitor.

    An order that names only its visitor may come before the visitor's clicks are loaded.
    """
    if isinstance(verdict, Attribution):
        waits = any(share.awaits_click_check for share in verdict.shares)
        return now + timedelta(hours=CLICK_CHECK_HOURS) if waits else None
    waits = visitor_of(evidence) is not None
    return now + timedelta(hours=VISITOR_CHECK_HOURS) if waits else None


def _review_reason(verdict: Attribution | Unattributed) -> ReviewReason | None:
    if isinstance(verdict, Unattributed):
        return None
    return next((share.review_reason for share in verdict.shares if share.review_reason), None)


_INSERT = sa.insert(Decision)


def _first_of_customer(judged: Judged) -> bool:
    """Whether it is the buyer's first order; what an earlier decision said stands."""
    said = judged.read.first_of_customer
    if said is not None:
        return said
    return is_first_of_customer(judged.gathered.facts, named=judged.gathered.names_buyer)


def _buyers_before(session: Session, order: Subject) -> Mapping[int, BuyerBy]:
    """Who was known to be the buyer by what is forgotten after some weeks."""
    found = session.scalar(
        sa.select(Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    )
    return {} if found is None else buyers_in(found)


def _said_first(session: Session, order: Subject) -> bool | None:
    """What the order's last decision said of it; None: it did not say."""
    found = session.scalar(
        sa.select(Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    )
    said: bool | None = (found or {}).get("sale", {}).get("first_of_customer")
    return said


def _version_of(judged: Judged, share: Share) -> RuleVersionInForce:
    """By whose commission terms a share earns."""
    return judged.versions.get(share.enrollment_id, judged.version)


def _recruiter_buys_by(judged: Judged, share: Share) -> str | None:
    """By what the recruiter is known to be the buyer, where the rules refuse own purchases."""
    by = judged.gathered.buying_recruiters.get(
        judged.gathered.recruiters.get(share.enrollment_id) or 0
    )
    refuses = judged.version.terms.attribution.self_purchase is CustomerPolicy.REFUSES
    return by.value if by is not None and by.is_sure and refuses else None


def sale_of(order: Subject, number: int, judged: Judged, verdict: Attribution) -> Sale:
    gathered, read = judged.gathered, judged.read
    named = gathered.names_buyer
    versions = [_version_of(judged, share) for share in verdict.shares]
    by_item = any(reads_items(version.terms.commission) for version in versions)
    return Sale(
        program_id=order.program_id,
        reference=order.reference,
        decision=number,
        net=order.net,
        credits=tuple(
            Credit(
                enrollment_id=share.enrollment_id,
                weight=Fraction(share.weight),
                terms=version.terms.commission,
                rule_version_id=version.id,
                recruiter_id=gathered.recruiters.get(share.enrollment_id),
                recruiter_buys_by=_recruiter_buys_by(judged, share),
                hold=version.terms.payout.hold,
                group=gathered.groups.get(share.enrollment_id),
                customer=customer_of(share, gathered.facts, named=named),
                **standing_values(read.standings.get(share.enrollment_id)),
            )
            for version, share in zip(versions, verdict.shares, strict=True)
        ),
        placed_at=order.placed_at,
        hold=judged.version.terms.payout.hold,
        items=items_of(order.lines, order.net) if by_item else (),
        subscription=subscription_of(order.subscription, order.placed_at, read.first_paid_at),
        first_of_customer=_first_of_customer(judged),
        converted=order.converted,
        unconverted=order.unconverted,
    )
