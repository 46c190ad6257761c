"""Drafts of the rules: written in a form, shown as what they change, announced or discarded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from flask import flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.pages import moment
from affiliate.people import access
from affiliate.programs import (
    announcements,
    drafts,
    examples,
    rule_versions,
    terms_document,
    words,
)
from affiliate.programs.changes import changes
from affiliate.programs.models import Program, RuleDraft
from affiliate.programs.named_affiliates import refuse_strangers
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage import people, replay_lists
from tracker.desks.manage.blueprint import (
    actors,
    manage,
    page,
    place,
    place_of,
    require_acting,
)
from tracker.desks.manage.forms import AnnouncementForm, DraftForm, TrialForm, local_text
from tracker.desks.manage.numbers import today
from tracker.desks.manage.rules_form import Form
from tracker.desks.words import _
from tracker.replay import runs

PREVIEW: Final = "preview"
"""Value of the button that shows what is written before it is saved."""
TRIAL_DAYS: Final = 30
"""So many days, today among them, the form of a trial offers."""


@manage.get("/rules/new")
@actors
def new_rules() -> str:
    """The form of a new draft, filled with the rules in force."""
    here = place()
    program = here.required
    require_acting(program.id)
    session = db.session()
    current = rule_versions.in_force(session, program_id=program.id, at=clock.now(session))
    form = DraftForm(formdata=None)
    form.fill(terms_document.dump(current.terms))
    form.name.data = _("After version %(number)s", number=str(current.number))
    return page("rules_form", here, program=program, form=form)


@manage.post("/rules")
@actors
def begin_draft() -> Answer:
    """Keep a new draft; nobody is paid by it."""
    here = place()
    program = here.required
    require_acting(program.id)
    form = DraftForm()

    def shown(**preview: Any) -> str:
        return page("rules_form", place(), program=program, form=form, **preview)

    if request.form.get("action") == PREVIEW:
        return _previewed(program, form, shown)

    def verb(session: Session, now: datetime) -> RuleDraft:
        return drafts.begin_draft(
            session,
            program_id=program.id,
            name=form.name.data or "",
            document=form.document(),
            note=form.note.data or "",
            by=access.actor().user_id,
            now=now,
        )

    return _sent(form, verb, shown)


@manage.get("/rules/drafts/<int:draft_id>")
@actors
def rule_draft(draft_id: int) -> str:
    """A draft: what it would change, its form, and its announcement."""
    draft = open_draft(draft_id)
    form = DraftForm(formdata=None, name=draft.name, note=draft.note)
    form.fill(draft.document)
    return draft_page(draft, form)


@manage.post("/rules/drafts/<int:draft_id>")
@actors
def save_draft(draft_id: int) -> Answer:
    """Save what the draft became."""
    draft = open_draft(draft_id)
    form = DraftForm()
    if request.form.get("action") == PREVIEW:
        program = db.session().get_one(Program, draft.program_id)
        return _previewed(program, form, lambda **shown: draft_page(draft, form, **shown))

    def verb(session: Session, now: datetime) -> RuleDraft:
        return drafts.save_draft(
            session,
            draft_id=draft_id,
            name=form.name.data or "",
            document=form.document(),
            note=form.note.data or "",
            revision=form.seen,
            by=access.actor().user_id,
            now=now,
        )

    return _sent(form, verb, lambda: draft_page(draft, form))


@manage.post("/rules/drafts/<int:draft_id>/discarding")
@actors
def discard_draft(draft_id: int) -> Answer:
    """Close a draft that is not wanted."""
    draft = open_draft(draft_id)
    return act(
        lambda session, now: drafts.discard_draft(
            session, draft_id=draft_id, by=access.actor().user_id, now=now
        ),
        done=_("The draft is discarded; the audit log keeps that it was there."),
        back=url_for("manage.rules"),
        page=lambda: draft_page(draft, filled(draft)),
    )


@manage.post("/rules/drafts/<int:draft_id>/announcement")
@actors
def announce_draft(draft_id: int) -> Answer:
    """Make the draft the next version, in force from a later moment on."""
    draft = open_draft(draft_id)
    session, form = db.session(), AnnouncementForm()
    program = session.get_one(Program, draft.program_id)
    if not form.validate_on_submit():
        return draft_page(draft, filled(draft), form), 422
    try:
        version = drafts.announce_draft(
            session,
            draft_id=draft_id,
            revision=form.seen,
            effective_at=form.effective(program.time_zone),
            grandfather=form.grandfather(program.time_zone),
            by=access.actor().user_id,
            now=clock.now(session),
        )
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return draft_page(draft, filled(draft), form), refusal.status
    told = _(
        "Version %(number)s is announced, in force from %(at)s. Affiliates are told by mail; "
        "orders placed before keep theirs.",
        number=str(version.number),
        at=moment(version.effective_at),
    )
    flash(told, "success")
    return redirect(url_for("manage.rules"), 303)


def open_draft(draft_id: int) -> RuleDraft:
    """An open draft of a program in which the reader acts; NotFound for everything else."""
    draft = db.session().get(RuleDraft, draft_id)
    if draft is None or draft.closed_at is not None:
        raise NotFound("There is no such draft.")
    require_acting(draft.program_id)
    return draft


def filled(draft: RuleDraft) -> DraftForm:
    """Its form as it is saved."""
    form = DraftForm(formdata=None, name=draft.name, note=draft.note)
    form.fill(draft.document)
    return form


def draft_page(
    draft: RuleDraft,
    form: DraftForm,
    announcement: AnnouncementForm | None = None,
    preview: dict[str, Any] | None = None,
    trial: TrialForm | None = None,
) -> str:
    """The page of a draft, with the forms as they were sent where one of them was."""
    session = db.session()
    program = session.get_one(Program, draft.program_id)
    now = clock.now(session)
    earliest = announcements.earliest(session, program=program, now=now)
    form.revision.data = str(draft.revision)
    if announcement is None:
        announcement = AnnouncementForm(formdata=None)
        announcement.effective_at.data = local_text(earliest, program.time_zone)
    announcement.revision.data = str(draft.revision)
    names = people.user_names(session, {f"user:{draft.saved_by}"})
    return page(
        "rule_draft",
        place_of(draft.program_id),
        program=program,
        draft=draft,
        form=form,
        announcement=announcement,
        preview=preview,
        earliest=earliest,
        noticed=earliest > now,
        by=names.get(f"user:{draft.saved_by}"),
        **_compared(session, program, draft, now),
        **_trials(session, program, draft, now, trial),
    )


def _compared(
    session: Session, program: Program, draft: RuleDraft, now: datetime
) -> dict[str, Any]:
    """The draft as it is saved against the rules in force."""
    current = rule_versions.in_force(session, program_id=program.id, at=now)
    drafted = terms_document.load(draft.document, program.currency)
    return {
        "current": current,
        "headline": words.headline(drafted.commission),
        "changes": changes(
            words.rules_in_words(current.terms, program), words.rules_in_words(drafted, program)
        ),
    }


def _trials(
    session: Session, program: Program, draft: RuleDraft, now: datetime, form: TrialForm | None
) -> dict[str, Any]:
    """The form that asks for a trial, and what was tried of this draft."""
    if form is None:
        last = today(program, now)
        form = TrialForm(formdata=None)
        form.first.data = (last - timedelta(days=TRIAL_DAYS - 1)).isoformat()
        form.last.data = last.isoformat()
    shadow = runs.shadow_of(session, draft_id=draft.id)
    by = None if shadow is None else f"user:{shadow.started_by}"
    return {
        "trial": form,
        "shadow": shadow,
        "shadow_by": people.user_names(session, {by}).get(by) if by else None,
        "trials": replay_lists.of_draft(session, program, draft.id),
    }


def _previewed(program: Program, form: DraftForm, shown: Callable[..., str]) -> Answer:
    """What is written, as affiliates would read it; nothing is saved."""
    if not form.validate_on_submit():
        return shown(), 422
    try:
        document = form.document()
        read = terms_document.load(document, program.currency)
        refuse_strangers(db.session(), program_id=program.id, document=document)
    except Refusal as refusal:
        form.show(refusal)
        return shown(), refusal.status
    form.fill(terms_document.dump(read))
    example = examples.example(read, program.currency, earned=examples.calculator())
    preview = {
        "headline": words.headline(read.commission),
        "rules": words.rules_in_words(read, program),
        "example": words.example_sentences(example, read.commission),
    }
    return shown(preview=preview)


def _sent(
    form: Form, verb: Callable[[Session, datetime], RuleDraft], shown: Callable[[], str]
) -> Answer:
    """Save a draft and show it, or the form again with what is wrong beside its field."""
    return submit(
        form,
        verb,
        done=_("The draft is saved. Nobody is paid by it before it is announced."),
        back=lambda draft: url_for("manage.rule_draft", draft_id=draft.id),
        page=shown,
    )
