"""Read exchange rates: which holds for an order, and the list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core.db import rows
from affiliate.core.exchange import ExchangeRate
from affiliate.programs.models import Program
from affiliate.rates.models import DatedRate
from affiliate.rates.rules import day_of, first_day

_HOLDS: Final = """
    SELECT id, valid_from, rate_scaled FROM exchange_rates
    WHERE program_id = CAST(%(program_id)s AS bigint) AND source = CAST(%(source)s AS text)
      AND valid_from <= CAST(%(day)s AS date)
    ORDER BY valid_from DESC, revision DESC LIMIT 1
"""
_TAKEN: Final = """
    SELECT EXISTS (SELECT FROM exchange_rates
                   WHERE program_id = CAST(%(program_id)s AS bigint)
                     AND source = CAST(%(source)s AS text)),
           (SELECT rate_days_max FROM programs WHERE id = CAST(%(program_id)s AS bigint))
"""


@dataclass(frozen=True, slots=True)
class KnownRate:
    """A rate with the row that says it."""

    id: int
    valid_from: date
    rate: ExchangeRate


def takes_currency(session: Session, *, program_id: int, currency: str) -> bool:
    """Whether the program takes orders in this other currency: it has entered a rate of it."""
    [(taken, _)] = rows(session, _TAKEN, {"program_id": program_id, "source": currency})
    return bool(taken)


def rate_at(
    session: Session,
    *,
    program_id: int,
    source: str,
    target: str,
    placed_at: datetime,
    zone: str,
) -> KnownRate | None:
    """The rate that holds for an order placed then; None: there is none that is young enough.

    The latest on or before the order's day in the program's `zone`, at most the program's
    `rate_days_max` days older; of several rows of a day the last that was entered.
    """
    values = {"program_id": program_id, "source": source}
    [(taken, days_max)] = rows(session, _TAKEN, values)
    if not taken:
        return None
    day = day_of(placed_at, zone)
    found = rows(session, _HOLDS, {**values, "day": day})
    if not found or found[0][1] < first_day(day, days_max):
        return None
    id_, valid_from, scaled = found[0]
    return KnownRate(id_, valid_from, ExchangeRate(source, target, scaled))


def rate_by_id(session: Session, rate_id: int) -> KnownRate:
    """A rate by its row, which is never deleted."""
    row = session.get_one(DatedRate, rate_id)
    return KnownRate(row.id, row.valid_from, ExchangeRate(row.source, row.target, row.rate_scaled))


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the table as lists show it."""

    row: DatedRate
    rate: ExchangeRate
    replaced: bool
    """A later row of the same currency and day holds for new orders."""


def listed(
    session: Session,
    *,
    program: Program,
    rows_max: int,
    source: str | None = None,
    after: tuple[date, int] | None = None,
) -> list[Listed]:
    """The program's rates, the latest day first; `after` (day, id) continues a list."""
    newer = aliased(DatedRate)
    replaced = sa.exists().where(
        newer.program_id == DatedRate.program_id,
        newer.source == DatedRate.source,
        newer.valid_from == DatedRate.valid_from,
        newer.revision > DatedRate.revision,
    )
    query = (
        sa.select(DatedRate, replaced)
        .where(DatedRate.program_id == program.id)
        .order_by(DatedRate.valid_from.desc(), DatedRate.id.desc())
        .limit(rows_max)
    )
    if source:
        query = query.where(DatedRate.source == source)
    if after is not None:
        query = query.where(sa.tuple_(DatedRate.valid_from, DatedRate.id) < after)
    return [
        Listed(row, ExchangeRate(row.source, row.target, row.rate_scaled), gone)
        for row, gone in session.execute(query)
    ]


def currencies_of(session: Session, *, program_id: int) -> Sequence[Any]:
    """The currencies that the program takes, each with the day of its latest rate."""
    return session.execute(
        sa.select(DatedRate.source, sa.func.max(DatedRate.valid_from).label("latest"))
        .where(DatedRate.program_id == program_id)
        .group_by(DatedRate.source)
        .order_by(DatedRate.source)
    ).all()
