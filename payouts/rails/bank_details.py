"""Bank accounts as values: what those of every country share (pure).

A destination is one text, because the hash that finance approves covers one text:
`iban:DE89370400440532013000;bic=COBADEFFXXX;name=Anna Ivanova` or
`ru:40817810…;bik=044525225;corr=…;bank=…;inn=…;name=…`. The same details always make the same
text, and any other detail makes another. Rule: docs/rules.md, "Payouts".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from affiliate.core.errors import FieldError, Invalid, Phrase

SHOWN_CHARS: Final = 4
"""The end of an account number that anybody may see."""


class NotAnAccount(ValueError):
    """A text that no details make."""


def masked(number: str) -> str:
    """`•••• 3000`: what an account is known by, and no more."""
    return f"•••• {number[-SHOWN_CHARS:]}"


def in_a_log(destination: str) -> str:
    """A destination as logs that many people read have it: bank accounts by their end alone."""
    kind, _, rest = destination.partition(":")
    if kind not in ("iban", "ru"):
        return destination
    return f"{kind}:{masked(rest.partition(';')[0])}"


class Wrong(Exception):
    """Why a field cannot be what it should be."""

    def __init__(self, code: str, message: Phrase) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Reading:
    """Fields out of a form, with what is wrong with any of them kept to the end."""

    def __init__(self, typed: Mapping[str, str]) -> None:
        self._typed = typed
        self._errors: list[FieldError] = []

    def take(self, name: str, read: Callable[[str], str], *, optional: bool = False) -> str:
        text = self._typed.get(name, "").strip()
        if not text and optional:
            return ""
        try:
            if not text:
                raise Wrong("required", Phrase("Please fill this in."))
            return read(text)
        except Wrong as wrong:
            self._errors.append(FieldError(name, wrong.code, wrong.message))
            return ""

    def finish(self) -> None:
        if self._errors:
            raise Invalid(errors=self._errors)


def printable(text: str, chars_max: int) -> str:
    value = " ".join(unicodedata.normalize("NFC", text).split())
    if any(unicodedata.category(char).startswith("C") for char in value):
        raise Wrong("not_printable", Phrase("It has characters that cannot be printed."))
    if len(value) > chars_max:
        message = Phrase("At most %(most)s characters.", most=chars_max)
        raise Wrong("too_long", message)
    return value


def digits(text: str, count: int, code: str, message: Phrase) -> str:
    number = re.sub(r"[\s.\-]", "", text)
    if not re.fullmatch(rf"[0-9]{{{count}}}", number, flags=re.ASCII):
        raise Wrong(code, message)
    return number


def joined(kind: str, number: str, **rest: str) -> str:
    parts = [f"{name}={_escaped(value)}" for name, value in rest.items() if value]
    return ";".join([f"{kind}:{number}", *parts])


def _escaped(value: str) -> str:
    return value.replace("%", "%25").replace(";", "%3B")


def parted(text: str, kind: str) -> dict[str, str]:
    head, *rest = text.split(";")
    name, _, number = head.partition(":")
    if name != kind or not number:
        raise NotAnAccount(text)
    pairs = [part.partition("=") for part in rest]
    return {kind: number} | {
        key: value.replace("%3B", ";").replace("%25", "%") for key, _, value in pairs
    }
