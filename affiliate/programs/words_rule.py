"""What a page shows of one rule, and words that several rules share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from affiliate.core.pages import moment, money, percent
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


def span_in_words(begins: datetime | None, ends: datetime | None) -> str:
    """Both instants, the last of them outside."""
    if begins is not None and ends is not None:
        return _("from %(begins)s until before %(ends)s", begins=moment(begins), ends=moment(ends))
    if begins is not None:
        return _("from %(begins)s on", begins=moment(begins))
    return _("until before %(ends)s", ends=moment(ends)) if ends is not None else ""
