"""What a bank says of payments, as values; and how a file of it is refused (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from affiliate.core.errors import Invalid, Phrase
from affiliate.core.money import Money

TEXT_CHARS_MAX: Final = 300
_AMOUNT: Final = re.compile(r"[0-9]{1,12}(?:[.,][0-9]{1,6})?", flags=re.ASCII)


class Said(StrEnum):
    """What a bank says of one payment."""

    EXECUTED = "executed"
    REJECTED = "rejected"
    """It never left."""
    RETURNED = "returned"
    """It left, and came back."""
    SILENT = "silent"
    """Nothing that changes anything: not booked yet, accepted so far, of somebody else."""


@dataclass(frozen=True, slots=True)
class News:
    """One line, entry or document of a bank's file."""

    where: Phrase
    said: Said
    end_to_end_id: str
    """Of the payment; empty where the bank gives none back."""
    reference: str = ""
    """The bank's own of the booking."""
    amount: Money | None = None
    """None where the file says no amounts (CSV, pain.002)."""
    on: date | None = None
    reason: str = ""
    """In the bank's words, why it was rejected or returned."""
    message_id: str = ""
    """Of the file of ours that is meant as a whole (pain.002)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """All that a file says."""

    format: str
    news: tuple[News, ...]
    answers_to: str = ""
    """The message id of our file that it answers (pain.002); empty: it is of an account."""


def refused(code: str, message: Phrase) -> Invalid:
    """The refusal of the whole file."""
    return Invalid.field("file", code, message)


def cut(text: str | None) -> str:
    """A bank's text in one line, no longer than we keep."""
    return " ".join((text or "").split())[:TEXT_CHARS_MAX]


def day_of(text: str) -> date | None:
    """A day as ISO writes it, at the beginning of a moment too; None for anything else."""
    try:
        return date.fromisoformat(text[: len("2026-11-26")])
    except ValueError:
        return None


def amount_of(text: str, currency: str) -> Money | None:
    """A bank's amount, with a point or a comma; None for what is no amount."""
    plain = text.strip()
    return Money.parse_fine(plain.replace(",", "."), currency) if _AMOUNT.fullmatch(plain) else None
