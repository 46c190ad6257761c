"""What a commission comes from, in words: the one place that reads every kind of reference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import sqlalchemy as sa
from babel.dates import format_date
from flask_babel import get_locale
from sqlalchemy.orm import InstrumentedAttribute, Session

from affiliate.core.ids import public_id
from affiliate.links.models import Link
from tracker.desks.words import _
from tracker.leads.models import Lead
from tracker.orders.models import Order

ORDER = "ord"
LEAD = "led"
"""What public ids of orders and leads begin with."""
_REFERENCE = re.compile(
    r"(?P<kind>order|lead):(?P<row>(?a:[0-9])+)"
    r"|clicks:(?P<link>(?a:[0-9])+):(?P<day>(?a:[0-9]){4}-(?a:[0-9]){2}-(?a:[0-9]){2})"
    r"|tier:(?a:[0-9])+:(?P<period>.+)"
)


class SourceKind(StrEnum):
    """What somebody earned by."""

    ORDER = "order"
    LEAD = "lead"
    CLICKS = "clicks"
    TIER = "tier"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a commission comes from."""

    kind: SourceKind
    text: str
    """The shop's id of an order or a lead; else what it is, in words."""
    public: str | None = None
    """Public id of the order or lead, for its page."""


def sources(session: Session, references: Iterable[str]) -> dict[str, Source]:
    """The source of each reference, whatever it is."""
    read = {reference: _REFERENCE.fullmatch(reference) for reference in set(references)}
    rows = {"order": set[int](), "lead": set[int]()}
    links: set[int] = set()
    for match in filter(None, read.values()):
        if match["kind"]:
            rows[match["kind"]].add(int(match["row"]))
        elif match["link"]:
            links.add(int(match["link"]))
    orders = _texts(session, Order.id, Order.order_id, rows["order"])
    leads = _texts(session, Lead.id, Lead.lead_id, rows["lead"])
    codes = _texts(session, Link.id, Link.code, links)
    return {
        reference: _source(reference, match, orders, leads, codes)
        for reference, match in read.items()
    }


def _source(
    reference: str,
    match: re.Match[str] | None,
    orders: Mapping[int, str],
    leads: Mapping[int, str],
    codes: Mapping[int, str],
) -> Source:
    if match is None:
        return Source(SourceKind.OTHER, reference)
    if match["kind"] == "order" and int(match["row"]) in orders:
        row = int(match["row"])
        return Source(SourceKind.ORDER, orders[row], public_id(ORDER, row))
    if match["kind"] == "lead" and int(match["row"]) in leads:
        row = int(match["row"])
        return Source(SourceKind.LEAD, leads[row], public_id(LEAD, row))
    if match["link"]:
        day, code = date.fromisoformat(match["day"]), codes.get(int(match["link"]), "—")
        return Source(SourceKind.CLICKS, clicks_of(day, code))
    if match["period"]:
        return Source(SourceKind.TIER, _("Volume tiers of %(period)s", period=match["period"]))
    return Source(SourceKind.OTHER, reference)


def clicks_of(day: date, code: str) -> str:
    """What pay per click is for."""
    shown = format_date(day, "d MMM yyyy", locale=get_locale())
    return _("Clicks of %(day)s on the link %(code)s", day=shown, code=code)


def _texts(
    session: Session,
    number: InstrumentedAttribute[int],
    text: InstrumentedAttribute[str],
    wanted: set[int],
) -> dict[int, str]:
    if not wanted:
        return {}
    found = session.execute(sa.select(number, text).where(number.in_(wanted)))
    return {row: name for row, name in found}  # noqa: C416 -- rows are no pairs for mypy
