"""When a payout is due, who is due in it, and what finance approves. Pure.

Rules: docs/rules.md, "Payouts".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from affiliate.core.money import Money

WEEK_DAYS = 7
PERIODS_MAX = 520
"""At most ten years of missed weeks are caught up at once."""
PAYABLE_STATUSES = ("active", "closed")
"""An enrollment that left is still paid what it earned; a suspended one is not."""


class NotDue(StrEnum):
    """Why an enrollment with a balance is not in a batch."""

    NEGATIVE_BALANCE = "negative_balance"
    """A refund of what was paid already; later earnings recover it."""
    NOTHING_PAYABLE = "nothing_payable"
    """Less than the smallest unit that the rail pays; it stays and adds up."""
    ON_HOLD = "on_hold"
    """Finance holds the affiliate's payouts back."""
    ON_REQUEST = "on_request"
    """The affiliate wants to be paid when they ask."""
    BELOW_OWN_MINIMUM = "below_own_minimum"
    """Less than what the affiliate wants to be paid at once."""
    NO_PAYEE_ACCOUNT = "no_payee_account"
    PAYEE_NOT_READY = "payee_not_ready"
    COOLING_OFF = "cooling_off"
    """The account was named lately in place of another: it is paid to a while later."""
    PAYEE_STOPPED = "payee_stopped"
    """Somebody said that they had not named the account: a person looks at it."""
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
    COOLING_OFF = "cooling_off"
    """A safety wait: the account was named lately in place of another."""
    PAYEE_STOPPED = "payee_stopped"
    """A safety wait: somebody said that they had not named the account."""
    PAYEE_NOT_READY = "payee_not_ready"
    ON_HOLD = "on_hold"
    """Finance holds the affiliate's payouts back, also what is approved and not sent."""
    NO_FUNDS = "no_funds"
    """The merchant's balance at the provider does not cover it yet; tried again."""
    RAIL_REFUSES_US = "rail_refuses_us"
    PROVIDER_BUSY = "provider_busy"
    NO_ANSWER = "no_answer"
    """Sent, and no answer came: asked again with the same key."""
    NOT_FOUND = "not_found"
    """No answer, and two look-ups found nothing: a person decides."""
    SET_ASIDE = "set_aside"
    """Moving it raised again and again: a mistake of ours, and a person decides."""
    TRY_AGAIN = "try_again"
    """A person decided for a new attempt."""
    FILE_NOT_SENT = "file_not_sent"
    """A person declared that the bank never got the file it was in."""
    CAME_BACK = "came_back"
    """It was paid, and the bank or the provider sent it back; the money is in the balance."""


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
    held: bool = False
    """Finance holds this affiliate's payouts back."""
    on_request: bool = False
    """The affiliate chose to be paid only when they ask."""
    minimum_micros: int = 0
    """What the affiliate wants to be paid at least; zero: anything."""
    waits: NotDue | None = None
    """A safety wait of the account, where one runs (payee_rules.not_due)."""


@dataclass(frozen=True, slots=True)
class Due:
    """What goes to one enrollment in a batch."""

    enrollment_id: int
    amount: Money
    destination: str


def due(candidate: Candidate, granularity: int) -> Due | NotDue:
    """Whole units of the rail out of what is available; the rest stays in the balance.

    Of several reasons against it the first is told: membership, balance, finance, the
    affiliate's own wish, their account. Rule: docs/rules.md, "Payouts".
    payouts.batches.candidates says the same in SQL; a test compares the two.
    """
    if candidate.status not in PAYABLE_STATUSES:
        return NotDue.NOT_ACTIVE
    if candidate.available.micros < 0:
        return NotDue.NEGATIVE_BALANCE
    units = candidate.available.whole_minor_units(granularity)
    if not units:
        return NotDue.NOTHING_PAYABLE
    if candidate.held:
        return NotDue.ON_HOLD
    if candidate.on_request:
        return NotDue.ON_REQUEST
    amount = Money.of_minor_units(units, candidate.available.currency)
    if amount.micros < candidate.minimum_micros:
        return NotDue.BELOW_OWN_MINIMUM
    if candidate.destination is None:
        return NotDue.NO_PAYEE_ACCOUNT
    if candidate.waits is not None:
        return candidate.waits
    if not candidate.ready:
        return NotDue.PAYEE_NOT_READY
    return Due(candidate.enrollment_id, amount, candidate.destination)


@dataclass(frozen=True, slots=True)
class Reserved:
    """An item as the hash sees it."""

    item_id: int
    enrollment_id: int
    amount: Money
    destination: str
    reserve_id: int

    def row(self) -> HashedRow:
        return (self.item_id, self.enrollment_id, self.amount.micros, self.amount.currency,
                self.destination, self.reserve_id)  # fmt: skip


HASHED_AT_ONCE = 1_000
HashedRow = tuple[int, int, int, str, str, int]
"""Item, enrollment, micros, currency, destination, reserve."""


class BatchHash:
    """SHA-256 of what is approved, taken in as the rows come: by item id, smallest first.

    The hashed text is the JSON array of all rows, as `batch_hash` would write it at once.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256(b"[")
        self._last_id: int | None = None

    def add(self, rows: Iterable[HashedRow]) -> None:
        """Take in more rows, however many. Raises ValueError when they do not come in order."""
        rest = iter(rows)
        while chunk := list(islice(rest, HASHED_AT_ONCE)):
            ids = [row[0] for row in chunk]
            after = self._last_id
            if ids != sorted(set(ids)) or (after is not None and ids[0] <= after):
                raise ValueError("rows of a batch's hash come by item id, each once")
            text = json.dumps(chunk, ensure_ascii=True, separators=(",", ":"))[1:-1]
            self._sha.update((text if after is None else "," + text).encode())
            self._last_id = ids[-1]

    def hexdigest(self) -> str:
        """The hash of the rows so far."""
        whole = self._sha.copy()
        whole.update(b"]")
        return whole.hexdigest()


def batch_hash(items: Sequence[Reserved]) -> str:
    """SHA-256 of what is approved: whoever approves a hash approves exactly these payments."""
    whole = BatchHash()
    whole.add(sorted(item.row() for item in items))
    return whole.hexdigest()
