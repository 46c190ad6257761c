"""My data: take it away, leave the programs, be erased. For whoever is signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from flask import Blueprint, Flask, current_app, flash, redirect, render_template
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.core.pages import say
from affiliate.core.personal import BOOKS_YEARS
from affiliate.people import access, account, entering, freshness, limits, second_factor
from affiliate.people.access import signed_in
from affiliate.people.forms import PresentPasswordForm
from affiliate.personal.erase import find_person, is_in_programs, leave
from payouts.personal.owed import obstacles
from payouts.rails.registry import rails
from tracker.desks.acting import Answer
from tracker.desks.files import kept_answer
from tracker.desks.words import _
from tracker.personal.archive import write_archive
from tracker.personal.erase import erase_person

ZIP: Final = "application/zip"

blueprint = Blueprint("own_data", __name__, url_prefix="/profile/data")


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pages."""
    app.register_blueprint(blueprint)


@blueprint.get("")
@signed_in
def own_data() -> str:
    """What can be taken away, what an erasure takes, and what stands in its way."""
    return _page()


@blueprint.post("/archive")
@signed_in
@limits.braked(limits.brake_archives)
def archive() -> Response:
    """Everything that is held about me, as a ZIP."""
    freshness.require_fresh()
    session, user_id = db.session(), access.actor().user_id
    now = clock.now(session)
    answer = kept_answer(
        f"my-data-{now:%Y-%m-%d}.zip",
        ZIP,
        lambda to: write_archive(session, user_id=user_id, to=to, now=now),
    )
    session.commit()
    return answer


@blueprint.post("/leaving")
@signed_in
@limits.braked(limits.brake_password)
def leave_programs() -> Answer:
    """End all my enrollments: nothing more is credited, what was earned stays mine."""
    form = PresentPasswordForm(prefix="leave")
    refused = _refused(form, lambda session, user_id, now: leave(session, user_id=user_id, now=now))
    if refused is not None:
        return _page(leave_form=form), refused
    flash(_("You have left. What is in its hold period becomes available in its time."), "success")
    return redirect("/profile/data", 303)


@blueprint.post("/erasure")
@signed_in
@limits.braked(limits.brake_password)
def erase() -> Answer:
    """Erase me; there is no way back."""
    form = PresentPasswordForm(prefix="erase")
    known = rails(_settings())

    def verb(session: Session, user_id: int, now: datetime) -> None:
        erase_person(session, user_id=user_id, by=user_id, rails=known, now=now)

    refused = _refused(form, verb)
    if refused is not None:
        return _page(erase_form=form), refused
    access.forget()  # The sign-in went with the rest.
    entering.leave()
    db.session.commit()
    flash(_("You are erased and signed out."), "success")
    return redirect("/", 303)


def _refused(
    form: PresentPasswordForm, verb: Callable[[Session, int, datetime], object]
) -> int | None:
    """Do it for whoever gave their password; else the status, with the reason in the form."""
    session, found = db.session(), access.sign_in()
    assert found is not None
    if not form.validate_on_submit():
        return 422
    if account.authenticate(session, email=found.user.email, password=form.password.data) is None:
        form.password.errors = [_("This is not your password.")]
        return 422
    if second_factor.factors_of(session, user_id=found.user.id).enrolled:
        freshness.require_factor()
    try:
        verb(session, found.user.id, clock.now(session))
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return refusal.status
    return None


def _page(
    leave_form: PresentPasswordForm | None = None, erase_form: PresentPasswordForm | None = None
) -> str:
    session = db.session()
    person = find_person(session, user_id=access.actor().user_id)
    in_the_way = []
    if person.affiliate_id is not None:
        in_the_way = obstacles(
            session,
            affiliate_id=person.affiliate_id,
            enrollment_ids=person.enrollment_ids,
            rails=rails(_settings()),
        )
    return render_template(
        "tracker/own_data.html",
        affiliate=person.affiliate_id is not None,
        in_programs=is_in_programs(session, person),
        obstacles=[say(each.sentence) for each in in_the_way],
        leave_form=leave_form or PresentPasswordForm(formdata=None, prefix="leave"),
        erase_form=erase_form or PresentPasswordForm(formdata=None, prefix="erase"),
        years=BOOKS_YEARS,
    )


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
