"""Promo materials: each with the reader's own link in it, ready to be copied."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from flask import current_app, request, url_for
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id
from affiliate.links.destinations import deep_link
from affiliate.links.models import Link
from affiliate.people.access import affiliates
from affiliate.promo.lookup import Material, offered
from affiliate.promo.rules import (
    Kind,
    Season,
    address,
    banner_code,
    hosted_address,
    with_link,
)
from tracker.desks import promo_words
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.links import PREFIX, link_url, own_link
from tracker.desks.account.place import Place
from tracker.stats.questions import Figures, Period, by_creative, today

SHOWN_MAX: Final = 40
LINKS_SHOWN_MAX: Final = 100
"""To choose from; whoever has more names one from the page of links."""
FIGURES_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Ready:
    """A material as its reader takes it away."""

    material: Material
    link: str
    """The reader's link, which says which material was clicked; empty without one."""
    destination: str
    """The material's own page of the shop; empty: it goes where the reader's link goes."""
    picture_url: str
    code: str
    """HTML of a picture."""
    text: str
    """With the link in it."""
    figures: Figures

    @property
    def coming(self) -> bool:
        return self.material.season is Season.COMING


@account.get("/promo")
@affiliates
@in_program
def promo(place: Place) -> Answer:
    """What is offered today, by kind and language."""
    session = db.session()
    day = today(place.now, place.program.time_zone)
    found = offered(session, program_id=place.program.id, today=day)
    language = _language(found)
    fitting = [each for each in found if language in ("", each.row.language)]
    counts = Counter(each.kind for each in fitting)
    kind = _kind(counts)
    of_kind = [each for each in fitting if each.kind is kind]
    start = _start(len(of_kind))
    links = links_to_choose(session, place)
    link = chosen_link(session, place, links)
    period = Period.ending(day, FIGURES_DAYS)
    figures = by_creative(session, scope=place.scope, period=period)
    shown = [
        _ready(
            each,
            link,
            _destination(place, each),
            figures.get(each.code, Figures.none(place.currency)),
        )
        for each in of_kind[start : start + SHOWN_MAX]
    ]

    def to(**changes: Any) -> str:
        now: dict[str, Any] = {
            "kind": kind, "language": language or None, "link": request.args.get("link"),
        }  # fmt: skip
        return url_for("account.promo", **{**now, **changes})

    return page(
        "promo",
        place,
        shown=shown,
        any_at_all=bool(found),
        kind=kind,
        kinds=[(one, label, counts[one], to(kind=one, start=None))
               for one, label in promo_words.kinds().items() if counts[one]],
        icons=promo_words.ICONS,
        wanted=language,
        spoken=_languages(found),
        link=link,
        links=[(public_id(PREFIX, each.id), each) for each in links],
        days=FIGURES_DAYS,
        newer=to(start=start - SHOWN_MAX or None) if start else None,
        older=to(start=start + SHOWN_MAX) if start + SHOWN_MAX < len(of_kind) else None,
    )  # fmt: skip


def _ready(material: Material, link: Link | None, destination: str, figures: Figures) -> Ready:
    row, picture = material.row, material.picture
    whole = _address(material, link, destination) if link else ""
    picture_url = url_for_picture(material)
    code = ""
    if picture and whole and material.kind.is_picture:
        code = banner_code(
            whole, picture_url=picture_url, width=picture.width, height=picture.height, alt=row.alt
        )
    body = with_link(row.body, whole) if material.kind.carries_link and whole else row.body
    if material.kind is Kind.PAGE:  # It stands on the page already.
        body = ""
    return Ready(material, whole, destination, picture_url, code, body, figures)


def _address(material: Material, link: Link, destination: str) -> str:
    """The link that stands in the material: to the shop, or to the page that we host."""
    if material.kind is Kind.PAGE:
        return hosted_address(_settings().public_url, link=link.code, creative=material.code)
    return address(link_url(link.code), creative=material.code, destination=destination)


def _destination(place: Place, material: Material) -> str:
    """Its page as the click front will take it: none where the program's sites have changed."""
    program = place.program
    plain = program.landing_url.startswith("http://")
    wanted = material.row.destination
    if not wanted:
        return ""
    return deep_link(wanted, program.allowed_sites, plain_loopback=plain) or ""


def url_for_picture(material: Material) -> str:
    """Its address for other sites; empty for what has no picture."""
    path = material.picture_path
    return f"{_settings().public_url}{path}" if path else ""


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


def links_to_choose(session: Session, place: Place) -> list[Link]:
    """Live ones, those to the program's own page first, of them the oldest: what stands in a
    material changes only where somebody chooses."""
    query = (
        sa.select(Link)
        .where(Link.enrollment_id == place.enrollment.id, Link.disabled_at.is_(None))
        .order_by(Link.destination != place.program.landing_url, Link.id)
        .limit(LINKS_SHOWN_MAX)
    )
    return list(session.scalars(query))


def chosen_link(session: Session, place: Place, links: list[Link]) -> Link | None:
    """The link that the address names, else the first. NotFound for anybody else's, and for one
    that is switched off."""
    named = request.args.get("link")
    if not named:
        return links[0] if links else None
    link = own_link(session, place, named)
    if link.disabled_at is not None:
        raise NotFound
    if link not in links:
        links.append(link)
    return link


def _languages(found: list[Material]) -> list[str]:
    return sorted({each.row.language for each in found if each.row.language})


def _language(found: list[Material]) -> str:
    """What the reader wants to see alone; NotFound for what is no language of any material."""
    wanted = request.args.get("language", "")
    if wanted and wanted not in _languages(found):
        raise NotFound
    return wanted


def _kind(counts: Counter[Kind]) -> Kind | None:
    text = request.args.get("kind")
    if text is not None:
        if text not in list(Kind):
            raise NotFound
        return Kind(text)
    return next((one for one in Kind if counts[one]), None)


def _start(count: int) -> int:
    text = request.args.get("start", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise NotFound
    start = int(text)
    if start and start >= count:
        raise NotFound
    return start - start % SHOWN_MAX
