"""The affiliate's own browser and network, noted while their account is open in them.

So that an order out of the same browser is known as an own purchase. Kopeck's visitor cookie is
given out here as a click would give it, or nobody's first purchase would be known; in consent
mode there is no such cookie and no browser is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from flask import Flask, Response, current_app, g, request

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people import access
from tracker.attribution.facts import BuyerBy
from tracker.attribution.sightings import note_sighting
from tracker.clicks.visitors import VisitorCookie, new_visitor_ids
from tracker.desks.account.blueprint import account
from tracker.orders.keys import order_keys

EXTENSION: Final = "kopeck.own_browser"
NOTED_EVERY: Final = timedelta(minutes=10)
NOTED_MAX: Final = 10_000

Seen = tuple[int, frozenset[UUID]]


@dataclass(frozen=True, slots=True)
class Noting:
    """What this process needs to note who reads these pages."""

    settings: Settings
    cookie: VisitorCookie
    noted: dict[Seen, datetime] = field(default_factory=dict)
    """When it wrote what down."""


def set_up(app: Flask, settings: Settings) -> None:
    """Make what the hooks below need."""
    cookie = VisitorCookie(settings.keys("visitor"), https=settings.https)
    app.extensions[EXTENSION] = Noting(settings, cookie)


@account.before_request
def note_browser() -> None:
    """The reader's account is open here and now."""
    standing = access.find_standing()
    if standing is None or standing.actor.affiliate_id is None:
        return
    noting: Noting = current_app.extensions[EXTENSION]
    now = clock.now(db.session(), noting.settings)
    visitor = None if noting.settings.consent_mode else _visitor(noting.cookie)
    marks = _marks(visitor, request.remote_addr or "", now, noting.settings)
    _note(standing.actor.affiliate_id, marks, now, noting.noted)


@account.after_request
def keep_cookie(response: Response) -> Response:
    """Give a browser that had none its visitor cookie."""
    if "visitor_cookie" in g:
        response.headers.add("Set-Cookie", g.visitor_cookie)
    return response


def _visitor(cookie: VisitorCookie) -> bytes:
    """The browser as its clicks are known by; a new one is given its cookie."""
    known = cookie.read(request.headers.get("Cookie", ""))
    if known is not None:
        return known
    new = new_visitor_ids(1)
    [g.visitor_cookie] = cookie.headers([new])
    return new


def _note(
    affiliate_id: int, marks: Mapping[UUID, BuyerBy], now: datetime, noted: dict[Seen, datetime]
) -> None:
    """Write it down, now and then: this process remembers what it wrote."""
    session = db.session()
    seen = (affiliate_id, frozenset(marks))
    before = noted.get(seen)
    if not marks or (before is not None and timedelta(0) <= now - before < NOTED_EVERY):
        return
    note_sighting(session, affiliate_id=affiliate_id, marks=marks, now=now)
    session.commit()
    if len(noted) >= NOTED_MAX:
        noted.clear()
    noted[seen] = now


def _marks(
    visitor: bytes | None, address: str, now: datetime, settings: Settings
) -> dict[UUID, BuyerBy]:
    keys, marks = order_keys(settings), {}
    if visitor is not None:
        marks[keys.device_marks(UUID(bytes=visitor))[0]] = BuyerBy.DEVICE
    if _is_public(address):
        marks[keys.network_mark(address, now)] = BuyerBy.ADDRESS
    return marks


def _is_public(address: str) -> bool:
    """Whether it is the address of somebody out there: a private one is a proxy's of ours, and
    everybody would come from it."""
    try:
        return ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False
