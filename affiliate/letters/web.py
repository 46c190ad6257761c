"""The link that ends letters, and staff's page of which ones they get."""

from __future__ import annotations

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.http import csrf
from affiliate.letters import unsubscribe
from affiliate.letters.choices import ChosenBy, choices_of, choose
from affiliate.letters.rules import OF_FINANCE, Choice
from affiliate.letters.words import ALWAYS, CHOICES
from affiliate.people import access
from affiliate.people.access import Role, public, signed_in
from affiliate.programs.models import Program

blueprint = Blueprint("letters", __name__)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the pages."""
    app.register_blueprint(blueprint)


@blueprint.get("/unsubscribe/<token>")
@public
def ask(token: str) -> str:
    """Ask first: scanners of mail open links, and must not end anything by it."""
    return _page(token)


@blueprint.post("/unsubscribe/<token>")
@public
def end_letters(token: str) -> str:
    """End them: the button of the page, and the one press of a mail program, which knows no
    cookie and no token of a form. The link's own signature is what counts."""
    session = db.session()
    found = unsubscribe.read(session, _settings(), token)
    unsubscribe.turn_off(session, subscription=found, now=clock.now(session))
    session.commit()
    return _page(token, ended=True)


csrf.exempt(end_letters)


@blueprint.get("/profile/letters")
@signed_in
def staff_letters() -> str:
    """What I get as one of the staff, program by program."""
    session, user_id = db.session(), access.actor().user_id
    return render_template(
        "affiliate/letters/staff.html",
        programs=[
            (program, choices_of(session, user_id=user_id, program_id=program.id))
            for program in access.programs_of(Role.FINANCE)
        ],
        shown=OF_FINANCE,
        words=CHOICES,
        always=ALWAYS,
        is_affiliate=Role.AFFILIATE in access.roles(),
    )


@blueprint.post("/profile/letters/<slug>")
@signed_in
def choose_staff_letters(slug: str) -> Response:
    """Choose for one program."""
    program = _program(slug)
    session = db.session()
    choose(
        session, user_id=access.actor().user_id, program_id=program.id,
        wanted=ticked(OF_FINANCE), by=ChosenBy.PAGE, now=clock.now(session),
    )  # fmt: skip
    session.commit()
    flash(_("Saved."), "success")
    return redirect("/profile/letters", 303)


def ticked(shown: tuple[Choice, ...]) -> dict[Choice, bool]:
    """What is ticked in the form; a box that is not ticked is not sent."""
    sent = set(request.form.getlist("letters"))
    return {choice: choice.value in sent for choice in shown}


def _program(slug: str) -> Program:
    """NotFound for a program in which the person does not approve payouts."""
    for program in access.programs_of(Role.FINANCE):
        if program.slug == slug:
            return program
    raise NotFound


def _page(token: str, *, ended: bool = False) -> str:
    found = unsubscribe.read(db.session(), _settings(), token)
    return render_template(
        "affiliate/letters/unsubscribe.html",
        program=found.program,
        label=CHOICES[found.choice][0],
        ended=ended,
        choices_url=f"/account/letters?program={found.program.slug}",
    )


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
