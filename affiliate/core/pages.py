"""How values look on a page: money, moments, dates; the same in every template and mail."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit
from flask import Flask, g
from flask_babel import get_locale, gettext
from markupsafe import Markup, escape

from affiliate.core.errors import Phrase
from affiliate.core.money import MICROS, PPM, Money, exponent

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def set_up(app: Flask) -> None:
    """Register the filters that templates use."""
    app.jinja_env.filters["money"] = money
    app.jinja_env.filters["money_marked"] = money_marked
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["day"] = day
    app.jinja_env.filters["calendar_day"] = calendar_day
    app.jinja_env.filters["duration"] = duration
    app.jinja_env.filters["days_or_hours"] = days_or_hours
    app.jinja_env.filters["percent"] = percent
    app.jinja_env.filters["say"] = say
    app.jinja_env.globals["language"] = language


def language() -> str:
    """The code of the language that is being written: for `lang` of a page or letter."""
    return str(get_locale() or "en")


def say(text: str) -> str:
    """A sentence of a refusal, which stands in the code in English, in the reader's language."""
    if isinstance(text, Phrase):
        values = {name: _said(value) for name, value in text.values.items()}
        return str(gettext(text.pattern, **values))
    return str(gettext(text))


def _said(value: object) -> object:
    if isinstance(value, Money):
        return money(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, tuple):
        return " ".join(say(each) for each in value if each)
    return say(value) if isinstance(value, Phrase) else value


def money(value: Money) -> str:
    """`4,490.00 RUB`; fractions below the minor unit are shown as far as they go."""
    digits = max(exponent(value.currency), len(value.decimal.partition(".")[2]))
    number = format_decimal(
        Decimal(value.micros) / MICROS,
        format=f"#,##0.{'0' * digits}" if digits else "#,##0",
        locale=get_locale(),
    )
    return f"{number.replace('-', MINUS)}{NO_BREAK_SPACE}{value.currency}"


def money_marked(value: Money) -> Markup:
    """As `money`; the digits below the minor unit stand in `.money-rest`, quieter than the others.

    After them a narrow place may break the line.
    """
    amount, _, currency = money(value).rpartition(NO_BREAK_SPACE)
    rest = len(value.decimal.partition(".")[2]) - exponent(value.currency)
    if rest <= 0:
        return escape(money(value))
    rest_first = len(amount) - rest
    return Markup('{}<span class="money-rest">{}</span>\N{NO-BREAK SPACE}<wbr>{}').format(
        amount[:rest_first], amount[rest_first:], currency
    )


def percent(rate_ppm: int) -> str:
    """`10%` for 100,000 parts per million; in Russian `10 %`."""
    return percentage(Decimal(rate_ppm) / PPM, digits=".####")


def percentage(share: Decimal, *, digits: str) -> str:
    """A share of one, with the sign where the language has it; `digits` as in `.0#`."""
    locale = get_locale() or Locale("en")
    shape = str(locale.percent_formats[None].pattern).replace("0", f"0{digits}", 1)
    return str(format_percent(share, format=shape, locale=locale))


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


def calendar_day(value: date) -> str:
    """A date that is one already, whatever the zone."""
    return str(format_date(value, "d MMM yyyy", locale=get_locale()))


def duration(value: timedelta) -> str:
    """`2 days`, `3 hours`: the largest unit that says it."""
    return str(format_timedelta(value, threshold=1.0, locale=get_locale()))


def days_or_hours(value: timedelta) -> str:
    """`16 days` from two days on, below that as `duration`: never weeks or months."""
    if value < timedelta(days=2):
        return duration(value)
    locale = get_locale() or Locale("en")
    return str(format_unit(value.days, "duration-day", locale=locale))


def reader_zone() -> ZoneInfo:
    """The zone of whoever reads the page (set per request from their profile), else UTC."""
    name = getattr(g, "time_zone", None) if g else None
    return ZoneInfo(name or "UTC")
