"""What is held about people: the words in which each package says it of its own tables.

A package's `personal/inventory.py` names every column that could hold something of a person,
its `personal/held.py` what the person takes away, its `personal/erase.py` erases. Only
`tracker.personal` knows all three. Rule: docs/personal-data.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

BOOKS_YEARS: Final = 10
"""How long documents of the books are kept: the longest of the laws we know of."""


class Fate(StrEnum):
    """What an erasure does to a column."""

    ERASED = "erased"
    REPLACED = "replaced"
    """By a pseudonym, or by what says nothing."""
    KEPT = "kept"
    PLAIN = "plain"
    """It holds nothing of a person: a code, a number, the merchant's own words."""


class Why(StrEnum):
    """Why a column with something of a person stays."""

    BOOKS = "books"
    """Bookkeeping law: what documents, payments and their proofs say."""
    EVIDENCE = "evidence"
    """It shows whose an order is, and so whose money: claims would have nothing to stand on."""
    PUBLISHED = "published"
    """An address that people follow still: nobody else may get it."""
    BUYER = "buyer"
    """Of a shop's buyer: erased when the buyer is, not when the affiliate is."""
    AGES = "ages"
    """Deleted by itself after a time."""
    STAFF = "staff"
    """What staff wrote about their own work."""


@dataclass(frozen=True, slots=True)
class Table:
    """What happens to each text, document, bytes or UUID of a table; names are parted by spaces."""

    erased: str = ""
    replaced: str = ""
    kept: Mapping[Why, str] = field(default_factory=dict)
    plain: str = ""

    def columns(self) -> Iterator[tuple[str, Fate]]:
        """Each column that is named, with what happens to it."""
        named = {Fate.ERASED: self.erased, Fate.REPLACED: self.replaced, Fate.PLAIN: self.plain}
        for fate, names in named.items():
            yield from ((name, fate) for name in names.split())
        for names in self.kept.values():
            yield from ((name, Fate.KEPT) for name in names.split())


Inventory = Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Held:
    """A file of what is held about somebody."""

    file: str
    """`.json` holds documents; `.csv` is for lists that may be long."""
    says: Any
    """One line of the index, in the reader's language (lazy)."""
    query: str
    """Binds `user_id` and `affiliate_id`; columns `…_micros` stand beside a `currency`."""
