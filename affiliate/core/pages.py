"""How values look on a page: money, moments, dates; the same in every template and mail."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal
from flask import Flask, g
from flask_babel import get_locale

from affiliate.core.money import MICROS, Money, exponent

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
LANGUAGES = ("en",)
"""Languages with a catalogue; the first is the default."""


def set_up(app: Flask) -> None:
    """Register the filters that templates use."""
    app.jinja_env.filters["money"] = money
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["day"] = day
    app.jinja_env.filters["duration"] = duration
    app.jinja_env.filters["percent"] = percent


def money(value: Money) -> str:
    """`4,490.00 RUB`; fractions below the minor unit are shown as far as they go."""
    digits = max(exponent(value.currency), len(value.decimal.partition(".")[2]))
    number = format_decimal(
        Decimal(value.micros) / MICROS,
        format=f"#,##0.{'0' * digits}" if digits else "#,##0",
        locale=get_locale(),
    )
    return f"{number.replace('-', MINUS)}{NO_BREAK_SPACE}{value.currency}"


def percent(rate_ppm: int) -> str:
    """`10%` for 100,000 parts per million."""
    number = format_decimal(Decimal(rate_ppm) / 10_000, format="#,##0.####", locale=get_locale())
    return f"{number}%"


def moment(value: datetime | None, zone: str = "") -> str:
    """Date and time in the reader's zone, or in the one that a letter names, to the minute."""
    if value is None:
        return ""
    shown = value.astimezone(ZoneInfo(zone) if zone else reader_zone())
    return format_datetime(shown, "d MMM yyyy, HH:mm", locale=get_locale())


def day(value: datetime | None) -> str:
    """The date in the reader's zone."""
    if value is None:
        return ""
    return format_datetime(value.astimezone(reader_zone()), "d MMM yyyy", locale=get_locale())


def duration(value: timedelta) -> str:
    """`2 days`, `3 hours`: the largest unit that says it."""
    return str(format_timedelta(value, threshold=1.0, locale=get_locale()))


def reader_zone() -> ZoneInfo:
    """The zone of whoever reads the page (set per request from their profile), else UTC."""
    name = getattr(g, "time_zone", None) if g else None
    return ZoneInfo(name or "UTC")
