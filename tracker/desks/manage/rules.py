"""Rules: what is in force in words, every version, and the form that publishes the next."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from flask import flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.pages import moment
from affiliate.people import access
from affiliate.programs import examples, rule_versions, terms_document, words
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.named_affiliates import refuse_strangers
from tracker.desks.acting import Answer
from tracker.desks.manage import people
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    readers,
    require_acting,
)
from tracker.desks.manage.rules_form import RulesForm
from tracker.desks.words import _

PREVIEW: Final = "preview"
"""Value of the button that shows a version before it is published."""


@manage.get("/rules")
@readers
def rules() -> str:
    """The rules in force, those that come, and those that were."""
    here = place()
    session, program = db.session(), here.required
    now = clock.now(session)
    current = rule_versions.in_force(session, program_id=program.id, at=now)
    return page(
        "rules",
        here,
        program=program,
        current=current,
        headline=words.headline(current.terms.commission),
        sentences=words.rules_in_words(current.terms, program),
        versions=_versions(session, program, current.id, now),
    )


@manage.get("/rules/new")
@actors
def new_rules() -> str:
    """The form of the next version, filled with the rules in force."""
    here = place()
    program = here.required
    require_acting(program.id)
    session = db.session()
    current = rule_versions.in_force(session, program_id=program.id, at=clock.now(session))
    form = RulesForm(formdata=None)
    form.fill(terms_document.dump(current.terms))
    return page("rules_form", here, program=program, form=form)


@manage.post("/rules")
@actors
def publish() -> Answer:
    """Publish the next version, in force now or later, never in the past."""
    here = place()
    program = here.required
    require_acting(program.id)
    session, form = db.session(), RulesForm()
    now = clock.now(session)
    if not form.validate_on_submit():
        return page("rules_form", here, program=program, form=form), 422
    if request.form.get("action") == PREVIEW:
        return _previewed(here, program, form)
    try:
        version = rule_versions.publish(
            session,
            program_id=program.id,
            document=form.document(),
            effective_at=form.effective(zone=program.time_zone, now=now),
            by=access.actor().user_id,
            now=now,
        )
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return page("rules_form", place(), program=program, form=form), refusal.status
    flash(
        _(
            "Version %(number)s is published, in force from %(at)s. Orders placed before keep "
            "theirs.",
            number=version.number,
            at=moment(version.effective_at),
        ),
        "success",
    )
    return redirect(url_for("manage.rules"), 303)


def _previewed(here: Place, program: Program, form: RulesForm) -> Answer:
    """The version as affiliates would read it; nothing is written."""
    try:
        document = form.document()
        read = terms_document.load(document, program.currency)
        refuse_strangers(db.session(), program_id=program.id, document=document)
    except Refusal as refusal:
        form.show(refusal)
        return page("rules_form", here, program=program, form=form), refusal.status
    form.fill(terms_document.dump(read))
    shown = examples.example(read, program.currency, earned=examples.calculator())
    preview = {
        "headline": words.headline(read.commission),
        "rules": words.rules_in_words(read, program),
        "example": words.example_sentences(shown, read.commission),
    }
    return page("rules_form", here, program=program, form=form, preview=preview)


def _versions(
    session: Session, program: Program, current_id: int, now: datetime
) -> list[dict[str, Any]]:
    found = rule_versions.versions(session, program_id=program.id)
    names = people.user_names(session, {f"user:{row.created_by}" for row in found})
    return [_version(row, program, names, current_id, now) for row in found]


def _version(
    row: RuleVersion, program: Program, names: dict[str, str], current_id: int, now: datetime
) -> dict[str, Any]:
    read = terms_document.load(row.terms, program.currency)
    state = "announced" if row.effective_at > now else "past"
    return {
        "row": row,
        "state": "in_force" if row.id == current_id else state,
        "headline": words.headline(read.commission),
        "level_2": words.level_2_short(read.commission),
        "window_days": read.attribution.window.days,
        "hold_days": read.payout.hold.days,
        "by": names.get(f"user:{row.created_by}"),
    }
