"""What level 1 earns by every value of the terms: tables with the sum beside each row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from commission_world import (
    AT,
    MICRO,
    amount,
    credit,
    fixed,
    item,
    per_item,
    percent,
    rub,
    rule,
    sale,
    step,
    terms,
    tiers,
)

from affiliate.core.exchange import ExchangeRate, conversion
from affiliate.core.money import CurrencyMismatch, Money
from affiliate.programs.terms import (
    Apply,
    Bonus,
    BonusFor,
    Boost,
    Caps,
    CommissionTerms,
    Customer,
    Fixed,
    LevelTwo,
    Measure,
    Of,
    Period,
    PeriodCap,
    PerItem,
    Rate,
    Recurring,
    Who,
)
from payouts.commissions.calendar import months_after
from payouts.commissions.rules import Earned, NotEarned, commissions_of
from payouts.commissions.sale import Item, Reason, Sale, Subscription

DAY = timedelta(days=1)
LAMP = item("LAMP-1", "60", "lighting", 2)
BOOK = item("BOOK-1", "40", "books")
GIFT = item("GIFT-1", "0", "books", 3)


def alone(of: CommissionTerms, net: str | None = "100", **others: Any) -> Earned | NotEarned:
    """What one affiliate with the whole order earns at level 1."""
    on_credit = {
        name: others.pop(name)
        for name in ("group", "customer", "first_order", "volume", "earned_in_period")
        if name in others
    }
    return commissions_of(sale(net, credit(of, **on_credit), **others))[0]


# Rates


@pytest.mark.parametrize(
    ("rate", "items", "expected", "name"),
    [
        (percent("10"), (), "10.00", "default percent"),  # 100 × 10 %
        (fixed("7.50"), (), "7.50", "default fixed"),  # once per order
        (per_item("3"), (LAMP, BOOK), "9.00", "default per item"),  # (2 + 1) × 3
        (per_item("3"), (), "3.00", "default per item"),  # no items named: one piece
        # The three gifts cost nothing and earn nothing: (2 + 1) × 3.
        (per_item("3"), (LAMP, BOOK, GIFT), "9.00", "default per item"),
        (per_item("50"), (LAMP, BOOK), "100.00", "default per item"),  # 150, cut to the net
        (per_item("0"), (LAMP, BOOK), "no_rate", "default per item"),
        (fixed("0"), (), "no_rate", "default fixed"),
        (percent("0"), (), "no_rate", "default percent"),
        (percent("100"), (), "100.00", "default percent"),
    ],
)
def test_a_rate_earns_this_much(
    rate: Rate, items: tuple[Item, ...], expected: str, name: str
) -> None:
    found = alone(terms(rate), items=items)
    assert (amount(found), found.rule) == (expected, name)


def test_an_amount_per_item_is_shared_by_the_credits() -> None:
    # 3 pieces × 1.00 = 3.00; thirds and two thirds of it.
    of = terms(per_item("1"))
    found = commissions_of(
        sale(None, credit(of, 1, "1/3"), credit(of, 2, "2/3"), items=(LAMP, BOOK))
    )
    assert [amount(each) for each in found] == ["1.00", "2.00"]
    assert step(found[0], "level_1")["split"] == "largest_remainder"


def test_nothing_is_earned_of_what_nothing_was_paid_for() -> None:
    for rate in (percent("10"), fixed("5"), per_item("5")):
        assert amount(alone(terms(rate), "0")) == "nothing_paid"
        assert amount(alone(terms(rate), "-1")) == "nothing_paid"


@pytest.mark.parametrize(
    "of",
    [
        terms(Fixed(Money(1, "EUR"))),
        terms(PerItem(Money(1, "EUR"))),
        terms(caps=Caps(per_order=Money(1, "EUR"))),
        terms(bonus=Bonus(Money(1, "EUR"), BonusFor.CUSTOMER)),
    ],
)
def test_an_amount_in_another_currency_than_the_order_is_a_mistake(of: CommissionTerms) -> None:
    with pytest.raises(CurrencyMismatch):
        alone(of, first_of_customer=True)


# Rules


BOOKS = rule("books", percent("5"), categories=["books"])
LAMPS = rule("lamps", percent("20"), products=["LAMP-1"])
TO_ANNA = rule("Anna", percent("30"), enrollments=[1])
TO_BLOGS = rule("blogs", percent("25"), groups=["blogs"])
TO_NEW = rule("new customers", percent("15"), customer=Customer.NEW)
NOVEMBER = rule("November", percent("12"), begins=AT, ends=AT + DAY)


@pytest.mark.parametrize(
    ("rules", "others", "expected", "name"),
    [
        # No items: rules that name products or categories fit nothing; 100 × 10 %.
        ((BOOKS, LAMPS), {}, "10.00", "default percent"),
        # 40 × 5 % + 60 × 10 % = 2 + 6.
        ((BOOKS,), {"items": (LAMP, BOOK)}, "8.00", "default percent + books"),
        # 60 × 20 % + 40 × 5 % = 12 + 2; the order of the rules is nothing to it.
        ((BOOKS, LAMPS), {"items": (LAMP, BOOK)}, "14.00", "lamps + books"),
        ((LAMPS, BOOKS), {"items": (LAMP, BOOK)}, "14.00", "lamps + books"),
        # Named affiliates before products, wherever they stand: 100 × 30 %.
        ((TO_ANNA, LAMPS, BOOKS), {"items": (LAMP, BOOK)}, "30.00", "Anna"),
        ((LAMPS, TO_ANNA), {}, "30.00", "Anna"),
        # An affiliate before their group; a group before products.
        ((TO_ANNA, TO_BLOGS), {"group": "blogs"}, "30.00", "Anna"),
        ((TO_BLOGS, LAMPS), {"group": "blogs", "items": (LAMP, BOOK)}, "25.00", "blogs"),
        ((TO_BLOGS,), {"group": "press"}, "10.00", "default percent"),
        ((TO_BLOGS,), {}, "10.00", "default percent"),
        # A product before a category: 60 × 20 % + 40 × 10 %.
        (
            (LAMPS, rule("light", percent("1"), categories=["lighting"])),
            {"items": (LAMP, BOOK)},
            "16.00",
            "lamps + default percent",
        ),
        # A category before the kind of customer: 40 × 5 % + 60 × 15 % = 2 + 9.
        (
            (BOOKS, TO_NEW),
            {"items": (LAMP, BOOK), "customer": Customer.NEW},
            "11.00",
            "new customers + books",
        ),
        ((TO_NEW,), {"customer": Customer.NEW}, "15.00", "new customers"),
        ((TO_NEW,), {"customer": Customer.EXISTING}, "10.00", "default percent"),
        ((TO_NEW,), {"customer": None}, "10.00", "default percent"),
        # The kind of customer before dates.
        ((TO_NEW, NOVEMBER), {"customer": Customer.NEW}, "15.00", "new customers"),
        # Dates: the first instant is in, the last is out.
        ((NOVEMBER,), {}, "12.00", "November"),
        ((NOVEMBER,), {"placed_at": AT - MICRO}, "10.00", "default percent"),
        ((NOVEMBER,), {"placed_at": AT + DAY - MICRO}, "12.00", "November"),
        ((NOVEMBER,), {"placed_at": AT + DAY}, "10.00", "default percent"),
        # Equally specific: the one that stands later.
        ((TO_ANNA, rule("Anna again", percent("1"), enrollments=[1])), {}, "1.00", "Anna again"),
        # One that names the affiliate and the product before one that names the affiliate;
        # the book has the other: 60 × 50 % + 40 × 30 % = 30 + 12.
        (
            (rule("Anna's lamps", percent("50"), enrollments=[1], products=["LAMP-1"]), TO_ANNA),
            {"items": (LAMP, BOOK)},
            "42.00",
            "Anna's lamps + Anna",
        ),
        # All that is named is wanted: this product in this category.
        (
            (rule("odd", percent("50"), products=["LAMP-1"], categories=["books"]),),
            {"items": (LAMP, BOOK)},
            "10.00",
            "default percent",
        ),
        # A fixed amount is earned once, however many items it fits: 4 + nothing by default.
        (
            (rule("each order", fixed("4"), categories=["books", "lighting"]),),
            {"items": (LAMP, BOOK)},
            "4.00",
            "each order",
        ),
        # Fixed 4 for the lamps, 10 % of the book: 4 + 4.
        (
            (rule("lamps", fixed("4"), products=["LAMP-1"]),),
            {"items": (LAMP, BOOK)},
            "8.00",
            "lamps + default percent",
        ),
        # 2 lamps × 4 + 40 × 10 %.
        (
            (rule("lamps", per_item("4"), products=["LAMP-1"]),),
            {"items": (LAMP, BOOK)},
            "12.00",
            "lamps + default percent",
        ),
        # The gift fits, but nothing was paid for it: 100 × 10 %.
        (
            (rule("gifts", fixed("4"), products=["GIFT-1"]),),
            {"items": (LAMP, BOOK, GIFT)},
            "10.00",
            "default percent + gifts",
        ),
    ],
)
def test_the_most_specific_rule_wins_then_the_later(
    rules: tuple[Any, ...], others: dict[str, Any], expected: str, name: str
) -> None:
    net = None if "items" in others else "100"
    found = alone(terms(rules=rules), net, **others)
    assert (amount(found), found.rule) == (expected, name)


def test_the_trace_says_which_rule_won_for_what_and_over_which() -> None:
    of = terms(rules=(TO_NEW, BOOKS, LAMPS))
    found = alone(of, None, items=(LAMP, BOOK), customer=Customer.NEW)
    lamps, books = (each for each in found.trace if each["step"] == "level_1")
    assert lamps == {
        "step": "level_1", "kind": "percent", "rate_ppm": 200_000, "rule": "lamps",
        "over": ["new customers"], "base": "60.00",
        "items": [{"sku": "LAMP-1", "quantity": 2, "net": "60.00"}],
        "of_all_shares": "12.00", "amount": "12.00",
    }  # fmt: skip
    assert (books["rule"], books["over"], books["base"]) == ("books", ["new customers"], "40.00")
    assert step(found, "sum")["amount"] == "14.00"
    assert found.rate_ppm is None


def test_the_trace_says_where_it_was_rounded() -> None:
    # 10 % of 0.000015 is 1.5 micros: to the even neighbour, 2.
    found = alone(terms(), "0.000015")
    assert step(found, "level_1")["rounding"] == "half_even"
    assert "rounding" not in step(alone(terms()), "level_1")


# Volume tiers


RISING = (("0", "10"), ("1000", "20"), ("5000", "30"))
FIRST_TEN = (("0", "10"), ("10", "20"))


@pytest.mark.parametrize(
    ("net", "volume", "expected"),
    [
        ("100", "0", "10.00"),  # all in the first band
        ("1000", "0", "100.00"),  # up to the end of the first, which is not in it
        ("1000.01", "0", "100.002"),  # 1000 × 10 % + 0.01 × 20 %
        # A micro at 10 % is nothing, 99.999999 × 20 % = 19.9999998: to the micro, 20.
        ("100", "999.999999", "20.00"),
        ("100", "1000", "20.00"),  # the second band holds its beginning
        ("200", "900", "30.00"),  # 100 × 10 % + 100 × 20 %
        ("5000", "500", "1000.00"),  # 500 × 10 % + 4000 × 20 % + 500 × 30 % = 50 + 800 + 150
        ("100", "5000", "30.00"),  # the last band has no end
        ("100", "-50", "10.00"),  # refunds of other periods: still the first band
        ("1100", "-100", "110.00"),  # up to 1000 exactly
    ],
)
def test_each_part_of_an_order_earns_the_rate_of_its_band(
    net: str, volume: str, expected: str
) -> None:
    found = alone(terms(tiers=tiers(*RISING)), net, volume=rub(volume).micros)
    assert (amount(found), found.rule) == (expected, "tiers")


@pytest.mark.parametrize(
    ("apply", "measure", "bands", "volume", "expected"),
    [
        # Whole period: the order earns the rate of the volume before it, as a whole.
        (Apply.WHOLE_PERIOD, Measure.SALES, RISING, rub("999.999999").micros, "200.00"),
        (Apply.WHOLE_PERIOD, Measure.SALES, RISING, rub("1000").micros, "400.00"),
        (Apply.WHOLE_PERIOD, Measure.SALES, RISING, rub("-1").micros, "200.00"),
        # Orders: nine before it, the tenth still earns 10 %; ten before it, the eleventh 20 %.
        (Apply.MARGINAL, Measure.ORDERS, FIRST_TEN, 9, "200.00"),
        (Apply.MARGINAL, Measure.ORDERS, FIRST_TEN, 10, "400.00"),
        (Apply.WHOLE_PERIOD, Measure.ORDERS, FIRST_TEN, 10, "400.00"),
    ],
)
def test_an_order_earns_one_rate_where_the_band_counts_for_it_as_a_whole(
    apply: Apply, measure: Measure, bands: Any, volume: int, expected: str
) -> None:
    of = terms(tiers=tiers(*bands, apply=apply, measure=measure))
    assert amount(alone(of, "2000", volume=volume)) == expected


def test_rules_go_before_tiers_and_what_is_left_lies_in_the_bands_alone() -> None:
    # 40 × 5 % = 2; of the lamps' 60, 50 at 10 % and 10 at 20 %: 5 + 2.
    of = terms(tiers=tiers(*RISING), rules=(BOOKS,))
    found = alone(of, None, items=(LAMP, BOOK), volume=rub("950").micros)
    assert (amount(found), found.rule) == ("9.00", "tiers + books")


def test_the_trace_of_a_tier_has_what_is_needed_to_follow_it() -> None:
    found = alone(terms(tiers=tiers(*RISING)), "200", volume=rub("900").micros)
    low, high = (each for each in found.trace if each["step"] == "level_1")
    assert low == {
        "step": "level_1", "kind": "tier", "rate_ppm": 100_000, "rule": "tiers", "over": [],
        "measure": "sales", "period": "month", "volume": "900.00", "band_begins": "0.00",
        "band_ends": "1000.00", "base": "100.00", "of_all_shares": "10.00", "amount": "10.00",
    }  # fmt: skip
    assert (high["band_begins"], high["band_ends"]) == ("1000.00", "5000.00")
    assert (high["base"], high["amount"]) == ("100.00", "20.00")


def test_each_affiliate_has_a_volume_of_their_own() -> None:
    # 200 shared by two: 100 each. The first is at 950: 50 × 10 % + 50 × 20 % = 15;
    # the second has sold nothing: 100 × 10 % = 10.
    of = terms(tiers=tiers(*RISING))
    found = commissions_of(
        sale("200", credit(of, 1, "1/2", volume=rub("950").micros), credit(of, 2, "1/2"))
    )
    assert [amount(each) for each in found] == ["15.00", "10.00"]


# Subscriptions


def renewal(first: datetime, sequence: int = 2) -> Subscription:
    return Subscription(sequence, first)


@pytest.mark.parametrize(
    ("recurring", "first", "expected", "name"),
    [
        # Three months after 21 August 12:00 is 21 November 12:00: that instant earns no more.
        (Recurring(3), datetime(2026, 8, 21, 12, tzinfo=UTC), "recurring_over", "recurring"),
        (Recurring(3), datetime(2026, 8, 21, 12, tzinfo=UTC) + MICRO, "10.00", "default percent"),
        (Recurring(3, percent("4")), AT - 30 * DAY, "4.00", "recurring"),
        (Recurring(None, fixed("2")), AT - 3650 * DAY, "2.00", "recurring"),
        (Recurring(None), AT - 3650 * DAY, "10.00", "default percent"),
        (Recurring(1, percent("0")), AT - DAY, "no_rate", "recurring"),
    ],
)
def test_a_later_payment_earns_for_its_months(
    recurring: Recurring, first: datetime, expected: str, name: str
) -> None:
    found = alone(terms(recurring=recurring), subscription=renewal(first))
    assert (amount(found), found.rule) == (expected, name)


def test_the_first_payment_is_an_order_like_any_other() -> None:
    of = terms(recurring=Recurring(1, percent("1")))
    assert amount(alone(of, subscription=Subscription(1, AT))) == "10.00"
    assert amount(alone(of)) == "10.00"


def test_the_rate_of_later_payments_goes_before_every_rule() -> None:
    of = terms(recurring=Recurring(None, percent("4")), rules=(TO_ANNA,), tiers=tiers(*RISING))
    found = alone(of, subscription=renewal(AT - DAY))
    assert (amount(found), found.rule) == ("4.00", "recurring")
    assert step(found, "level_1")["over"] == ["Anna"]


def test_without_a_rate_of_their_own_later_payments_earn_by_the_rules() -> None:
    of = terms(recurring=Recurring(12), rules=(TO_ANNA,))
    found = alone(of, subscription=renewal(AT - DAY))
    assert (amount(found), found.rule) == ("30.00", "Anna")
    assert step(found, "recurring")["ended"] is False


@pytest.mark.parametrize("of", list(Of))
def test_after_the_months_neither_level_earns(of: Of) -> None:
    ended = terms(
        recurring=Recurring(1),
        level_2=LevelTwo(of, 20_000),
        bonus=Bonus(rub("5"), BonusFor.AFFILIATE),
    )
    found = commissions_of(
        sale(
            "100",
            credit(ended, recruiter_id=9, first_order=True),
            subscription=renewal(AT - 40 * DAY),
        )
    )
    assert [amount(each) for each in found] == ["recurring_over", "recurring_over"]
    assert [each.trace[-2]["until"] for each in found] == ["2026-11-12T12:00:00+00:00"] * 2


@pytest.mark.parametrize(
    ("first", "months", "expected"),
    [
        ("2027-01-31T10:00+00:00", 1, "2027-02-28T10:00+00:00"),
        ("2028-01-31T10:00+00:00", 1, "2028-02-29T10:00+00:00"),
        ("2027-01-31T10:00+00:00", 2, "2027-03-31T10:00+00:00"),
        ("2026-12-15T00:00+00:00", 1, "2027-01-15T00:00+00:00"),
        ("2028-02-29T00:00+00:00", 12, "2029-02-28T00:00+00:00"),
        ("2026-05-10T00:00+00:00", 0, "2026-05-10T00:00+00:00"),
        ("2026-05-10T00:00+00:00", 25, "2028-06-10T00:00+00:00"),
        # 1 February 02:00 in Moscow is 31 January 23:00 in UTC, and that is counted from.
        ("2027-02-01T02:00+03:00", 1, "2027-02-28T23:00+00:00"),
    ],
)
def test_months_are_those_of_the_calendar_in_utc(first: str, months: int, expected: str) -> None:
    found = months_after(datetime.fromisoformat(first), months)
    assert found == datetime.fromisoformat(expected)
    assert found.tzinfo is UTC


# Bonus


@pytest.mark.parametrize(
    ("first_of", "of_customer", "of_affiliate", "expected"),
    [
        (BonusFor.CUSTOMER, True, False, "15.00"),  # 100 × 10 % + 5
        (BonusFor.CUSTOMER, False, True, "10.00"),
        (BonusFor.AFFILIATE, False, True, "15.00"),
        (BonusFor.AFFILIATE, True, False, "10.00"),
    ],
)
def test_a_first_order_earns_a_bonus(
    first_of: BonusFor, of_customer: bool, of_affiliate: bool, expected: str
) -> None:
    found = alone(
        terms(bonus=Bonus(rub("5"), first_of)),
        first_of_customer=of_customer,
        first_order=of_affiliate,
    )
    assert amount(found) == expected
    assert found.rule == "default percent"


def test_a_bonus_is_shared_like_a_fixed_amount_and_counts_as_level_1() -> None:
    # 100 × 10 % = 10 and 5, halved: 7.50 each. Level 2, 20 % of the commission: 1.50 each.
    of = terms(bonus=Bonus(rub("5"), BonusFor.CUSTOMER), level_2=LevelTwo(Of.COMMISSION, 200_000))
    found = commissions_of(
        sale(
            "100",
            credit(of, 1, "1/2", recruiter_id=9),
            credit(of, 2, "1/2", recruiter_id=9),
            first_of_customer=True,
        )
    )
    assert [amount(each) for each in found] == ["7.50", "7.50", "1.50", "1.50"]
    assert step(found[0], "bonus") == {
        "step": "bonus", "first_of": "customer", "bonus": "5.00", "of_all_shares": "5.00",
        "added": "2.50", "before": "5.00", "amount": "7.50", "split": "largest_remainder",
    }  # fmt: skip


def test_a_bonus_stays_within_the_net_and_is_not_earned_for_nothing() -> None:
    of = terms(bonus=Bonus(rub("500"), BonusFor.CUSTOMER))
    assert amount(alone(of, first_of_customer=True)) == "100.00"
    nothing = alone(of, "0", first_of_customer=True)
    assert amount(nothing) == "nothing_paid"
    assert step(nothing, "bonus")["added"] == "0.00"


def test_a_bonus_for_the_affiliates_first_order_is_theirs_alone() -> None:
    # 100 × 10 %, halved: 5 each; of the bonus of 4 the half share of whom it is the first.
    of = terms(bonus=Bonus(rub("4"), BonusFor.AFFILIATE))
    first, second = credit(of, 1, "1/2", first_order=True), credit(of, 2, "1/2")
    assert [amount(each) for each in commissions_of(sale("100", first, second))] == ["7.00", "5.00"]
    assert [amount(each) for each in commissions_of(sale("100", second, first))] == ["5.00", "7.00"]


# Boosts


def boost(name: str, add: str = "0", times: str = "0", **others: Any) -> Boost:
    return Boost(
        name,
        others.pop("who", Who()),
        others.pop("begins", AT - DAY),
        others.pop("ends", AT + DAY),
        percent(add).rate_ppm,
        percent(times).rate_ppm,
    )


@pytest.mark.parametrize(
    ("rate", "boosts", "expected", "rate_ppm"),
    [
        (percent("10"), (boost("two more", add="2"),), "12.00", 120_000),  # 100 × (10 + 2) %
        (percent("10"), (boost("half more", times="150"),), "15.00", None),  # 10 × 1.5
        (fixed("7"), (boost("two more", add="2"),), "7.00", None),  # no percentage to add to
        (fixed("7"), (boost("twice", times="200"),), "14.00", None),
        (per_item("7"), (boost("twice", times="200"),), "14.00", None),
        # The best, not the sum: 10 × 1.5 = 15 against 100 × 12 % = 12, in any order.
        (percent("10"), (boost("a", add="2"), boost("b", times="150")), "15.00", None),
        (percent("10"), (boost("b", times="150"), boost("a", add="2")), "15.00", None),
        (percent("10"), (boost("a", add="6"), boost("b", times="150")), "16.00", 160_000),
        # Of equal ones the later: both give 15.
        (percent("10"), (boost("b", times="150"), boost("a", add="5")), "15.00", 150_000),
        # One that would take something away is none.
        (percent("10"), (boost("half", times="50"),), "10.00", 100_000),
        # First instant in, last out.
        (percent("10"), (boost("a", add="2", begins=AT),), "12.00", 120_000),
        (percent("10"), (boost("a", add="2", begins=AT + MICRO),), "10.00", 100_000),
        (percent("10"), (boost("a", add="2", ends=AT),), "10.00", 100_000),
        (percent("10"), (boost("a", add="2", ends=AT + MICRO),), "12.00", 120_000),
        # For others.
        (percent("10"), (boost("a", add="2", who=Who(frozenset({"x"}))),), "10.00", 100_000),
        (
            percent("10"),
            (boost("a", add="2", who=Who(frozenset(), frozenset({1}))),),
            "12.00",
            120_000,
        ),
        (percent("0"), (boost("a", add="2"),), "2.00", 20_000),
    ],
)
def test_the_best_boost_counts(
    rate: Rate, boosts: tuple[Boost, ...], expected: str, rate_ppm: int | None
) -> None:
    found = alone(terms(rate, boosts=boosts))
    assert (amount(found), found.rate_ppm) == (expected, rate_ppm)


def test_a_boost_adds_to_every_percentage_and_to_no_bonus() -> None:
    # Lamps fixed 4, book 40 × (10 + 5) % = 6: 10; then the bonus of 3.
    of = terms(
        rules=(rule("lamps", fixed("4"), products=["LAMP-1"]),),
        boosts=(boost("five", add="5"), boost("one", add="1")),
        bonus=Bonus(rub("3"), BonusFor.CUSTOMER),
    )
    found = alone(of, None, items=(LAMP, BOOK), first_of_customer=True)
    assert amount(found) == "13.00"
    assert step(found, "boost") == {
        "step": "boost", "rule": "five", "over": ["one"], "add_ppm": 50_000, "base": "40.00",
        "of_all_shares": "2.00", "added": "2.00", "before": "8.00", "amount": "10.00",
    }  # fmt: skip


def test_a_boost_counts_on_every_band() -> None:
    # 100 × 10 % + 100 × 20 % = 30; 200 × 5 % more = 10.
    of = terms(tiers=tiers(*RISING), boosts=(boost("five", add="5"),))
    assert amount(alone(of, "200", volume=rub("900").micros)) == "40.00"


# Caps


def month(limit: str) -> Caps:
    return Caps(per_period=PeriodCap(rub(limit), Period.MONTH))


@pytest.mark.parametrize(
    ("caps", "before", "expected"),
    [
        (Caps(per_order=rub("10")), None, "10.00"),  # exactly at the limit: nothing is cut
        (Caps(per_order=rub("9.999999")), None, "9.999999"),
        (Caps(per_order=rub("0")), None, "cap_reached"),
        (month("100"), None, "10.00"),
        (month("100"), "90", "10.00"),  # 90 + 10 = 100: just there
        (month("100"), "90.000001", "9.999999"),
        (month("100"), "100", "cap_reached"),
        (month("100"), "120", "cap_reached"),  # more than the limit, as rules may change
        (month("100"), "-5", "10.00"),
        # First the order's limit, then the month's: 10 → 8 → 5.
        (Caps(rub("8"), PeriodCap(rub("100"), Period.MONTH)), "95", "5.00"),
    ],
)
def test_a_cap_cuts_to_its_limit(caps: Caps, before: str | None, expected: str) -> None:
    found = alone(terms(caps=caps), earned_in_period=None if before is None else rub(before))
    assert amount(found) == expected


def test_the_trace_says_by_how_much_a_cap_cut() -> None:
    of = terms(caps=Caps(rub("8"), PeriodCap(rub("100"), Period.QUARTER)))
    found = alone(of, earned_in_period=rub("95"))
    order, period = (each for each in found.trace if each["step"] == "cap")
    assert order == {
        "step": "cap", "per": "order", "limit": "8.00", "before": "10.00", "cut": "2.00",
        "amount": "8.00",
    }  # fmt: skip
    assert period == {
        "step": "cap", "per": "quarter", "limit": "100.00", "earned_before": "95.00",
        "before": "8.00", "cut": "3.00", "amount": "5.00",
    }  # fmt: skip


def test_a_cap_is_that_of_one_affiliate() -> None:
    # 100 × 10 %, halved: 5 each; each is cut to 4.
    of = terms(caps=Caps(per_order=rub("4")))
    found = commissions_of(sale("100", credit(of, 1, "1/2"), credit(of, 2, "1/2")))
    assert [amount(each) for each in found] == ["4.00", "4.00"]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (Of.SALE, ["4.00", "2.00"]),  # 2 % of 100, whatever level 1 was cut to
        (Of.COMMISSION, ["4.00", "0.08"]),  # 2 % of the 4 that the cap left
    ],
)
def test_level_2_is_taken_of_what_the_caps_left(of: Of, expected: list[str]) -> None:
    capped = terms(caps=Caps(per_order=rub("4")), level_2=LevelTwo(of, 20_000))
    found = commissions_of(sale("100", credit(capped, recruiter_id=9)))
    assert [amount(each) for each in found] == expected


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"caps": Caps(per_order=rub("0"))}, "cap_reached"),
        ({"level_1": percent("0")}, "no_rate"),
        ({"level_1": percent("0.0001"), "net": "0.000001"}, "below_a_micro"),
    ],
)
def test_a_share_of_nothing_has_the_reason_of_the_nothing(
    others: dict[str, Any], reason: str
) -> None:
    net = others.pop("net", "100")
    of = terms(level_2=LevelTwo(Of.COMMISSION, 200_000), **others)
    found = commissions_of(sale(net, credit(of, recruiter_id=9)))
    assert [amount(each) for each in found] == [reason, reason]


def test_a_whole_chain_can_be_followed_by_hand() -> None:
    # Lamps 60 × 20 % = 12, book 40 × 10 % = 4: 16; × 1.5 = 24; + 5 = 29; at most 25;
    # level 2, 20 % of that: 5.
    of = terms(
        rules=(LAMPS,),
        boosts=(boost("half more", times="150"),),
        bonus=Bonus(rub("5"), BonusFor.CUSTOMER),
        caps=Caps(per_order=rub("25")),
        level_2=LevelTwo(Of.COMMISSION, 200_000),
    )
    first, second = commissions_of(
        sale(None, credit(of, recruiter_id=9), items=(LAMP, BOOK), first_of_customer=True)
    )
    steps = [(each["step"], each["amount"]) for each in first.trace]
    assert steps == [
        ("base", "100.00"), ("level_1", "12.00"), ("level_1", "4.00"), ("sum", "16.00"),
        ("boost", "24.00"), ("bonus", "29.00"), ("cap", "25.00"),
    ]  # fmt: skip
    assert (amount(first), amount(second)) == ("25.00", "5.00")


# Other currencies


def test_the_trace_says_at_which_rate_the_order_was_converted() -> None:
    rate = ExchangeRate.parse("98.1234567891", source="EUR", target="RUB")
    converted = conversion(Money(10_000_000, "EUR"), rate)  # 981.234567891 → 981.234568
    sold = Sale(
        1, "order:1", 1, converted.amount,
        (credit(terms(level_2=LevelTwo(Of.SALE, 20_000)), recruiter_id=9),),
        AT, DAY, converted=converted,
    )  # fmt: skip
    for found in commissions_of(sold):
        assert found.trace[0] == {
            "step": "converted", "original": "10.00", "original_currency": "EUR",
            "rate": "98.1234567891", "net": "981.234568", "rounding": "half_even",
        }  # fmt: skip


def test_an_exact_product_is_not_said_to_be_rounded() -> None:
    rate = ExchangeRate.parse("98.2", source="EUR", target="RUB")
    converted = conversion(Money(10_000_000, "EUR"), rate)
    [found] = commissions_of(
        Sale(1, "order:1", 1, converted.amount, (credit(terms()),), AT, DAY, converted=converted)
    )
    assert "rounding" not in found.trace[0]


def test_what_is_not_converted_yet_earns_nothing_at_either_level_and_says_why() -> None:
    sold = Sale(
        1, "order:1", 1, rub("0"),
        (credit(terms(fixed("5"), level_2=LevelTwo(Of.SALE, 20_000)), recruiter_id=9),),
        AT, DAY, unconverted=Money(10_000_000, "EUR"),
    )  # fmt: skip
    first, second = commissions_of(sold)
    for found in (first, second):
        assert isinstance(found, NotEarned)
        assert (found.reason, found.base) == (Reason.AWAITS_EXCHANGE_RATE, rub("0"))
        assert found.trace == (
            {"step": "unconverted", "original": "10.00", "original_currency": "EUR"},
            {"step": "not_earned", "reason": "awaits_exchange_rate"},
        )


# What is no sale


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"items": (LAMP,)}, "sum to the net"),
        ({"items": (item("A", "101"), item("B", "-1"))}, "negative"),
        ({"items": (item("A", "100", None, -1),)}, "negative"),
        (
            {
                "converted": conversion(
                    Money(1, "EUR"), ExchangeRate.parse("1", source="EUR", target="RUB")
                )
            },
            "conversion",
        ),
        ({"unconverted": Money(1, "EUR")}, "not converted yet"),
    ],
)
def test_a_sale_that_does_not_add_up_is_a_mistake(others: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sale("100", credit(terms()), **others)


def test_an_instant_counts_wherever_its_clock_stands() -> None:
    moscow = AT.astimezone(timezone(timedelta(hours=3)))
    assert amount(alone(terms(rules=(NOVEMBER,)), placed_at=moscow)) == "12.00"
    assert amount(alone(terms(rules=(NOVEMBER,)), placed_at=moscow + DAY)) == "10.00"
