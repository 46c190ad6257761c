"""When a payout is due, who is due in it, and what finance approves. Pure.

Rules: docs/rules.md, "Payouts".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from affiliate.core.money import Money

WEEK_DAYS = 7
PERIODS_MAX = 520
"""At most ten years of missed weeks are caught up at once."""
PAYABLE_STATUSES = ("active", "closed")
"""An enrollment that left is still paid what it earned; a suspended one is not."""


class NotDue(StrEnum):
    """Why an enrollment with a balance is not in a batch."""

    NOTHING_PAYABLE = "nothing_payable"
    """Less than the smallest unit that the rail pays; it stays and adds up."""
    NO_PAYEE_ACCOUNT = "no_payee_account"
    PAYEE_NOT_READY = "payee_not_ready"
    NOT_ACTIVE = "not_active"


class ItemReason(StrEnum):
    """Why an item was taken out, failed or waits."""

    HELD_BEFORE_APPROVAL = "held_before_approval"
    HELD_AFTER_APPROVAL = "held_after_approval"
    BATCH_CANCELLED = "batch_cancelled"
    REFUSED = "refused"
    """The rail said a definite no; the money is back in the balance."""
    NOT_ACTIVE = "not_active"
    PAYEE_CHANGED = "payee_changed"
    """Another account was named after approval: never redirected, waits for a person."""
    PAYEE_NOT_READY = "payee_not_ready"
    NO_FUNDS = "no_funds"
    """The merchant's balance at the provider does not cover it yet; tried again."""
    RAIL_REFUSES_US = "rail_refuses_us"
    PROVIDER_BUSY = "provider_busy"
    NO_ANSWER = "no_answer"
    """Sent, and no answer came: asked again with the same key."""
    NOT_FOUND = "not_found"
    """No answer, and two look-ups found nothing: a person decides."""
    TRY_AGAIN = "try_again"
    """A person decided for a new attempt."""
    CAME_BACK = "came_back"
    """The transfer was reversed, in whole or in part: what came back is in the balance again."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A program's payout day."""

    weekday: int
    """Monday is 0."""
    hour: int
    time_zone: str


@dataclass(frozen=True, slots=True)
class Period:
    key: str
    """The payout day's date in the program's zone."""
    due_at: datetime


def due_instant(day: date, hour: int, time_zone: str) -> datetime:
    """The instant of a local hour on a day.

    An hour that a spring change skips is the same distance after midnight, so an hour
    later on the clock; of an hour that autumn repeats it is the first.
    """
    local = datetime.combine(day, time(hour), tzinfo=ZoneInfo(time_zone))
    return local.astimezone(UTC)


def periods_due(schedule: Schedule, *, after: datetime, until: datetime) -> list[Period]:
    """Every payout day with `after < due_at <= until`, oldest first: none is skipped."""
    day = after.astimezone(ZoneInfo(schedule.time_zone)).date()
    day += timedelta(days=(schedule.weekday - day.weekday()) % WEEK_DAYS - WEEK_DAYS)
    found: list[Period] = []
    while len(found) < PERIODS_MAX:
        due_at = due_instant(day, schedule.hour, schedule.time_zone)
        if due_at > until:
            break
        if due_at > after:
            found.append(Period(day.isoformat(), due_at))
        day += timedelta(days=WEEK_DAYS)
    return found


def next_due(schedule: Schedule, *, after: datetime) -> datetime:
    """The first payout instant after this one."""
    return periods_due(schedule, after=after, until=after + timedelta(days=2 * WEEK_DAYS))[0].due_at


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enrollment that may be paid, as it was read under lock."""

    enrollment_id: int
    status: str
    available: Money
    destination: str | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Due:
    """What goes to one enrollment in a batch."""

    enrollment_id: int
    amount: Money
    destination: str


def due(candidate: Candidate, granularity: int) -> Due | NotDue:
    """Whole units of the rail out of what is available; the rest stays in the balance."""
    units = candidate.available.whole_minor_units(granularity)
    if candidate.status not in PAYABLE_STATUSES:
        return NotDue.NOT_ACTIVE
    if not units:
        return NotDue.NOTHING_PAYABLE
    if candidate.destination is None:
        return NotDue.NO_PAYEE_ACCOUNT
    if not candidate.ready:
        return NotDue.PAYEE_NOT_READY
    amount = Money.of_minor_units(units, candidate.available.currency)
    return Due(candidate.enrollment_id, amount, candidate.destination)


@dataclass(frozen=True, slots=True)
class Reserved:
    """An item as the hash sees it."""

    item_id: int
    enrollment_id: int
    amount: Money
    destination: str
    reserve_id: int


def batch_hash(items: Sequence[Reserved]) -> str:
    """SHA-256 of what is approved: whoever approves a hash approves exactly these payments."""
    rows = sorted(
        [i.item_id, i.enrollment_id, i.amount.micros, i.amount.currency, i.destination,
         i.reserve_id]
        for i in items
    )  # fmt: skip
    text = json.dumps(rows, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
