"""What a page shows of one rule, and words that several rules share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from flask_babel import get_locale

from affiliate.core.pages import money, percent
from affiliate.programs.language import _, ngettext
from affiliate.programs.terms import Fixed, Percent, Rate, Who


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing an affiliate wants to know: the question, the answer, and its particulars."""

    key: str
    icon: str
    question: str
    answer: str
    points: tuple[str, ...] = ()
    """Sentences below the answer, one each."""
    table: tuple[tuple[str, str], ...] = ()
    """Two columns below the answer: from which volume on, which rate."""


def rate_in_words(rate: Rate) -> str:
    """`10% of the net`."""
    if isinstance(rate, Percent):
        return _("%(rate)s of the net", rate=percent(rate.rate_ppm))
    if isinstance(rate, Fixed):
        return _("%(amount)s for an order", amount=money(rate.amount))
    return _("%(amount)s for each piece", amount=money(rate.amount))


def who_in_words(who: Who) -> str:
    """Groups by their names; affiliates by their number, as they are nobody else's business."""
    said = []
    if who.groups:
        groups = ", ".join(sorted(who.groups))
        said.append(
            ngettext("for the group %(groups)s", "for the groups %(groups)s", len(who.groups),
                     groups=groups)
        )  # fmt: skip
    if who.enrollments:
        said.append(
            ngettext(
                "for %(num)s affiliate with whom it was agreed",
                "for %(num)s affiliates with whom it was agreed",
                len(who.enrollments),
            )
        )
    return "; ".join(said)


def span_in_words(begins: datetime | None, ends: datetime | None, zone: str) -> str:
    """Both instants in the program's zone, which is named; the last of them is outside."""
    first, last = _local(begins, zone), _local(ends, zone)
    if first and last:
        return _(
            "from %(begins)s until before %(ends)s, %(zone)s", begins=first, ends=last, zone=zone
        )
    if first:
        return _("from %(begins)s on, %(zone)s", begins=first, zone=zone)
    return _("until before %(ends)s, %(zone)s", ends=last, zone=zone) if last else ""


def _local(at: datetime | None, zone: str) -> str:
    if at is None:
        return ""
    local = at.astimezone(ZoneInfo(zone))
    return str(format_datetime(local, "d MMM yyyy, HH:mm", locale=get_locale()))
