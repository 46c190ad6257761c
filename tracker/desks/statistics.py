"""The page of statistics, as an affiliate and as staff see it: one question, asked by address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from babel.dates import format_date, format_datetime, get_timezone
from flask import request, url_for
from flask_babel import get_locale

from affiliate.core.money import MICROS, Money
from affiliate.core.pages import money
from tracker.clicks.rules import CountedBy, DropReason
from tracker.desks.account.charts import Chart, chart
from tracker.desks.statistics_address import (
    CHOSEN,
    Reader,
    Tab,
    address,
    asked_by,
    chosen,
    filters,
    spans,
    sub_tabs,
    tabs,
)
from tracker.desks.words import _, ngettext
from tracker.stats import cursors, questions, tables
from tracker.stats.api import COMPARED
from tracker.stats.figures import Change, Figures, Period, change, today
from tracker.stats.questions import Asked
from tracker.stats.rules import IN_ORDER, By, Sort
from tracker.stats.words import DEVICES, DIMENSIONS, DROPPED, FIGURE, FigureName

ROWS_SHOWN: Final = 50
TILES: Final = (
    "clicks", "uniques", "dropped", "orders", "conversion_ppm", "epc", "order_value",
    "average_order", "earned", "earned_level_2", "reversal_ppm", "approval_ppm",
)  # fmt: skip
COLUMNS: Final = (
    "clicks", "uniques", "dropped", "orders", "conversion_ppm", "epc", "order_value", "earned",
    "earned_level_2",
)  # fmt: skip
SECOND_LEVEL: Final = frozenset({By.DAY, By.HOUR, By.AFFILIATE})
NOT_KEPT: Final = {
    **dict.fromkeys((*map(By, CountedBy), By.COUPON), frozenset({"dropped"})),
    By.DEVICE: frozenset({"uniques", "dropped"}),
}
"""Columns that would be empty, as no counter has them by that."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the period with what it was before."""

    figure: FigureName
    value: int | Money | None
    before: int | Money | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table; `url` asks about it alone."""

    label: str
    sub: str
    url: str | None
    values: list[tuple[FigureName, int | Money | None]]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the page shows."""

    asked: Asked
    compared: Period
    tiles: list[Tile]
    clicks_chart: Chart
    earned_chart: Chart
    chart_ends: tuple[str, str, str]
    by_hour: bool
    spans: list[Tab]
    tabs: list[Tab]
    sub_tabs: list[Tab]
    filters: list[tuple[str, str, str]]
    """What is filtered, by what, and the address without it."""
    comparisons: list[Tab]
    columns: list[FigureName]
    dimension: Any
    lines: list[Line]
    hidden: list[tuple[str, str]]
    """What a form of another period keeps."""
    next_url: str | None
    first_url: str | None
    csv_url: str

    @property
    def figures(self) -> list[FigureName]:
        return [tile.figure for tile in self.tiles]


def read(reader: Reader) -> Statistics:
    """Everything that the page shows of the question in its address."""
    asked, sort = asked_by(reader)
    session = reader.session
    compare = COMPARED.get(request.args.get("compare", "before"), "before") or "before"
    compared = asked.period.year_before if compare == "year" else asked.period.before
    by_hour = asked.period.days <= 2 and not (asked.only.kind or asked.only.device)
    ask = questions.by_hour if by_hour else questions.by_day
    series: Mapping[Any, Figures] = ask(
        session, scope=asked.scope, period=asked.period, only=asked.only
    )
    whole = questions.total(series.values(), asked.scope.currency)
    before = questions.whole(session, scope=asked.scope, period=compared, only=asked.only)
    found, next_url = _rows(reader, asked, sort, series if _is_series(asked, by_hour) else None)
    columns = _columns(asked)
    csv = reader.endpoint + "_csv"
    return Statistics(
        asked=asked,
        compared=compared,
        tiles=list(_tiles(asked, whole, before)),
        clicks_chart=_chart(series, [f.clicks for f in series.values()], asked, _clicks_said),
        earned_chart=_chart(
            series,
            [-(-f.earned_together.micros // MICROS) for f in series.values()],
            asked,
            lambda f: str(money(f.earned_together)),
        ),
        chart_ends=_ends(list(series), asked),
        by_hour=by_hour,
        spans=spans(reader, asked),
        tabs=tabs(reader, asked),
        sub_tabs=sub_tabs(reader, asked),
        filters=list(filters(reader, asked)),
        comparisons=[
            Tab(_("the period before"), address(reader, compare=None), compare == "before"),
            Tab(_("a year earlier"), address(reader, compare="year"), compare == "year"),
        ],
        columns=columns,
        dimension=DIMENSIONS[asked.by],
        lines=list(_lines(reader, asked, columns, found)),
        hidden=[(name, value) for name, value in request.args.items()
                if name in (*CHOSEN[3:], "by")],
        next_url=next_url,
        first_url=address(reader, by=asked.by.value) if request.args.get("after") else None,
        csv_url=url_for(csv, **{**chosen(), "by": asked.by.value}),
    )  # fmt: skip


def _is_series(asked: Asked, by_hour: bool) -> bool:
    return asked.by is (By.HOUR if by_hour else By.DAY)


def _rows(
    reader: Reader, asked: Asked, sort: Sort, series: Mapping[Any, Figures] | None
) -> tuple[list[tables.Named], str | None]:
    if asked.by in IN_ORDER:
        found = (
            [questions.Row(key, figures, 0) for key, figures in series.items()]
            if series is not None
            else list(tables.all_rows(reader.session, asked))
        )
        return tables.named(reader.session, asked, reversed(found)), None
    after = cursors.read(request.args.get("after"), asked, sort)
    page = questions.page_of(reader.session, asked, sort=sort, after=after, rows_max=ROWS_SHOWN)
    following = cursors.write(page.next, asked, sort)
    chosen = {"by": asked.by.value, "after": following, "sort": request.args.get("sort")}
    next_url = address(reader, **chosen) if following else None
    return tables.named(reader.session, asked, page.rows), next_url


def _tiles(asked: Asked, whole: Figures, before: Figures) -> Iterator[Tile]:
    for name in TILES:
        figure = FIGURE[name]
        value, was = figure.of(whole), figure.of(before)
        if value is not None or was is not None or asked.only.device is None:
            yield Tile(figure, value, was, change(value, was))


def _columns(asked: Asked) -> list[FigureName]:
    if asked.by is By.COUPON:
        names: Sequence[str] = ("orders", "order_value", "average_order", "earned", "reversed")
    else:
        without = NOT_KEPT.get(asked.by, frozenset())
        if asked.only.kind or asked.only.device:
            without |= {"dropped"}
        if asked.by not in SECOND_LEVEL or asked.only.of_clicks:
            without |= {"earned_level_2"}
        names = [name for name in COLUMNS if name not in without]
    return [FIGURE[name] for name in names]


def _lines(
    reader: Reader, asked: Asked, columns: Sequence[FigureName], found: Sequence[tables.Named]
) -> Iterator[Line]:
    for each in found:
        label, sub, chosen = _told(asked, each)
        yield Line(
            label,
            sub,
            address(reader, by="day", **chosen) if chosen else None,
            [(figure, figure.of(each.figures)) for figure in columns],
            each.figures,
        )


def _told(asked: Asked, each: tables.Named) -> tuple[str, str, dict[str, str]]:
    """A key in words, what stands below it, and what asks about it alone."""
    by, key = asked.by, each.row.key
    if by in IN_ORDER:
        return _moment(key, asked, long=True), "", {}
    if by is By.LINK:
        return each.name or each.key, each.key if each.name else "", {"link": each.key}
    if by is By.AFFILIATE:
        return each.name, each.key, {"affiliate": each.key}
    if by is By.DEVICE:
        return str(DEVICES[key]), "", {"device": key}
    if by is By.DROP_REASON:
        return str(DROPPED[DropReason(key)]), key, {}
    if by is By.COUNTRY:
        return str(get_locale().territories.get(key, key)), key, {"country": key}
    label, sub = each.name or each.key, each.key if each.name else ""
    if by is By.COUPON or asked.scope.enrollment_id is None:
        return label, sub, {}
    return label, sub, {by.value: each.key}


def _chart(series: Mapping[Any, Figures], values: list[int], asked: Asked, said: Any) -> Chart:
    labels = [f"{_moment(key, asked)}: {said(figures)}" for key, figures in series.items()]
    return chart([_date(key, asked) for key in series], values, labels)


def _clicks_said(figures: Figures) -> str:
    clicks = ngettext("%(num)s click", "%(num)s clicks", figures.clicks)
    return f"{clicks}, " + ngettext("%(num)s order", "%(num)s orders", figures.orders)


def _ends(keys: Sequence[Any], asked: Asked) -> tuple[str, str, str]:
    middle = keys[len(keys) // 2]
    return _moment(keys[0], asked), _moment(middle, asked), _moment(keys[-1], asked)


def _moment(key: date | datetime, asked: Asked, *, long: bool = False) -> str:
    if isinstance(key, datetime):
        zone = get_timezone(asked.scope.time_zone)
        shape = "d MMM, HH:mm ZZZZZ" if long else "d MMM, HH:mm"
        return str(format_datetime(key, shape, tzinfo=zone, locale=get_locale()))
    return str(format_date(key, "EEE, d MMM yyyy" if long else "d MMM", locale=get_locale()))


def _date(key: date | datetime, asked: Asked) -> date:
    return today(key, asked.scope.time_zone) if isinstance(key, datetime) else key
