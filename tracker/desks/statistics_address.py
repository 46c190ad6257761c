"""What the address of a page of statistics asks, and the addresses that ask something else.

Everything that was chosen stands in the address, so that a view can be kept and shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid, NotFound
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.programs.models import Program
from tracker.clicks.rules import CountedBy, DeviceClass
from tracker.desks.words import _, ngettext
from tracker.stats import questions, tables
from tracker.stats.api import days_before, filter_of, period_of
from tracker.stats.figures import Period, Scope, today
from tracker.stats.questions import Asked
from tracker.stats.rules import IN_ORDER, SUB_ID_KINDS, By, Filter, Sort
from tracker.stats.words import DEVICES, DIMENSIONS

SPANS_DAYS: Final = (7, 30, 90)
SPAN_DAYS: Final = 30
HOURS_SHOWN_DAYS_MAX: Final = 7
CHOSEN: Final = ("from", "to", "days", "affiliate", "link", *CountedBy, "device", "compare")
"""Arguments that lead on from one view to the next."""


@dataclass(frozen=True, slots=True)
class Tab:
    label: Any
    url: str
    chosen: bool


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


def _period(reader: Reader) -> Period:
    on = today(reader.now, reader.program.time_zone)
    first, last = _day("from"), _day("to")
    if first is None and last is None:
        days = {str(n): n for n in SPANS_DAYS}.get(request.args.get("days", ""), SPAN_DAYS)
        return Period.ending(on, days)
    last = last or on
    return period_of(first or days_before(last, SPAN_DAYS - 1), last)


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


def spans(reader: Reader, asked: Asked) -> list[Tab]:
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
        Tab(label, address(reader, **{**clear, **chosen, **by}), asked.period == period)
        for label, period, chosen in named
    ]
    today_alone = {**clear, "from": on, "to": on, **by}
    return [Tab(_("Today"), address(reader, **today_alone), asked.period == Period(on, on)), *tabs]


def tabs(reader: Reader, asked: Asked) -> list[Tab]:
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
            address(reader, by=by.value),
            asked.by is by or (by is By.S1 and asked.by.kind in SUB_ID_KINDS),
        )
        for by in shown
    ]


def sub_tabs(reader: Reader, asked: Asked) -> list[Tab]:
    if asked.by.kind not in SUB_ID_KINDS:
        return []
    return [
        Tab(by.value, address(reader, by=by.value), asked.by is by)
        for by in (By.S1, By.S2, By.S3, By.S4, By.S5)
    ]


def filters(reader: Reader, asked: Asked) -> Iterator[tuple[str, str, str]]:
    only: Filter = asked.only
    if only.link_id is not None:
        yield str(DIMENSIONS[By.LINK]), request.args["link"], address(reader, link=None)
    if reader.enrollment_id is None and asked.scope.enrollment_id is not None:
        name = tables.affiliate_name(reader.session, asked.scope.enrollment_id)
        yield str(DIMENSIONS[By.AFFILIATE]), name, address(reader, affiliate=None, link=None)
    if only.kind:
        label = str(DIMENSIONS[By(only.kind.value)])
        yield label, only.value, address(reader, **{only.kind.value: None})
    if only.device:
        label = str(DIMENSIONS[By.DEVICE])
        yield label, str(DEVICES[only.device.value]), address(reader, device=None)


def chosen() -> dict[str, Any]:
    return {name: value for name in CHOSEN if (value := request.args.get(name))}


def address(reader: Reader, **changed: Any) -> str:
    """The address of this view with something else chosen; None takes a choice away."""
    wanted: dict[str, Any] = {
        name: str(value) for name, value in {**chosen(), **changed}.items() if value is not None
    }
    return url_for(reader.endpoint, **wanted)
