"""How a search for products stands in an address; the same on both desks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import request

from affiliate.core.errors import NotFound
from affiliate.core.money import Money, MoneyError
from affiliate.products.lookup import After
from affiliate.products.rules import Search, Sort, visible

TEXT_CHARS_MAX: Final = 100
_AFTER: Final = re.compile(r"(?a:(-?[0-9]{1,18})\.(-?[0-9]{1,18})\.(-?[0-9]{1,18}))")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    search: Search
    after: After | None
    typed: Mapping[str, str]
    """The fields as they were typed."""
    wrong: frozenset[str]
    """Fields that say nothing we understand; they ask for nothing."""

    def words(self, **changes: Any) -> dict[str, Any]:
        """The search as parameters of an address, with these changes; without a place in it."""
        kept: dict[str, Any] = {name: text or None for name, text in self.typed.items()}
        kept["sort"] = None if self.search.sort is Sort.BEST else self.search.sort.value
        return {**kept, **changes}


def asked(currency: str) -> Asked:
    """Read it; NotFound for an order or a place that no page of ours names."""
    names = ("q", "category", "least", "most")
    typed = {name: visible(request.args.get(name, ""))[: TEXT_CHARS_MAX * 2] for name in names}
    wrong: set[str] = set()
    bounds: dict[str, Money | None] = {}
    for name in ("least", "most"):
        bounds[name] = None
        if typed[name]:
            try:
                bounds[name] = Money.parse(typed[name].replace(",", "."), currency)
            except MoneyError:
                wrong.add(name)
    sort = request.args.get("sort", Sort.BEST.value)
    if sort not in list(Sort):
        raise NotFound
    search = Search(
        typed["q"][:TEXT_CHARS_MAX], typed["category"], bounds["least"], bounds["most"], Sort(sort)
    )
    return Asked(search, _after(), typed, frozenset(wrong))


def place_of(after: After | None) -> str | None:
    """Where the next page begins, as it stands in an address."""
    return None if after is None else ".".join(map(str, after))


def _after() -> After | None:
    text = request.args.get("after")
    if text is None:
        return None
    match = _AFTER.fullmatch(text)
    if match is None:
        raise NotFound
    first, second, third = (int(part) for part in match.groups())
    return first, second, third
