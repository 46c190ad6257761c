"""What a shop's own domain remembers of clicks, in cookies set by the server (pure).

The pixel keeps the same cookies by script. Where the shop hands a path on to Kopeck, the answer
there sets them again, because browsers cap what scripts set at seven days.
Docs: docs/integration.md, "Cookies set by the server".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tracker.clicks.tokens import TOKENS_KEPT_MAX

CLICKS_COOKIE: Final = "kopeck_clicks"
VISITOR_COOKIE: Final = "kopeck_visitor"
KEEP_DAYS: Final = 400
"""As long as browsers keep any cookie (RFC 6265bis, 5.5)."""
DAY_S: Final = 86_400
_TOKEN: Final = re.compile(r"[\w.~-]{16,120}", re.ASCII)
_VISITOR: Final = re.compile(r"[\w-]{16,64}", re.ASCII)
_DOMAIN: Final = re.compile(r"\.?(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,63}")


@dataclass(frozen=True, slots=True)
class Kept:
    """Tokens, oldest first, and the visitor; empty where there is none."""

    clicks: tuple[str, ...] = ()
    visitor: str = ""

    def and_of(self, other: Kept) -> Kept:
        """These, then what the other one knows besides; the visitor who was known first stays."""
        both = tuple(dict.fromkeys((*self.clicks, *other.clicks)))
        return Kept(both[-TOKENS_KEPT_MAX:], self.visitor or other.visitor)


@dataclass(frozen=True, slots=True)
class Cookie:
    """One Set-Cookie. No value: the browser forgets it."""

    name: str
    value: str
    domain: str | None
    http_only: bool
    secure: bool

    @property
    def max_age_s(self) -> int:
        return KEEP_DAYS * DAY_S if self.value else 0


def kept_in(cookies: Mapping[str, str]) -> Kept:
    """What a request's cookies say; anything misspelt is passed over."""
    return kept_of(cookies.get(CLICKS_COOKIE, "").split("|"), cookies.get(VISITOR_COOKIE, ""))


def kept_of(clicks: Any, visitor: Any) -> Kept:
    """The same of what a page says."""
    texts = [each for each in clicks if isinstance(each, str)] if isinstance(clicks, list) else []
    tokens = tuple(dict.fromkeys(each for each in texts if _TOKEN.fullmatch(each)))
    known = isinstance(visitor, str) and _VISITOR.fullmatch(visitor) is not None
    return Kept(tokens[-TOKENS_KEPT_MAX:], visitor if known else "")


def kept_in_address(address: str) -> Kept:
    """The click tokens of a shop page's address, for pages on which no script runs."""
    try:
        query = parse_qs(urlsplit(address).query, max_num_fields=100)
    except ValueError:
        return Kept()
    return kept_of(query.get("kpk", []), "")


def cookies_for(
    kept: Kept | None, *, domain: Any, http_only: bool, secure: bool
) -> Sequence[Cookie]:
    """The Set-Cookies that keep it; None: those that forget everything.

    A domain that is none is left out; whether it is the shop's, the browser judges.
    """
    shared = domain if isinstance(domain, str) and _DOMAIN.fullmatch(domain) else None
    values = {
        CLICKS_COOKIE: "|".join(kept.clicks) if kept else "",
        VISITOR_COOKIE: kept.visitor if kept else "",
    }
    return [
        Cookie(name, value, shared, http_only, secure)
        for name, value in values.items()
        if value or kept is None
    ]
