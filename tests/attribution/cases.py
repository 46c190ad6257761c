"""One case of attribution as a row of a table: what is known, whose it is, who loses and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from affiliate.programs.terms import AttributionTerms, CouponPolicy, CustomerPolicy, Evidence, Model
from tracker.attribution.rules import (
    Attribution,
    Candidate,
    Kind,
    OrderFacts,
    Reason,
    ReviewReason,
    Step,
    Unattributed,
    attribute,
)

PLACED = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
ORDER = OrderFacts(placed_at=PLACED)
TERMS = AttributionTerms(
    model=Model.LAST_CLICK,
    window=timedelta(days=30),
    coupon=CouponPolicy.LOSES,
    existing_customer=CustomerPolicy.PAYS,
    self_purchase=CustomerPolicy.REFUSES,
    evidence=(
        (Evidence.CLICK_TOKEN, Evidence.VISITOR_CLICK),
        (Evidence.BOUND_CUSTOMER,),
        (Evidence.CUSTOMER_EMAIL,),
    ),
)
"""Every kind of evidence is named, as most rules name but the first two steps."""
DAY, HOUR, MINUTE, SECOND, TICK = (
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
    timedelta(microseconds=1),
)
NOW = 0 * DAY

FIRST = {"model": Model.FIRST_CLICK}
LINEAR = {"model": Model.LINEAR}
POSITION = {"model": Model.POSITION_BASED}
DECAY = {"model": Model.TIME_DECAY}
WINS = {"coupon": CouponPolicy.WINS}
SHARES = {"coupon": CouponPolicy.SHARES}
IN_ORDER = {"coupon": CouponPolicy.IN_ORDER}
NEW_ONLY = {"existing_customer": CustomerPolicy.REFUSES}
OWN_PAYS = {"self_purchase": CustomerPolicy.PAYS}


def click(ago: timedelta, who: int = 1, **changes: Any) -> Candidate:
    """A click of affiliate `who`, so long before the order."""
    at = PLACED - ago
    values: dict[str, Any] = {
        "kind": Kind.CLICK_TOKEN,
        "enrollment_id": who,
        "click_id": f"{who}-{at.isoformat()}",
        "at": at,
    }
    return Candidate(**{**values, **changes})


def visit(ago: timedelta, who: int = 1, **changes: Any) -> Candidate:
    """A click that is known from the visitor alone."""
    return click(ago, who, kind=Kind.VISITOR_CLICK, **changes)


def coupon(who: int | None = 2, **changes: Any) -> Candidate:
    return Candidate(**{"kind": Kind.COUPON, "enrollment_id": who, **changes})


def bound(ago: timedelta, who: int = 3, **changes: Any) -> Candidate:
    """The buyer is bound to `who` since then."""
    values = {"kind": Kind.BOUND_CUSTOMER, "enrollment_id": who, "at": PLACED - ago}
    return Candidate(**{**values, **changes})


def email(ago: timedelta, who: int = 4, **changes: Any) -> Candidate:
    """The buyer's address was last seen with a credit of `who` then."""
    values = {"kind": Kind.CUSTOMER_EMAIL, "enrollment_id": who, "at": PLACED - ago}
    return Candidate(**{**values, **changes})


def steps(*kinds: str) -> dict[str, Any]:
    """An order of evidence, best first; the kinds of one step stand in one word after another."""
    return {"evidence": tuple(tuple(Evidence(kind) for kind in one.split()) for one in kinds)}


@dataclass(frozen=True)
class Case:
    """What is known of an order, and what has to come of it."""

    candidates: Sequence[Candidate]
    shares: Mapping[int, str] | Reason
    """Weights of affiliates, or why nobody is credited."""
    terms: Mapping[str, Any] = field(default_factory=dict)
    order: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[int, Reason] = field(default_factory=dict)
    """Of affiliates that have no share, or of some touch of theirs: why not."""
    by: Mapping[int, Kind] = field(default_factory=dict)
    """What a share names as its evidence."""
    held: Mapping[int, ReviewReason] = field(default_factory=dict)
    """Shares that wait for a person; no other does."""
    existing: frozenset[int] = frozenset()
    """Affiliates whose share is of an existing customer; no other is."""


def case(candidates: Sequence[Candidate], shares: Mapping[int, str] | Reason, **more: Any) -> Case:
    return Case(candidates, shares, **more)


def decide(one: Case) -> Attribution | Unattributed:
    order, terms = replace(ORDER, **one.order), replace(TERMS, **one.terms)
    found = attribute(order, one.candidates, terms)
    assert attribute(order, one.candidates[::-1], terms) == found
    return found


def hold(one: Case) -> None:
    """Whether the case comes out as its row says."""
    found = decide(one)
    told = {line.click_id or (line.candidate, line.enrollment_id) for line in found.trace}
    known = {found.click_id or (found.kind, found.enrollment_id) for found in one.candidates}
    assert known <= told, "the trace leaves out a candidate"
    for who, reason in one.why.items():
        lines = [line for line in found.trace if (line.enrollment_id or 0) == who]
        assert reason in {line.reason for line in lines}, lines
    if isinstance(one.shares, Reason):
        assert isinstance(found, Unattributed)
        assert found.reason is one.shares
        return
    assert isinstance(found, Attribution), found.reason
    assert {s.enrollment_id: s.weight for s in found.shares} == {
        who: Fraction(weight) for who, weight in one.shares.items()
    }
    assert sum(share.weight for share in found.shares) == 1
    assert len({share.enrollment_id for share in found.shares}) == len(found.shares)
    won = [line for line in found.trace if line.outcome is Step.WON]
    assert sum(line.weight or Fraction(0) for line in won) == 1
    evidence = {share.enrollment_id: share.evidence for share in found.shares}
    assert {who: evidence[who] for who in one.by} == one.by
    held = {s.enrollment_id: s.review_reason for s in found.shares if s.review_reason}
    assert held == one.held
    assert {s.enrollment_id for s in found.shares if s.existing_customer} == one.existing
