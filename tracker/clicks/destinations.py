"""Where a click goes: the destination with its token, deep links, sub-ids (pure).

Which addresses a deep link may lead to is affiliate.links.destinations' to say, for links
that are made as for clicks. Nothing of a refused one is reflected.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote_to_bytes

from affiliate.links.destinations import (
    deep_link as deep_link,  # noqa: PLC0414 -- the one rule, offered here to the front
)

TOKEN_PARAMETER: Final = "kpk"  # noqa: S105 -- the name of a parameter, no secret
SUB_IDS: Final = ("s1", "s2", "s3", "s4", "s5")
SUB_ID_CHARS_MAX: Final = 100
QUERY_CHARS_MAX: Final = 4096
PARAMETERS_MAX: Final = 100
CREATIVE_PARAMETER: Final = "cr"
CREATIVE_CHARS_MAX: Final = 40
_WANTED = frozenset((*SUB_IDS, CREATIVE_PARAMETER, "to"))
_CREATIVE_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class BadQuery(Enum):
    """Why a query cannot be read at all."""

    TOO_LONG = 414
    LINE_BREAK = 400


@dataclass(frozen=True, slots=True)
class ClickQuery:
    """What a link's address may carry beside its code; None is absent."""

    to: str | None
    sub_ids: tuple[str | None, ...]
    creative: str | None = None
    """The promo material that was clicked, by its code; anything that is no code is absent."""


def read_query(text: str) -> ClickQuery | BadQuery:
    """Read ``to``, ``s1…s5`` and ``cr``; the first of equal names wins, other names are ignored.

    ``text`` is QUERY_STRING as WSGI gives it (bytes as Latin-1, still percent-encoded).
    Too long or too many is TOO_LONG; a line break in a value we use is LINE_BREAK. Other
    control characters, bad UTF-8 and NUL are taken out of sub-ids; the click goes on.
    """
    if len(text) > QUERY_CHARS_MAX or text.count("&") >= PARAMETERS_MAX:
        return BadQuery.TOO_LONG
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name in _WANTED and name not in found:
            raw = unquote_to_bytes(value.replace("+", " ").encode("latin-1", "replace"))
            if b"\r" in raw or b"\n" in raw:
                return BadQuery.LINE_BREAK
            found[name] = raw.decode("utf-8", "replace")
    sub_ids = tuple(clean_sub_id(found.get(name)) for name in SUB_IDS)
    creative = found.get(CREATIVE_PARAMETER, "")
    known = len(creative) <= CREATIVE_CHARS_MAX and _CREATIVE_CHARS.issuperset(creative)
    return ClickQuery(found.get("to"), sub_ids, creative if known and creative else None)


def clean_sub_id(text: str | None) -> str | None:
    """A sub-id without control, invisible and undecodable characters, cut to its limit."""
    if not text:
        return None
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            char for char in text if char != "\ufffd" and unicodedata.category(char)[0] != "C"
        )
    return text.strip()[:SUB_ID_CHARS_MAX] or None


def split_destination(url: str) -> tuple[str, str]:
    """The two halves between which the token stands: ``prefix + token + suffix``.

    Query and fragment are kept; a token that the destination already carries is taken out.
    """
    rest, hash_sign, fragment = url.partition("#")
    base, _, query = rest.partition("?")
    pairs = [
        pair for pair in query.split("&") if pair and pair.partition("=")[0] != TOKEN_PARAMETER
    ]
    if "/" not in base.partition("://")[2]:
        base += "/"
    pairs.append(f"{TOKEN_PARAMETER}=")
    return base + "?" + "&".join(pairs), hash_sign + fragment
