"""Fields of the rules' document: strict, each refusal with a code and a sentence. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from marshmallow import Schema, ValidationError, fields

from affiliate.core.errors import NotFound, Phrase
from affiliate.core.fields import TEXT_CHARS_MAX, Coded, refuse
from affiliate.core.money import PPM, Money, MoneyError
from affiliate.links.destinations import ascii_host
from affiliate.people import ids
from affiliate.programs.terms import NAMES_MAX, Who

PUBLIC_ID_CHARS_MAX: Final = 40
ROW_MAX: Final = 2**63 - 1

_currency: ContextVar[str] = ContextVar("currency of the document that is being read")
Kind = TypeVar("Kind", bound=StrEnum)


@contextmanager
def amounts_in(currency: str) -> Iterator[None]:
    """Every amount that is read inside is of this currency; documents name none."""
    token = _currency.set(currency)
    try:
        yield
    finally:
        _currency.reset(token)


class Part(Schema):
    """One object of the document."""

    error_messages = {  # noqa: RUF012 -- marshmallow reads it from the class
        "unknown": Coded("unknown_field", "The rules know no such field."),
        "type": Coded("not_an_object", "Write a JSON object here: { … }."),
    }


class Whole(fields.Field[int]):
    """A JSON integer between two bounds, both included."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        self.least, self.most = least, most
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            refuse("not_an_integer", "Write a whole number, without quotes or a point.")
        if not self.least <= value <= self.most:
            self.outside(value)
        return value

    def outside(self, value: int) -> None:
        refuse(
            "out_of_range",
            Phrase(
                "A whole number from %(least)s to %(most)s.",
                least=f"{self.least:,}",
                most=f"{self.most:,}",
            ),
        )


class Rate(Whole):
    """Parts per million, by default from nothing to the whole."""

    def __init__(self, least: int = 0, most: int = PPM, **kwargs: Any) -> None:
        super().__init__(least, most, **kwargs)

    def outside(self, value: int) -> None:
        refuse(
            "out_of_range",
            Phrase(
                "A rate in parts per million, from %(least)s (%(least_percent)s %%) to %(most)s "
                "(%(most_percent)s %%).",
                least=f"{self.least:,}",
                least_percent=percent_text(self.least),
                most=f"{self.most:,}",
                most_percent=percent_text(self.most),
            ),
        )


class Amount(fields.Field[Money]):
    """A decimal string in the program's currency; `fine` allows six digits after the point."""

    def __init__(self, *, above_zero: bool = False, fine: bool = False, **kwargs: Any) -> None:
        self.above_zero = above_zero
        self.parse = Money.parse_fine if fine else Money.parse
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Money:
        try:
            amount = self.parse(value, _currency.get())
        except MoneyError as error:
            refuse(error.code, str(error))
        if self.above_zero and not amount:
            refuse("not_above_zero", "Write an amount above zero.")
        return amount


class Choice(fields.Field[Kind], Generic[Kind]):
    """One word of a closed list."""

    def __init__(self, kinds: type[Kind], **kwargs: Any) -> None:
        self.kinds = kinds
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Kind:
        known = next((kind for kind in self.kinds if kind.value == value), None)
        if known is not None:
            return known
        choices = ", ".join(kind.value for kind in self.kinds)
        return refuse("unknown_choice", Phrase("One of: %(choices)s.", choices=choices))


class Label(fields.Field[str]):
    """A name that a person reads: not blank, no control characters."""

    def __init__(self, chars_max: int = TEXT_CHARS_MAX, **kwargs: Any) -> None:
        self.chars_max = chars_max
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            refuse("not_a_string", "Write a text in quotes.")
        if not value.strip() or len(value) > self.chars_max:
            refuse(
                "length",
                Phrase("1 to %(most)s characters, not blanks alone.", most=self.chars_max),
            )
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
            refuse("control_character", "No control characters.")
        return value


class Site(Label):
    """A host name, `.shop.example` for all below it, as a browser would look it up."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        dot = "." if text.startswith(".") else ""
        host = ascii_host(text.removeprefix("."))
        if host is None or ":" in host or not all(host.split(".")) or "." not in host:
            refuse(
                "not_a_host", "A host name such as shop.example, or .shop.example for all of it."
            )
        return dot + host


class AffiliateId(fields.Field[int]):
    """`aff_…` as it stands in the API, read into the enrollment's number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        number = None
        if isinstance(value, str) and len(value) <= PUBLIC_ID_CHARS_MAX:
            with suppress(NotFound):
                number = ids.enrollment_of(value)
        if number is None or number > ROW_MAX:
            refuse("unknown_affiliate", "No affiliate has this id; such an id looks like aff_7Qk2.")
        return number


class Several(fields.List[Any]):
    """A list between two lengths, each item read by one field."""

    def __init__(self, each: Any, most: int, *, least: int = 0, **kwargs: Any) -> None:
        self.most, self.least = most, least
        super().__init__(each, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            refuse("not_a_list", "Write a list: [ … ].")
        if len(value) > self.most:
            refuse("too_many", Phrase("At most %(most)s here.", most=self.most))
        if len(value) < self.least:
            refuse("too_few", Phrase("At least %(least)s here.", least=self.least))
        return super()._deserialize(value, attr, data, **kwargs)


def several_parts(part: type[Part], most: int, **kwargs: Any) -> Several:
    """A list of objects."""
    return Several(fields.Nested(part), most, load_default=list, **kwargs)


def names(chars_max: int = TEXT_CHARS_MAX) -> Several:
    """Groups, products or categories."""
    return Several(Label(chars_max), NAMES_MAX, load_default=list)


def affiliates() -> Several:
    """Affiliates by their public ids."""
    return Several(AffiliateId(), NAMES_MAX, load_default=list)


def take_who(values: dict[str, Any]) -> Who:
    """Take `groups` and `affiliates` out of what was read."""
    return Who(frozenset(values.pop("groups")), frozenset(values.pop("affiliates")))


def who_document(who: Who) -> dict[str, Any]:
    """`groups` and `affiliates` as they stand in the document."""
    return {
        "groups": sorted(who.groups),
        "affiliates": [ids.public(number) for number in sorted(who.enrollments)],
    }


def wrong(field: str, code: str, message: str) -> ValidationError:
    """The refusal of a part for the sake of one of its fields (`bands.1.from`)."""
    nested: Any = [Coded(code, message)]
    for step in reversed(field.split(".")):
        nested = {step: nested}
    return ValidationError(nested)


def refuse_together(checks: Iterator[ValidationError]) -> None:
    """Raise everything that does not go together at once."""
    found: dict[str, Any] = {}
    for each in checks:
        _merge(found, each.messages)
    if found:
        raise ValidationError(found)


def percent_text(rate_ppm: int) -> str:
    """`12.5` for 125,000 parts per million."""
    return f"{(Decimal(rate_ppm) / 10_000).normalize():f}"


def _merge(into: dict[str, Any], more: Any) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into.setdefault(key, value)
