"""What stands on a document, as a value; affiliate/core/printing.py makes the PDF of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Align(StrEnum):
    LEFT = "L"
    RIGHT = "R"


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    share: float
    """Of the page's width, against the other columns."""
    align: Align = Align.LEFT


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[str]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Goes over as many pages as it needs; its head stands on each of them."""

    title: str
    columns: Sequence[Column]
    rows: Iterable[Row]
    empty: str = ""
    """What is said instead of no row."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers beside each other: what the document comes to."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sums:
    """A column of amounts at the right, the last of them in bold."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Note:
    text: str


@dataclass(frozen=True, slots=True)
class Party:
    """Who a document is between, with what is known of them."""

    role: str
    lines: Sequence[str]


Block = Table | Figures | Sums | Note


@dataclass(frozen=True, slots=True)
class Paper:
    """Everything that stands on a document."""

    identity: str
    """What it is found by; stands on every page and in the file's metadata."""
    language: str
    made_at: datetime
    """The document's own instant, never that of printing."""
    brand: str
    title: str
    page_words: str
    """`Page {page} of {pages}` in the document's language."""
    subtitle: str = ""
    facts: Sequence[tuple[str, str]] = ()
    parties: Sequence[Party] = ()
    blocks: Sequence[Block] = field(default_factory=tuple)
