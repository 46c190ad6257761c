"""What every candidate has to pass before it may credit anybody (pure).

Rule: docs/rules.md, "Whose order it is".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from affiliate.programs.terms import AttributionTerms, CouponPolicy, CustomerPolicy
from payouts.commissions.calendar import months_after
from tracker.attribution.facts import CLASS_OF_DROP, Candidate, Check, Kind, OrderFacts, Reason
from tracker.clicks.rules import credits, needs_review

CLOCK_SKEW_MAX: Final = timedelta(minutes=5)
"""How far a click may lie after its order: two clocks, not a later click."""

Rule = Callable[[Candidate, OrderFacts, AttributionTerms], Reason | None]


def first_failure(
    candidate: Candidate, order: OrderFacts, terms: AttributionTerms
) -> tuple[int, Check, Reason] | None:
    """The first check that removes the candidate: its place, itself and why; None: it passed."""
    for position, (check, rule) in enumerate(CHECKS):
        reason = rule(candidate, order, terms)
        if reason is not None:
            return position, check, reason
    return None


def step_of(candidate: Candidate, terms: AttributionTerms) -> int | None:
    """The step in which the candidate is looked at, the best one lowest; None: the rules do
    not count its kind.

    Coupons that win, lose or share have a step of their own, wherever the order of evidence
    names them.
    """
    kind = candidate.kind
    if kind is Kind.COUPON and terms.coupon is not CouponPolicy.IN_ORDER:
        return -1 if terms.coupon is CouponPolicy.WINS else len(terms.evidence)
    for place, kinds in enumerate(terms.evidence):
        if kind.evidence in kinds:
            return place
    return None


def is_existing(candidate: Candidate, order: OrderFacts) -> bool:
    """Whether the buyer was a customer before this candidate.

    Our own record of an earlier order goes before the shop's word; nobody's word is "no".
    """
    if order.customer_since is None:
        return order.says_new is False
    # min(): an order's own row must not make its buyer an old customer when the click's
    # clock ran ahead of the shop's.
    return order.customer_since < min(candidate.at or order.placed_at, order.placed_at)


def is_too_soon(candidate: Candidate, order: OrderFacts, terms: AttributionTerms) -> bool:
    """Whether the order followed its click sooner than the rules allow for; exactly at the
    limit it did not. Only clicks have a time that can be too short."""
    if not terms.seconds_min or candidate.at is None or not candidate.kind.is_click:
        return False
    return order.placed_at - candidate.at < timedelta(seconds=terms.seconds_min)


def is_perhaps_own(candidate: Candidate, terms: AttributionTerms) -> bool:
    """Whether a person has to say if it is an own purchase: a network is shared by many."""
    return (
        candidate.buyer_by is not None
        and not candidate.buyer_by.is_sure
        and terms.self_purchase is CustomerPolicy.REFUSES
    )


def bound_until(bound_at: datetime, months: int | None) -> datetime | None:
    """The first instant at which a binding no longer counts; None: it is for life.

    The same day and time so many calendar months later (UTC), or the last day of a month
    that is too short.
    """
    return None if months is None else months_after(bound_at, months)


def _genuine(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    return None if candidate.genuine else Reason.TOKEN_NOT_GENUINE


def _in_program(
    candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms
) -> Reason | None:
    if candidate.in_program:
        return None
    if candidate.by_test_link:
        return Reason.TEST_LINK
    return Reason.COUPON_UNKNOWN if candidate.kind is Kind.COUPON else Reason.OTHER_PROGRAM


def _counted(candidate: Candidate, _order: OrderFacts, terms: AttributionTerms) -> Reason | None:
    return Reason.EVIDENCE_NOT_COUNTED if step_of(candidate, terms) is None else None


def _link(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    """Clicks before the instant of switching off credit, later ones do not."""
    if candidate.at is None or candidate.disabled_at is None or not candidate.kind.is_click:
        return None
    return Reason.LINK_DISABLED if candidate.at >= candidate.disabled_at else None


def _coupon(candidate: Candidate, order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    if candidate.kind is not Kind.COUPON:
        return None
    for end in (candidate.disabled_at, candidate.valid_until):
        if end is not None and order.placed_at >= end:
            return Reason.COUPON_NOT_VALID
    return None


def _binding(candidate: Candidate, order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    """A binding has an end of its own; the window of clicks is not asked."""
    if candidate.kind is not Kind.BOUND_CUSTOMER or candidate.valid_until is None:
        return None
    return Reason.BINDING_OVER if order.placed_at >= candidate.valid_until else None


def _active(candidate: Candidate, _order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    return None if candidate.active else Reason.AFFILIATE_INACTIVE


def _before_order(
    candidate: Candidate, order: OrderFacts, _terms: AttributionTerms
) -> Reason | None:
    """A click may lie after its order by the difference of two clocks. What an order itself
    brought about, a binding or a credited address, is no evidence for that order."""
    if candidate.at is None:
        return None
    if not candidate.kind.is_click:
        return None if candidate.at < order.placed_at else Reason.NOT_YET_KNOWN
    return None if candidate.at - order.placed_at <= CLOCK_SKEW_MAX else Reason.CLICK_AFTER_ORDER


def _window(candidate: Candidate, order: OrderFacts, terms: AttributionTerms) -> Reason | None:
    """The window includes its end; it holds for clicks and known addresses."""
    if candidate.at is None or candidate.kind is Kind.BOUND_CUSTOMER:
        return None
    window = terms.window
    if terms.windows and candidate.enrollment_id is not None:
        window = terms.window_for(candidate.enrollment_id, candidate.group)
    return None if order.placed_at - candidate.at <= window else Reason.OUTSIDE_WINDOW


def _source(candidate: Candidate, _order: OrderFacts, terms: AttributionTerms) -> Reason | None:
    """Clicks from places that bring nobody new."""
    if not candidate.kind.is_click:
        return None
    excluded = terms.excluded
    if excluded.paid_search and candidate.paid_search:
        return Reason.PAID_SEARCH
    if excluded.sites and candidate.referrer_host:
        host = candidate.referrer_host.lower().rstrip(".")
        if any(_names(site, host) for site in excluded.sites):
            return Reason.EXCLUDED_SITE
    return None


def _names(site: str, host: str) -> bool:
    """`.shop.example` names every subdomain and not itself, any other name itself alone."""
    return host.endswith(site) if site.startswith(".") else host == site


def _not_the_buyer(
    candidate: Candidate, order: OrderFacts, terms: AttributionTerms
) -> Reason | None:
    """What a machine knows for sure it refuses; of a shared network a person has the word."""
    if candidate.buyer_by is None or terms.self_purchase is CustomerPolicy.PAYS:
        return None
    if candidate.buyer_by.is_sure:
        return Reason.SELF_PURCHASE
    return Reason.REVIEW_DECLINED if order.review_declined else None


def _new_customer(
    candidate: Candidate, order: OrderFacts, terms: AttributionTerms
) -> Reason | None:
    if terms.existing_customer is CustomerPolicy.PAYS:
        return None
    return Reason.EXISTING_CUSTOMER if is_existing(candidate, order) else None


def _click(candidate: Candidate, order: OrderFacts, _terms: AttributionTerms) -> Reason | None:
    """A click out of a flood credits until a person has said that it shall not, and so does one
    that only a browser told of whom another contradicts."""
    if order.contested and order.review_declined and candidate.kind.is_click:
        return Reason.REVIEW_DECLINED
    if candidate.drop is None or credits(candidate.drop):
        return None
    if needs_review(candidate.drop) and not order.review_declined:
        return None
    return CLASS_OF_DROP[candidate.drop]


def _timing(candidate: Candidate, order: OrderFacts, terms: AttributionTerms) -> Reason | None:
    """A click right before its order credits until a person has said that it shall not."""
    declined = order.review_declined and is_too_soon(candidate, order, terms)
    return Reason.REVIEW_DECLINED if declined else None


CHECKS: Final[tuple[tuple[Check, Rule], ...]] = (
    (Check.SIGNATURE, _genuine),
    (Check.PROGRAM, _in_program),
    (Check.EVIDENCE, _counted),
    (Check.LINK, _link),
    (Check.COUPON, _coupon),
    (Check.BINDING, _binding),
    (Check.AFFILIATE, _active),
    (Check.ORDER_OF_TIME, _before_order),
    (Check.WINDOW, _window),
    (Check.SOURCE, _source),
    (Check.SELF_PURCHASE, _not_the_buyer),
    (Check.EXISTING_CUSTOMER, _new_customer),
    (Check.CLICK, _click),
    (Check.TIMING, _timing),
)
