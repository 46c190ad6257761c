"""A webhook's body as plain values: read, stripped of what nobody here needs, looked into (pure).

Numbers with a fraction stay the texts that they were: no float touches money. Addresses of buyers
become their SHA-256 before anything is stored, and of the systems that we know only what the rules
read is kept at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from affiliate.core.errors import Invalid, Malformed
from affiliate.core.money import Money, MoneyError, exponent

DEPTH_MAX: Final = 40
INTEGER_DIGITS_MAX: Final = 18
TOKENS_MAX: Final = 20
TOKEN_CHARS_MAX: Final = 120
VISITOR_CHARS_MAX: Final = 64
HASHED: Final = "sha256:"
"""Before the SHA-256 that stands where an address stood."""
_ADDRESS: Final = re.compile(r"[^\s@<>\"',;:]{1,64}@[^\s@<>\"',;:]{1,190}\.[^\s@<>\"',;:.]{2,63}")
_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})")
_AMOUNT: Final = re.compile(r"(-?)((?a:[0-9]{1,13}))(?:\.((?a:[0-9]{1,20})))?")

Body = Mapping[str, Any]


def read(raw: bytes) -> dict[str, Any]:
    """The object of a body. Raises Malformed."""
    try:
        found = json.loads(
            raw.decode("utf-8"), parse_float=str, parse_int=_integer, parse_constant=_constant
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise Malformed("The body is signed, but it is no JSON.") from None
    if not isinstance(found, dict):
        raise Malformed("The body is signed, but it is no JSON object.")
    return dict(_clean(found, DEPTH_MAX))


def kept(body: Body, paths: Tree) -> dict[str, Any]:
    """The part of a body that the paths name; lists are gone through."""
    return {name: _part(body[name], below) for name, below in paths.items() if name in body}


Tree = dict[str, Any]


def tree(names: str) -> Tree:
    """`"id customer.email items.sku"` as what `kept` reads."""
    found: Tree = {}
    for name in names.split():
        here = found
        for part in name.split("."):
            here = here.setdefault(part, {})
    return found


def at(body: Any, path: str) -> Any:
    """What stands under a dotted path; None where nothing does."""
    for part in path.split("."):
        if not isinstance(body, Mapping):
            return None
        body = body.get(part)
    return body


def listed(body: Any, path: str) -> list[Any]:
    """The objects of a list; none where there is no list."""
    found = at(body, path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def text(body: Any, path: str) -> str:
    """A text or whole number, as text; empty where there is none."""
    found = at(body, path)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return str(found)


def needed(body: Any, path: str) -> str:
    """A text that has to be there. Raises Invalid."""
    found = text(body, path)
    if not found:
        raise Invalid.field(path, "required", "It is missing.")
    return found


def amount(body: Any, path: str, currency: str, *, needs: bool = False) -> Money:
    """A decimal amount, zero where there is none. Raises Invalid.

    Zeros beyond the currency's digits say nothing; other digits there are refused.
    """
    found = text(body, path)
    if not found:
        if needs:
            raise Invalid.field(path, "required", "It is missing.")
        return Money.zero(currency)
    return money(found, currency, path)


def money(found: str, currency: str, path: str) -> Money:
    """A decimal text of either sign as money. Raises Invalid."""
    shape = _AMOUNT.fullmatch(found.strip())
    try:
        if shape is None:
            raise MoneyError("not_a_decimal", 'Write the amount as a decimal string: "19.99".')
        sign, whole, fraction = shape.groups()
        fraction = (fraction or "").rstrip("0")
        digits = exponent(currency)
        plain = f"{whole}.{fraction.ljust(digits, '0')}" if fraction else whole
        value = Money.parse(plain, currency)
    except MoneyError as error:
        where = "currency" if error.code == "unknown_currency" else path
        raise Invalid.field(where, error.code, error.message) from None
    return -value if sign else value


def money_document(value: Money) -> dict[str, str]:
    """As the API takes it."""
    return {"amount": value.decimal, "currency": value.currency}


def moment(body: Any, path: str, *, zone: str = "") -> datetime:
    """A moment in ISO 8601; `zone` is added to one without. Raises Invalid."""
    found = needed(body, path)
    try:
        said = datetime.fromisoformat(found)
        if said.tzinfo is None and zone:
            said = datetime.fromisoformat(found + zone)
        if said.tzinfo is None:
            raise ValueError
        return said.astimezone(UTC)
    except (ValueError, OverflowError):
        message = "Write the time as RFC 3339 with its zone: 2026-11-21T10:15:00Z"
        raise Invalid.field(path, "not_a_moment", message) from None


def seconds(body: Any, path: str) -> datetime:
    """A moment in seconds since 1970. Raises Invalid."""
    found = at(body, path)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 10**11:
        raise Invalid.field(path, "not_a_moment", "Write seconds since 1970.")
    return datetime.fromtimestamp(found, UTC)


def moment_text(at_: datetime) -> str:
    """As the API takes it."""
    return at_.isoformat()


def email_sha256(found: str) -> str | None:
    """The SHA-256 of a buyer's address, which `read` has hashed; None for anything else."""
    hashed = _HASHED.fullmatch(found)
    return hashed[1] if hashed else None


def tokens(found: str) -> list[str]:
    """Click tokens out of what the cookie `kopeck_clicks` held: joined by `|`, maybe escaped."""
    parts = [part.strip() for part in found.replace("%7C", "|").replace("%7c", "|").split("|")]
    return [part for part in parts if part and len(part) <= TOKEN_CHARS_MAX][-TOKENS_MAX:]


def evidence(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`clicks` and `visitor` out of named values: `kopeck_clicks`, `_kopeck_visitor`."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        plain = name.lstrip("_")
        if plain == "kopeck_clicks" and (brought := tokens(value)):
            found["clicks"] = brought
        elif plain == "kopeck_visitor" and value:
            found["visitor"] = value[:VISITOR_CHARS_MAX]
    return found


def customer(id_: str, email: str) -> dict[str, str] | None:
    """The buyer as the API takes them; None where nothing is known."""
    hashed = email_sha256(email)
    found = {**({"id": id_} if id_ else {}), **({"email_sha256": hashed} if hashed else {})}
    return found or None


def _part(value: Any, below: Tree) -> Any:
    if not below:
        return value
    if isinstance(value, list):
        return [_part(each, below) for each in value if isinstance(each, dict)]
    return kept(value, below) if isinstance(value, dict) else None


def _clean(value: Any, depth: int) -> Any:
    if depth == 0:
        raise Malformed("The body is signed, but nested too deeply.")
    if isinstance(value, dict):
        return {_plain(name): _clean(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, depth - 1) for each in value]
    return _without_addresses(_plain(value)) if isinstance(value, str) else value


def _plain(value: str) -> str:
    """What PostgreSQL's documents can hold: no NUL, no half surrogates."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def _without_addresses(value: str) -> str:
    if "@" not in value:
        return value
    bare = value.strip()
    if _ADDRESS.fullmatch(bare):
        return HASHED + hashlib.sha256(bare.lower().encode()).hexdigest()
    return _ADDRESS.sub("…", value)


def _integer(digits: str) -> int | str:
    """A longer number stays the text that it was: it is an id of somebody's."""
    return int(digits) if len(digits.lstrip("-")) <= INTEGER_DIGITS_MAX else digits


def _constant(_found: str) -> Any:
    """NaN and Infinity, which are no JSON."""
    raise Malformed("The body is signed, but it is no JSON.")
