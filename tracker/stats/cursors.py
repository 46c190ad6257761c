"""Where a page of rows ended, as an opaque text that is checked when it comes back (pure).

It carries the last row's key and what it was sorted by, with a mark of the question that it
belongs to. It is no secret and gives nothing: every question is authorised anew.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from affiliate.core.errors import Invalid
from tracker.stats.rules import By, Sort
from tracker.stats.sql import KEY_TYPES, After, Asked

CHARS_MAX: Final = 4_000
_BIGINT_MAX: Final = 2**63 - 1


def write(after: After | None, asked: Asked, sort: Sort) -> str | None:
    """The text that asks for the next page; none where there is none."""
    if after is None:
        return None
    document = [_mark(asked, sort), after.value, after.key]
    raw = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(text: str | None, asked: Asked, sort: Sort, *, field: str = "after") -> After | None:
    """What `write` wrote for this very question; Invalid naming the field for anything else."""
    if not text:
        return None
    try:
        raw = urlsafe_b64decode(text[:CHARS_MAX].encode("ascii") + b"=" * (-len(text) % 4))
        mark, value, key = json.loads(raw)
        right = mark == _mark(asked, sort) and _is_number(value) and _is_key(asked.by, key)
    except (ValueError, TypeError, RecursionError):
        right = False
    if not right:
        raise Invalid.field(
            field, "not_a_cursor", "Take it from `next` of an answer to the same question."
        )
    return After(value, key)


def _mark(asked: Asked, sort: Sort) -> str:
    """Changes with anything that changes which rows there are, or their order."""
    told = repr((asked.scope, asked.period, asked.by.value, asked.only, sort.value))
    return blake2b(told.encode(), digest_size=6).hexdigest()


def _is_key(by: By, key: Any) -> bool:
    return _KEYS[KEY_TYPES[by]](key)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _BIGINT_MAX


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value and bool(value.encode() or value == "")


_KEYS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "bigint": _is_number,
    "text": _is_text,
    "date": lambda _: False,
    "timestamptz": lambda _: False,
}
"""Days and hours come all at once and have no cursor."""
