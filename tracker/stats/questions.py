"""What statistics answer, to pages, API and exports alike. Rule: docs/statistics.md.

Clicks come from the counters that the loader keeps, orders and earnings from their days
(`order_sums`), with what is not in them yet; both are exact at any instant. An order stands
on the day on which it was placed; days are the program's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from tracker.stats.figures import (
    PERIOD_DAYS_MAX,
    Change,
    Earned,
    Figures,
    Period,
    Scope,
    change,
    today,
    total,
)
from tracker.stats.rules import EVERYTHING, By, Filter, Sort, require_answerable
from tracker.stats.sql import After, Asked, statement

__all__ = [
    "EVERYTHING",
    "PERIOD_DAYS_MAX",
    "After",
    "Asked",
    "By",
    "Change",
    "Figures",
    "Filter",
    "Period",
    "Scope",
    "Sort",
    "by_affiliate",
    "by_coupon",
    "by_creative",
    "by_day",
    "by_hour",
    "by_link",
    "change",
    "has_enrollment",
    "page_of",
    "require",
    "rows",
    "today",
    "total",
    "whole",
]

ROWS_PER_FETCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one key: a day, a link's number, a value …"""

    key: Any
    figures: Figures
    sorted_by: int


@dataclass(frozen=True, slots=True)
class PageOfRows:
    rows: list[Row]
    next: After | None
    """Where the next page begins; none after the last."""


def by_day(
    session: Session, *, scope: Scope, period: Period, only: Filter = EVERYTHING
) -> dict[date, Figures]:
    """The figures of every day of the period in order, also of days without any."""
    found = _all(session, Asked(scope, period, By.DAY, only))
    none = Figures.none(scope.currency)
    return {day: found.get(day, none) for day in period}


def whole(session: Session, *, scope: Scope, period: Period, only: Filter = EVERYTHING) -> Figures:
    """The figures of the period as a whole."""
    found = _all(session, Asked(scope, period, By.DAY, only))
    return total(found.values(), scope.currency)


def by_hour(
    session: Session, *, scope: Scope, period: Period, only: Filter = EVERYTHING
) -> dict[datetime, Figures]:
    """The figures of every hour on the program's clock, by its first instant in UTC."""
    found = _all(session, Asked(scope, period, By.HOUR, only))
    none = Figures.none(scope.currency)
    return {hour: found.get(hour, none) for hour in period.hours(scope.time_zone)}


def by_link(session: Session, *, scope: Scope, period: Period) -> dict[int, Figures]:
    """The figures of each link that had a click or an order, by its number.

    An order belongs to the link of the credited click; one that a coupon credited, or whose
    click has not been loaded yet, belongs to none.
    """
    return _all(session, Asked(scope, period, By.LINK))


def by_coupon(session: Session, *, scope: Scope, period: Period) -> dict[str, Figures]:
    """Orders and earnings that coupons credited, by code; coupons have no clicks."""
    return _all(session, Asked(scope, period, By.COUPON))


def by_creative(session: Session, *, scope: Scope, period: Period) -> dict[str, Figures]:
    """The figures of each promo material, by the code that clicks came with; a code that
    somebody made up has some as well."""
    return _all(session, Asked(scope, period, By.CREATIVE))


def by_affiliate(session: Session, *, scope: Scope, period: Period) -> dict[int, Figures]:
    """The figures of each affiliate who had any, by the enrollment's number."""
    return _all(session, Asked(scope, period, By.AFFILIATE))


def rows(session: Session, asked: Asked, *, sort: Sort = Sort.KEY) -> Iterator[Row]:
    """Every row, through a server-side cursor: any number of them in constant memory.

    CannotCombine where no counter answers.
    """
    require(asked)
    result = session.execute(
        statement(asked, sort=sort), execution_options={"yield_per": ROWS_PER_FETCH}
    )
    return (_row(row, asked.scope.currency) for row in result)


def page_of(
    session: Session, asked: Asked, *, sort: Sort, after: After | None, rows_max: int
) -> PageOfRows:
    """Up to `rows_max` rows behind `after`, and where the next ones begin."""
    require(asked)
    query = statement(asked, sort=sort, after=after, rows_max=rows_max + 1)
    found = [_row(row, asked.scope.currency) for row in session.execute(query)]
    shown = found[:rows_max]
    more = len(found) > rows_max
    return PageOfRows(shown, After(shown[-1].sorted_by, shown[-1].key) if more else None)


def has_enrollment(session: Session, *, program_id: int, enrollment_id: int) -> bool:
    """Whether the affiliate is one of this program's."""
    query = sa.select(Enrollment.id).where(
        Enrollment.id == enrollment_id, Enrollment.program_id == program_id
    )
    return session.scalar(query) is not None


def require(asked: Asked) -> None:
    """CannotCombine, or Invalid for too many hours, where no counter answers."""
    require_answerable(
        asked.by,
        asked.only,
        one_affiliate=asked.scope.enrollment_id is not None,
        days=asked.period.days,
    )


def _all(session: Session, asked: Asked) -> dict[Any, Figures]:
    require(asked)
    found = session.execute(statement(asked))
    return {row.key: _figures(row, asked.scope.currency) for row in found}


def _row(row: Any, currency: str) -> Row:
    return Row(row.key, _figures(row, currency), int(row.sorted_by))


def _figures(row: Any, currency: str) -> Figures:
    def money(micros: Any) -> Money:
        return Money(int(micros or 0), currency)

    # A key without clicks has none of any kind; with some, None is what is not kept by it.
    def kept(count: Any) -> int | None:
        if row.clicks is None:
            return 0
        return None if count is None else int(count)

    return Figures(
        clicks=int(row.clicks or 0),
        uniques=kept(row.uniques),
        duplicates=kept(row.duplicates),
        dropped=kept(row.dropped),
        orders=int(row.orders or 0),
        released_orders=int(row.released_orders or 0),
        refused_orders=int(row.refused_orders or 0),
        value=money(row.value_micros),
        level_1=Earned(
            money(row.earned_micros), money(row.reversed_micros), money(row.released_micros)
        ),
        level_2=Earned(
            money(row.earned_2_micros), money(row.reversed_2_micros), money(row.released_2_micros)
        ),
    )
