"""The banner maker of the program: banners for all affiliates, and what all of them look like."""

from __future__ import annotations

from datetime import datetime

from flask import flash, redirect, request, url_for
from flask_babel import lazy_gettext as _l
from sqlalchemy.orm import Session
from wtforms import StringField
from wtforms.validators import Length, Optional

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Conflict
from affiliate.core.pages import say
from affiliate.people import access, limits
from affiliate.promo.banner_rules import BRAND_CHARS_MAX, BUTTON_CHARS_MAX, TEXT_CHARS_MAX, Brand
from affiliate.promo.banners import brand_of, keep_banner, set_brand
from affiliate.promo.creatives import creative_code
from tracker.desks import banner_maker
from tracker.desks.acting import Answer, submit
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    readers,
    require_acting,
)
from tracker.desks.manage.rules_form import Form
from tracker.desks.words import _


class BrandForm(Form):
    """What all banners have in common."""

    name = StringField(
        _l("Name of the shop"),
        [Optional(), Length(max=BRAND_CHARS_MAX)],
        description=_l("Stands on banners that are high enough. Empty: on none."),
    )
    colour = StringField(_l("Colour"), [Optional(), Length(max=7)], render_kw={"type": "color"})
    accent = StringField(_l("Accent"), [Optional(), Length(max=7)], render_kw={"type": "color"})


@manage.get("/banners")
@readers
def banners() -> str:
    """The maker with what it would draw, and the brand's settings."""
    here = place()
    return _page(here, banner_maker.asked(db.session(), here.required, request.args))


@manage.get("/banners/preview")
@readers
@limits.braked(limits.brake_drawing)
def banner_preview() -> Answer:
    """What it would look like."""
    program, session = place().required, db.session()
    return banner_maker.preview(
        session, program, banner_maker.asked(session, program, request.args)
    )


@manage.post("/banners")
@actors
@limits.braked(limits.brake_drawing)
def offer_banner() -> Answer:
    """Offer it to all affiliates, each with their own link behind it."""
    here, session = place(), db.session()
    program = here.required
    require_acting(program.id)
    wanted = banner_maker.asked(session, program, request.form)
    if wanted.design is None:
        return _page(here, wanted), 422
    picture = banner_maker.drawn(session, program, wanted)
    try:
        made = keep_banner(
            session, program_id=program.id, enrollment_id=None, design=wanted.design,
            picture=picture, destination=banner_maker.destination_of(program, wanted.product),
            by=access.actor().user_id, now=clock.now(session),
        )  # fmt: skip
    except Conflict as refusal:
        session.rollback()
        flash(say(refusal.detail), "danger")
        return _page(here, wanted), refusal.status
    code = creative_code(made.id)
    session.commit()
    flash(_("It is offered to affiliates from now on."), "success")
    return redirect(url_for("manage.creative", code=code), 303)


@manage.post("/banners/brand")
@actors
def set_banner_brand() -> Answer:
    """Say what all banners that are made from now on have in common."""
    here, form = place(), BrandForm()
    program_id = here.required.id
    require_acting(program_id)

    def verb(session: Session, now: datetime) -> None:
        brand = Brand(form.name.data or "", form.colour.data or "", form.accent.data or "")
        set_brand(session, program_id=program_id, brand=brand, by=access.actor().user_id, now=now)

    return submit(
        form,
        verb,
        done=_("Banners that are made from now on look so."),
        back=url_for("manage.banners", program=here.required.slug),
        page=lambda: _page(here, _nothing(db.session(), here), form),
    )


def _nothing(session: Session, here: Place) -> banner_maker.Asked:
    return banner_maker.asked(session, here.required, {})


def _page(here: Place, wanted: banner_maker.Asked, form: BrandForm | None = None) -> str:
    program, session = here.required, db.session()
    if form is None:
        brand = brand_of(session, program_id=program.id)
        form = BrandForm(formdata=None, name=brand.name, colour=brand.colour, accent=brand.accent)
    words = {**wanted.words, "program": program.slug}
    return page(
        "banners",
        here,
        program=program,
        wanted=wanted,
        form=form,
        sizes=banner_maker.sizes(),
        looks=banner_maker.looks(),
        preview=url_for(".banner_preview", **words) if wanted.design else None,
        most={"text": TEXT_CHARS_MAX, "button": BUTTON_CHARS_MAX},
    )
