"""What statistics answer: clicks, orders and earnings of a program or of one affiliate.

Clicks come from the counters that the loader keeps (`link_days`), orders and earnings from
what is live now: a voided decision counts nowhere, refunds lower what was earned. An order
stands on the day on which it was placed; days are the program's. Rule: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import PPM, Money, divide_half_even
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program

PERIOD_DAYS_MAX = 731
"""The longest period that is asked at once: two years and a leap day."""


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

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=i) for i in range(self.days))

    def instants(self, time_zone: str) -> tuple[datetime, datetime]:
        """The first instant of the period and the first after it."""
        zone = ZoneInfo(time_zone)
        start = datetime.combine(self.first, time(0), tzinfo=zone)
        end = datetime.combine(self.last + timedelta(days=1), time(0), tzinfo=zone)
        return start.astimezone(UTC), end.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in a day, a period, or by a link."""

    clicks: int
    uniques: int
    orders: int
    """Credited at level 1, also those that earned nothing."""
    earned: Money
    """Level 1, after refunds; pending and released alike."""
    earned_level_2: Money

    @classmethod
    def none(cls, currency: str) -> Figures:
        zero = Money.zero(currency)
        return cls(0, 0, 0, zero, zero)

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.clicks + other.clicks,
            self.uniques + other.uniques,
            self.orders + other.orders,
            self.earned + other.earned,
            self.earned_level_2 + other.earned_level_2,
        )

    @property
    def earned_together(self) -> Money:
        return self.earned + self.earned_level_2

    @property
    def conversion_ppm(self) -> int | None:
        """Orders per click in parts per million; none without a click."""
        return divide_half_even(self.orders * PPM, self.clicks) if self.clicks else None

    @property
    def epc(self) -> Money | None:
        """Level-1 earnings per click; none without a click."""
        return self.earned.fraction(1, self.clicks) if self.clicks else None


def today(now: datetime, time_zone: str) -> date:
    """The program's day at an instant."""
    return now.astimezone(ZoneInfo(time_zone)).date()


def by_day(session: Session, *, scope: Scope, period: Period) -> dict[date, Figures]:
    """The figures of every day of the period in order, also of days without any."""
    found = {day: Figures.none(scope.currency) for day in period}
    counted = _clicks(scope, period, "day")
    for row in session.execute(counted):
        found[row.key] = replace(found[row.key], clicks=int(row.clicks), uniques=int(row.uniques))
    for row in session.execute(_earned(scope, _ORDER_DAY), _values(scope, period)):
        found[row.key] = _with_earnings(found[row.key], row, scope.currency)
    return found


def total(figures: Iterable[Figures], currency: str) -> Figures:
    """The sum of figures."""
    return sum(figures, Figures.none(currency))


def by_link(session: Session, *, scope: Scope, period: Period) -> dict[int, Figures]:
    """The figures of each link that had a click or an order, by its number.

    An order belongs to the link of the credited click; one that a coupon credited, or whose
    click has not been loaded yet, belongs to none.
    """
    found: dict[int, Figures] = {}
    for row in session.execute(_clicks(scope, period, "link_id")):
        none = Figures.none(scope.currency)
        found[row.key] = replace(none, clicks=int(row.clicks), uniques=int(row.uniques))
    for row in session.execute(
        _earned(scope, "k.link_id", _CREDITED_CLICK), _values(scope, period)
    ):
        before = found.get(row.key, Figures.none(scope.currency))
        found[row.key] = _with_earnings(before, row, scope.currency)
    return found


def by_coupon(session: Session, *, scope: Scope, period: Period) -> dict[str, Figures]:
    """Orders and earnings that coupons credited, by code; coupons have no clicks."""
    rows = session.execute(
        _earned(scope, "upper(trim(o.coupon))", _CREDITED_COUPON), _values(scope, period)
    )
    none = Figures.none(scope.currency)
    return {row.key: _with_earnings(none, row, scope.currency) for row in rows}


def by_affiliate(session: Session, *, scope: Scope, period: Period) -> dict[int, Figures]:
    """The figures of each affiliate who had any, by the enrollment's number."""
    found: dict[int, Figures] = {}
    for row in session.execute(_clicks(scope, period, "enrollment_id")):
        none = Figures.none(scope.currency)
        found[row.key] = replace(none, clicks=int(row.clicks), uniques=int(row.uniques))
    for row in session.execute(_earned(scope, "c.enrollment_id"), _values(scope, period)):
        before = found.get(row.key, Figures.none(scope.currency))
        found[row.key] = _with_earnings(before, row, scope.currency)
    return found


def has_enrollment(session: Session, *, program_id: int, enrollment_id: int) -> bool:
    """Whether the affiliate is one of this program's."""
    query = sa.select(Enrollment.id).where(
        Enrollment.id == enrollment_id, Enrollment.program_id == program_id
    )
    return session.scalar(query) is not None


_ORDER_DAY = "CAST(o.placed_at AT TIME ZONE :time_zone AS date)"

# The share of the live decision through which this commission was credited, and its click.
# The click's instant is in the share, so that one partition is read for each.
_CREDITED_CLICK = """
    JOIN decisions d ON d.order_id = o.id AND d.number = c.decision
    CROSS JOIN LATERAL jsonb_array_elements(d.shares) AS s(share)
    JOIN clicks k ON k.click_id = CAST(s.share ->> 'click_id' AS uuid)
                 AND k.clicked_at = CAST(s.share ->> 'clicked_at' AS timestamptz)
                 AND k.enrollment_id = c.enrollment_id
"""
_CREDITED_COUPON = """
    JOIN decisions d ON d.order_id = o.id AND d.number = c.decision
    CROSS JOIN LATERAL jsonb_array_elements(d.shares) AS s(share)
"""
# One affiliate: from their commissions to the orders by primary key. A whole program: from
# its orders of the period to their commissions. Each reads no more than it counts.
_OF_AFFILIATE = """
    FROM commissions c
    JOIN orders o ON o.id = CASE WHEN c.reference ~ '^order:[0-9]+$'
                                 THEN CAST(substr(c.reference, 7) AS bigint) END
"""
_OF_PROGRAM = """
    FROM orders o
    JOIN commissions c ON c.reference = 'order:' || o.id
"""
_WHERE = """
    WHERE o.program_id = :program_id AND c.voided_at IS NULL
      AND o.placed_at >= :since AND o.placed_at < :until
"""


def _clicks(scope: Scope, period: Period, key: str) -> sa.TextClause:
    whose = "AND enrollment_id = :enrollment_id" if scope.enrollment_id is not None else ""
    # `key` and `whose` are words of this module, never of a reader.
    query = f"""
        SELECT {key} AS key, sum(clicks) AS clicks, sum(uniques) AS uniques
        FROM link_days
        WHERE program_id = :program_id AND day BETWEEN :first AND :last {whose}
        GROUP BY 1
    """  # noqa: S608
    values: dict[str, Any] = {
        "program_id": scope.program_id,
        "first": period.first,
        "last": period.last,
    }
    if scope.enrollment_id is not None:
        values["enrollment_id"] = scope.enrollment_id
    return sa.text(query).bindparams(**values)


def _earned(scope: Scope, key: str, joins: str = "") -> sa.TextClause:
    source = _OF_PROGRAM if scope.enrollment_id is None else _OF_AFFILIATE
    whose = "" if scope.enrollment_id is None else "AND c.enrollment_id = :enrollment_id"
    which = ""
    if joins is _CREDITED_CLICK:
        which = "AND c.level = 1"
    elif joins is _CREDITED_COUPON:
        which = (
            "AND c.level = 1 AND s.share ->> 'evidence' = 'coupon' "
            "AND CAST(s.share ->> 'enrollment_id' AS bigint) = c.enrollment_id"
        )
    # All parts are words of this module, never of a reader.
    query = f"""
        SELECT {key} AS key,
               count(DISTINCT o.id) FILTER (WHERE c.level = 1) AS orders,
               coalesce(sum(c.amount_micros - c.reversed_micros)
                        FILTER (WHERE c.level = 1), 0) AS level_1,
               coalesce(sum(c.amount_micros - c.reversed_micros)
                        FILTER (WHERE c.level = 2), 0) AS level_2
        {source} {joins} {_WHERE} {whose} {which}
        GROUP BY 1
    """
    return sa.text(query)


def _values(scope: Scope, period: Period) -> dict[str, Any]:
    since, until = period.instants(scope.time_zone)
    return {
        "program_id": scope.program_id,
        "enrollment_id": scope.enrollment_id,
        "time_zone": scope.time_zone,
        "since": since,
        "until": until,
    }


def _with_earnings(figures: Figures, row: Any, currency: str) -> Figures:
    return replace(
        figures,
        orders=int(row.orders),
        earned=Money(int(row.level_1), currency),
        earned_level_2=Money(int(row.level_2), currency),
    )
