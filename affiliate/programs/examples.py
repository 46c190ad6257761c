"""Worked examples of the rules: which sales are told of, and what the engine earns by them.

Imports run one way, so the engine cannot be called from here: payouts registers its own
calculator (payouts/commissions/examples.py), and no copy of its rules exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, cast

from flask import current_app

from affiliate.core.money import MICROS, Money
from affiliate.programs.terms import (
    Apply,
    BonusFor,
    Boost,
    CommissionRule,
    CommissionTerms,
    Customer,
    Measure,
    PerItem,
    Terms,
    Who,
)

EXAMPLE_MAJOR_UNITS: Final = {
    "RUB": 3_500, "JPY": 8_000, "KRW": 80_000, "KZT": 20_000, "HUF": 20_000,
}  # fmt: skip
EXAMPLE_MAJOR_UNITS_OTHERWISE: Final = 80
RULES_TOLD_MAX: Final = 3
PIECES: Final = 3
EXTENSION: Final = "kopeck.examples"
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What an example shows."""

    RULE = "rule"
    TIER = "tier"
    BOOST = "boost"
    BONUS = "bonus"
    RECURRING = "recurring"


@dataclass(frozen=True, slots=True)
class ExampleSale:
    """A sale of one recruited affiliate, as far as the rules look at it."""

    net: Money
    placed_at: datetime
    refunded: Money | None = None
    """What of the net comes back later."""
    group: str | None = None
    enrollment_id: int | None = None
    """An affiliate whom the rules name; None: any other."""
    product: str = ""
    category: str = ""
    pieces: int = 1
    customer: Customer | None = None
    volume: int = 0
    """Sold before in the period of the tiers, as they measure."""
    first_of_affiliate: bool = False
    first_of_customer: bool = False
    renewal: bool = False
    """A later payment of a subscription."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sale earns, and what is kept after its refund."""

    level_1: Money
    level_2: Money
    kept_1: Money
    kept_2: Money
    rule: str
    """The rule that won at level 1."""


class Calculator(Protocol):
    """The engine, as the pages of this package ask it."""

    def __call__(self, terms: CommissionTerms, sale: ExampleSale) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Told:
    """One more example: what it shows, by which name, and how it came out."""

    kind: Kind
    name: str
    sale: ExampleSale
    level_1: Money


@dataclass(frozen=True, slots=True)
class Example:
    """What one sale would earn under the terms, and the same for what else they hold."""

    net: Money
    level_1: Money
    level_2: Money
    """Zero where the program has no second level."""
    refunded: Money
    """Part of the sale that comes back later, for the second half of the story."""
    kept_1: Money
    kept_2: Money
    pieces: int = 1
    others: tuple[Told, ...] = ()


def calculator() -> Calculator:
    """The engine's calculator, as `set_up` registered it."""
    return cast(Calculator, current_app.extensions[EXTENSION])


def example(terms: Terms, currency: str, *, earned: Calculator) -> Example:
    """A sale of a round amount of the currency, half refunded, and more sales where rules,
    tiers, boosts, a bonus or later payments earn otherwise."""
    commission = terms.commission
    plain = _plain(commission, currency)
    found = earned(commission, plain)
    assert plain.refunded is not None
    return Example(
        net=plain.net,
        level_1=found.level_1,
        level_2=found.level_2,
        refunded=plain.refunded,
        kept_1=found.kept_1,
        kept_2=found.kept_2,
        pieces=plain.pieces,
        others=tuple(_others(commission, replace(plain, refunded=None), earned)),
    )


def _plain(terms: CommissionTerms, currency: str) -> ExampleSale:
    """A sale to which nothing special applies, as far as there is such an instant."""
    units = EXAMPLE_MAJOR_UNITS.get(currency, EXAMPLE_MAJOR_UNITS_OTHERWISE)
    net = Money(units * MICROS, currency)
    ends = [rule.when.ends for rule in terms.rules] + [boost.ends for boost in terms.boosts]
    over = [end for end in ends if end is not None]
    return ExampleSale(
        net=net,
        placed_at=max(over, default=_LONG_AGO),
        refunded=net.fraction(1, 2),
        pieces=PIECES if isinstance(terms.level_1, PerItem) else 1,
    )


def _others(terms: CommissionTerms, plain: ExampleSale, earned: Calculator) -> Iterator[Told]:
    told = 0
    for rule in terms.rules:
        sale = _fitting(plain, rule)
        found = earned(terms, sale)
        # A closer rule may fit the same sale; then it would be told under the wrong name.
        if found.rule == rule.name and told < RULES_TOLD_MAX:
            told += 1
            yield Told(Kind.RULE, rule.name, sale, found.level_1)
    for kind, name, sale in _special(terms, plain):
        yield Told(kind, name, sale, earned(terms, sale).level_1)


def _special(terms: CommissionTerms, plain: ExampleSale) -> Iterator[tuple[Kind, str, ExampleSale]]:
    if terms.tiers is not None and len(terms.tiers.bands) > 1:
        begins = terms.tiers.bands[1].begins
        if terms.tiers.measure is Measure.SALES and terms.tiers.apply is Apply.MARGINAL:
            # Half of the order lies below the edge, where that is possible.
            begins = max(0, begins - plain.net.micros // 2)
        yield Kind.TIER, "", replace(plain, volume=begins)
    for boost in terms.boosts:
        yield Kind.BOOST, boost.name, _during(plain, boost)
    if terms.bonus is not None:
        of_customer = terms.bonus.first_of is BonusFor.CUSTOMER
        sale = replace(plain, first_of_customer=of_customer, first_of_affiliate=not of_customer)
        yield Kind.BONUS, terms.bonus.first_of.value, sale
    if terms.recurring is not None:
        yield Kind.RECURRING, "", replace(plain, renewal=True)


def _fitting(plain: ExampleSale, rule: CommissionRule) -> ExampleSale:
    when = rule.when
    at = when.begins or (when.ends - timedelta(microseconds=1) if when.ends else plain.placed_at)
    return replace(
        _of(plain, when.who),
        placed_at=at,
        product=min(when.products, default=""),
        category=min(when.categories, default=""),
        customer=when.customer,
        pieces=PIECES if isinstance(rule.earns, PerItem) else plain.pieces,
    )


def _during(plain: ExampleSale, boost: Boost) -> ExampleSale:
    return replace(_of(plain, boost.who), placed_at=boost.begins)


def _of(plain: ExampleSale, who: Who) -> ExampleSale:
    return replace(
        plain,
        group=min(who.groups, default=None),
        enrollment_id=None if who.groups else min(who.enrollments, default=None),
    )
