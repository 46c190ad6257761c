"""Claims and appeals in words, the same for affiliates and for those who decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from babel.dates import format_date
from flask_babel import get_locale

from tracker.claims.models import Claim
from tracker.claims.rules import Ground, Kind, Remedy, Status
from tracker.desks.words import _

TONES: Final = {
    Status.OPEN: "info",
    Status.ANSWERED: "success",
    Status.ACCEPTED: "success",
    Status.DECLINED: "neutral",
    Status.WITHDRAWN: "neutral",
}


def status(code: str) -> str:
    """Where a case stands, in a word."""
    return STATUSES[Status(code)]()


def tone(code: str) -> str:
    """How a page colours it."""
    return TONES[Status(code)]


def about(claim: Claim, order_id: str | None = None) -> str:
    """What a case is about, as its title; `order_id`: the number of an appeal's order."""
    if claim.kind == Kind.MISSING_ORDER:
        return _("Missing order %(order)s", order=claim.order_id)
    if claim.click_id is not None:
        return _("Objection about a click")
    return _("Objection about order %(order)s", order=order_id or "—")


def ground(code: str) -> str:
    """What an appeal objects to."""
    return GROUNDS[Ground(code)]()


def plain_day(value: date) -> str:
    """A day as people write it: `21 Nov 2026`."""
    return str(format_date(value, "d MMM yyyy", locale=get_locale()))


STATUSES: Mapping[Status, Callable[[], str]] = {
    Status.OPEN: lambda: _("open"),
    Status.ANSWERED: lambda: _("answered"),
    Status.ACCEPTED: lambda: _("accepted"),
    Status.DECLINED: lambda: _("declined"),
    Status.WITHDRAWN: lambda: _("withdrawn"),
}
GROUNDS: Mapping[Ground, Callable[[], str]] = {
    Ground.HELD: lambda: _("the order waits for a person"),
    Ground.TAKEN_BACK: lambda: _("the commission was taken back"),
    Ground.NOT_CREDITED: lambda: _("a click or coupon was not credited with the order"),
    Ground.EARNED_NOTHING: lambda: _("the order earned nothing"),
    Ground.REFUNDED: lambda: _("a refund took commission back"),
    Ground.CLICK_NOT_COUNTED: lambda: _("the click was not counted"),
}
CHANGED: Mapping[Remedy, Callable[[], str]] = {
    Remedy.RELEASE: lambda: _("The order was released."),
    Remedy.OVERTURN: lambda: _("The click stands after all; the order was decided anew."),
    Remedy.ASSIGN: lambda: _("The order was given to the affiliate."),
    Remedy.CLEAR_CLICK: lambda: _(
        "The click counts now; orders that it was refused for were decided anew."
    ),
}
"""What was done for an accepted case."""
