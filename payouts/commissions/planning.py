"""What level 1 of a credit is made of: rates, what each is taken of, boost and bonus. Pure.

Rule: docs/rules.md, "Levels".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from fractions import Fraction
from typing import Any, Final, NamedTuple

from affiliate.core.money import PPM, Money, total
from affiliate.programs.terms import (
    Apply,
    Bonus,
    BonusFor,
    Boost,
    CommissionTerms,
    Fixed,
    Measure,
    Percent,
    PerItem,
    Rate,
    Tiers,
)
from payouts.commissions import tiers as bands
from payouts.commissions.calendar import months_after
from payouts.commissions.matching import Match, matches
from payouts.commissions.sale import Credit, Item, Sale

RULE_PERCENT: Final = "default percent"
RULE_FIXED: Final = "default fixed"
RULE_PER_ITEM: Final = "default per item"
RULE_RECURRING: Final = "recurring"
RULE_SEPARATOR: Final = " + "
DEFAULT_NAMES: Final[dict[type[Rate], str]] = {
    Percent: RULE_PERCENT,
    Fixed: RULE_FIXED,
    PerItem: RULE_PER_ITEM,
}


class Part(NamedTuple):
    """One rate and what it is taken of."""

    rate: Rate
    base: Money
    """Of the whole order, before shares."""
    rule: str
    quantity: int = 1
    """Pieces that were paid for; read by PerItem alone."""
    own: bool = False
    """The base is that of this credit alone, already by its share."""
    told: dict[str, Any] | None = None
    """What the trace says of it besides; None where no rule had to be chosen."""


class Plan(NamedTuple):
    """What level 1 of one credit is made of."""

    parts: tuple[Part, ...]
    """None: it is refused, and the last of `steps` says why."""
    steps: tuple[dict[str, Any], ...] = ()
    """What goes before it in the trace."""
    boost: Boost | None = None
    boost_over: tuple[str, ...] = ()
    bonus: Bonus | None = None

    def key(self, enrollment_id: int) -> tuple[Any, ...]:
        """Credits with one key earn as one and share by their weights."""
        own = any(part.own for part in self.parts)
        parts = tuple((p.rate, p.base.micros, p.quantity) for p in self.parts)
        return (parts, self.boost, self.bonus, enrollment_id if own else None)


def plan_of(sale: Sale, place: int, net: Money, bases: tuple[Money, ...]) -> Plan:
    """The plan of the credit at `place`; `bases` are the credits' shares of the net."""
    credit = sale.credits[place]
    terms = credit.terms
    steps: tuple[dict[str, Any], ...] = ()
    parts: tuple[Part, ...] = ()
    if terms.recurring is not None and sale.subscription and sale.subscription.renewal:
        step = _recurring_step(sale, terms)
        steps = (step,)
        if step["ended"]:
            return Plan((), steps)
        if terms.recurring.earns is not None:
            parts = (_recurring_part(sale, credit, terms.recurring.earns, net),)
    if not parts:
        if terms.rules or terms.tiers is not None:
            parts = tuple(_chosen(sale, place, net, bases))
        else:
            parts = (_default(terms.level_1, net, sale.items, None),)
    boost, over = _best_boost(sale, credit, parts) if terms.boosts else (None, ())
    bonus = terms.bonus if terms.bonus and _earns_bonus(sale, credit, terms.bonus) else None
    return Plan(parts, steps, boost, over, bonus)


def _recurring_step(sale: Sale, terms: CommissionTerms) -> dict[str, Any]:
    assert terms.recurring is not None and sale.subscription is not None
    first, months = sale.subscription.first_placed_at, terms.recurring.months
    until = None if months is None else months_after(first, months)
    return {
        "step": "recurring",
        "sequence": sale.subscription.sequence,
        "first_placed_at": first.astimezone(UTC).isoformat(),
        "months": months,
        "until": None if until is None else until.isoformat(),
        "ended": until is not None and sale.placed_at >= until,
    }


def _recurring_part(sale: Sale, credit: Credit, rate: Rate, net: Money) -> Part:
    """The rate of later payments goes before every rule."""
    fitting = matches(sale, credit)
    over = dict.fromkeys(
        name for m in fitting for name in ((m.rule.name,) if m.rule else ()) + m.over
    )
    return Part(rate, net, RULE_RECURRING, _pieces(sale.items), told={"over": list(over)})


def _chosen(sale: Sale, place: int, net: Money, bases: tuple[Money, ...]) -> Iterator[Part]:
    """A part for each rule that wins something, and what is left for tiers or the default."""
    credit = sale.credits[place]
    for match in matches(sale, credit):
        base = total((item.net for item in match.items), net.currency) if match.items else net
        told = _match_told(match, sale)
        if match.rule is not None:
            rate, name = match.rule.earns, match.rule.name
            yield Part(rate, base, name, _pieces(match.items), told=told)
        elif credit.terms.tiers is None:
            yield _default(credit.terms.level_1, base, match.items, told)
        else:
            own = bases[place]
            if base != net:
                own = base.allocate([each.weight for each in sale.credits])[place]
            yield from _tier_parts(credit.terms.tiers, credit.volume, base, own, told)


def _tier_parts(
    tiers: Tiers, volume: int, base: Money, own: Money, told: dict[str, Any]
) -> Iterator[Part]:
    """A part for each band; inside one band the whole order counts, so that shares sum up."""
    whole = tiers.measure is Measure.ORDERS or tiers.apply is Apply.WHOLE_PERIOD
    found = bands.slices(tiers, volume=volume, base=base if whole else own)
    for each in found:
        several = len(found) > 1
        yield Part(
            Percent(each.band.rate_ppm),
            each.base if several else base,
            bands.RULE_TIERS,
            own=several,
            told={**told, **bands.told(tiers, each, volume, base.currency)},
        )


def _default(rate: Rate, base: Money, items: tuple[Item, ...], told: dict[str, Any] | None) -> Part:
    return Part(rate, base, DEFAULT_NAMES[type(rate)], _pieces(items) if items else 1, told=told)


def _pieces(items: tuple[Item, ...]) -> int:
    """How many were paid for; an order that names no items counts as one piece."""
    return sum(item.quantity for item in items if item.net) if items else 1


def _match_told(match: Match, sale: Sale) -> dict[str, Any]:
    told: dict[str, Any] = {"over": list(match.over)}
    if len(match.items) < len(sale.items):
        told["items"] = [
            {"sku": item.sku, "quantity": item.quantity, "net": item.net.decimal}
            for item in match.items
        ]
    return told


def _earns_bonus(sale: Sale, credit: Credit, bonus: Bonus) -> bool:
    if bonus.first_of is BonusFor.CUSTOMER:
        return sale.first_of_customer
    return credit.first_order


def _best_boost(
    sale: Sale, credit: Credit, parts: tuple[Part, ...]
) -> tuple[Boost | None, tuple[str, ...]]:
    """The boost that gives the affiliate most, and the names of others that fit.

    Of equal ones the later in the document; one that gives nothing is none.
    """
    fitting = [
        (_gain(boost, credit.weight, parts), place, boost)
        for place, boost in enumerate(credit.terms.boosts)
        if boost.begins <= sale.placed_at < boost.ends
        and boost.who.fits(credit.enrollment_id, credit.group)
    ]
    giving = sorted((one for one in fitting if one[0] > 0), key=lambda one: one[:2], reverse=True)
    if not giving:
        return None, ()
    return giving[0][2], tuple(boost.name for _, _, boost in giving[1:])


def _gain(boost: Boost, weight: Fraction, parts: Iterable[Part]) -> Fraction:
    """What a boost adds, exactly."""
    gain = Fraction(0)
    for part in parts:
        share = Fraction(1) if part.own else weight
        if boost.times_ppm:
            gain += Fraction(boost.times_ppm - PPM, PPM) * before_shares(part) * share
        elif isinstance(part.rate, Percent):
            gain += Fraction(boost.add_ppm, PPM) * part.base.micros * share
    return gain


def before_shares(part: Part) -> Fraction:
    """What a rate gives of its base, exactly, in micros: nothing of what nothing was paid for."""
    if not part.base:
        return Fraction(0)
    if isinstance(part.rate, Percent):
        return Fraction(part.base.micros * part.rate.rate_ppm, PPM)
    if isinstance(part.rate, Fixed):
        return Fraction(part.rate.amount.micros)
    return Fraction(part.rate.amount.micros * part.quantity)
