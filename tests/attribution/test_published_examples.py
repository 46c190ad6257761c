"""Worked examples that others publish, where Kopeck has the same rule: they come out as published.

Each test names its source and states what it was told; what a source rounds is compared as it
rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import exp, log
from typing import Any

import pytest

from affiliate.core.money import Money
from affiliate.programs.terms import Model, Position
from tests.attribution.cases import (
    DAY,
    HOUR,
    IN_ORDER,
    MINUTE,
    ORDER,
    SECOND,
    TERMS,
    TICK,
    WINS,
    bound,
    click,
    coupon,
    email,
    steps,
    visit,
)
from tracker.attribution.rules import (
    Attribution,
    Candidate,
    Kind,
    Reason,
    ReviewReason,
    Unattributed,
    attribute,
)


def credited(touches: Sequence[Candidate], **terms: Any) -> dict[int, Fraction]:
    found = attribute(ORDER, touches, replace(TERMS, **terms))
    assert isinstance(found, Attribution)
    return {share.enrollment_id: share.weight for share in found.shares}


def touched(*agos: timedelta) -> list[Candidate]:
    """Affiliates 1, 2, … clicked so long before the order."""
    return [click(ago, who) for who, ago in enumerate(agos, 1)]


def paid(amount: str, weights: dict[int, Fraction]) -> list[str]:
    parts = Money.parse(amount, "USD").allocate(list(weights.values()))
    return [str(Decimal(part.micros) / 1_000_000) for part in parts]


class TestProsper202:
    """github.com/tracking202/prosper202: 202-config/Attribution/CreditCalculator.php says the
    formulas, its ModelConfig.php the defaults (half-life 48 hours, 0.4 and 0.4), and
    tests/Attribution/CreditCalculatorTest.php the examples. It keeps eight digits of a credit
    and puts the remainder on the last touch; Kopeck's fractions are exact."""

    def test_position_based_splits_40_20_40(self) -> None:
        """testPositionBasedEdgeCases: one touch all, two 0.5 each, four 0.4 0.1 0.1 0.4."""
        expected = {
            1: ["1"],
            2: ["1/2", "1/2"],
            3: ["2/5", "1/5", "2/5"],
            4: ["2/5", "1/10", "1/10", "2/5"],
        }
        for count, weights in expected.items():
            agos = [n * 10 * SECOND for n in range(count, 0, -1)]
            found = credited(touched(*agos), model=Model.POSITION_BASED, position=Position())
            assert list(found.values()) == [Fraction(weight) for weight in weights]

    def test_two_touches_of_which_neither_end_weighs_anything_halve(self) -> None:
        """testPositionBasedEdgeCases: first_weight 0, last_weight 0, two touches."""
        found = credited(
            touched(20 * SECOND, 10 * SECOND), model=Model.POSITION_BASED, position=Position(0, 0)
        )
        assert list(found.values()) == [Fraction(1, 2)] * 2

    def test_first_30_and_last_10_of_four(self) -> None:
        """testRevenueRoundsHalfUpButNeverLeavesTheLastTouchNegative: 0.3 0.3 0.3 0.1."""
        found = credited(
            touched(*(n * SECOND for n in (40, 30, 20, 10))),
            model=Model.POSITION_BASED,
            position=Position(300_000, 100_000),
        )
        assert list(found.values()) == [Fraction(n, 10) for n in (3, 3, 3, 1)]

    def test_a_half_life_of_48_hours_halves_twice(self) -> None:
        """testTimeDecayHalvesPerHalfLife: touches 96 h 10 s, 48 h 10 s and 10 s before a
        conversion of $7: 1/7, 2/7 and 4/7, that is $1, $2 and $4."""
        found = credited(
            touched(96 * HOUR + 10 * SECOND, 48 * HOUR + 10 * SECOND, 10 * SECOND),
            model=Model.TIME_DECAY,
            half_life=48 * HOUR,
        )
        assert list(found.values()) == [Fraction(n, 7) for n in (1, 2, 4)]
        assert paid("7.00", found) == ["1", "2", "4"]

    def test_weights_decay_by_the_published_formula_between_half_lives(self) -> None:
        """weight = exp(-ln 2 * age / half-life), normalised; half-life 48 hours, touches 100,
        50, 12 and 0.5 hours before. Binary floats agree to their fifteenth digit or so."""
        hours = (100, 50, 12, 0.5)
        raw = [exp(-log(2) * age / 48) for age in hours]
        found = credited(
            touched(*(timedelta(hours=age) for age in hours)),
            model=Model.TIME_DECAY,
            half_life=48 * HOUR,
        )
        assert sum(found.values()) == 1
        assert [float(weight) for weight in found.values()] == pytest.approx(
            [weight / sum(raw) for weight in raw], rel=1e-11
        )

    def test_linear_of_three(self) -> None:
        """testLinearPutsTheRemainderOnTheLastTouch: $10 over three; it pays 3.33333, 3.33333
        and 3.33334. Kopeck counts six digits, and the first touch gets what is left over."""
        found = credited(touched(300 * SECOND, 200 * SECOND, 100 * SECOND), model=Model.LINEAR)
        assert list(found.values()) == [Fraction(1, 3)] * 3
        assert paid("10.00", found) == ["3.333334", "3.333333", "3.333333"]


class TestPostAffiliatePro:
    """Split commission: the first and the last click get what is set, the rest is shared
    equally by the clicks between."""

    def test_first_20_last_50_and_the_others_30(self) -> None:
        """The formula with inputs of ours: a commission of $100, five affiliates, first click
        20 %, last click 50 %, so that those between share 30 %: $20, $10, $10, $10 and $50."""
        found = credited(
            touched(*(n * DAY for n in (5, 4, 3, 2, 1))),
            model=Model.POSITION_BASED,
            position=Position(200_000, 500_000),
        )
        assert paid("100.00", found) == ["20", "10", "10", "10", "50"]

    def test_the_bonuses_of_25_and_50_per_cent_of_its_help_page(self) -> None:
        """support.qualityunit.com/012982-Split-Commissions: a commission of $100, five
        affiliates, a first bonus of 25 % and a last one of 50 %, and the remaining 25 % split
        to all five: $30, $5, $5, $5 and $55.

        There a bonus comes on top of an equal part. Said as shares of the first and the last,
        which Kopeck sets, it is 25 % + 5 % and 50 % + 5 %.
        """
        found = credited(
            touched(*(n * DAY for n in (5, 4, 3, 2, 1))),
            model=Model.POSITION_BASED,
            position=Position(250_000 + 50_000, 500_000 + 50_000),
        )
        assert paid("100.00", found) == ["30", "5", "5", "5", "55"]

    def test_ten_dollars_over_three_of_its_blog(self) -> None:
        """www.postaffiliatepro.com/blog/split-commissions-affiliate-marketing: $10 of three
        affiliates is split $4, $3 and $3. Said as shares: first 40 %, last 30 %."""
        found = credited(
            touched(3 * DAY, 2 * DAY, DAY),
            model=Model.POSITION_BASED,
            position=Position(400_000, 300_000),
        )
        assert paid("10.00", found) == ["4", "3", "3"]

    def test_without_bonuses_everybody_gets_the_same(self) -> None:
        """The same page: without a bonus the commission is divided by the number of affiliates."""
        found = credited(touched(*(n * DAY for n in (5, 4, 3, 2, 1))), model=Model.LINEAR)
        assert paid("100.00", found) == ["20"] * 5


class TestEverflow:
    """helpdesk.everflow.io/customer/everflows-conversion-attribution-priority: transaction id,
    then the cookie's, then the fingerprint, then e-mail, then coupon, then clickless. Kopeck
    takes no fingerprints; a binding of the customer stands where clickless evidence does."""

    ORDER_OF_EVIDENCE = (
        ("transaction id", click(9 * DAY, 1), Kind.CLICK_TOKEN),
        ("cookie", visit(HOUR, 2), Kind.VISITOR_CLICK),
        ("e-mail", email(HOUR, 3), Kind.CUSTOMER_EMAIL),
        ("coupon", coupon(4), Kind.COUPON),
        ("clickless", bound(HOUR, 5), Kind.BOUND_CUSTOMER),
    )
    CLICK_BASED = {  # noqa: RUF012 -- read only
        **IN_ORDER,
        **steps("click_token", "visitor_click", "customer_email", "coupon", "bound_customer"),
    }

    def test_click_based_priority_falls_back_one_by_one(self) -> None:
        known = [candidate for _, candidate, _ in self.ORDER_OF_EVIDENCE]
        for place, (name, _, kind) in enumerate(self.ORDER_OF_EVIDENCE):
            found = attribute(ORDER, known[place:], replace(TERMS, **self.CLICK_BASED))
            assert isinstance(found, Attribution)
            assert [share.evidence for share in found.shares] == [kind], name
            lost = {line.reason for line in found.trace if line.reason}
            assert lost <= {Reason.EARLIER_EVIDENCE_WINS, Reason.CLICK_WINS}

    def test_coupon_based_priority_puts_the_coupon_first(self) -> None:
        """The same page: coupon code, then as before."""
        known = [candidate for _, candidate, _ in self.ORDER_OF_EVIDENCE]
        for terms in (
            {**self.CLICK_BASED, **WINS},
            {**IN_ORDER, **steps("coupon", "click_token", "visitor_click", "bound_customer")},
        ):
            assert credited(known, **terms) == {4: 1}
            without = [one for one in known if one.kind is not Kind.COUPON]
            assert credited(without, **terms) == {1: 1}

    @pytest.mark.parametrize(
        ("ago", "suspicious"),
        [(1 * SECOND, True), (5 * SECOND - TICK, True), (5 * SECOND, False), (6 * SECOND, False)],
    )
    def test_the_guard_of_five_seconds(self, ago: timedelta, suspicious: bool) -> None:
        """helpdesk.everflow.io/customer/how-to-enable-click-to-conversion-time and
        …/fraud-detection-for-ecommerce: with a minimum of 5 seconds, conversions under 5
        seconds are turned down as likely coupon poaching. Kopeck holds them for a person, who
        may turn them down."""
        terms = replace(TERMS, seconds_min=5)
        found = attribute(ORDER, [click(ago)], terms)
        assert isinstance(found, Attribution)
        expected = ReviewReason.TOO_SOON if suspicious else None
        assert found.shares[0].review_reason is expected
        declined = attribute(replace(ORDER, review_declined=True), [click(ago)], terms)
        assert isinstance(declined, Unattributed) is suspicious

    def test_any_conversion_between_1_and_14_seconds_with_a_minimum_of_15(self) -> None:
        """helpdesk.everflow.io/en/articles/6122807: between 1 and 14 seconds after the click
        they are turned down, at least 15 seconds after it they are acceptable."""
        terms = replace(TERMS, seconds_min=15)
        for second in (*range(1, 15), 15, 60):
            found = attribute(ORDER, [click(second * SECOND)], terms)
            assert isinstance(found, Attribution)
            assert (found.shares[0].review_reason is not None) is (second < 15)

    def test_first_and_last_click_of_two_partners(self) -> None:
        """hackmd.io/@everflow-attribution: A's link, then B's link, then the order: A is
        credited by first click, B by last click."""
        known = [click(2 * DAY, 1), click(MINUTE, 2)]
        assert credited(known, model=Model.FIRST_CLICK) == {1: 1}
        assert credited(known, model=Model.LAST_CLICK) == {2: 1}
