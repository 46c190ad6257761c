"""What a click can be worth: the reasons to drop one, the verdict, duplicates (pure).

Rules: docs/rules.md, "Which clicks count".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

DUPLICATE_WINDOW_S: Final = 30
"""A repeat of the same visitor on the same link within this time is a duplicate."""


class DropReason(StrEnum):
    """Why a click does not count as one; closed, shown to affiliates and stored in rows."""

    LINK_DISABLED = "link_disabled"
    """The link was switched off before the click."""
    AFFILIATE_INACTIVE = "affiliate_inactive"
    """The affiliate was suspended, rejected or had left the program."""
    PROGRAM_CLOSED = "program_closed"
    """The program had closed and its notice period was over."""
    HEAD_REQUEST = "head_request"
    """A HEAD request: somebody checked the link, nobody followed it."""
    PREFETCH = "prefetch"
    """The browser fetched or rendered the page ahead; nobody has seen it."""
    FRAMED = "framed"
    """Loaded inside a frame of another page: nobody chose to go there."""
    SUBRESOURCE = "subresource"
    """Loaded as an image, a script or by script: not a visit."""
    EMPTY_AGENT = "empty_agent"
    """No browser named itself."""
    LINK_PREVIEW = "link_preview"
    """A messenger or network fetched the link to show a preview of it."""
    BOT = "bot"
    """A crawler or a tool, by the name that it gives itself."""
    DUPLICATE = "duplicate"
    """A repeat within seconds: it credits like its original and is not counted again."""
    FLOOD = "flood"
    """More from one address or on one affiliate than people click: not counted, and its
    orders wait for a person."""


class DeviceClass(StrEnum):
    """What kind of device a click's agent names; closed, a column of the counters each."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    OTHER = "other"
    """Televisions, consoles, and whatever names itself in no known way."""


class CountedBy(StrEnum):
    """By which values of a click the counters of a day are kept; closed."""

    S1 = "s1"
    S2 = "s2"
    S3 = "s3"
    S4 = "s4"
    S5 = "s5"
    CREATIVE = "creative"
    COUNTRY = "country"


VALUES_PER_LINK_DAY_MAX: Final = 1_000
"""More values of one kind on one link and day are counted together, as OTHER_VALUES."""
OTHER_VALUES: Final = "(other)"

REASON_NUMBERS: Final = {
    reason: number
    for number, reason in enumerate(
        (
            DropReason.LINK_DISABLED,
            DropReason.AFFILIATE_INACTIVE,
            DropReason.PROGRAM_CLOSED,
            DropReason.HEAD_REQUEST,
            DropReason.PREFETCH,
            DropReason.FRAMED,
            DropReason.SUBRESOURCE,
            DropReason.EMPTY_AGENT,
            DropReason.LINK_PREVIEW,
            DropReason.BOT,
            DropReason.DUPLICATE,
            DropReason.FLOOD,
        ),
        start=1,
    )
}
"""The journal's number of each reason; 0 is none. Numbers are never reused: old segments
must stay readable, so a new reason is added at the end."""

REASON_OF_NUMBER: Final = {number: reason for reason, number in REASON_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was finally decided about one recorded click."""

    click_id: UUID
    link_id: int
    clicked_at: datetime
    reason: DropReason | None
    """None for a click that counts."""

    @property
    def credits(self) -> bool:
        """True when an order may be credited to it: it counts, or repeats one that does."""
        return credits(self.reason)


def credits(reason: DropReason | None) -> bool:
    """Whether a click with this reason may be credited with an order."""
    return reason is None or reason is DropReason.DUPLICATE


def needs_review(reason: DropReason | None) -> bool:
    """Whether an order that such a click is credited with waits for a person's word."""
    return reason is DropReason.FLOOD


def is_duplicate(clicked_ms: int, previous_ms: int | None) -> bool:
    """Whether a click repeats one of the same visitor on the same link and day.

    Both are milliseconds since the epoch. Rows of several nodes arrive out of order, so the
    distance counts, not which one came first. The window is closed: exactly
    ``DUPLICATE_WINDOW_S`` apart is still a duplicate.
    """
    return previous_ms is not None and abs(clicked_ms - previous_ms) <= DUPLICATE_WINDOW_S * 1000
