"""The page of statistics, as an affiliate and as staff see it: one question, asked by address.

Everything that was chosen stands in the address, so that a view can be kept and shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from babel.dates import format_date, format_datetime, get_timezone
from flask import request, url_for
from flask_babel import get_locale
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid, NotFound
from affiliate.core.money import MICROS, Money
from affiliate.core.pages import money
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.programs.models import Program
from tracker.clicks.rules import CountedBy, DeviceClass, DropReason
from tracker.desks.account.charts import Chart, chart
from tracker.desks.words import _, ngettext
from tracker.stats import cursors, questions, tables
from tracker.stats.api import COMPARED, filter_of, period_of
from tracker.stats.figures import Change, Figures, Period, Scope, change, today
from tracker.stats.questions import Asked
from tracker.stats.rules import IN_ORDER, SUB_ID_KINDS, By, Filter, Sort
from tracker.stats.words import DEVICES, DIMENSIONS, DROPPED, FIGURE, FigureName

SPANS_DAYS: Final = (7, 30, 90)
SPAN_DAYS: Final = 30
HOURS_SHOWN_DAYS_MAX: Final = 7
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
CHOSEN: Final = ("from", "to", "days", "affiliate", "link", *CountedBy, "device", "compare")
"""Arguments that lead on from one view to the next."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the period with what it was before."""

    figure: FigureName
    value: int | Money | None
    before: int | Money | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class Tab:
    label: Any
    url: str
    chosen: bool


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


@dataclass(frozen=True)
class Reader:
    """Who looks: an affiliate at their own figures, or staff at a program's."""

    session: Session
    program: Program
    enrollment_id: int | None
    """An affiliate's own; None for staff, who may name one."""
    now: datetime
    endpoint: str


def asked_by(reader: Reader) -> tuple[Asked, Sort]:
    """The question of the address; Invalid or NotFound where it cannot be asked."""
    period = _period(reader)
    enrollment_id = reader.enrollment_id
    named = request.args.get("affiliate")
    if reader.enrollment_id is None and named:
        enrollment_id = ids.enrollment_of(named)
        if not questions.has_enrollment(
            reader.session, program_id=reader.program.id, enrollment_id=enrollment_id
        ):
            raise NotFound
    link = _link(reader, enrollment_id)
    if link is not None:
        enrollment_id = link.enrollment_id
    given = {name: request.args.get(name, "")[:255] for name in (*CountedBy, "device")}
    if given["device"] and given["device"] not in set(DeviceClass):
        raise NotFound
    only = filter_of(given, None if link is None else link.id)
    asked = Asked(Scope.of(reader.program, enrollment_id), period, _word(By, "by", By.DAY), only)
    return asked, _word(Sort, "sort", _first_sort(asked.by))


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
        spans=_spans(reader, asked),
        tabs=_tabs(reader, asked),
        sub_tabs=_sub_tabs(reader, asked),
        filters=list(_filters(reader, asked)),
        comparisons=[
            Tab(_("the period before"), _to(reader, compare=None), compare == "before"),
            Tab(_("a year earlier"), _to(reader, compare="year"), compare == "year"),
        ],
        columns=columns,
        dimension=DIMENSIONS[asked.by],
        lines=list(_lines(reader, asked, columns, found)),
        hidden=[(name, value) for name, value in request.args.items()
                if name in (*CHOSEN[3:], "by")],
        next_url=next_url,
        first_url=_to(reader, by=asked.by.value) if request.args.get("after") else None,
        csv_url=url_for(csv, **{**_chosen(), "by": asked.by.value}),
    )  # fmt: skip


def _period(reader: Reader) -> Period:
    on = today(reader.now, reader.program.time_zone)
    first, last = _day("from"), _day("to")
    if first is None and last is None:
        days = {str(n): n for n in SPANS_DAYS}.get(request.args.get("days", ""), SPAN_DAYS)
        return Period.ending(on, days)
    last = last or on
    return period_of(first or max(date(2000, 1, 1), last - timedelta(SPAN_DAYS - 1)), last)


def _day(name: str) -> date | None:
    text = request.args.get(name, "").strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid.field(name, "not_a_day", _("Write the day as 2026-11-21.")) from None


def _link(reader: Reader, enrollment_id: int | None) -> Link | None:
    code = request.args.get("link", "")[:64].replace("\0", "")
    if not code:
        return None
    link = reader.session.scalar(
        sa.select(Link).where(Link.code == code, Link.program_id == reader.program.id)
    )
    if link is None or enrollment_id not in (None, link.enrollment_id):
        raise NotFound
    return link


def _word(words: Any, name: str, default: Any) -> Any:
    text = request.args.get(name)
    if text is None:
        return default
    if text not in {word.value for word in words}:
        raise NotFound
    return words(text)


def _first_sort(by: By) -> Sort:
    if by in IN_ORDER:
        return Sort.KEY
    return Sort.EARNED if by in (By.COUPON, By.AFFILIATE) else Sort.CLICKS


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
    next_url = _to(reader, **chosen) if following else None
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
            _to(reader, by="day", **chosen) if chosen else None,
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
    if by is By.COUPON or asked.scope.enrollment_id is None:
        return each.key, "", {}
    return each.key, "", {by.value: each.key}


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


def _spans(reader: Reader, asked: Asked) -> list[Tab]:
    on = today(reader.now, reader.program.time_zone)
    before = on.replace(day=1) - timedelta(days=1)
    named: list[tuple[str, Period, dict[str, Any]]] = [
        (ngettext("%(num)s day", "%(num)s days", days), Period.ending(on, days), {"days": days})
        for days in SPANS_DAYS
    ]
    months = (
        (_("This month"), Period(on.replace(day=1), on)),
        (_("Last month"), Period(before.replace(day=1), before)),
    )
    named += [(label, p, {"from": p.first, "to": p.last}) for label, p in months]
    clear = {"from": None, "to": None, "days": None}
    by = {"by": asked.by.value if asked.by is not By.HOUR else None}
    tabs = [
        Tab(label, _to(reader, **{**clear, **chosen, **by}), asked.period == period)
        for label, period, chosen in named
    ]
    today_alone = {**clear, "from": on, "to": on, **by}
    return [Tab(_("Today"), _to(reader, **today_alone), asked.period == Period(on, on)), *tabs]


def _tabs(reader: Reader, asked: Asked) -> list[Tab]:
    """What can be asked with what is chosen."""
    one = asked.scope.enrollment_id is not None
    shown = [By.DAY]
    if asked.only.kind or asked.only.device:
        shown += [By.LINK] if asked.only.device or one else []
    else:
        shown += [By.HOUR] if asked.period.days <= HOURS_SHOWN_DAYS_MAX else []
        shown += [By.LINK, By.S1] if one else [By.AFFILIATE, By.LINK]
        shown += [By.CREATIVE, By.COUNTRY, By.DEVICE, By.DROP_REASON]
        shown += [] if asked.only.link_id else [By.COUPON]
    labels = {
        By.DAY: _("Days"), By.HOUR: _("Hours"), By.LINK: _("Links"), By.S1: _("Sub-ids"),
        By.AFFILIATE: _("Affiliates"), By.CREATIVE: _("Creatives"), By.COUNTRY: _("Countries"),
        By.DEVICE: _("Devices"), By.DROP_REASON: _("Left out"), By.COUPON: _("Coupons"),
    }  # fmt: skip
    return [
        Tab(
            labels[by],
            _to(reader, by=by.value),
            asked.by is by or (by is By.S1 and asked.by.kind in SUB_ID_KINDS),
        )
        for by in shown
    ]


def _sub_tabs(reader: Reader, asked: Asked) -> list[Tab]:
    if asked.by.kind not in SUB_ID_KINDS:
        return []
    return [
        Tab(by.value, _to(reader, by=by.value), asked.by is by)
        for by in (By.S1, By.S2, By.S3, By.S4, By.S5)
    ]


def _filters(reader: Reader, asked: Asked) -> Iterator[tuple[str, str, str]]:
    only: Filter = asked.only
    if only.link_id is not None:
        yield str(DIMENSIONS[By.LINK]), request.args["link"], _to(reader, link=None)
    if reader.enrollment_id is None and asked.scope.enrollment_id is not None:
        name = tables.affiliate_name(reader.session, asked.scope.enrollment_id)
        yield str(DIMENSIONS[By.AFFILIATE]), name, _to(reader, affiliate=None, link=None)
    if only.kind:
        label = str(DIMENSIONS[By(only.kind.value)])
        yield label, only.value, _to(reader, **{only.kind.value: None})
    if only.device:
        label = str(DIMENSIONS[By.DEVICE])
        yield label, str(DEVICES[only.device.value]), _to(reader, device=None)


def _chosen() -> dict[str, Any]:
    return {name: value for name in CHOSEN if (value := request.args.get(name))}


def _to(reader: Reader, **changed: Any) -> str:
    """The address of this view with something else chosen; None takes a choice away."""
    wanted: dict[str, Any] = {
        name: str(value) for name, value in {**_chosen(), **changed}.items() if value is not None
    }
    return url_for(reader.endpoint, **wanted)
