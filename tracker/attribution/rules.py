"""Whose order it is (pure): every candidate passes the checks or is removed by one.

The answer does not depend on the order in which candidates are given. Whatever was read is
in the values, so that replay over a stored snapshot answers the same.
Rule: docs/rules.md, "Whose order it is".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from affiliate.core.money import PPM
from affiliate.programs.terms import AttributionTerms, CouponPolicy, Model
from tracker.attribution.facts import (
    CLASS_OF_DROP,
    Attribution,
    BuyerBy,
    Candidate,
    Check,
    CreditedClick,
    Kind,
    OrderFacts,
    Reason,
    ReviewReason,
    Share,
    Step,
    TraceLine,
    Unattributed,
)
from tracker.attribution.passing import (
    CHECKS,
    CLOCK_SKEW_MAX,
    bound_until,
    first_failure,
    is_existing,
    is_perhaps_own,
    is_too_soon,
    step_of,
)
from tracker.attribution.weighing import last_of, weights_of
from tracker.clicks.rules import needs_review

__all__ = [
    "CHECKS",
    "CLASS_OF_DROP",
    "CLOCK_SKEW_MAX",
    "Attribution",
    "BuyerBy",
    "Candidate",
    "Check",
    "CreditedClick",
    "Kind",
    "OrderFacts",
    "Reason",
    "ReviewReason",
    "Share",
    "Step",
    "TraceLine",
    "Unattributed",
    "attribute",
    "bound_until",
]

_WHOLE: Final = Fraction(1)
_SECOND: Final = timedelta(seconds=1)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_PASSED: Final = {
    Kind.CLICK_TOKEN: Check.WINDOW,
    Kind.VISITOR_CLICK: Check.WINDOW,
    Kind.COUPON: Check.COUPON,
    Kind.BOUND_CUSTOMER: Check.BINDING,
    Kind.CUSTOMER_EMAIL: Check.WINDOW,
}
"""The check that says most of a candidate that passed them all."""

Loser = tuple[Candidate, Check, Reason]
Winner = tuple[Candidate, Fraction]


def attribute(
    order: OrderFacts, candidates: Sequence[Candidate], terms: AttributionTerms
) -> Attribution | Unattributed:
    """Decide whose order it is, and say of every candidate why or why not."""
    ordered = _in_order(candidates, terms)
    if order.assigned_to is not None:
        return _assigned(order.assigned_to, order, ordered)
    if order.program_closed:
        why = Reason.PROGRAM_CLOSED
        lines = [_line(one, order, Check.PROGRAM, Step.REMOVED, why) for one in ordered]
        return Unattributed(why, tuple(lines))
    trace: list[TraceLine] = []
    alive: list[Candidate] = []
    furthest: tuple[int, Reason] = (-1, Reason.NO_EVIDENCE)
    for candidate in ordered:
        failed = first_failure(candidate, order, terms)
        if failed is None:
            alive.append(candidate)
            trace.append(_line(candidate, order, _PASSED[candidate.kind], Step.PASSED))
            continue
        position, check, reason = failed
        trace.append(_line(candidate, order, check, Step.REMOVED, reason))
        if position >= furthest[0]:
            furthest = (position, reason)
    if not alive:
        return Unattributed(furthest[1], tuple(trace))
    won, lost = _choose(alive, order, terms)
    trace += _outcome(won, lost, order, terms)
    return Attribution(_shares(won, order, terms), tuple(trace))


def _in_order(candidates: Sequence[Candidate], terms: AttributionTerms) -> list[Candidate]:
    """By time, coupons last; what is known twice counts once.

    A click known by its token and by its visitor counts as the better evidence.
    """
    if len(candidates) < 2:
        return list(candidates)
    placed = [(_place(one, terms), one) for one in candidates]
    tied = len({place for place, _ in placed}) < len(placed)
    placed.sort(key=lambda pair: (pair[0], repr(pair[1]) if tied else ""))
    seen: set[str] = set()
    result: list[Candidate] = []
    for _, candidate in placed:
        if candidate.genuine:
            if candidate.click_id is None:
                if result and candidate == result[-1]:
                    continue
            elif candidate.click_id in seen:
                continue
            else:
                seen.add(candidate.click_id)
        result.append(candidate)
    return result


def _place(
    candidate: Candidate, terms: AttributionTerms
) -> tuple[bool, bool, datetime, str, int, str, int]:
    step = step_of(candidate, terms)
    return (
        candidate.kind is Kind.COUPON,
        candidate.genuine,
        candidate.at or _LONG_AGO,
        candidate.click_id or "",
        len(terms.evidence) + 1 if step is None else step,
        candidate.kind.code,
        candidate.enrollment_id or 0,
    )


def _assigned(
    enrollment_id: int, order: OrderFacts, candidates: Iterable[Candidate]
) -> Attribution:
    """A manager's word stands above all evidence, and takes no part of it."""
    chosen = Candidate(kind=Kind.ASSIGNMENT, enrollment_id=enrollment_id)
    check = Check.ASSIGNMENT
    trace = [_line(one, order, check, Step.LOST, Reason.ASSIGNED) for one in candidates]
    trace.append(_line(chosen, order, check, Step.WON, weight=_WHOLE))
    share = Share(
        enrollment_id=enrollment_id,
        weight=_WHOLE,
        evidence=Kind.ASSIGNMENT,
        click_id=None,
        clicked_at=None,
        awaits_click_check=False,
        existing_customer=is_existing(chosen, order),
    )
    return Attribution((share,), tuple(trace))


def _choose(
    alive: Sequence[Candidate], order: OrderFacts, terms: AttributionTerms
) -> tuple[list[Winner], list[Loser]]:
    """The touches that are credited, each with its part of the whole, and those that are not.

    The first step of evidence that anything is left of decides; a coupon that shares stands
    beside it.
    """
    if len(alive) == 1:
        return [(alive[0], _WHOLE)], []
    sharing: list[Candidate] = []
    touches = list(alive)
    if terms.coupon is CouponPolicy.SHARES:
        sharing = [one for one in alive if one.kind is Kind.COUPON]
        touches = [one for one in alive if one.kind is not Kind.COUPON]
    stepped = [(_step(one, terms), one) for one in touches]
    best = min((step for step, _ in stepped), default=0)
    chosen = [one for step, one in stepped if step == best]
    later = [one for step, one in stepped if step != best]
    won: list[Winner] = []
    lost: list[Loser] = []
    coupon = Fraction(terms.coupon_share_ppm, PPM) if sharing and chosen else None
    for group, part in (
        (chosen, _WHOLE if coupon is None else 1 - coupon),
        (sharing, _WHOLE if coupon is None else coupon),
    ):
        for one, weight in zip(group, weights_of(group, order, terms), strict=True):
            if weight * part:
                won.append((one, weight * part))
            elif weight:
                lost.append((one, Check.COUPON_AGAINST_CLICK, Reason.NO_SHARE))
            else:
                lost.append((one, Check.MODEL, _BY_MODEL.get(terms.model, Reason.NO_SHARE)))
    lost += [(one, *_against(one, chosen)) for one in later]
    return won, lost


_BY_MODEL: Final = {
    Model.LAST_CLICK: Reason.LATER_CLICK_WINS,
    Model.FIRST_CLICK: Reason.EARLIER_CLICK_WINS,
}
"""Why a touch loses to others of its step; other models leave some nothing."""


def _step(candidate: Candidate, terms: AttributionTerms) -> int:
    step = step_of(candidate, terms)
    assert step is not None, "evidence that does not count was removed"
    return step


def _against(loser: Candidate, chosen: Sequence[Candidate]) -> tuple[Check, Reason]:
    """Why a later step loses: a coupon against clicks has words of its own."""
    if loser.kind is Kind.COUPON and any(one.kind.is_click for one in chosen):
        return Check.COUPON_AGAINST_CLICK, Reason.CLICK_WINS
    if loser.kind.is_click and any(one.kind is Kind.COUPON for one in chosen):
        return Check.COUPON_AGAINST_CLICK, Reason.COUPON_WINS
    return Check.EVIDENCE_ORDER, Reason.EARLIER_EVIDENCE_WINS


def _outcome(
    won: Sequence[Winner], lost: Sequence[Loser], order: OrderFacts, terms: AttributionTerms
) -> list[TraceLine]:
    """Who lost and why, then who won and how much, then who is held."""
    trace = [_line(one, order, check, Step.LOST, reason) for one, check, reason in lost]
    by = _decided_by(won, lost)
    trace += [_line(one, order, by, Step.WON, weight=weight) for one, weight in won]
    if terms.seconds_min:
        trace += [
            _line(one, order, Check.TIMING, Step.HELD, Reason.TIMING)
            for one, _ in won
            if is_too_soon(one, order, terms)
        ]
    trace += [
        _line(one, order, Check.SELF_PURCHASE, Step.HELD, Reason.PERHAPS_OWN)
        for one, _ in won
        if one.buyer_by is not None and is_perhaps_own(one, terms)
    ]
    return trace


def _decided_by(won: Sequence[Winner], lost: Sequence[Loser]) -> Check:
    """The check that the winners won by."""
    if lost:
        found = {check for _, check, _ in lost}
        for check in (Check.COUPON_AGAINST_CLICK, Check.EVIDENCE_ORDER):
            if check in found:
                return check
    coupons = [one for one, _ in won if one.kind is Kind.COUPON]
    if not coupons:
        return Check.MODEL
    return Check.COUPON if len(coupons) == len(won) else Check.COUPON_AGAINST_CLICK


def _shares(won: Sequence[Winner], order: OrderFacts, terms: AttributionTerms) -> tuple[Share, ...]:
    """What each affiliate's touches add up to: an order is credited to an affiliate once."""
    if len(won) == 1:
        return (_share([won[0][0]], won[0][1], order, terms),)
    touches: dict[int | None, list[Candidate]] = {}
    weights: dict[int | None, Fraction] = {}
    for one, weight in won:
        touches.setdefault(one.enrollment_id, []).append(one)
        weights[one.enrollment_id] = weights.get(one.enrollment_id, Fraction(0)) + weight
    return tuple(_share(touches[who], weights[who], order, terms) for who in touches)


def _share(
    touches: Sequence[Candidate], weight: Fraction, order: OrderFacts, terms: AttributionTerms
) -> Share:
    latest = touches[0] if len(touches) == 1 else last_of(touches, order)
    if latest.enrollment_id is None:
        raise ValueError("a candidate of nobody passed every check")
    clicks = [one for one in touches if one.kind.is_click]
    return Share(
        enrollment_id=latest.enrollment_id,
        weight=weight,
        evidence=latest.kind,
        click_id=latest.click_id,
        clicked_at=latest.at if latest.kind.is_click else None,
        awaits_click_check=not all(one.loaded or one.unrecorded for one in clicks),
        review_reason=_review_reason(touches, clicks, order, terms),
        existing_customer=all(is_existing(one, order) for one in touches),
        other_clicks=tuple(
            [
                CreditedClick(one.click_id, one.at)
                for one in clicks
                if one is not latest and one.click_id and one.at
            ]
        ),
    )


def _review_reason(
    touches: Sequence[Candidate],
    clicks: Sequence[Candidate],
    order: OrderFacts,
    terms: AttributionTerms,
) -> ReviewReason | None:
    for click in clicks:
        if click.drop is not None and needs_review(click.drop):
            return ReviewReason.FLOOD
    if terms.seconds_min and any(is_too_soon(click, order, terms) for click in clicks):
        return ReviewReason.TOO_SOON
    if any(is_perhaps_own(touch, terms) for touch in touches):
        return ReviewReason.PERHAPS_OWN
    return ReviewReason.CONTESTED if order.contested and clicks else None


def _line(
    candidate: Candidate,
    order: OrderFacts,
    check: Check,
    outcome: Step,
    reason: Reason | None = None,
    weight: Fraction | None = None,
) -> TraceLine:
    age_s = None if candidate.at is None else max(0, (order.placed_at - candidate.at) // _SECOND)
    return TraceLine(
        candidate.kind,
        check,
        outcome,
        reason,
        candidate.enrollment_id,
        candidate.click_id,
        age_s,
        weight,
        candidate.buyer_by if check is Check.SELF_PURCHASE else None,
    )
