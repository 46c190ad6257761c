"""Referral links: the list with what each brought, the builder, QR codes, coupons."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import current_app, flash, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.ids import public_id, row_id
from affiliate.links.links import create_link, disable_link
from affiliate.links.models import Coupon, Link
from affiliate.links.rules import SUB_IDS
from affiliate.people import ids
from affiliate.people.access import affiliates
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place
from tracker.stats.questions import Figures, Period, by_coupon, by_link, today

PREFIX = "lnk"
FIGURES_DAYS = 90
QR_SCALE = 8
QR_BORDER = 2
FORM_FIELDS = {
    "destination": "destination",
    "destination_refused": "destination",
    "code": "code",
    "code_taken": "code",
    "name": "name",
} | {f"sub_ids.{name}": name for name in SUB_IDS}
"""The refusals' fields and codes, and the field of the form beside which each is shown."""


@dataclass(frozen=True, slots=True)
class LinkLine:
    """A link as its owner sees it."""

    id: str
    url: str
    link: Link
    figures: Figures
    sub_ids: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CouponLine:
    coupon: Coupon
    live: bool
    figures: Figures


@dataclass
class Builder:
    """What was typed into the form of a new link, and what is wrong with it."""

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)


@account.get("/links")
@affiliates
@in_program
def links(place: Place) -> Answer:
    """My links, coupons and the recruiting link."""
    return _page(place, Builder())


@account.post("/links")
@affiliates
@in_program
def make_link(place: Place) -> Answer:
    """Make a link; what cannot be accepted stays in the form with the reason beside it."""
    names = ("destination", "name", "code", *SUB_IDS)
    builder = Builder(values={name: request.form.get(name, "").strip() for name in names})
    session = db.session()
    try:
        made = create_link(
            session,
            enrollment_id=place.enrollment.id,
            destination=builder.values["destination"] or None,
            code=builder.values["code"] or None,
            name=builder.values["name"],
            sub_ids={name: builder.values[name] for name in SUB_IDS},
            now=place.now,
        )
    except Refusal as refusal:
        session.rollback()
        builder.errors = field_messages(refusal, FORM_FIELDS)
        return _page(place, builder), refusal.status
    session.commit()
    flash(_("Your link is ready: %(url)s", url=link_url(made.code)), "success")
    return redirect(url_for(".links"), 303)


@account.post("/links/<public>/disabled")
@affiliates
@in_program
def switch_off(place: Place, public: str) -> Answer:
    """Disable a link for good; clicks before keep their credit."""
    session = db.session()
    link = own_link(session, place, public)
    disable_link(session, link_id=link.id, now=place.now, by=place.actor.user_id)
    session.commit()
    flash(_("The link is switched off. Clicks until now still count."), "success")
    return redirect(url_for(".links"), 303)


@account.get("/links/<public>/qr.svg")
@affiliates
@in_program
def qr(place: Place, public: str) -> Answer:
    """The link as a QR code, to print or to show."""
    import segno

    link = own_link(db.session(), place, public)
    out = io.BytesIO()
    code = segno.make(link_url(link.code), micro=False, error="m")
    # Black on white always: a scanner needs the contrast, whatever the page's theme.
    code.save(out, kind="svg", scale=QR_SCALE, border=QR_BORDER, light="#fff", xmldecl=True)
    answer = Response(out.getvalue(), content_type="image/svg+xml; charset=utf-8")
    if request.args.get("download"):
        answer.headers["Content-Disposition"] = f'attachment; filename="link-{link.code}.svg"'
    return answer


def own_link(session: Session, place: Place, public: str) -> Link:
    """The reader's link in this program; NotFound for anybody else's."""
    link = session.scalar(
        sa.select(Link).where(
            Link.id == row_id(PREFIX, public), Link.enrollment_id == place.enrollment.id
        )
    )
    if link is None:
        raise NotFound
    return link


def link_url(code: str) -> str:
    """The address that is shared."""
    return f"{_settings().public_url}/r/{code}"


def recruiting_url(place: Place) -> str:
    """The program's page, which remembers who sent the reader there."""
    return f"{_settings().public_url}/programs/{place.program.slug}?by=" + ids.public(
        place.enrollment.id
    )


def _page(place: Place, builder: Builder) -> str:
    session = db.session()
    period = Period.ending(today(place.now, place.program.time_zone), FIGURES_DAYS)
    return page(
        "links",
        place,
        lines=_links(session, place, by_link(session, scope=place.scope, period=period)),
        coupons=_coupons(session, place, by_coupon(session, scope=place.scope, period=period)),
        recruiting=recruiting_url(place) if place.active else None,
        builder=builder,
        sub_ids=SUB_IDS,
        figures_days=FIGURES_DAYS,
        sites=list(dict.fromkeys(site.lstrip(".") for site in place.program.allowed_sites)),
    )


def _links(session: Session, place: Place, figures: dict[int, Figures]) -> list[LinkLine]:
    """Live ones first, the newest first."""
    rows = session.scalars(
        sa.select(Link)
        .where(Link.enrollment_id == place.enrollment.id)
        .order_by(Link.disabled_at.is_not(None), Link.id.desc())
    )
    none = Figures.none(place.currency)
    return [
        LinkLine(
            public_id(PREFIX, link.id),
            link_url(link.code),
            link,
            figures.get(link.id, none),
            tuple((name, value) for name in SUB_IDS if (value := getattr(link, name))),
        )
        for link in rows
    ]


def _coupons(session: Session, place: Place, figures: dict[str, Figures]) -> list[CouponLine]:
    rows = session.scalars(
        sa.select(Coupon).where(Coupon.enrollment_id == place.enrollment.id).order_by(Coupon.code)
    )
    none = Figures.none(place.currency)

    def live(coupon: Coupon) -> bool:
        ends: list[Any] = [coupon.disabled_at, coupon.valid_until]
        return not any(end is not None and end <= place.now for end in ends)

    return [CouponLine(coupon, live(coupon), figures.get(coupon.code, none)) for coupon in rows]


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
