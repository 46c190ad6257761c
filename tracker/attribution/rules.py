"""Whose order it is (pure): every candidate passes the checks or is removed by one.

The answer does not depend on the order in which candidates are given. Whatever was read is
in the values, so that replay over a stored snapshot answers the same.
Rule: docs/rules.md, "Whose order it is".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from affiliate.programs.terms import AttributionTerms, CouponPolicy, CustomerPolicy, Model
from tracker.clicks.rules import DropReason, credits, needs_review

CLOCK_SKEW_MAX: Final = timedelta(minutes=5)
"""How far a click may lie after its order: two clocks, not a later click."""


class Kind(StrEnum):
    """What a candidate is."""

    CLICK_TOKEN = "click_token"  # noqa: S105 -- a word, no secret
    VISITOR_CLICK = "visitor_click"
    COUPON = "coupon"
    ASSIGNMENT = "assignment"
    """A manager said whose order it is."""


class Check(StrEnum):
    """What a candidate has to pass, in this order."""

    SIGNATURE = "signature"
    PROGRAM = "program"
    LINK = "link"
    COUPON = "coupon"
    AFFILIATE = "affiliate"
    ORDER_OF_TIME = "order_of_time"
    WINDOW = "window"
    SELF_PURCHASE = "self_purchase"
    EXISTING_CUSTOMER = "existing_customer"
    CLICK = "click"
    MODEL = "model"
    COUPON_AGAINST_CLICK = "coupon_against_click"
    ASSIGNMENT = "assignment"


class Step(StrEnum):
    """What a check said."""

    PASSED = "passed"
    REMOVED = "removed"
    LOST = "lost"
    WON = "won"


class Reason(StrEnum):
    """Why a candidate was removed or lost, and why nobody was credited."""

    NO_EVIDENCE = "no_evidence"
    PROGRAM_CLOSED = "program_closed"
    TOKEN_NOT_GENUINE = "token_not_genuine"  # noqa: S105 -- a word, no secret
    OTHER_PROGRAM = "other_program"
    LINK_DISABLED = "link_disabled"
    COUPON_UNKNOWN = "coupon_unknown"
    COUPON_NOT_VALID = "coupon_not_valid"
    AFFILIATE_INACTIVE = "affiliate_inactive"
    CLICK_AFTER_ORDER = "click_after_order"
    OUTSIDE_WINDOW = "outside_window"
    SELF_PURCHASE = "self_purchase"
    EXISTING_CUSTOMER = "existing_customer"
    NOT_A_VISIT = "not_a_visit"
    NOT_A_PERSON = "not_a_person"
    LATER_CLICK_WINS = "later_click_wins"
    EARLIER_CLICK_WINS = "earlier_click_wins"
    REVIEW_DECLINED = "review_declined"
    CLICK_WINS = "click_wins"
    COUPON_WINS = "coupon_wins"
    ASSIGNED = "assigned"


CLASS_OF_DROP: Final = {
    DropReason.LINK_DISABLED: Reason.LINK_DISABLED,
    DropReason.AFFILIATE_INACTIVE: Reason.AFFILIATE_INACTIVE,
    DropReason.PROGRAM_CLOSED: Reason.PROGRAM_CLOSED,
    DropReason.HEAD_REQUEST: Reason.NOT_A_VISIT,
    DropReason.PREFETCH: Reason.NOT_A_VISIT,
    DropReason.FRAMED: Reason.NOT_A_VISIT,
    DropReason.SUBRESOURCE: Reason.NOT_A_VISIT,
    DropReason.EMPTY_AGENT: Reason.NOT_A_PERSON,
    DropReason.LINK_PREVIEW: Reason.NOT_A_PERSON,
    DropReason.BOT: Reason.NOT_A_PERSON,
    DropReason.FLOOD: Reason.REVIEW_DECLINED,
}
"""What people are told of a filter: its class, not how to get around it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may credit an affiliate, with everything that was read about it."""

    kind: Kind
    enrollment_id: int | None = None
    click_id: str | None = None
    at: datetime | None = None
    """When it was clicked; None for a coupon."""
    genuine: bool = True
    """False: a token that we did not sign, or not in this spelling."""
    in_program: bool = True
    """False: its link is another program's, or unknown."""
    disabled_at: datetime | None = None
    """When its link or coupon was switched off."""
    valid_until: datetime | None = None
    """A coupon's first instant at which it no longer counts."""
    active: bool = True
    """Whether the affiliate's enrollment is active."""
    is_buyer: bool = False
    """Whether the buyer is known to be this affiliate."""
    drop: DropReason | None = None
    """The loader's verdict on the click, where there is one against it."""
    loaded: bool = True
    """False: the click's row has not arrived, so its verdict is still open."""
    unrecorded: bool = False
    """The token says that no row will ever come; it stands alone."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What attribution reads of an order and its buyer."""

    placed_at: datetime
    customer_since: datetime | None = None
    """placed_at of the buyer's earliest confirmed order on our record."""
    says_new: bool | None = None
    """The shop's word, used where we have no record."""
    program_closed: bool = False
    """The program's notice period was over when the order was placed."""
    review_declined: bool = False
    """A person looked at the order and did not accept the clicks that came in a flood."""
    assigned_to: int | None = None
    """The enrollment whom a manager gave the order to."""


@dataclass(frozen=True, slots=True)
class TraceLine:
    """What one check said of one candidate."""

    candidate: Kind
    check: Check
    outcome: Step
    reason: Reason | None = None
    enrollment_id: int | None = None
    click_id: str | None = None
    age_s: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the order's credit."""

    enrollment_id: int
    weight: Fraction
    evidence: Kind
    click_id: str | None
    clicked_at: datetime | None
    awaits_click_check: bool
    review_reason: DropReason | None = None
    """Why a person has to look at the order before this is paid."""


@dataclass(frozen=True, slots=True)
class Attribution:
    shares: tuple[Share, ...]
    trace: tuple[TraceLine, ...]


@dataclass(frozen=True, slots=True)
class Unattributed:
    reason: Reason
    trace: tuple[TraceLine, ...]


Rule = Callable[[Candidate, OrderFacts, AttributionTerms], Reason | None]


def attribute(
    order: OrderFacts, candidates: Sequence[Candidate], terms: AttributionTerms
) -> Attribution | Unattributed:
    """Decide whose order it is, and say of every candidate why or why not."""
    ordered = _in_order(candidates)
    if order.assigned_to is not None:
        return _assigned(order.assigned_to, order, ordered)
    if order.program_closed:
        return Unattributed(Reason.PROGRAM_CLOSED, ())
    if not ordered:
        return Unattributed(Reason.NO_EVIDENCE, ())
    trace: list[TraceLine] = []
    alive: list[Candidate] = []
    furthest: tuple[int, Reason] = (-1, Reason.NO_EVIDENCE)
    for candidate in ordered:
        failed = _first_failure(candidate, order, terms)
        if failed is None:
            alive.append(candidate)
            passed = Check.WINDOW if candidate.at is not None else Check.COUPON
            trace.append(_line(candidate, order, passed, Step.PASSED))
            continue
        position, check, reason = failed
        trace.append(_line(candidate, order, check, Step.REMOVED, reason))
        if position >= furthest[0]:
            furthest = (position, reason)
    if not alive:
        return Unattributed(furthest[1], tuple(trace))
    winner = _choose(alive, order, terms, trace)
    return Attribution((_share(winner),), tuple(trace))


def _assigned(
    enrollment_id: int, order: OrderFacts, candidates: Sequence[Candidate]
) -> Attribution:
    """A manager's word stands above all evidence, and takes no part of it."""
    chosen = Candidate(kind=Kind.ASSIGNMENT, enrollment_id=enrollment_id)
    check = Check.ASSIGNMENT
    trace = [_line(one, order, check, Step.LOST, Reason.ASSIGNED) for one in candidates]
    trace.append(_line(chosen, order, check, Step.WON))
    return Attribution((_share(chosen),), tuple(trace))


def _in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Clicks by time, then coupons; one click known twice counts once, its token first."""
    seen: set[str] = set()
    result = []
    for candidate in sorted(candidates, key=_position):
        if candidate.click_id is not None and candidate.genuine:
            if candidate.click_id in seen:
                continue
            seen.add(candidate.click_id)
        result.append(candidate)
    return result


def _position(candidate: Candidate) -> tuple[bool, bool, float, str, str, int, str]:
    return (
        candidate.kind is Kind.COUPON,
        candidate.genuine,
        candidate.at.timestamp() if candidate.at else 0.0,
        candidate.click_id or "",
        candidate.kind.value,
        candidate.enrollment_id or 0,
        repr(candidate),
    )


def _first_failure(
    candidate: Candidate, order: OrderFacts, terms: AttributionTerms
) -> tuple[int, Check, Reason] | None:
    for position, (check, rule) in enumerate(CHECKS):
        reason = rule(candidate, order, terms)
        if reason is not None:
            return position, check, reason
    return None


def _genuine(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    return None if candidate.genuine else Reason.TOKEN_NOT_GENUINE


def _in_program(
    candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms
) -> Reason | None:
    if candidate.in_program:
        return None
    return Reason.COUPON_UNKNOWN if candidate.kind is Kind.COUPON else Reason.OTHER_PROGRAM


def _link(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    """Clicks before the instant of switching off credit, later ones do not."""
    if candidate.at is None or candidate.disabled_at is None:
        return None
    return Reason.LINK_DISABLED if candidate.at >= candidate.disabled_at else None


def _coupon(candidate: Candidate, order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    if candidate.kind is not Kind.COUPON:
        return None
    ends = [end for end in (candidate.disabled_at, candidate.valid_until) if end is not None]
    return Reason.COUPON_NOT_VALID if any(order.placed_at >= end for end in ends) else None


def _active(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    return None if candidate.active else Reason.AFFILIATE_INACTIVE


def _before_order(
    candidate: Candidate, order: OrderFacts, _terms: AttributionTerms
) -> Reason | None:
    if candidate.at is None or candidate.at - order.placed_at <= CLOCK_SKEW_MAX:
        return None
    return Reason.CLICK_AFTER_ORDER


def _window(candidate: Candidate, order: OrderFacts, terms: AttributionTerms) -> Reason | None:
    """The window includes its end."""
    if candidate.at is None or order.placed_at - candidate.at <= terms.window:
        return None
    return Reason.OUTSIDE_WINDOW


def _not_the_buyer(
    candidate: Candidate, _order: OrderFacts, terms: AttributionTerms
) -> Reason | None:
    refused = candidate.is_buyer and terms.self_purchase is CustomerPolicy.REFUSES
    return Reason.SELF_PURCHASE if refused else None


def _new_customer(
    candidate: Candidate, order: OrderFacts, terms: AttributionTerms
) -> Reason | None:
    """Our own record of an earlier order goes before the shop's word."""
    if terms.existing_customer is CustomerPolicy.PAYS:
        return None
    if order.customer_since is not None:
        # min(): an order's own row must not make its buyer an old customer when the click's
        # clock ran ahead of the shop's.
        before = min(candidate.at or order.placed_at, order.placed_at)
        existing = order.customer_since < before
    else:
        existing = order.says_new is False
    return Reason.EXISTING_CUSTOMER if existing else None


def _click(candidate: Candidate, order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    """A click out of a flood credits until a person has said that it shall not."""
    if candidate.drop is None or credits(candidate.drop):
        return None
    if needs_review(candidate.drop) and not order.review_declined:
        return None
    return CLASS_OF_DROP[candidate.drop]


CHECKS: Final[tuple[tuple[Check, Rule], ...]] = (
    (Check.SIGNATURE, _genuine),
    (Check.PROGRAM, _in_program),
    (Check.LINK, _link),
    (Check.COUPON, _coupon),
    (Check.AFFILIATE, _active),
    (Check.ORDER_OF_TIME, _before_order),
    (Check.WINDOW, _window),
    (Check.SELF_PURCHASE, _not_the_buyer),
    (Check.EXISTING_CUSTOMER, _new_customer),
    (Check.CLICK, _click),
)


def _choose(
    alive: Sequence[Candidate], order: OrderFacts, terms: AttributionTerms, trace: list[TraceLine]
) -> Candidate:
    clicks = [candidate for candidate in alive if candidate.at is not None]
    coupons = [candidate for candidate in alive if candidate.at is None]
    chosen = _by_model(clicks, order, terms.model, trace)
    coupon = coupons[0] if coupons else None
    if chosen is None or coupon is None:
        winner = chosen or coupon
        assert winner is not None, "one of the two is alive"
        check = Check.MODEL if chosen else Check.COUPON
    else:
        check = Check.COUPON_AGAINST_CLICK
        coupon_wins = terms.coupon is CouponPolicy.WINS
        winner, loser = (coupon, chosen) if coupon_wins else (chosen, coupon)
        why = Reason.COUPON_WINS if coupon_wins else Reason.CLICK_WINS
        trace.append(_line(loser, order, check, Step.LOST, why))
    trace.append(_line(winner, order, check, Step.WON))
    return winner


def _by_model(
    clicks: Sequence[Candidate], order: OrderFacts, model: Model, trace: list[TraceLine]
) -> Candidate | None:
    """Two clicks in one instant: the smaller click id, so that arrival never decides."""
    if not clicks:
        return None
    moments = [click.at for click in clicks if click.at is not None]
    best = max(moments) if model is Model.LAST_CLICK else min(moments)
    chosen = min(
        (click for click in clicks if click.at == best), key=lambda click: click.click_id or ""
    )
    why = Reason.LATER_CLICK_WINS if model is Model.LAST_CLICK else Reason.EARLIER_CLICK_WINS
    trace += [
        _line(click, order, Check.MODEL, Step.LOST, why) for click in clicks if click is not chosen
    ]
    return chosen


def _share(winner: Candidate) -> Share:
    if winner.enrollment_id is None:
        raise ValueError("a candidate of nobody passed every check")
    return Share(
        enrollment_id=winner.enrollment_id,
        weight=Fraction(1),
        evidence=winner.kind,
        click_id=winner.click_id,
        clicked_at=winner.at,
        awaits_click_check=winner.at is not None and not winner.loaded and not winner.unrecorded,
        review_reason=winner.drop if winner.drop and needs_review(winner.drop) else None,
    )


def _line(
    candidate: Candidate,
    order: OrderFacts,
    check: Check,
    outcome: Step,
    reason: Reason | None = None,
) -> TraceLine:
    age_s = None
    if candidate.at is not None:
        age_s = max(0, int((order.placed_at - candidate.at).total_seconds()))
    return TraceLine(
        candidate=candidate.kind,
        check=check,
        outcome=outcome,
        reason=reason,
        enrollment_id=candidate.enrollment_id,
        click_id=candidate.click_id,
        age_s=age_s,
    )
