"""What a product of the shop is, and which imports a person has to look at (pure).

Rule: docs/products.md. Fields have the names of Google Merchant's product data specification
(https://support.google.com/merchants/answer/7052112), because that is what shops write already.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from affiliate.core.money import PPM, Money

PRODUCTS_MAX: Final = 20_000
"""Of a program: more than that nobody chooses from by hand."""
FEED_BYTES_MAX: Final = 20_000_000
SKU_CHARS_MAX: Final = 100
TITLE_CHARS_MAX: Final = 200
DESCRIPTION_CHARS_MAX: Final = 1_000
"""What is longer is cut: it is shown, never acted on."""
LINK_CHARS_MAX: Final = 1_000
"""Percent-encoded once more it still fits into the address of a click."""
WORD_CHARS_MAX: Final = 200
"""Of a brand and of a category."""
UNRANKED: Final = 1_000_000
"""Where a product stands among the best sellers that nobody gave a place."""
GTIN_CHARS: Final = (8, 12, 13, 14)
FEED_MATERIAL: Final = "feed"
"""What clicks of an affiliate's feed say in `cr`."""


class Availability(StrEnum):
    """Whether it can be bought; closed."""

    IN_STOCK = "in_stock"
    OUT_OF_STOCK = "out_of_stock"
    PREORDER = "preorder"
    BACKORDER = "backorder"


class FileKind(StrEnum):
    """What a feed is written in; what it is, its first character says."""

    CSV = "csv"
    JSON = "json"
    XML = "xml"


class Sort(StrEnum):
    """In which order products are shown."""

    BEST = "best"
    """The manager's rank, then what orders of late say, then the newest."""
    NEW = "new"
    SALE = "sale"
    """The most reduced first, and nothing else."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as a feed says it, checked."""

    sku: str
    """The shop's id; the same as in the items of its orders."""
    title: str
    link: str
    """Rebuilt by the rule of deep links."""
    price: Money
    description: str = ""
    image_link: str = ""
    sale_price: Money | None = None
    """Below the price."""
    sale_from: datetime | None = None
    sale_until: datetime | None = None
    """First instant at which the sale is over; none: as long as the feed says so."""
    availability: Availability = Availability.IN_STOCK
    brand: str = ""
    category: str = ""
    gtin: str = ""
    rank: int = UNRANKED

    @property
    def discount_ppm(self) -> int:
        """By how much the sale price is lower, in parts per million, cut down; 0: it is not."""
        if self.sale_price is None or self.price.micros == 0:
            return 0
        return (self.price.micros - self.sale_price.micros) * PPM // self.price.micros


@dataclass(frozen=True, slots=True)
class Difference:
    """What an import does to the products that there are."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    unchanged: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.new or self.changed or self.gone)


@dataclass(frozen=True, slots=True)
class Search:
    """What somebody looks for; what is not named is not asked for."""

    text: str = ""
    category: str = ""
    least: Money | None = None
    most: Money | None = None
    """Of what a buyer pays now, in the program's currency."""
    sort: Sort = Sort.BEST


def difference(known: Mapping[str, bytes], products: Iterable[Product]) -> Difference:
    """Which products come, change and go; `known` are the fingerprints by id."""
    new: list[str] = []
    changed: list[str] = []
    seen: set[str] = set()
    for product in products:
        seen.add(product.sku)
        before = known.get(product.sku)
        if before is None:
            new.append(product.sku)
        elif before != fingerprint(product):
            changed.append(product.sku)
    gone = tuple(sku for sku in known if sku not in seen)
    return Difference(tuple(new), tuple(changed), gone, len(seen) - len(new) - len(changed))


def shrinks(before: int, after: int) -> bool:
    """Whether a feed lost more than half of its products: a mistake more often than a decision."""
    return after * 2 < before


def fingerprint(product: Product) -> bytes:
    """Sixteen bytes that change with anything that a feed says of a product."""
    return hashlib.sha256(repr(product).encode()).digest()[:16]


def visible(text: str) -> str:
    """One line without what cannot be seen: controls, direction marks, half surrogates."""
    if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
        return " ".join(text.split())  # As nearly every text is; a feed has millions of letters.
    kept = "".join(
        char if unicodedata.category(char)[0] != "C" or char.isspace() else ""
        for char in text
        if char != "\N{REPLACEMENT CHARACTER}"
    )
    return " ".join(kept.split())


def cut(text: str, chars_max: int) -> str:
    """The text, or its beginning with dots."""
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


def is_gtin(text: str) -> bool:
    """Whether it is a trade number with a sound control digit (GS1, mod 10)."""
    if len(text) not in GTIN_CHARS or not (text.isascii() and text.isdigit()):
        return False
    weights = (3, 1)
    total = sum(int(digit) * weights[i % 2] for i, digit in enumerate(reversed(text[:-1])))
    return (10 - total % 10) % 10 == int(text[-1])
