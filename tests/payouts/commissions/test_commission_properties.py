"""What holds for any rules and any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from random import Random
from typing import Any

from commission_world import AT, MICRO, earned, rub, sum_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affiliate.core.money import PPM, Money, divide_half_even
from affiliate.programs.terms import (
    Apply,
    Band,
    Bonus,
    BonusFor,
    Boost,
    Caps,
    CommissionRule,
    CommissionTerms,
    Customer,
    Fixed,
    LevelTwo,
    Measure,
    Of,
    Percent,
    Period,
    PeriodCap,
    PerItem,
    Rate,
    Recurring,
    Tiers,
    When,
    Who,
)
from payouts.commissions.matching import specificity
from payouts.commissions.rules import Credit, Earned, NotEarned, Sale, commissions_of, reversal
from payouts.commissions.sale import Item, Subscription

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
DAY = timedelta(days=1)
# Rules and orders are dealt by a generator whose seed hypothesis chooses: drawing each of their
# some fifty values by a strategy takes longer than a hundred evaluations of the rules.
seeds = st.integers(0, 2**62).map(Random)


def _money(dice: Random, most: int) -> Money:
    return Money(dice.choice((0, 1, dice.randrange(most), dice.randrange(1_000))), "RUB")


def _ppm(dice: Random) -> int:
    return dice.choice((0, 1, 100_000, PPM, dice.randrange(PPM)))


def a_rate(dice: Random) -> Rate:
    made: tuple[Rate, ...] = (
        Percent(_ppm(dice)),
        Percent(_ppm(dice)),
        Fixed(_money(dice, 10**9)),
        PerItem(_money(dice, 10**8)),
    )
    return dice.choice(made)


def _who(dice: Random) -> Who:
    names = (Who(), Who(), Who(frozenset({"g"})), Who(frozenset(), frozenset({1})))
    return dice.choice((*names, Who(frozenset({"h"}))))


def a_rule(dice: Random) -> CommissionRule:
    when = When(
        who=_who(dice),
        products=frozenset(dice.choice(("", "", "A", "AB"))),
        categories=frozenset(dice.choice(("", "", "x", "y"))),
        customer=dice.choice((None, None, Customer.NEW)),
        begins=dice.choice((None, None, AT, AT + MICRO)),
        ends=dice.choice((None, None, AT + DAY, AT)),
    )
    return CommissionRule(dice.choice("pqr"), when, a_rate(dice))


def _tiers(dice: Random) -> Tiers:
    bands = (Band(0, _ppm(dice)), Band(dice.randrange(1, 10**9), _ppm(dice)))
    return Tiers(
        dice.choice(list(Measure)), dice.choice(list(Period)), dice.choice(list(Apply)), bands
    )


def _boost(dice: Random) -> Boost:
    name, who = dice.choice("st"), _who(dice)
    if dice.random() < 0.5:
        return Boost(name, who, AT - DAY, AT + DAY, add_ppm=_ppm(dice))
    return Boost(name, who, AT - DAY, AT + DAY, times_ppm=3 * _ppm(dice) + 1)


def some_terms(dice: Random) -> CommissionTerms:
    def maybe(value: Any) -> Any:
        return value if dice.random() < 0.4 else None

    period = PeriodCap(_money(dice, 10**9), Period.MONTH)
    return CommissionTerms(
        level_1=a_rate(dice),
        level_2=maybe(LevelTwo(dice.choice(list(Of)), dice.randrange(1, PPM))),
        rules=tuple(a_rule(dice) for _ in range(dice.randrange(5))),
        tiers=maybe(_tiers(dice)),
        recurring=maybe(Recurring(dice.choice((None, 0, 1)), maybe(a_rate(dice)))),
        bonus=maybe(Bonus(_money(dice, 10**9), dice.choice(list(BonusFor)))),
        boosts=tuple(_boost(dice) for _ in range(dice.randrange(3))),
        caps=Caps(maybe(_money(dice, 10**9)), maybe(period)),
    )


def an_item(dice: Random) -> Item:
    category = dice.choice((None, "x", "y"))
    return Item(dice.choice("ABC"), _money(dice, 10**9), category, dice.randrange(4))


def a_sale(dice: Random) -> Sale:
    items = tuple(an_item(dice) for _ in range(dice.randrange(5)))
    net = sum_of(item.net for item in items) if items else _money(dice, 10**10)
    parts = [dice.randrange(1, 100) for _ in range(dice.choice((1, 1, 2, 3)))]
    shared = some_terms(dice)
    credits = tuple(
        Credit(
            enrollment_id=i + 1,
            weight=Fraction(part, sum(parts)),
            terms=shared if dice.random() < 0.5 else some_terms(dice),
            rule_version_id=1,
            recruiter_id=dice.choice((None, 100, 101)),
            group=dice.choice((None, "g")),
            customer=dice.choice((None, Customer.NEW)),
            first_order=dice.random() < 0.5,
            volume=dice.randrange(10**9),
            earned_in_period=dice.choice((None, _money(dice, 10**9))),
        )
        for i, part in enumerate(parts)
    )
    return Sale(
        1, "order:1", 1, net, credits, AT, DAY, items=items,
        subscription=dice.choice((None, None, Subscription(2, AT - DAY))),
        first_of_customer=dice.random() < 0.5,
    )  # fmt: skip


sales = seeds.map(a_sale)
rules = seeds.map(a_rule)


@settings(patient, max_examples=2_000)
@given(sales)
def test_commissions_never_exceed_the_net_and_none_is_of_nothing(sold: Sale) -> None:
    found = commissions_of(sold)
    assert sum_of(earned(each) for each in found) <= sold.net
    assert all(each.amount > rub("0") for each in found if isinstance(each, Earned))
    assert len(found) == len({(e.level, e.enrollment_id, e.via_enrollment_id) for e in found})
    assert [e.level for e in found] == sorted(e.level for e in found)
    assert sum_of(e.base for e in found if e.level == 1) == sold.net


@settings(patient, max_examples=600)
@given(sales, st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_a_full_refund_in_any_parts_leaves_exactly_nothing_at_both_levels(
    sold: Sale, parts: list[int]
) -> None:
    refunds = sold.net.allocate(parts)
    for each in commissions_of(sold):
        taken, refunded = rub("0"), rub("0")
        for refund in refunds:
            refunded += refund
            taken += reversal(
                frozen=earned(each), refunded_net=refunded, net=sold.net, already=taken
            )
            assert taken <= earned(each)
        assert taken == earned(each)


@settings(patient, max_examples=1_000)
@given(sales)
def test_sharing_on_the_same_terms_earns_what_one_alone_would(sold: Sale) -> None:
    """Everybody alike: in the parts nothing is lost and nothing is won, to the micro."""
    # A cap, and a band inside which volume is counted, is that of one affiliate: two have two.
    of = sold.credits[0].terms
    tiers = of.tiers and replace(of.tiers, apply=Apply.WHOLE_PERIOD)
    of = replace(of, caps=Caps(), tiers=tiers)
    model = replace(sold.credits[0], terms=of, recruiter_id=None, group="g", enrollment_id=50)
    alone = replace(sold, credits=(replace(model, weight=Fraction(1)),))
    split = replace(
        sold,
        credits=tuple(
            replace(model, enrollment_id=50 + i, weight=credit.weight)
            for i, credit in enumerate(sold.credits)
        ),
    )
    assert total_of(commissions_of(split)) == total_of(commissions_of(alone))


def total_of(found: tuple[Earned | NotEarned, ...]) -> Money:
    return sum_of(earned(each) for each in found)


NEVER: tuple[Callable[[When], When], ...] = (
    lambda when: replace(when, who=Who(frozenset({"nobody"}), frozenset({999}))),
    lambda when: replace(when, products=frozenset({"NONE"})),
    lambda when: replace(when, categories=frozenset({"none"})),
    lambda when: replace(when, customer=Customer.EXISTING),
    lambda when: replace(when, ends=AT),
    lambda when: replace(when, begins=AT + MICRO),
)


@settings(patient, max_examples=600)
@given(sales, rules, st.sampled_from(NEVER), st.integers(0, 4))
def test_a_rule_that_does_not_fit_changes_nothing(
    sold: Sale, other: CommissionRule, spoilt: Callable[[When], When], place: int
) -> None:
    unfit = replace(other, when=spoilt(other.when))

    def with_it(credit: Credit) -> Credit:
        before = credit.terms.rules
        if not before:  # with no rule at all the trace names none either
            return credit
        added = replace(credit.terms, rules=(*before[:place], unfit, *before[place:]))
        return replace(credit, terms=added)

    more = replace(sold, credits=tuple(map(with_it, sold.credits)))
    assert commissions_of(more) == commissions_of(sold)


@settings(patient, max_examples=600)
@given(sales, rules, st.sampled_from(NEVER))
def test_the_only_rule_that_does_not_fit_changes_no_amount(
    sold: Sale, other: CommissionRule, spoilt: Callable[[When], When]
) -> None:
    unfit = replace(other, when=spoilt(other.when))

    def only(credit: Credit, *rules: CommissionRule) -> Credit:
        return replace(credit, terms=replace(credit.terms, rules=rules))

    with_it = replace(sold, credits=tuple(only(credit, unfit) for credit in sold.credits))
    without = replace(sold, credits=tuple(only(credit) for credit in sold.credits))
    found, wanted = commissions_of(with_it), commissions_of(without)
    assert [(earned(e), e.rule, e.rate_ppm) for e in found] == [
        (earned(e), e.rule, e.rate_ppm) for e in wanted
    ]


ALL_NAMED = When(
    Who(frozenset({"g"}), frozenset({1})), frozenset({"A"}), frozenset({"x"}), Customer.NEW, AT
)


def _when(mask: int) -> When:
    """A condition that names what the bits say; no two masks are equally specific."""
    who = Who(
        frozenset({"g"}) if mask & 2 else frozenset(), frozenset({1}) if mask & 1 else frozenset()
    )
    return When(
        who,
        ALL_NAMED.products if mask & 4 else frozenset(),
        ALL_NAMED.categories if mask & 8 else frozenset(),
        Customer.NEW if mask & 16 else None,
        AT if mask & 32 else None,
    )


@settings(patient, max_examples=600)
@given(sales, st.sets(st.integers(0, 63), min_size=2, max_size=5), seeds)
def test_the_order_of_rules_that_are_not_equally_specific_is_nothing_to_it(
    sold: Sale, masks: set[int], dice: Random
) -> None:
    ordered = [CommissionRule(str(mask), _when(mask), a_rate(dice)) for mask in masks]
    shuffled = list(ordered)
    dice.shuffle(shuffled)
    # The first affiliate is in the group too, so that every two of the rules differ for them;
    # for others a rule that names affiliate and group is as specific as one that names the group.
    first = replace(sold.credits[0], group="g", customer=Customer.NEW, weight=Fraction(1))

    def by(rules: list[CommissionRule]) -> Any:
        credit = replace(first, terms=replace(first.terms, rules=tuple(rules)))
        return commissions_of(replace(sold, credits=(credit,)))

    assert by(shuffled) == by(ordered)
    assert specificity(ALL_NAMED, first) == (True,) * 6


@settings(patient, max_examples=600)
@given(sales)
def test_boosts_never_take_anything_and_their_order_is_nothing_to_it(sold: Sale) -> None:
    def with_boosts(change: Callable[[tuple[Boost, ...]], tuple[Boost, ...]]) -> Sale:
        return replace(
            sold,
            credits=tuple(
                replace(c, terms=replace(c.terms, level_2=None, boosts=change(c.terms.boosts)))
                for c in sold.credits
            ),
        )

    as_they_are = total_of(commissions_of(with_boosts(lambda boosts: boosts)))
    assert total_of(commissions_of(with_boosts(lambda boosts: boosts[::-1]))) == as_they_are
    # Shares of one rate are rounded together, those of different rates each: a boost that sets
    # them apart may cost a micro a share, and nothing where nobody shares.
    sharers = len(sold.credits) if len(sold.credits) > 1 else 0
    without = total_of(commissions_of(with_boosts(lambda boosts: ())))
    assert without <= as_they_are + Money(sharers, "RUB")


@settings(patient, max_examples=600)
@given(sales)
def test_the_trace_alone_gives_the_amount(sold: Sale) -> None:
    """Whoever alone is credited can recompute every step with nothing but the trace."""
    credit = replace(sold.credits[0], weight=Fraction(1))
    for found in commissions_of(replace(sold, credits=(credit,))):
        assert _recomputed(found.trace) == earned(found)


def _recomputed(trace: tuple[dict[str, Any], ...]) -> Money:
    amount = rub("0")
    for step in trace:
        kind = step["step"]
        if kind == "level_1":
            part = _part(step, trace[0])
            assert part.decimal == step["amount"]
            amount += part
        elif kind == "level_2":
            amount = _of(step["base"], step["rate_ppm"])
        elif kind == "boost" and "times_ppm" in step:
            amount = _of(step["before"], step["times_ppm"])
        elif kind == "boost":
            amount = rub(step["before"]) + _of(step["base"], step["add_ppm"])
        elif kind == "bonus":
            paid = rub(trace[0]["net"]) > rub("0")
            amount = rub(step["before"]) + (rub(step["bonus"]) if paid else rub("0"))
        elif kind == "cap":
            room = rub(step["limit"]) - rub(step.get("earned_before", "0"))
            amount = max(min(rub(step["before"]), room), rub("0"))
            assert (rub(step["before"]) - amount).decimal == step["cut"]
        elif kind == "cut_to_net":
            amount = rub(step["amount"])
        if "amount" in step and kind not in ("base", "level_1"):
            assert amount.decimal == step["amount"], step
    return amount


def _part(step: dict[str, Any], base: dict[str, Any]) -> Money:
    if not rub(step.get("base", base["amount"])):
        return rub("0")
    if "rate_ppm" in step:
        return _of(step.get("base", base["amount"]), step["rate_ppm"])
    if step["kind"] == "fixed":
        return rub(step["fixed"])
    return Money(rub(step["each"]).micros * step["quantity"], "RUB")


def _of(base: str, rate_ppm: int) -> Money:
    return Money(divide_half_even(rub(base).micros * rate_ppm, PPM), "RUB")
