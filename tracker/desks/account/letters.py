"""Which letters the affiliate gets, program by program."""

from __future__ import annotations

from flask import flash, redirect, url_for

from affiliate.core.db import db
from affiliate.letters.choices import ChosenBy, choices_of, choose
from affiliate.letters.rules import OF_AFFILIATES
from affiliate.letters.web import ticked
from affiliate.letters.words import ALWAYS, CHOICES
from affiliate.people import access
from affiliate.people.access import Role, affiliates
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place


@account.get("/letters")
@affiliates
@in_program
def letters(place: Place) -> Answer:
    """What is sent and what is wanted, of this program."""
    return page(
        "letters",
        place,
        shown=OF_AFFILIATES,
        words=CHOICES,
        wanted=choices_of(db.session(), user_id=place.actor.user_id, program_id=place.program.id),
        always=ALWAYS,
        is_finance=bool(access.roles() & {Role.FINANCE, Role.OWNER}),
    )


@account.post("/letters")
@affiliates
@in_program
def choose_letters(place: Place) -> Answer:
    """Choose; it holds from the next letter on."""
    session = db.session()
    choose(
        session, user_id=place.actor.user_id, program_id=place.program.id,
        wanted=ticked(OF_AFFILIATES), by=ChosenBy.PAGE, now=place.now,
    )  # fmt: skip
    session.commit()
    flash(_("Saved. It holds from the next letter on."), "success")
    return redirect(url_for("account.letters", program=place.program.slug), 303)
