"""Which rule of commission wins for which items of an order. Pure.

Rule: docs/rules.md, "Rules".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from affiliate.programs.terms import CommissionRule, When
from payouts.commissions.sale import Credit, Item, Sale


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that wins, what of the order it wins for, and over which others."""

    rule: CommissionRule | None
    """None: no rule fits."""
    items: tuple[Item, ...]
    """Empty: the whole order."""
    over: tuple[str, ...]
    """Names of the other rules that fit any of it, the strongest first."""


def matches(sale: Sale, credit: Credit) -> tuple[Match, ...]:
    """Who wins for what, in the order in which the items stand; every item is in one of them.

    The most specific rule that fits wins, of equally specific ones the later in the document.
    """
    strongest_first = sorted(
        ((specificity(rule.when, credit), place, rule) for place, rule in _fitting(sale, credit)),
        key=lambda one: one[:2],
        reverse=True,
    )
    rules = [rule for _, _, rule in strongest_first]
    if not sale.items:
        fit = [rule for rule in rules if not rule.when.products and not rule.when.categories]
        return (Match(fit[0] if fit else None, (), tuple(rule.name for rule in fit[1:])),)
    won: dict[int, tuple[CommissionRule | None, list[Item], dict[int, None]]] = {}
    for item in sale.items:
        fit_at = [i for i, rule in enumerate(rules) if _fits_item(rule.when, item)]
        first = fit_at[0] if fit_at else -1
        _, items, over = won.setdefault(first, (rules[first] if fit_at else None, [], {}))
        items.append(item)
        over.update(dict.fromkeys(fit_at[1:]))
    return tuple(
        Match(rule, tuple(items), tuple(rules[i].name for i in sorted(over)))
        for rule, items, over in won.values()
    )


def specificity(when: When, credit: Credit) -> tuple[bool, ...]:
    """How closely a fitting rule fits, to be compared from the left.

    The affiliate by name, their group, the product, the category, the kind of customer, dates.
    """
    return (
        credit.enrollment_id in when.who.enrollments,
        credit.group in when.who.groups,
        bool(when.products),
        bool(when.categories),
        when.customer is not None,
        when.begins is not None or when.ends is not None,
    )


def _fitting(sale: Sale, credit: Credit) -> Iterator[tuple[int, CommissionRule]]:
    """The rules that fit the order, whatever they say of its items."""
    for place, rule in enumerate(credit.terms.rules):
        when = rule.when
        if (
            when.who.fits(credit.enrollment_id, credit.group)
            and (when.customer is None or when.customer is credit.customer)
            and (when.begins is None or when.begins <= sale.placed_at)
            and (when.ends is None or sale.placed_at < when.ends)
        ):
            yield place, rule


def _fits_item(when: When, item: Item) -> bool:
    return (not when.products or item.sku in when.products) and (
        not when.categories or item.category in when.categories
    )
