"""The figures by name: what each is called and what it means, told in one place for all.

Pages show the meaning beside the figure, files have the name in their head, and
docs/statistics.md says the same at length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from flask_babel import lazy_gettext as _

from affiliate.core.money import Money
from tracker.clicks.rules import DropReason
from tracker.stats.figures import Figures
from tracker.stats.rules import By


class Unit(StrEnum):
    COUNT = "count"
    MONEY = "money"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class FigureName:
    """One figure: where it is read, what it is called, what it means."""

    name: str
    """In files and over the API."""
    label: Any
    meaning: Any
    unit: Unit
    of: Callable[[Figures], int | Money | None]


FIGURES: Final = (
    FigureName(
        "clicks",
        _("Clicks"),
        _("Followed links that count: no robot, no preview, no repeat within 30 seconds."),
        Unit.COUNT,
        lambda f: f.clicks,
    ),
    FigureName(
        "uniques",
        _("Unique"),
        _("Different visitors of a link on a day, among those clicks."),
        Unit.COUNT,
        lambda f: f.uniques,
    ),
    FigureName(
        "duplicates",
        _("Repeats"),
        _("The same visitor on the same link within 30 seconds. They credit and do not count."),
        Unit.COUNT,
        lambda f: f.duplicates,
    ),
    FigureName(
        "dropped",
        _("Left out"),
        _("Clicks that do not count for another reason; each has its own."),
        Unit.COUNT,
        lambda f: f.dropped,
    ),
    FigureName(
        "orders",
        _("Orders"),
        _("Orders credited, also those that earned nothing; cancelled ones not."),
        Unit.COUNT,
        lambda f: f.orders,
    ),
    FigureName(
        "order_value",
        _("Order value"),
        _("Net amount of those orders before refunds: without shipping, fees and tax."),
        Unit.MONEY,
        lambda f: f.value,
    ),
    FigureName(
        "average_order",
        _("Average order"),
        _("Order value ÷ orders."),
        Unit.MONEY,
        lambda f: f.average_order,
    ),
    FigureName(
        "earned",
        _("Earned"),
        _("Commission of the sales themselves after refunds, pending and released alike."),
        Unit.MONEY,
        lambda f: f.earned,
    ),
    FigureName(
        "pending",
        _("Pending"),
        _("Of what was earned: still in its hold period, or waiting for something."),
        Unit.MONEY,
        lambda f: f.level_1.pending,
    ),
    FigureName(
        "released",
        _("Released"),
        _("Of what was earned: part of the balance, or paid out since."),
        Unit.MONEY,
        lambda f: f.level_1.released,
    ),
    FigureName(
        "reversed",
        _("Taken back"),
        _("What refunds have taken back of it."),
        Unit.MONEY,
        lambda f: f.level_1.reversed,
    ),
    FigureName(
        "earned_level_2",
        _("Earned at level 2"),
        _("Commission of recruits' sales after refunds, pending and released alike."),
        Unit.MONEY,
        lambda f: f.earned_level_2,
    ),
    FigureName(
        "pending_level_2",
        _("Pending at level 2"),
        _("Of what was earned at level 2: not released yet."),
        Unit.MONEY,
        lambda f: f.level_2.pending,
    ),
    FigureName(
        "released_level_2",
        _("Released at level 2"),
        _("Of what was earned at level 2: released."),
        Unit.MONEY,
        lambda f: f.level_2.released,
    ),
    FigureName(
        "reversed_level_2",
        _("Taken back at level 2"),
        _("What refunds have taken back of level 2."),
        Unit.MONEY,
        lambda f: f.level_2.reversed,
    ),
    FigureName(
        "epc",
        _("EPC"),
        _("Earnings per click: earned ÷ clicks."),
        Unit.MONEY,
        lambda f: f.epc,
    ),
    FigureName(
        "conversion_ppm",
        _("Conversion"),
        _("Orders ÷ clicks."),
        Unit.RATE,
        lambda f: f.conversion_ppm,
    ),
    FigureName(
        "reversal_ppm",
        _("Reversal rate"),
        _("Commission that refunds took back ÷ commission before refunds."),
        Unit.RATE,
        lambda f: f.reversal_ppm,
    ),
    FigureName(
        "approval_ppm",
        _("Approval rate"),
        _("Orders released ÷ orders decided: released, cancelled or refused."),
        Unit.RATE,
        lambda f: f.approval_ppm,
    ),
)
FIGURE: Final = {figure.name: figure for figure in FIGURES}

DIMENSIONS: Final = {
    By.DAY: _("Day"),
    By.HOUR: _("Hour"),
    By.LINK: _("Link"),
    By.AFFILIATE: _("Affiliate"),
    By.S1: "s1",
    By.S2: "s2",
    By.S3: "s3",
    By.S4: "s4",
    By.S5: "s5",
    By.CREATIVE: _("Creative"),
    By.COUNTRY: _("Country"),
    By.DEVICE: _("Device"),
    By.DROP_REASON: _("Left out"),
    By.COUPON: _("Coupon"),
}

DEVICES: Final = {
    "desktop": _("Computer"),
    "mobile": _("Phone"),
    "tablet": _("Tablet"),
    "other": _("Other or unknown"),
}

DROPPED: Final = {
    DropReason.LINK_DISABLED: _("The link was switched off before."),
    DropReason.AFFILIATE_INACTIVE: _("The membership was not active."),
    DropReason.PROGRAM_CLOSED: _("The program had closed."),
    DropReason.HEAD_REQUEST: _("Somebody checked the link without following it."),
    DropReason.PREFETCH: _("The browser fetched the page ahead; nobody has seen it."),
    DropReason.FRAMED: _("It was loaded inside a frame of another page."),
    DropReason.SUBRESOURCE: _("It was loaded as an image or by a script: not a visit."),
    DropReason.EMPTY_AGENT: _("No browser named itself."),
    DropReason.LINK_PREVIEW: _("A messenger or network fetched a preview."),
    DropReason.BOT: _("A crawler or a tool, by its own name."),
    DropReason.DUPLICATE: _("A repeat within 30 seconds: it credits and is not counted again."),
    DropReason.FLOOD: _("More from one place than people click; its orders wait for a person."),
}
"""Why clicks were left out, in words."""
