"""Short words for the values that commission rules take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from affiliate.core.money import Money
from affiliate.programs.terms import (
    Apply,
    Band,
    CommissionRule,
    CommissionTerms,
    Fixed,
    Measure,
    Percent,
    Period,
    PerItem,
    Rate,
    Tiers,
    When,
    Who,
)
from payouts.commissions.rules import Credit, Earned, NotEarned, Sale
from payouts.commissions.sale import Item

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


def rub(text: str) -> Money:
    """An amount of any number of digits, exactly."""
    return Money(int(Fraction(text) * 1_000_000), "RUB")


def percent(text: str) -> Percent:
    return Percent(int(Fraction(text) * 10_000))


def fixed(text: str) -> Fixed:
    return Fixed(rub(text))


def per_item(text: str) -> PerItem:
    return PerItem(rub(text))


def terms(level_1: Rate | None = None, **others: Any) -> CommissionTerms:
    """10 % at level 1, unless said otherwise, and nothing else."""
    return CommissionTerms(
        level_1=level_1 or percent("10"), level_2=others.pop("level_2", None), **others
    )


def rule(name: str, earns: Rate, **when: Any) -> CommissionRule:
    """A rule; its conditions by name, sets written as lists."""
    who = Who(
        groups=frozenset(when.pop("groups", ())), enrollments=frozenset(when.pop("enrollments", ()))
    )
    named = {key: frozenset(when.pop(key, ())) for key in ("products", "categories")}
    return CommissionRule(name, When(who=who, **named, **when), earns)


def tiers(
    *bands: tuple[str, str],
    apply: Apply = Apply.MARGINAL,
    measure: Measure = Measure.SALES,
    period: Period = Period.MONTH,
) -> Tiers:
    """Bands of (begins, percent): amounts where sales are measured, else numbers of orders."""
    return Tiers(
        measure,
        period,
        apply,
        tuple(
            Band(
                rub(begins).micros if measure is Measure.SALES else int(begins),
                percent(rate).rate_ppm,
            )
            for begins, rate in bands
        ),
    )


def credit(of: CommissionTerms, enrollment_id: int = 1, weight: str = "1", **others: Any) -> Credit:
    return Credit(
        enrollment_id, Fraction(weight), of, 1, others.pop("recruiter_id", None), **others
    )


def item(sku: str, net: str, category: str | None = None, quantity: int = 1) -> Item:
    return Item(sku, rub(net), category, quantity)


def sale(net: str | None, *credits: Credit, **others: Any) -> Sale:
    """A sale; without a net it is that of its items."""
    items: tuple[Item, ...] = tuple(others.pop("items", ()))
    amount = rub(net) if net is not None else sum_of(each.net for each in items)
    placed_at = others.pop("placed_at", AT)
    return Sale(
        1, "order:1", 1, amount, credits, placed_at, timedelta(days=14), items=items, **others
    )


def sum_of(amounts: Iterable[Money]) -> Money:
    return Money(sum(amount.micros for amount in amounts), "RUB")


def amount(found: Earned | NotEarned) -> str:
    """What it earned, or the reason for which it did not."""
    return found.amount.decimal if isinstance(found, Earned) else found.reason.value


def earned(found: Earned | NotEarned) -> Money:
    return found.amount if isinstance(found, Earned) else rub("0")


def step(found: Earned | NotEarned, name: str) -> dict[str, Any]:
    """The only step of this name in the trace."""
    [one] = [each for each in found.trace if each["step"] == name]
    return one
