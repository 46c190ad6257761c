"""What can be asked of the counters, and what cannot (pure). Rule: docs/statistics.md.

There is a counter for each question and no cube. A question that none of them answers
exactly is refused; nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from affiliate.core.errors import Invalid, Phrase
from tracker.clicks.rules import CountedBy, DeviceClass

HOURS_DAYS_MAX: Final = 31
"""The longest period that is asked by hour."""


class By(StrEnum):
    """By what figures are told apart; closed."""

    DAY = "day"
    HOUR = "hour"
    LINK = "link"
    AFFILIATE = "affiliate"
    S1 = "s1"
    S2 = "s2"
    S3 = "s3"
    S4 = "s4"
    S5 = "s5"
    CREATIVE = "creative"
    COUNTRY = "country"
    DEVICE = "device"
    DROP_REASON = "drop_reason"
    COUPON = "coupon"

    @property
    def kind(self) -> CountedBy | None:
        """The counter of values that answers it."""
        return CountedBy(self.value) if self.value in _KINDS else None


_KINDS: Final = frozenset(CountedBy)
SUB_ID_KINDS: Final = frozenset(
    {CountedBy.S1, CountedBy.S2, CountedBy.S3, CountedBy.S4, CountedBy.S5}
)
IN_ORDER: Final = frozenset({By.DAY, By.HOUR})
"""Time goes forward and has no pages."""


class Sort(StrEnum):
    """The order of rows; largest first, but for the key."""

    KEY = "key"
    CLICKS = "clicks"
    ORDERS = "orders"
    EARNED = "earned"


class CannotCombine(Invalid):
    code = "cannot_combine"
    title = "No counter answers this combination."

    @classmethod
    def of(cls, field: str, message: str) -> CannotCombine:
        found = cls.field(field, "cannot_combine", message)
        assert isinstance(found, CannotCombine)
        return found


@dataclass(frozen=True, slots=True)
class Filter:
    """Only clicks of this link, with this value, of this device, and orders credited to them."""

    link_id: int | None = None
    kind: CountedBy | None = None
    value: str = ""
    device: DeviceClass | None = None

    @property
    def of_clicks(self) -> bool:
        """Whether an order must be seen through its click."""
        return bool(self.link_id is not None or self.kind or self.device)


EVERYTHING: Final = Filter()


def require_answerable(by: By, wanted: Filter, *, one_affiliate: bool, days: int) -> None:
    """Refuse what no counter answers; CannotCombine names the field and what would do."""
    if by is By.HOUR and days > HOURS_DAYS_MAX:
        raise Invalid.field(
            "from",
            "too_long",
            Phrase("By hour, ask for at most %(days)s days at once.", days=HOURS_DAYS_MAX),
        )
    if wanted.kind and wanted.device:
        raise CannotCombine.of(
            "device",
            Phrase(
                "Clicks are not counted by %(kind)s and device together.", kind=wanted.kind.value
            ),
        )
    if by in (By.COUPON, By.AFFILIATE) and wanted.of_clicks:
        field = _field(wanted)
        raise CannotCombine.of(
            field,
            Phrase("Figures by %(by)s cannot be filtered by %(field)s.", by=by.value, field=field),
        )
    if wanted.kind and by not in (By.DAY, By.LINK):
        raise CannotCombine.of(
            wanted.kind.value,
            Phrase("Filtered by %(kind)s, ask by day or by link.", kind=wanted.kind.value),
        )
    if wanted.device and by not in (By.DAY, By.LINK):
        raise CannotCombine.of("device", "Filtered by device, ask by day or by link.")
    asked = by.kind or wanted.kind
    if asked and not one_affiliate and (asked in SUB_ID_KINDS or by is By.LINK):
        raise CannotCombine.of(
            "affiliate",
            Phrase(
                "Name an affiliate to ask about %(kind)s: it is theirs alone.", kind=asked.value
            ),
        )


def _field(wanted: Filter) -> str:
    if wanted.link_id is not None:
        return "link"
    return wanted.kind.value if wanted.kind else "device"
