"""Banners that affiliates make for themselves, each with their own link behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import flash, redirect, request, url_for

from affiliate.core.db import db
from affiliate.core.errors import Conflict, NotFound, TooMany
from affiliate.core.pages import say
from affiliate.people import limits
from affiliate.people.access import affiliates
from affiliate.promo.banner_rules import BUTTON_CHARS_MAX, TEXT_CHARS_MAX
from affiliate.promo.banners import BANNERS_A_DAY_MAX, keep_banner
from affiliate.promo.creatives import creative_row, retire_creative
from affiliate.promo.lookup import Material, material, own_banners
from affiliate.promo.rules import address, banner_code
from tracker.desks import banner_maker
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.links import link_url
from tracker.desks.account.place import Place
from tracker.desks.account.promo import FIGURES_DAYS, chosen_link, links_to_choose, url_for_picture
from tracker.desks.words import _
from tracker.stats.questions import Figures, Period, by_creative, today

SHOWN_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Kept:
    """A banner as its owner takes it away."""

    material: Material
    link: str
    code: str
    """HTML; empty without a link."""
    figures: Figures


@account.get("/banners")
@affiliates
@in_program
def banners(place: Place) -> Answer:
    """The maker with what it would draw, and what was kept."""
    return _page(place, banner_maker.asked(db.session(), place.program, request.args))


@account.get("/banners/preview")
@affiliates
@limits.braked(limits.brake_drawing)
@in_program
def banner_preview(place: Place) -> Answer:
    """What it would look like."""
    session = db.session()
    wanted = banner_maker.asked(session, place.program, request.args)
    return banner_maker.preview(session, place.program, wanted)


@account.post("/banners")
@affiliates
@limits.braked(limits.brake_drawing)
@in_program
def keep_own_banner(place: Place) -> Answer:
    """Keep it, with the reader's link behind it."""
    session = db.session()
    wanted = banner_maker.asked(session, place.program, request.form)
    if wanted.design is None:
        return _page(place, wanted), 422
    # Drawn before anything is locked: it takes a while.
    picture = banner_maker.drawn(session, place.program, wanted)
    try:
        keep_banner(
            session, program_id=place.program.id, enrollment_id=place.enrollment.id,
            design=wanted.design, picture=picture,
            destination=banner_maker.destination_of(place.program, wanted.product),
            by=place.actor.user_id, now=place.now,
        )  # fmt: skip
    except (Conflict, TooMany) as refusal:
        session.rollback()
        flash(say(refusal.detail), "danger")
        return _page(place, wanted), refusal.status
    session.commit()
    flash(_("The banner is kept. Copy its code, or download it."), "success")
    return redirect(url_for(".banners") + "#own", 303)


@account.post("/banners/<creative>/retired")
@affiliates
@in_program
def retire_own_banner(place: Place, creative: str) -> Answer:
    """Take it off the list; where it stands it goes on working."""
    session = db.session()
    shown = material(session, creative_id=creative_row(creative), today=place.now.date())
    if shown.row.enrollment_id != place.enrollment.id:
        raise NotFound
    retire_creative(session, creative_id=shown.row.id, by=place.actor.user_id, now=place.now)
    session.commit()
    flash(_("It is off your list; where it stands already it goes on working."), "success")
    return redirect(url_for(".banners") + "#own", 303)


def _page(place: Place, wanted: banner_maker.Asked) -> str:
    session, day = db.session(), today(place.now, place.program.time_zone)
    link = chosen_link(session, place, links_to_choose(session, place))
    figures = by_creative(session, scope=place.scope, period=Period.ending(day, FIGURES_DAYS))
    none = Figures.none(place.currency)
    kept = []
    for each in own_banners(session, enrollment_id=place.enrollment.id, today=day)[:SHOWN_MAX]:
        whole = code = ""
        if link is not None and each.picture is not None:
            whole = address(
                link_url(link.code), creative=each.code, destination=each.row.destination
            )
            code = banner_code(
                whole, picture_url=url_for_picture(each), width=each.picture.width,
                height=each.picture.height, alt=each.row.alt,
            )  # fmt: skip
        kept.append(Kept(each, whole, code, figures.get(each.code, none)))
    return page(
        "banners",
        place,
        wanted=wanted,
        sizes=banner_maker.sizes(),
        looks=banner_maker.looks(),
        preview=url_for(".banner_preview", **wanted.words) if wanted.design else None,
        kept=kept,
        link=link,
        a_day=BANNERS_A_DAY_MAX,
        days=FIGURES_DAYS,
        most={"text": TEXT_CHARS_MAX, "button": BUTTON_CHARS_MAX},
    )
