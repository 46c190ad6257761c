"""What an application says for and against itself: points with a reason each. Pure.

The sum helps to look at the right one first; a person decides.
Rule: docs/decisions/0032-screening.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from affiliate.people.applications import Audience

POINTS_MAX: Final = 100
FULL_CHARS: Final = 300
SOME_CHARS: Final = 100


class Signal(StrEnum):
    """One thing that an application shows."""

    AUDIENCE = "audience"
    VERIFIED = "verified"
    SITE = "site"
    OWN_DOMAIN = "own_domain"
    """The address is of the site that they name."""
    TOLD_IN_FULL = "told_in_full"
    TOLD_SOME = "told_some"
    RECRUITED = "recruited"
    SITE_KNOWN = "site_known"
    """Somebody else named the same site."""
    TAKES_CREDIT = "takes_credit"
    """Coupons or cashback: often the last click of a buyer whom somebody else brought."""


POINTS: Final[Mapping[Signal, int]] = {
    Signal.VERIFIED: 15,
    Signal.SITE: 15,
    Signal.OWN_DOMAIN: 10,
    Signal.TOLD_IN_FULL: 20,
    Signal.TOLD_SOME: 10,
    Signal.RECRUITED: 10,
    Signal.SITE_KNOWN: -30,
    Signal.TAKES_CREDIT: -10,
}
AUDIENCE_POINTS: Final[Mapping[str, int]] = {
    Audience.UNDER_1000.value: 5,
    Audience.UNDER_10000.value: 15,
    Audience.UNDER_100000.value: 25,
    Audience.MORE.value: 30,
}
_CREDIT_TAKERS: Final = frozenset({"coupons", "cashback"})


@dataclass(frozen=True, slots=True)
class Seen:
    """A signal and its points."""

    signal: Signal
    points: int


@dataclass(frozen=True, slots=True)
class Screening:
    """Every signal of an application."""

    seen: tuple[Seen, ...]

    @property
    def points(self) -> int:
        """0 to 100."""
        return min(POINTS_MAX, max(0, sum(one.points for one in self.seen)))


def screen(
    answers: Mapping[str, Any],
    *,
    email: str,
    verified: bool,
    recruited: bool,
    site_known: bool,
) -> Screening:
    """Look at the answers (`applications.Answers.document`) and at who sent them.

    `site_known`: another enrollment of the program has the same site (`site_of`).
    """
    seen = []
    audience = AUDIENCE_POINTS.get(str(answers.get("audience", "")))
    if audience is not None:
        seen.append(Seen(Signal.AUDIENCE, audience))
    site = site_of(answers)
    told = len(" ".join(str(answers.get("how", "")).split()))
    shown = {
        Signal.VERIFIED: verified,
        Signal.SITE: bool(site),
        Signal.OWN_DOMAIN: bool(site) and _is_of(email, site),
        Signal.TOLD_IN_FULL: told >= FULL_CHARS,
        Signal.TOLD_SOME: SOME_CHARS <= told < FULL_CHARS,
        Signal.RECRUITED: recruited,
        Signal.SITE_KNOWN: bool(site) and site_known,
        Signal.TAKES_CREDIT: bool(_CREDIT_TAKERS & set(answers.get("channels", ()))),
    }
    seen += [Seen(signal, POINTS[signal]) for signal, is_so in shown.items() if is_so]
    return Screening(tuple(seen))


def site_of(answers: Mapping[str, Any]) -> str:
    """The host and path that the applicant named, as it is compared; "" without one.

    Of `https://www.Lamps.example/blog/` it is `lamps.example/blog`: on hosts that many share
    the path says whose it is.
    """
    try:
        parts = urlsplit(str(answers.get("site", "") or ""))
        host = (parts.hostname or "").removeprefix("www.").rstrip(".")
    except ValueError:
        return ""
    return host + parts.path.rstrip("/").lower() if host else ""


def _is_of(email: str, site: str) -> bool:
    domain, host = email.rpartition("@")[2].lower(), site.partition("/")[0]
    return "." in domain and (host == domain or host.endswith("." + domain))
