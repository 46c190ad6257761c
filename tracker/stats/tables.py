"""Rows with their keys named, and as CSV that is made while it is sent.

A file has the figures of the page, unrounded. RFC 4180, UTF-8 with the mark that Excel needs
to read it as such, a point as the decimal sign, rates as fractions. Texts that a spreadsheet
would run as formulas get an apostrophe in front (docs/security.md, A31).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import PPM, Money
from affiliate.core.tables import Number, csv_parts
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.products.lookup import names_of_products
from affiliate.promo.lookup import names_of
from tracker.stats.figures import Figures
from tracker.stats.questions import (
    ROWS_PER_FETCH,
    Asked,
    By,
    Row,
    Sort,
    by_day,
    by_hour,
    rows,
)
from tracker.stats.words import FIGURES, Unit


@dataclass(frozen=True, slots=True)
class Named:
    """A row with its key as people and the API know it."""

    key: str
    """A date, a code, an id, a value."""
    name: str
    """What else it is called: a link's name, an affiliate's, a material's; empty where the key
    says it."""
    row: Row

    @property
    def figures(self) -> Figures:
        return self.row.figures


def named(session: Session, asked: Asked, found: Iterable[Row]) -> list[Named]:
    """These rows with their names; one statement for all of them."""
    shown = list(found)
    keys = [row.key for row in shown]
    if asked.by is By.CREATIVE:
        known = names_of_products(session, program_id=asked.scope.program_id, codes=keys)
        known |= names_of(
            session, program_id=asked.scope.program_id, codes=keys,
            enrollment_id=asked.scope.enrollment_id,
        )  # fmt: skip
        names = {code: (code, name) for code, name in known.items()}
    else:
        names = _names(session, asked.by, keys)
    zone = ZoneInfo(asked.scope.time_zone)
    return [Named(*names.get(row.key, (key_text(row.key, zone), "")), row) for row in shown]


def all_rows(session: Session, asked: Asked, *, sort: Sort = Sort.KEY) -> Iterator[Row]:
    """Every row, days and hours without any figures as well."""
    if asked.by is By.DAY:
        days = by_day(session, scope=asked.scope, period=asked.period, only=asked.only)
        return (Row(key, figures, 0) for key, figures in days.items())
    if asked.by is By.HOUR:
        hours = by_hour(session, scope=asked.scope, period=asked.period, only=asked.only)
        return (Row(key, figures, 0) for key, figures in hours.items())
    return rows(session, asked, sort=sort)


def key_text(key: Any, zone: ZoneInfo) -> str:
    """`2026-11-21`; an hour with its distance from UTC, as the clock may show it twice."""
    if isinstance(key, datetime):
        return key.astimezone(zone).isoformat(timespec="minutes")
    return key.isoformat() if isinstance(key, date) else str(key)


def csv_of(session: Session, asked: Asked, *, sort: Sort = Sort.KEY) -> Iterator[str]:
    """The file in pieces; the rows are asked for with the first."""
    head = [asked.by.value, "name", *(f.name.replace("_ppm", "") for f in FIGURES), "currency"]
    return csv_parts(head, _lines(session, asked, sort))


def _lines(session: Session, asked: Asked, sort: Sort) -> Iterator[Sequence[object]]:
    found = all_rows(session, asked, sort=sort)
    while some := list(islice(found, ROWS_PER_FETCH)):
        for each in named(session, asked, some):
            values = [_cell(figure.unit, figure.of(each.figures)) for figure in FIGURES]
            yield [each.key, each.name, *values, asked.scope.currency]


def _cell(unit: Unit, value: int | Money | None) -> object:
    rate = unit is Unit.RATE and isinstance(value, int)
    return Number(Decimal(value) / PPM) if rate else value  # type: ignore[arg-type]


def affiliate_name(session: Session, enrollment_id: int) -> str:
    """What the program calls an affiliate."""
    return _names(session, By.AFFILIATE, [enrollment_id])[enrollment_id][1]


def _names(session: Session, by: By, keys: Sequence[Any]) -> dict[Any, tuple[str, str]]:
    if by is By.LINK:
        links = sa.select(Link.id, Link.code, Link.name).where(Link.id.in_(keys))
        return {number: (code, name or "") for number, code, name in session.execute(links)}
    if by is By.AFFILIATE:
        people = (
            sa.select(Enrollment.id, Affiliate.name)
            .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
            .where(Enrollment.id.in_(keys))
        )
        return {number: (ids.public(number), name) for number, name in session.execute(people)}
    return {}
