"""Feeds that affiliates take away: CSV, JSON and Google Merchant's XML, written piece by piece.

Pure. In CSV a text that a spreadsheet would reckon with has an apostrophe in front, as everywhere
(docs/security.md, A31): ids and addresses never begin so, and whoever wants titles to the letter
takes JSON or XML, which nothing evaluates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from affiliate.core.money import Money
from affiliate.core.tables import csv_parts
from affiliate.products.rules import FileKind

COLUMNS: Final = (
    "id", "title", "description", "link", "image_link", "price", "sale_price",
    "sale_price_effective_date", "availability", "brand", "product_type", "gtin",
)  # fmt: skip
"""Google's names, in the order of the columns."""
CONTENT_TYPES: Final = {
    FileKind.CSV: "text/csv; charset=utf-8",
    FileKind.JSON: "application/json; charset=utf-8",
    FileKind.XML: "application/rss+xml; charset=utf-8",
}
PART_CHARS: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Offer:
    """A product with an affiliate's link in it."""

    sku: str
    title: str
    description: str
    link: str
    image_link: str
    price: Money
    sale_price: Money | None
    sale_from: datetime | None
    sale_until: datetime | None
    availability: str
    brand: str
    category: str
    gtin: str

    @property
    def texts(self) -> tuple[str, ...]:
        """By COLUMNS."""
        return (
            self.sku, self.title, self.description, self.link, self.image_link, _price(self.price),
            _price(self.sale_price), _span(self.sale_from, self.sale_until), self.availability,
            self.brand, self.category, self.gtin,
        )  # fmt: skip


def written(kind: FileKind, offers: Iterable[Offer], *, title: str, home: str) -> Iterator[str]:
    """The feed in pieces of some kilobytes; offers are taken as the pieces are."""
    if kind is FileKind.CSV:
        return csv_parts(COLUMNS, (each.texts for each in offers))
    lines = _json(offers) if kind is FileKind.JSON else _rss(offers, title=title, home=home)
    return _together(lines)


def _json(offers: Iterable[Offer]) -> Iterator[str]:
    yield '{"products": ['
    comma = ""
    for each in offers:
        told = {name: text for name, text in zip(COLUMNS, each.texts, strict=True) if text}
        yield f"{comma}\n{json.dumps(told, ensure_ascii=False)}"
        comma = ","
    yield "\n]}\n"


def _rss(offers: Iterable[Offer], *, title: str, home: str) -> Iterator[str]:
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>\n'
        f"<title>{escape(title)}</title><link>{escape(home)}</link>"
        f"<description>{escape(title)}</description>\n"
    )
    for each in offers:
        inner = "".join(
            f"<g:{name}>{escape(text)}</g:{name}>"
            for name, text in zip(COLUMNS, each.texts, strict=True)
            if text
        )
        yield f"<item>{inner}</item>\n"
    yield "</channel></rss>\n"


def _together(lines: Iterable[str]) -> Iterator[str]:
    waiting, chars = [], 0
    for line in lines:
        waiting.append(line)
        chars += len(line)
        if chars >= PART_CHARS:
            yield "".join(waiting)
            waiting, chars = [], 0
    yield "".join(waiting)


def _price(price: Money | None) -> str:
    return "" if price is None else f"{price.decimal} {price.currency}"


def _span(begins: datetime | None, ends: datetime | None) -> str:
    if begins is None or ends is None:
        return ""
    return f"{begins.astimezone(UTC).isoformat()}/{ends.astimezone(UTC).isoformat()}"
