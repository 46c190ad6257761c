"""Deadlines, limits, what may be objected to and what a person can do about it (pure).

Rule: docs/rules.md, "Claims and appeals".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

ANSWER_WORKING_DAYS: Final = 5
"""A case is answered by the end of this many working days after the day it was opened."""
REMIND_BEFORE: Final = timedelta(hours=24)
"""How long before its deadline those who can decide a case are reminded of it."""
APPEAL_DAYS: Final = 30
"""For how long after a decision it may be objected to, the last instant included."""
MISSING_DAYS_BACK_MAX: Final = 90
"""How old an order may be that somebody misses."""
DAYS_APART_MAX: Final = 1
"""Buyer, shop and program live in different time zones: a day is right within one."""
CASES_PER_DAY_MAX: Final = 10
"""Order numbers without an answer that one affiliate may ask about in a day of the program."""
CASES_OPEN_MAX: Final = 30
"""Open cases that one affiliate may have in a program."""
READINGS_MAX: Final = 2
"""How often one thing is looked at: the second time by somebody else, then it is final."""
NOTES_MAX: Final = 20
"""Notes that an affiliate may add to one case."""
TEXT_CHARS_MAX: Final = 1_000
REASON_CHARS_MAX: Final = 500
ORDER_ID_CHARS_MAX: Final = 255
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9._:@#~-]{1,255}")
_SATURDAY: Final = 5


class Kind(StrEnum):
    """What an affiliate asks for."""

    MISSING_ORDER = "missing_order"
    APPEAL = "appeal"


class Status(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    ANSWERED = "answered"
    """It was explained, or solved itself; nothing had to be changed."""
    ACCEPTED = "accepted"
    """A person agreed, and something was changed for it."""
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class Ground(StrEnum):
    """What is objected to."""

    HELD = "held"
    """The order waits for a person."""
    TAKEN_BACK = "taken_back"
    """Its commission was voided."""
    NOT_CREDITED = "not_credited"
    """An own click or coupon was there and did not count."""
    EARNED_NOTHING = "earned_nothing"
    REFUNDED = "refunded"
    """A refund took something back."""
    CLICK_NOT_COUNTED = "click_not_counted"


class Remedy(StrEnum):
    """What accepting a case can change."""

    RELEASE = "release"
    """Let the suspicious click behind the order stand."""
    OVERTURN = "overturn"
    """Let a click stand that a review had declined."""
    ASSIGN = "assign"
    """Give the order to the affiliate."""
    CLEAR_CLICK = "clear_click"
    """Count the click after all, and decide anew the orders that it was refused for."""


@dataclass(frozen=True, slots=True)
class OwnCommission:
    """One of an affiliate's commissions of an order."""

    earned_nothing: bool
    earned_at: datetime
    reversed_at: datetime | None
    """Of the last refund that took something of it."""
    voided_at: datetime | None


@dataclass(frozen=True, slots=True)
class OwnSide:
    """An order as far as one affiliate has a part in it."""

    commissions: tuple[OwnCommission, ...] = ()
    decided_at: datetime | None = None
    """When it was last decided; none: never."""
    candidate: bool = False
    """Whether an own click or coupon was looked at."""
    credited: bool = False
    """Whether the live decision gives them a share."""
    credited_alone: bool = False
    to_review: bool = False
    """Whether it waits for a person's word."""
    declined: bool = False
    """Whether a person's word removed an own click."""
    cancelled: bool = False

    @property
    def has_part(self) -> bool:
        return bool(self.commissions) or self.candidate


@dataclass(frozen=True, slots=True)
class Objection:
    """What there is to object to, and since when."""

    ground: Ground
    since: datetime | None
    """None: it still goes on."""

    def in_time(self, now: datetime) -> bool:
        """Whether it may still be objected to."""
        return self.since is None or now - self.since <= timedelta(days=APPEAL_DAYS)


def due_at(opened_at: datetime, time_zone: str) -> datetime:
    """The end of the fifth working day after the one of the opening, in the program's zone.

    Working days are Monday to Friday; holidays are not known.
    """
    day, left = day_of(opened_at, time_zone), ANSWER_WORKING_DAYS
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < _SATURDAY
    return midnight(day + timedelta(days=1), time_zone)


def day_of(at: datetime, time_zone: str) -> date:
    """The date of an instant where the program lives."""
    return at.astimezone(ZoneInfo(time_zone)).date()


def day_begins(at: datetime, time_zone: str) -> datetime:
    """The first instant of the program's day in which an instant lies."""
    return midnight(day_of(at, time_zone), time_zone)


def day_ends(at: datetime, time_zone: str) -> datetime:
    """The first instant of the program's next day."""
    return midnight(day_of(at, time_zone) + timedelta(days=1), time_zone)


def midnight(day: date, time_zone: str) -> datetime:
    """The first instant of a day where the program lives."""
    return datetime.combine(day, time(), tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def day_matches(day: date, placed_at: datetime, time_zone: str) -> bool:
    """Whether somebody who names this day means an order placed then."""
    return abs((day_of(placed_at, time_zone) - day).days) <= DAYS_APART_MAX


def day_fits(day: date, now: datetime, time_zone: str) -> bool:
    """Whether an order of this day may be missed now; tomorrow has come somewhere already."""
    today = day_of(now, time_zone)
    return -DAYS_APART_MAX <= (today - day).days <= MISSING_DAYS_BACK_MAX


def is_order_id(text: str) -> bool:
    """Whether a shop could have given this order number."""
    return _ORDER_ID.fullmatch(text) is not None


def clean_text(text: str) -> str:
    """What somebody wrote, without characters that hide or turn text; lines stay lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    kept = ["".join(c for c in line if not _hides(c)).strip() for line in lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _hides(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")


def objection(side: OwnSide) -> Objection | None:
    """What an affiliate may object to in an order; None: nothing was refused or taken."""
    if side.to_review and side.credited:
        return Objection(Ground.HELD, None)
    live = [each for each in side.commissions if each.voided_at is None]
    voided = [each.voided_at for each in side.commissions if each.voided_at is not None]
    if not live and voided:
        return Objection(Ground.TAKEN_BACK, max(voided))
    if not live:
        return Objection(Ground.NOT_CREDITED, side.decided_at) if side.candidate else None
    reversed_at = [each.reversed_at for each in live if each.reversed_at is not None]
    if reversed_at:
        return Objection(Ground.REFUNDED, max(reversed_at))
    nothing = [each.earned_at for each in live if each.earned_nothing]
    return Objection(Ground.EARNED_NOTHING, max(nothing)) if nothing else None


def order_remedies(side: OwnSide, *, active: bool) -> tuple[Remedy, ...]:
    """What can be changed about an order for an affiliate; `active`: in the program."""
    if side.cancelled:
        return ()
    found = []
    if side.to_review and side.credited:
        found.append(Remedy.RELEASE)
    if side.declined and not side.credited:
        found.append(Remedy.OVERTURN)
    if active and not side.credited_alone:
        found.append(Remedy.ASSIGN)
    return tuple(found)


def is_final(*, closed_before: int, decided_first: bool) -> bool:
    """Whether a decision has been read as often as it is; the first word of a person is one."""
    return closed_before > 0 and closed_before + decided_first >= READINGS_MAX


def second_reader_needed(*, first_decided_by: int | None, by: int, others: Sequence[int]) -> bool:
    """Whether somebody else has to decide: who decided first reads no objection to it.

    `others` may decide too; where there is nobody, the first reader does, and it shows.
    """
    return first_decided_by == by and any(other != by for other in others)
