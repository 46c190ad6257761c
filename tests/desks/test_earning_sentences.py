"""Every step of a commission is told, on both desks, with every number that it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from flask import Flask
from moments import NOW

from affiliate.core.exchange import ExchangeRate, conversion
from affiliate.core.money import Money
from affiliate.core.pages import money, percent
from affiliate.programs.terms import (
    Apply,
    Band,
    Bonus,
    BonusFor,
    Boost,
    Caps,
    CommissionRule,
    CommissionTerms,
    Fixed,
    LevelTwo,
    Measure,
    Of,
    Percent,
    Period,
    PeriodCap,
    PerItem,
    Recurring,
    Tiers,
    When,
    Who,
)
from payouts.commissions.counted import clicks_commission, lead_commission
from payouts.commissions.rows import CommissionRow
from payouts.commissions.rules import (
    Credit,
    Earned,
    NotEarned,
    Reason,
    ReleaseWait,
    Sale,
    commissions_of,
)
from payouts.commissions.sale import Item, Subscription
from payouts.commissions.tiers import TierSale, tier_make_up
from tracker.desks import earnings
from tracker.desks.account import sentences as to_affiliate
from tracker.desks.manage import sentences as to_manager


def rub(whole: int) -> Money:
    return Money(whole * 1_000_000, "RUB")


ITEMS = (Item("LAMP-1", rub(600), "lighting", 2), Item("BOOK-1", rub(400), "books", 3))
BANDS = (Band(0, 100_000), Band(rub(1_000).micros, 200_000), Band(rub(1_500).micros, 250_000))
ORDER_BANDS = (Band(0, 100_000), Band(10, 200_000))
LAMPS = CommissionRule("lamps", When(products=frozenset({"LAMP-1"})), PerItem(rub(7)))
BOOKS = CommissionRule("books", When(categories=frozenset({"books"})), Fixed(rub(9)))
ALL = CommissionRule("all", When(), Percent(70_000))
LATER, EARLIER = NOW + timedelta(days=1), NOW - timedelta(days=1)
CONVERTED = conversion(
    Money(10_191_910, "EUR"), ExchangeRate.parse("98.117", source="EUR", target="RUB")
)


def found(terms: CommissionTerms, *, net: Money | None = None, **others: Any) -> Any:
    on_credit = {k: others.pop(k) for k in ("volume", "earned_in_period") if k in others}
    credits = tuple(
        Credit(n, Fraction(n, 3), terms, 1, 9, first_order=True, **on_credit) for n in (1, 2)
    )
    return commissions_of(
        Sale(
            1,
            "order:1",
            1,
            rub(1_000) if net is None else net,
            credits,
            NOW,
            timedelta(1),
            **others,
        )
    )


def of(level_1: Any = None, **others: Any) -> CommissionTerms:
    level_2 = others.pop("level_2", LevelTwo(Of.SALE, 20_000))
    return CommissionTerms(level_1 or Percent(100_000), level_2, **others)


def boosts(**what: int) -> tuple[Boost, ...]:
    weak = Boost("weak", Who(), EARLIER, LATER, add_ppm=1)
    return (Boost("strong", Who(), EARLIER, LATER, **what), weak)


MAKE_UP = {
    "enrollment_id": 1,
    "rule_version_id": 1,
    "currency": "RUB",
    "volume": rub(1_200).micros,
    "sales": [TierSale(rub(1_200), rub(140))],
}
SALES = Tiers(Measure.SALES, Period.MONTH, Apply.MARGINAL, BANDS)
ORDERS = Tiers(Measure.ORDERS, Period.YEAR, Apply.MARGINAL, ORDER_BANDS)
PAID = {"rule_version_id": 1, "enrollment_id": 1, "currency": "RUB"}
CASES = {
    "plain": lambda: found(of()),
    "of the commission": lambda: found(of(level_2=LevelTwo(Of.COMMISSION, 20_000))),
    "fixed": lambda: found(of(Fixed(rub(12)))),
    "per item": lambda: found(of(PerItem(rub(12))), items=ITEMS),
    "rules": lambda: found(of(rules=(LAMPS, BOOKS, ALL)), items=ITEMS),
    "one rule": lambda: found(of(rules=(ALL,))),
    "tiers": lambda: found(of(tiers=SALES), volume=rub(900).micros),
    "last band": lambda: found(of(tiers=SALES), volume=rub(9_000).micros),
    "orders": lambda: found(of(tiers=ORDERS), volume=3),
    "recurring": lambda: found(of(recurring=Recurring(3)), subscription=Subscription(2, EARLIER)),
    "for life": lambda: found(of(recurring=Recurring(None)), subscription=Subscription(2, EARLIER)),
    "over": lambda: found(of(recurring=Recurring(0)), subscription=Subscription(2, EARLIER)),
    "boost": lambda: found(of(boosts=boosts(add_ppm=30_000))),
    "times": lambda: found(of(boosts=boosts(times_ppm=1_500_000))),
    "bonus": lambda: found(of(bonus=Bonus(rub(5), BonusFor.AFFILIATE))),
    "customer": lambda: found(
        of(bonus=Bonus(rub(5), BonusFor.CUSTOMER)), first_of_customer=True
    ),
    "cap": lambda: found(of(caps=Caps(per_order=rub(4)))),
    "month": lambda: found(
        of(caps=Caps(per_period=PeriodCap(rub(40), Period.MONTH))), earned_in_period=rub(31)
    ),
    "full": lambda: found(
        of(caps=Caps(per_period=PeriodCap(rub(40), Period.YEAR))), earned_in_period=rub(41)
    ),
    "cut": lambda: found(of(Fixed(rub(990)))),
    "rounded": lambda: found(of(), net=Money(15, "RUB")),
    "converted": lambda: found(of(), net=CONVERTED.amount, converted=CONVERTED),
    "unconverted": lambda: found(of(), net=rub(0), unconverted=CONVERTED.original),
    "make-up": lambda: (tier_make_up(SALES, **MAKE_UP),),
    "capped make-up": lambda: (tier_make_up(SALES, **MAKE_UP, cap_room=rub(11)),),
    "nothing to make up": lambda: (
        tier_make_up(SALES, **{**MAKE_UP, "sales": [TierSale(rub(1_200), rub(300))]}),
    ),
    "lead": lambda: (lead_commission(rub(3), **PAID),),
    "clicks": lambda: (clicks_commission(rub(3), unique_clicks=17, **PAID),),
}  # fmt: skip


def row(of: Earned | NotEarned) -> CommissionRow:
    zero = Money.zero("RUB")
    return CommissionRow(
        id=1, program_id=1, reference="order:1", decision=1, level=of.level,
        enrollment_id=of.enrollment_id, via_enrollment_id=of.via_enrollment_id,
        rule_version_id=1, base=of.base, rate_ppm=of.rate_ppm,
        amount=of.amount if isinstance(of, Earned) else zero, reversed=zero, rule=of.rule,
        trace=of.trace, earned_at=NOW, available_at=NOW, waits_for=None, released_at=None,
        voided_at=None, void_reason=None,
    )  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_an_affiliate_can_follow_every_number(app: Flask, name: str) -> None:
    with app.test_request_context():
        for each in CASES[name]():
            told = to_affiliate.commission(row(each), "Boris")
            assert len(told) == len(each.trace)
            for step, sentence in zip(each.trace, told, strict=True):
                for shown in numbers(step):
                    assert shown in sentence.text, step


@pytest.mark.parametrize("name", list(CASES))
def test_a_manager_reads_every_step(app: Flask, name: str) -> None:
    with app.test_request_context():
        for each in CASES[name]():
            told = to_manager.commission_steps(list(each.trace), "RUB")
            assert len(told) == len(each.trace)
            for step, sentence in zip(each.trace, told, strict=True):
                for shown in numbers(step):
                    assert shown in sentence, step


def numbers(step: dict[str, Any]) -> list[str]:
    """What a step computes with, as it is to be read."""
    if step["step"] == "base" and step["weight"] == "1":
        names = ["net"]
    elif step["step"] == "recurring":
        names = []
    else:
        names = ["amount", "before", "cut", "limit", "earned_before", "added", "due"]
        # A plain rate stands behind the sentence that names its base.
        names += ["base"] if "rate_ppm" in step and ("rule" in step or "of" in step) else []
    shown = [money(earnings.parsed(step[name], "RUB")) for name in names if name in step]
    rates = [name for name in ("rate_ppm", "add_ppm", "times_ppm") if name in step]
    shown += [percent(step[name]) for name in rates]
    shown += [f"“{other}”" for other in step.get("over", [])]
    return shown + [item["sku"] for item in step.get("items", [])]


def test_every_reason_and_wait_has_its_sentence(app: Flask) -> None:
    assert set(earnings.NOTHING) == set(Reason)
    assert set(earnings.PERIODS) == set(Period)
    with app.test_request_context():
        for reason in Reason:
            assert to_manager.not_earned(reason.value) == earnings.NOTHING[reason]()
        for wait in ReleaseWait:
            assert wait.value in to_affiliate.WAITS
            assert to_manager.waits_for(wait.value) != wait.value


def test_what_waits_for_the_budget_says_so(app: Flask) -> None:
    [first, *_] = found(of())
    with app.test_request_context():
        waiting = replace(row(first), waits_for="budget")
        assert "budget" in to_affiliate.when(waiting, NOW)
