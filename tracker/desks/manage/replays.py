"""Drafts on history: asked for on the draft's page, read on a page of their own."""

from __future__ import annotations

from flask import make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.people import access
from affiliate.programs.models import Program, RuleDraft
from tracker.desks.acting import Answer, act
from tracker.desks.files import csv_answer
from tracker.desks.manage import people, replay_lists, replay_result
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
)
from tracker.desks.manage.forms import TrialForm
from tracker.desks.manage.rule_drafts import draft_page, filled, open_draft
from tracker.desks.words import _
from tracker.replay import jobs, runs
from tracker.replay.models import RuleReplay
from tracker.replay.runs import ATTEMPTS_MAX, Status

CSV_HEADER = (
    "affiliate", "name", "currency", "booked", "would_be", "difference", "orders_gained",
    "orders_lost",
)  # fmt: skip


@manage.post("/rules/drafts/<int:draft_id>/trials")
@actors
def begin_trial(draft_id: int) -> Answer:
    """Try the draft, as it is saved, on the orders of some days."""
    draft = open_draft(draft_id)
    session, form = db.session(), TrialForm()
    if not form.validate_on_submit():
        return draft_page(draft, filled(draft), trial=form), 422
    try:
        first, last = form.days()
        made = runs.begin_replay(
            session,
            draft_id=draft_id,
            first=first,
            last=last,
            by=access.actor().user_id,
            now=clock.now(session),
        )
        jobs.run_replays.after_commit(session)
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return draft_page(draft, filled(draft), trial=form), refusal.status
    return redirect(url_for("manage.trial", trial_id=made.id), 303)


@manage.post("/rules/drafts/<int:draft_id>/shadow")
@actors
def begin_shadow(draft_id: int) -> Answer:
    """Try the draft every day from today on."""
    draft = open_draft(draft_id)
    return act(
        lambda session, now: runs.begin_shadow(
            session, draft_id=draft_id, by=access.actor().user_id, now=now
        ),
        done=_("The draft runs in the shadow. Its first comparison is here tomorrow."),
        back=url_for("manage.rule_draft", draft_id=draft_id, _anchor="trials"),
        page=lambda: draft_page(draft, filled(draft)),
    )


@manage.post("/rules/drafts/<int:draft_id>/shadow/ending")
@actors
def end_shadow(draft_id: int) -> Answer:
    """Try it no longer; what was found is kept."""
    draft = open_draft(draft_id)
    return act(
        lambda session, now: runs.end_shadow(session, draft_id=draft_id, now=now),
        done=_("The draft runs in the shadow no longer; what it found stays."),
        back=url_for("manage.rule_draft", draft_id=draft_id, _anchor="trials"),
        page=lambda: draft_page(draft, filled(draft)),
    )


@manage.get("/rules/trials")
@readers
def trials() -> str:
    """What was tried of all drafts of the program, those that are closed among them."""
    here = place()
    before = request.args.get("before", type=int)
    found = replay_lists.of_program(db.session(), here.required, before)
    shown = found[: replay_lists.SHOWN_MAX]
    more = len(found) > len(shown)
    return page(
        "trials",
        here,
        trials=shown,
        next_url=url_for("manage.trials", before=shown[-1].id) if more else None,
        previous_url=url_for("manage.trials") if before else None,
    )


@manage.get("/rules/trials/<int:trial_id>")
@readers
def trial(trial_id: int) -> str:
    """How far a trial is, and what came out."""
    found, here = _visible(trial_id)
    session, program = db.session(), here.required
    draft = session.get_one(RuleDraft, found.draft_id)
    by = f"user:{found.asked_by}"
    return page(
        "trial",
        here,
        program=program,
        trial=found,
        draft=draft,
        by=people.user_names(session, {by}).get(by),
        may_try=here.may_act and draft.closed_at is None,
        other_days=_other_days(session, program, found),
        result=_result(session, found, program),
        **_state(found, program),
    )


@manage.get("/rules/trials/<int:trial_id>/progress")
@readers
def trial_progress(trial_id: int) -> Response:
    """The part of the page that is asked for again until the trial is over."""
    found, here = _visible(trial_id)
    state = _state(found, here.required)
    response = make_response(
        render_template("tracker/manage/_trial_progress.html", trial=found, **state)
    )
    if not state["under_way"]:
        response.headers["HX-Refresh"] = "true"
    return response


@manage.get("/rules/trials/<int:trial_id>/affiliates.csv")
@readers
def trial_csv(trial_id: int) -> Response:
    """What would change for each affiliate, as a file."""
    found, here = _visible(trial_id)
    if not _done(found):
        raise NotFound("The trial has no result yet.")
    program = here.required
    rows = (
        (
            one.public,
            one.name,
            program.currency,
            one.sides.booked,
            one.sides.would,
            one.sides.difference,
            one.gained,
            one.lost,
        )
        for one in replay_result.everybody(found, program.currency)
    )  # fmt: skip
    return csv_answer(f"trial-{program.slug}-{found.id}.csv", CSV_HEADER, rows)


def _visible(trial_id: int) -> tuple[RuleReplay, Place]:
    """A trial of a program that the reader may look at; NotFound for every other."""
    found = db.session().get(RuleReplay, trial_id)
    if found is None:
        raise NotFound("There is no such trial.")
    return found, place_of(found.program_id)


def _result(session: Session, found: RuleReplay, program: Program) -> replay_result.Result | None:
    """What came out; with `?orders=all` every order that is kept of it."""
    if not _done(found):
        return None
    everything = request.args.get("orders") == "all"
    return replay_result.read(session, found, program, all_examples=everything)


def _done(found: RuleReplay) -> bool:
    return found.status == Status.DONE


def _state(found: RuleReplay, program: Program) -> dict[str, object]:
    first, last = replay_lists.days_of(found.begins, found.ends, program.time_zone)
    return {
        "first": first,
        "last": last,
        "days": replay_lists.span_in_words(first, last),
        "under_way": replay_lists.under_way(found),
        "attempts_max": ATTEMPTS_MAX,
    }


def _other_days(session: Session, program: Program, found: RuleReplay) -> list[replay_lists.Entry]:
    """Of a shadow, what its other days said."""
    if found.shadow_id is None:
        return []
    return replay_lists.of_shadow(session, program, found.shadow_id)
