"""How values look on the account's pages, beyond what every page has (affiliate.core.pages)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from urllib.parse import urlsplit

from babel.dates import format_date
from babel.numbers import format_decimal
from flask import Flask
from flask_babel import get_locale

from affiliate.core.money import PPM, Money
from affiliate.core.pages import percentage

NOTHING = "—"


def set_up(app: Flask) -> None:
    """Register the filters."""
    for made in (number, rate, grown, cents, short_day, month, month_named, referrer):
        app.jinja_env.filters.setdefault(made.__name__, made)


def number(value: int) -> str:
    """`12,480`."""
    return str(format_decimal(value, locale=get_locale()))


def rate(ppm: int | None) -> str:
    """`3.42%` of parts per million; a dash where there is nothing to divide by."""
    if ppm is None:
        return NOTHING
    return percentage(Decimal(ppm) / PPM, digits=".0#")


def grown(ppm: int) -> str:
    """`12.3%`, from tenfold on without a fraction."""
    return percentage(Decimal(ppm) / PPM, digits=".#" if ppm < 10 * PPM else "")


def cents(value: Money | None) -> Money | None:
    """An average rounded to what can be paid: half to even, and for showing alone."""
    if value is None:
        return None
    unit = Money.of_minor_units(1, value.currency).micros
    return Money.of_minor_units(round(Decimal(value.micros) / unit), value.currency)


def short_day(value: date) -> str:
    """`21 Nov`."""
    return str(format_date(value, "d MMM", locale=get_locale()))


def month(value: date) -> str:
    """`November 2026`."""
    return str(format_date(value, "LLLL yyyy", locale=get_locale()))


def month_named(key: str) -> str:
    """`November 2026` for `2026-11`, as addresses have it."""
    return month(date.fromisoformat(f"{key}-01"))


def referrer(value: str) -> str:
    """The site a visitor came from, with the path where it says more."""
    parts = urlsplit(value)
    path = parts.path if parts.path != "/" else ""
    return f"{parts.netloc.removeprefix('www.')}{path}" if parts.netloc else value
