"""Claims and appeals: by deadline, one page each, answered by whoever did not decide before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock, ids
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.people import access, navigation
from affiliate.people import ids as people_ids
from affiliate.people.access import Role
from tracker.claims import decide, notes, reading
from tracker.claims.mails import PREFIX
from tracker.claims.models import Claim
from tracker.claims.rules import REASON_CHARS_MAX, TEXT_CHARS_MAX, Remedy, Status
from tracker.claims.rules import second_reader_needed as second_needed
from tracker.desks import claim_words
from tracker.desks.acting import Answer, act
from tracker.desks.manage import cases, people, sentences
from tracker.desks.manage.blueprint import (
    ACTORS,
    ORDER,
    READERS,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.words import _

PATH = "/manage/claims"
OPEN, CLOSED = "open", "closed"
TALKERS = (*ACTORS, Role.CURATOR)
"""Who may write to an affiliate about a case; deciding is for managers."""
talkers = access.allow(*TALKERS)


def set_up(app: Flask) -> None:
    """Show in the menu how many cases are open."""
    navigation.count(app, PATH, _open_count)


@manage.get("/claims")
@readers
def claims() -> str:
    """Open cases by their deadline; `?show=closed` those that were answered."""
    here = place()
    program = here.required
    show = request.args.get("show", OPEN)
    if show not in (OPEN, CLOSED):
        raise NotFound
    session = db.session()
    after = request.args.get("after")
    found = cases.lines(
        session,
        program=program,
        closed=show == CLOSED,
        now=clock.now(session),
        after=_of(session, after, program.id) if after else None,
        rows_max=cases.ROWS_MAX + 1,
    )
    shown = found[: cases.ROWS_MAX]
    more = len(found) > cases.ROWS_MAX
    return page(
        "claims",
        here,
        lines=shown,
        show=show,
        counts=cases.counts(session, program_ids=[program.id], now=clock.now(session)),
        words=claim_words,
        next_url=url_for("manage.claims", show=show, after=shown[-1].public) if more else None,
        previous_url=url_for("manage.claims", show=show) if after else None,
    )


@manage.get("/claims/<claim>")
@readers
def claim(claim: str) -> str:
    """One case: the order with its trace, the affiliate's clicks around it, what was said."""
    return _case_page(claim)


@manage.post("/claims/<claim>/acceptance")
@actors
def accept_claim(claim: str) -> Answer:
    """Agree, and change what the affiliate asked for."""
    return _decide(
        claim,
        lambda session, found, now: decide.accept(
            session, claim_id=found.id, remedy=_remedy(), reason=_reason(),
            by=access.actor().user_id, now=now,
        ),
        _("The case is accepted; the affiliate is told by mail."),
    )  # fmt: skip


@manage.post("/claims/<claim>/explanation")
@actors
def explain_claim(claim: str) -> Answer:
    """Answer without changing anything."""
    return _decide(
        claim,
        lambda session, found, now: decide.explain(
            session, claim_id=found.id, reason=_reason(), by=access.actor().user_id, now=now
        ),
        _("The case is answered; the affiliate is told by mail."),
    )


@manage.post("/claims/<claim>/refusal")
@actors
def decline_claim(claim: str) -> Answer:
    """Turn it down, with a reason that the affiliate reads."""
    return _decide(
        claim,
        lambda session, found, now: decide.decline(
            session, claim_id=found.id, reason=_reason(), by=access.actor().user_id, now=now
        ),
        _("The case is declined; the affiliate is told by mail, with your reason."),
    )


@manage.post("/claims/<claim>/notes")
@talkers
def note_claim(claim: str) -> Answer:
    """Ask the affiliate something, or leave a note for colleagues."""
    seen = request.form.get("for_affiliate") == "yes"
    found = _mine(claim, TALKERS)
    return act(
        lambda session, now: notes.add_staff_note(
            session, claim_id=found.id, text=request.form.get("text", ""), for_affiliate=seen,
            by=access.actor().user_id, now=now,
        ),
        done=_("The affiliate is told by mail.") if seen else _("Your colleagues can read it."),
        back=url_for("manage.claim", claim=claim),
        page=lambda: _case_page(claim),
    )  # fmt: skip


def _decide(claim: str, verb: Callable[[Session, Claim, datetime], None], done: str) -> Answer:
    found = _mine(claim, ACTORS)
    return act(
        lambda session, now: verb(session, found, now),
        done=done,
        back=url_for("manage.claim", claim=claim),
        page=lambda: _case_page(claim),
    )


def _case_page(claim: str) -> str:
    """The page of a case of one of the reader's programs; NotFound otherwise."""
    session = db.session()
    found = session.get(Claim, ids.row_id(PREFIX, claim), populate_existing=True)
    if found is None:
        raise NotFound
    here = place_of(found.program_id)
    program, now = here.required, clock.now(session)
    order = decide.order_of(session, found)
    decision = None if order is None else reading.last_decision(session, order_row_id=order.id)
    name = people.name_of(session, found.enrollment_id) or "—"
    told = people.user_names(
        session,
        {f"user:{each}" for each in (found.decided_by, found.first_decided_by) if each},
    )
    return page(
        "claim",
        here,
        public=claim,
        claim=found,
        title=claim_words.about(found, order.order_id if order else None),
        words=claim_words,
        open=found.status == Status.OPEN,
        overdue=found.status == Status.OPEN and found.due_at < now,
        affiliate=name,
        affiliate_public=people_ids.public(found.enrollment_id),
        order=order,
        order_public=order and ids.public_id(ORDER, order.id),
        decision=decision,
        trace=_trace(session, decision),
        credited=_credited(session, decision),
        why=sentences.reason(decision.reason) if decision else "",
        own_coupon=cases.own_coupon(session, claim=found, order=order),
        clicks=cases.clicks_around(
            session, claim=found, order=order, decision=decision, zone=program.time_zone
        ),
        notes=cases.talk(session, claim=found, name=name),
        remedies=decide.remedies(session, found),
        changed=claim_words.CHANGED[Remedy(found.remedy)]() if found.remedy else None,
        decided_by=told.get(f"user:{found.decided_by}"),
        first_decided_by=told.get(f"user:{found.first_decided_by}"),
        alone=found.decided_by is not None and found.decided_by == found.first_decided_by,
        blocked=_blocked(session, found),
        own=found.opened_by == access.actor().user_id,
        may_talk=found.program_id in {each.id for each in access.programs_of(*TALKERS)},
        limits={"reason": REASON_CHARS_MAX, "text": TEXT_CHARS_MAX},
    )


def _trace(session: Session, decision: Any) -> list[dict[str, str]]:
    if decision is None:
        return []
    wanted = {line["enrollment_id"] for line in decision.trace if line.get("enrollment_id")}
    return sentences.trace(decision.trace, people.names_of(session, wanted))


def _credited(session: Session, decision: Any) -> list[tuple[str, str]]:
    if decision is None or decision.voided_at is not None:
        return []
    wanted = {share["enrollment_id"] for share in decision.shares}
    names = people.names_of(session, wanted)
    return [(people_ids.public(each), names.get(each, "—")) for each in sorted(wanted)]


def _blocked(session: Session, found: Claim) -> bool:
    """Whether the reader made the first decision and somebody else has to read this."""
    others = [user.id for user in reading.deciders(session, program_id=found.program_id)
              if user.id != found.opened_by]  # fmt: skip
    return second_needed(
        first_decided_by=found.first_decided_by, by=access.actor().user_id, others=others
    )


def _of(session: Session, claim: str, program_id: int) -> Claim:
    found = session.get(Claim, ids.row_id(PREFIX, claim))
    if found is None or found.program_id != program_id:
        raise NotFound
    return found


def _mine(claim: str, roles: tuple[Role, ...]) -> Claim:
    """The case that a form is about, in a program in which the reader has one of these roles."""
    found = db.session.get(Claim, ids.row_id(PREFIX, claim))
    if found is None:
        raise NotFound
    if roles == ACTORS:
        require_acting(found.program_id)
    elif found.program_id not in {program.id for program in access.programs_of(*roles)}:
        raise NotFound
    return found


def _remedy() -> Remedy:
    given = request.form.get("remedy", "")
    if given not in list(Remedy):
        raise Invalid.field("remedy", "unknown", _("Choose what is to be changed."))
    return Remedy(given)


def _reason() -> str:
    return request.form.get("reason", "")


def _open_count() -> tuple[int, bool]:
    """For the menu: open cases of the reader's programs, and whether one is overdue."""
    session = db.session()
    programs = [program.id for program in access.programs_of(*READERS)]
    waiting, overdue = cases.counts(session, program_ids=programs, now=clock.now(session))
    return waiting, overdue > 0
