"""Fields of the API's schemas: strict where marshmallow would be kind.

Each refusal has a stable code beside its sentence (docs/api.md, "Errors").
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, NoReturn

from marshmallow import Schema, ValidationError, fields

from affiliate.core.errors import FieldError, Invalid
from affiliate.core.money import Money, MoneyError

SHOP_ID_CHARS_MAX = 255
TEXT_CHARS_MAX = 500
OPTIONAL = {"x-optional": True}
"""Metadata of a field that an answer may leave out; every other one is in every answer."""
_SHOP_ID = re.compile(r"[A-Za-z0-9._:@#~-]{1,255}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
# RFC 3339, section 5.6; a leap second (:60) has no place in business time.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:[0-5]\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII
)
_MONEY = frozenset({"amount", "currency"})
_CODES = {
    "Missing data for required field.": "required",
    "Field may not be null.": "null",
    "Unknown field.": "unknown_field",
    "Not a valid integer.": "not_an_integer",
    "Not a valid list.": "not_a_list",
    "Not a valid string.": "not_a_string",
    "Not a valid mapping type.": "not_an_object",
    "Invalid input type.": "not_an_object",
}
"""Codes of marshmallow's own sentences; any other of its is `invalid`."""


class Coded(str):
    """A sentence that carries its stable code, and the message that it was made from.

    The message may be a `Phrase`, which a page says in its reader's language; the string alone
    has lost the pattern.
    """

    __slots__ = ("code", "message")
    code: str
    message: str

    def __new__(cls, code: str, message: str) -> Coded:
        made = super().__new__(cls, message)
        made.code, made.message = code, message
        return made


def refuse(code: str, message: str) -> NoReturn:
    """Refuse the value of the field that is being read."""
    raise ValidationError([Coded(code, message)])


def field_errors(messages: Any, path: str = "") -> Iterator[FieldError]:
    """marshmallow's nested messages as field errors with dotted paths."""
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            yield from field_errors(value, path if key == "_schema" else f"{path}.{key}".strip("."))
    elif isinstance(messages, list):
        for message in messages:
            yield from field_errors(message, path)
    elif isinstance(messages, Coded):
        yield FieldError(path, messages.code, messages.message)
    else:
        text = str(messages)
        yield FieldError(path, _CODES.get(text, "invalid"), text)


class MoneyField(fields.Field[Money]):
    """`{"amount": "19.99", "currency": "EUR"}` as Money; a JSON number is refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Money:
        # An order has many amounts, and asking a dict whether it is a Mapping takes long.
        if type(value) is not dict and not isinstance(value, Mapping):
            refuse("not_money", 'Write money as {"amount": "19.99", "currency": "EUR"}.')
        if value.keys() != _MONEY:
            raise ValidationError(
                {key: [Coded("unknown_field", "Unknown field.")] for key in value.keys() - _MONEY}
                | {
                    key: [Coded("required", "Missing data for required field.")]
                    for key in ("amount", "currency")
                    if key not in value
                }
            )
        if not isinstance(value["currency"], str):
            raise ValidationError(
                {"currency": [Coded("unknown_currency", "Write the ISO 4217 code as a string.")]}
            )
        try:
            return Money.parse(value["amount"], value["currency"])
        except MoneyError as error:
            where = "currency" if error.code == "unknown_currency" else "amount"
            raise ValidationError({where: [Coded(error.code, str(error))]}) from None

    def _serialize(self, value: Money | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else money_json(value)


class MomentField(fields.Field[datetime]):
    """An RFC 3339 time with its zone, read into UTC, to the microsecond."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            refuse("not_a_moment", "Write the time as RFC 3339 with its zone: 2026-11-21T10:15:00Z")
        day, clock, fraction, zone = found.groups()
        micros = (fraction or "")[:6].ljust(6, "0")
        try:
            return datetime.fromisoformat(f"{day}T{clock}.{micros}{zone or '+00:00'}").astimezone(
                UTC
            )
        except (ValueError, OverflowError):
            refuse("not_a_moment", "There is no such day or time.")

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else moment_json(value)


class Text(fields.Field[str]):
    """A JSON string of at most `chars_max` characters, taken as it is."""

    def __init__(self, *, chars_max: int = TEXT_CHARS_MAX, empty: bool = True, **kwargs: Any):
        self.chars_max = chars_max
        self.empty = empty
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            refuse("not_a_string", "Not a valid string.")
        if len(value) > self.chars_max:
            refuse("too_long", f"At most {self.chars_max} characters.")
        if not value and not self.empty:
            refuse("empty", "This cannot be empty.")
        return value


class ShopId(fields.Field[str]):
    """An id given by the shop: `[A-Za-z0-9._:@#~-]{1,255}`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not _SHOP_ID.fullmatch(value):
            refuse("not_an_id", "An id has 1 to 255 characters out of A-Z a-z 0-9 . _ : @ # ~ -")
        return value


class Sha256(fields.Field[str]):
    """64 hexadecimal digits, given back in lower case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            refuse("not_a_sha256", "Write the SHA-256 as 64 hexadecimal digits.")
        return value.lower()


class IpAddress(fields.Field[str]):
    """An IPv4 or IPv6 address without port or zone, given back in its short spelling."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, str) and "%" not in value:
            with contextlib.suppress(ValueError):
                return str(ip_address(value))
        refuse("not_an_address", "Write an IPv4 or IPv6 address: 203.0.113.7 or 2001:db8::7.")


class Flag(fields.Field[bool]):
    """JSON true or false; marshmallow's own also takes "yes" and 1."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            refuse("not_a_boolean", "Write true or false.")
        return value


def is_shop_id(text: str) -> bool:
    """Whether a text could be an id given by the shop."""
    return _SHOP_ID.fullmatch(text) is not None


def shop_id(text: str, field: str) -> str:
    """An id out of the path; raises Invalid naming the field."""
    try:
        return str(ShopId().deserialize(text))
    except ValidationError as error:
        raise Invalid(errors=list(field_errors(error.messages, field))) from None


def load(schema: Schema, document: Any) -> Any:
    """Read a document outside a request's own parser; raises Invalid with each field."""
    if not isinstance(document, Mapping):
        raise Invalid("A JSON object is needed here.")
    try:
        return schema.load(document)
    except ValidationError as error:
        raise Invalid(errors=list(field_errors(error.messages))) from None


def money_json(value: Money) -> dict[str, str]:
    """Money as the API writes it; may be negative and have up to six digits."""
    return {"amount": value.decimal, "currency": value.currency}


def moment_json(value: datetime) -> str:
    """RFC 3339 in UTC with Z; fractions of a second only where there are any."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
