"""Whose figures, of which days, and what they are (pure). Rule: docs/statistics.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from affiliate.core.money import PPM, Money, divide_half_even
from affiliate.programs.models import Program

PERIOD_DAYS_MAX = 731
"""The longest period that is asked at once: two years and a leap day."""
HALF_HOUR = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose figures: all of a program's, or one affiliate's in it."""

    program_id: int
    currency: str
    time_zone: str
    enrollment_id: int | None = None

    @classmethod
    def of(cls, program: Program, enrollment_id: int | None = None) -> Scope:
        return cls(program.id, program.currency, program.time_zone, enrollment_id)


@dataclass(frozen=True, slots=True)
class Period:
    """Days in the program's zone, both ends included."""

    first: date
    last: date

    @classmethod
    def ending(cls, last: date, days: int) -> Period:
        """The `days` days up to and with `last`."""
        return cls(last - timedelta(days=days - 1), last)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """As many days, up to the one before the first."""
        return Period.ending(self.first - timedelta(days=1), self.days)

    @property
    def year_before(self) -> Period:
        """The same days 52 weeks earlier: the same weekdays, and as many."""
        back = timedelta(weeks=52)
        return Period(self.first - back, self.last - back)

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=i) for i in range(self.days))

    def instants(self, time_zone: str) -> tuple[datetime, datetime]:
        """The first instant of the period and the first after it."""
        zone = ZoneInfo(time_zone)
        start = datetime.combine(self.first, time(0), tzinfo=zone)
        end = datetime.combine(self.last + timedelta(days=1), time(0), tzinfo=zone)
        return start.astimezone(UTC), end.astimezone(UTC)

    def hours(self, time_zone: str) -> list[datetime]:
        """The first instant of every hour on the zone's clock: 23 or 25 of them where it changes.

        An hour that the clock shows twice is two hours.
        """
        start, end = self.instants(time_zone)
        halves = range(int((end - start) / HALF_HOUR))
        return sorted({hour_of(start + i * HALF_HOUR, time_zone) for i in halves})


def today(now: datetime, time_zone: str) -> date:
    """The program's day at an instant."""
    return now.astimezone(ZoneInfo(time_zone)).date()


def hour_of(at: datetime, time_zone: str) -> datetime:
    """The first instant of the hour that the zone's clock shows; half past in UTC in some."""
    local = at.astimezone(ZoneInfo(time_zone))
    return at - timedelta(
        minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )


@dataclass(frozen=True, slots=True)
class Earned:
    """What commissions of one level amount to."""

    gross: Money
    """As earned."""
    reversed: Money
    """Of it, taken back by refunds."""
    released: Money
    """Of what refunds left: its hold is over."""

    @classmethod
    def none(cls, currency: str) -> Earned:
        zero = Money.zero(currency)
        return cls(zero, zero, zero)

    def __add__(self, other: Earned) -> Earned:
        return Earned(
            self.gross + other.gross, self.reversed + other.reversed, self.released + other.released
        )

    @property
    def left(self) -> Money:
        return self.gross - self.reversed

    @property
    def pending(self) -> Money:
        return self.left - self.released


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in a day, a period, by a link. None is what is not counted by that."""

    clicks: int
    uniques: int | None
    duplicates: int | None
    dropped: int | None
    orders: int
    """Credited at level 1, also those that earned nothing."""
    released_orders: int
    refused_orders: int
    value: Money
    """Net amount of the orders, before refunds."""
    level_1: Earned
    level_2: Earned

    @classmethod
    def none(cls, currency: str) -> Figures:
        nothing = Earned.none(currency)
        return cls(0, 0, 0, 0, 0, 0, 0, Money.zero(currency), nothing, nothing)

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.clicks + other.clicks,
            _both(self.uniques, other.uniques),
            _both(self.duplicates, other.duplicates),
            _both(self.dropped, other.dropped),
            self.orders + other.orders,
            self.released_orders + other.released_orders,
            self.refused_orders + other.refused_orders,
            self.value + other.value,
            self.level_1 + other.level_1,
            self.level_2 + other.level_2,
        )

    @property
    def earned(self) -> Money:
        """Level 1, after refunds; pending and released alike."""
        return self.level_1.left

    @property
    def earned_level_2(self) -> Money:
        return self.level_2.left

    @property
    def earned_together(self) -> Money:
        return self.earned + self.earned_level_2

    @property
    def conversion_ppm(self) -> int | None:
        """Orders per click in parts per million; none without a click."""
        return _share(self.orders, self.clicks)

    @property
    def epc(self) -> Money | None:
        """Level-1 earnings per click; none without a click."""
        return self.earned.fraction(1, self.clicks) if self.clicks else None

    @property
    def average_order(self) -> Money | None:
        """Net amount of an order; none without one."""
        return self.value.fraction(1, self.orders) if self.orders else None

    @property
    def reversal_ppm(self) -> int | None:
        """Of what level 1 earned, the part that refunds took back; none where nothing was."""
        return _share(self.level_1.reversed.micros, self.level_1.gross.micros)

    @property
    def approval_ppm(self) -> int | None:
        """Of the orders decided, those released; none while none is decided."""
        return _share(self.released_orders, self.released_orders + self.refused_orders)


def total(figures: Iterable[Figures], currency: str) -> Figures:
    """The sum of figures."""
    return sum(figures, Figures.none(currency))


@dataclass(frozen=True, slots=True)
class Change:
    """A figure against the period before."""

    by: int
    """How much more; micros where it is money, parts per million where it is a rate."""
    ppm: int | None
    """The same in parts per million of what was before; none where that was nothing."""


def change(now: int | Money | None, before: int | Money | None) -> Change | None:
    """How a figure changed; none where either side has no value."""
    if now is None or before is None:
        return None
    after, base = _number(now), _number(before)
    grown = after - base
    return Change(grown, divide_half_even(grown * PPM, abs(base)) if base else None)


def _number(value: int | Money) -> int:
    return value.micros if isinstance(value, Money) else value


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _share(part: int, whole: int) -> int | None:
    return divide_half_even(part * PPM, whole) if whole else None
