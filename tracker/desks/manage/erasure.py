"""Erase an affiliate who asked the program for it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import current_app, flash, redirect, url_for
from flask_babel import lazy_gettext as _l
from sqlalchemy.orm import Session
from wtforms import StringField
from wtforms.validators import InputRequired

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Forbidden, Invalid, Refusal
from affiliate.core.pages import say
from affiliate.core.personal import BOOKS_YEARS
from affiliate.people import access, freshness
from affiliate.people.forms import Form
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.personal.erase import find_person
from payouts.personal.owed import obstacles
from payouts.rails.registry import rails
from tracker.desks.acting import Answer
from tracker.desks.manage import people
from tracker.desks.manage.blueprint import (
    actors,
    manage,
    page,
    place_of,
    require_acting,
)
from tracker.desks.words import _
from tracker.personal.erase import erase_person

ID_CHARS_MAX: Final = 40


class NotYoursToErase(Forbidden):
    code = "not_yours_to_erase"
    title = "They are in other programs or work here as well: an owner can erase them."


class ErasureForm(Form):
    """The id once more, so that nobody is erased by a slip of the hand."""

    affiliate = StringField(
        _l("Their id, as it stands above"),
        [InputRequired(_l("Please fill this in."))],
        render_kw={"autocomplete": "off", "maxlength": ID_CHARS_MAX},
    )


@manage.get("/affiliates/<affiliate>/erasure")
@actors
def erasure(affiliate: str) -> str:
    """What is erased, what stays, and what stands in the way."""
    return _page(affiliate, ErasureForm(formdata=None))


@manage.post("/affiliates/<affiliate>/erasure")
@actors
def erase(affiliate: str) -> Answer:
    """Erase them with all their programs; there is no way back."""
    _enrollment, _person, user = _found(affiliate)
    freshness.require_fresh()
    form, session = ErasureForm(), db.session()
    if not form.validate_on_submit():
        return _page(affiliate, form), 422
    try:
        if form.affiliate.data.strip() != affiliate:
            raise Invalid.field("affiliate", "other_id", "This is not their id.")
        _refuse_others(session, user.id)
        erase_person(
            session,
            user_id=user.id,
            by=access.actor().user_id,
            rails=rails(_settings()),
            now=clock.now(session),
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return _page(affiliate, form), refusal.status
    flash(_("They are erased and signed out. Their amounts stay in the books."), "success")
    return redirect(url_for("manage.affiliate", affiliate=affiliate), 303)


def _refuse_others(session: Session, user_id: int) -> None:
    """A manager has a say in their own programs, and none over staff."""
    if access.is_owner():
        return
    mine = [program.id for program in access.programs_of(access.Role.MANAGER)]
    elsewhere = sa.select(Enrollment.id).join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
    elsewhere = elsewhere.where(Affiliate.user_id == user_id, Enrollment.program_id.not_in(mine))
    works = sa.select(Grant.id).where(Grant.user_id == user_id, Grant.revoked_at.is_(None))
    if session.scalar(sa.select(sa.or_(elsewhere.exists(), works.exists()))):
        raise NotYoursToErase


def _found(affiliate: str) -> tuple[Enrollment, Affiliate, User]:
    """Somebody in a program in which the reader may act."""
    found = people.find(db.session(), public=affiliate)
    require_acting(found[0].program_id)
    return found


def _page(affiliate: str, form: ErasureForm) -> str:
    session = db.session()
    enrollment, person, user = _found(affiliate)
    whole = find_person(session, user_id=user.id)
    in_the_way = obstacles(
        session,
        affiliate_id=person.id,
        enrollment_ids=whole.enrollment_ids,
        rails=rails(_settings()),
    )
    return page(
        "erasure",
        place_of(enrollment.program_id),
        public=affiliate,
        person=person,
        form=form,
        erased=whole.erased,
        programs=len(whole.enrollment_ids),
        obstacles=[say(each.sentence) for each in in_the_way],
        years=BOOKS_YEARS,
    )


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
