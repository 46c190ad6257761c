"""Defects of attribution that were read in the sources of others: they are not here."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import pytest

from affiliate.core.money import Money
from affiliate.programs.terms import Model
from tests.attribution.cases import (
    DAY,
    HOUR,
    IN_ORDER,
    LINEAR,
    ORDER,
    PLACED,
    SHARES,
    TERMS,
    WINS,
    click,
    coupon,
    steps,
)
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    Candidate,
    OrderFacts,
    Reason,
    ReviewReason,
    Step,
    Unattributed,
    attribute,
)
from tracker.attribution.snapshot import share_document, trace_document
from tracker.clicks.rules import DropReason


def test_linear_does_not_collapse_to_one_click() -> None:
    """affable: "linear" credited one click. Here five affiliates get a fifth each, and five
    clicks of one affiliate beside one of another 5/6 and 1/6."""
    five = attribute(ORDER, [click(n * DAY, n) for n in range(1, 6)], replace(TERMS, **LINEAR))
    assert isinstance(five, Attribution)
    assert {s.enrollment_id: s.weight for s in five.shares} == {
        n: Fraction(1, 5) for n in range(1, 6)
    }
    many = [click(n * HOUR, 1) for n in range(1, 6)]
    found = attribute(ORDER, [*many, click(DAY, 2)], replace(TERMS, **LINEAR))
    assert isinstance(found, Attribution)
    assert {s.enrollment_id: s.weight for s in found.shares} == {
        1: Fraction(5, 6),
        2: Fraction(1, 6),
    }


def test_no_model_that_shares_collapses_to_one_click() -> None:
    for model in (Model.LINEAR, Model.POSITION_BASED, Model.TIME_DECAY):
        known = [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 3)]
        found = attribute(ORDER, known, replace(TERMS, model=model))
        assert isinstance(found, Attribution)
        assert len(found.shares) == 3


def test_one_order_credits_several_affiliates_once_each() -> None:
    """Dub: unique (invoice, program) lets an order be credited to one partner alone. Here a
    share is unique by order and affiliate: several affiliates, and nobody twice."""
    known = [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 1), coupon(2)]
    found = attribute(ORDER, known, replace(TERMS, **LINEAR, **SHARES))
    assert isinstance(found, Attribution)
    documents = [share_document(share) for share in found.shares]
    assert [one["enrollment_id"] for one in documents] == [1, 2]
    assert [one["weight"] for one in documents] == ["1/3", "2/3"]


NOBODY: dict[Reason, tuple[OrderFacts, list[Candidate]]] = {
    Reason.PROGRAM_CLOSED: (replace(ORDER, program_closed=True), [click(DAY)]),
    Reason.OUTSIDE_WINDOW: (ORDER, [click(31 * DAY)]),
    Reason.SELF_PURCHASE: (ORDER, [click(DAY, buyer_by=BuyerBy.EMAIL)]),
    Reason.NOT_A_PERSON: (ORDER, [click(DAY, drop=DropReason.BOT)]),
    Reason.COUPON_NOT_VALID: (ORDER, [coupon(valid_until=PLACED)]),
    Reason.TOKEN_NOT_GENUINE: (ORDER, [click(DAY, genuine=False)]),
}


@pytest.mark.parametrize("reason", NOBODY)
def test_the_reason_why_nobody_is_credited_is_data_and_not_a_log(reason: Reason) -> None:
    """Dub: the reason for "no commission" goes only to a log. Here it is the answer, with a
    line for every candidate that can be stored and shown."""
    order, known = NOBODY[reason]
    found = attribute(order, known, TERMS)
    assert isinstance(found, Unattributed)
    assert found.reason is reason
    lines = [trace_document(line) for line in found.trace]
    assert [(line["outcome"], line["reason"]) for line in lines] == [("removed", reason.value)]


def test_nothing_that_a_visitor_carries_says_what_is_earned() -> None:
    """RefearnApp: the commission rate was read from the visitor's own cookie. Here a candidate
    has no field for a rate or an amount, and its credit follows from the terms alone."""
    read = {field.name for field in fields(Candidate)} | {f.name for f in fields(OrderFacts)}
    assert not [name for name in read if "rate" in name or "ppm" in name or "amount" in name]
    carried = replace(click(DAY, 1), referrer_host="rate=100.example", group="100%")
    found = attribute(ORDER, [carried, click(HOUR, 2)], replace(TERMS, **LINEAR))
    assert isinstance(found, Attribution)
    assert [share.weight for share in found.shares] == [Fraction(1, 2)] * 2


def test_a_cached_page_of_another_credits_nobody_wrongly() -> None:
    """AffiliateWP #1846: cached pages credit the wrong affiliate. A token names its own click,
    and one that was changed on the way is no evidence at all."""
    found = attribute(ORDER, [click(HOUR, 2, genuine=False), click(DAY, 1)], TERMS)
    assert isinstance(found, Attribution)
    assert [share.enrollment_id for share in found.shares] == [1]


def test_amounts_of_split_credit_lose_nothing() -> None:
    """Floats and rounding each part for itself lose a unit: 100.000001 over three is whole."""
    known = [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 3)]
    found = attribute(ORDER, known, replace(TERMS, **LINEAR))
    assert isinstance(found, Attribution)
    parts = Money(100_000_001, "RUB").allocate([share.weight for share in found.shares])
    assert [part.micros for part in parts] == [33_333_334, 33_333_334, 33_333_333]


@pytest.mark.abuse("A20")
@pytest.mark.parametrize("by", [by for by in BuyerBy if by.is_sure])
def test_a_self_referral_is_refused_by_rule_however_it_is_known(by: BuyerBy) -> None:
    """Refused where the rules refuse it, never silently paid: also by coupon and in a split,
    where the others take what would have been theirs."""
    own = [click(DAY, 1, buyer_by=by), coupon(1, buyer_by=by)]
    for terms in (TERMS, replace(TERMS, **WINS), replace(TERMS, **SHARES, **LINEAR)):
        alone = attribute(ORDER, own, terms)
        assert isinstance(alone, Unattributed)
        assert alone.reason is Reason.SELF_PURCHASE
        assert {line.buyer_by for line in alone.trace} == {by}
        beside = attribute(ORDER, [*own, click(2 * DAY, 2)], terms)
        assert isinstance(beside, Attribution)
        assert {s.enrollment_id: s.weight for s in beside.shares} == {2: 1}


@pytest.mark.abuse("A20")
def test_a_buyer_out_of_the_affiliates_network_is_held_and_never_silently_paid() -> None:
    """A household or a thousand telephones: a person has the word, in whichever way it wins."""
    own = [click(DAY, 1, buyer_by=BuyerBy.ADDRESS), coupon(1, buyer_by=BuyerBy.ADDRESS)]
    for terms in (TERMS, replace(TERMS, **WINS), replace(TERMS, **SHARES, **LINEAR)):
        held = attribute(ORDER, own, terms)
        assert isinstance(held, Attribution)
        assert {share.review_reason for share in held.shares} == {ReviewReason.PERHAPS_OWN}
        declined = attribute(replace(ORDER, review_declined=True), own, terms)
        assert isinstance(declined, Unattributed)
        assert declined.reason is Reason.REVIEW_DECLINED


@pytest.mark.abuse("A22")
def test_a_coupon_against_a_click_has_one_documented_precedence() -> None:
    """A's click and B's coupon: whom the rules say, and together never more than the whole."""
    known = [click(DAY, 1), coupon(2)]
    expected = {
        "loses": {1: Fraction(1)},
        "wins": {2: Fraction(1)},
        "shares": {1: Fraction(1, 2), 2: Fraction(1, 2)},
        "in_order": {2: Fraction(1)},
    }
    for policy in TERMS.coupon.__class__:
        terms = replace(TERMS, coupon=policy)
        if policy.value == "in_order":
            terms = replace(terms, **IN_ORDER, **steps("coupon", "click_token"))
        found = attribute(ORDER, known, terms)
        assert isinstance(found, Attribution)
        assert {s.enrollment_id: s.weight for s in found.shares} == expected[policy.value]
        losers = [line for line in found.trace if line.outcome is Step.LOST]
        assert {line.reason for line in losers} <= {Reason.CLICK_WINS, Reason.COUPON_WINS}
        assert len(losers) == 2 - len(found.shares)


@pytest.mark.abuse("A22")
def test_a_coupon_that_is_over_or_nobodys_takes_nothing_from_a_click() -> None:
    for poacher in (
        coupon(2, valid_until=PLACED),
        coupon(2, disabled_at=PLACED),
        coupon(None, in_program=False),
        coupon(2, active=False),
    ):
        for policy in (WINS, SHARES):
            found = attribute(ORDER, [click(DAY, 1), poacher], replace(TERMS, **policy))
            assert isinstance(found, Attribution)
            assert {s.enrollment_id: s.weight for s in found.shares} == {1: 1}


@pytest.mark.abuse("A22")
def test_a_click_put_right_before_the_order_is_held() -> None:
    """A browser extension that clicks for itself as the coupon is typed."""
    found = attribute(
        ORDER, [click(DAY, 1), click(ORDER.placed_at - ORDER.placed_at, 2)],
        replace(TERMS, seconds_min=5),
    )  # fmt: skip
    assert isinstance(found, Attribution)
    [share] = found.shares
    assert (share.enrollment_id, share.review_reason) == (2, "too_soon")
