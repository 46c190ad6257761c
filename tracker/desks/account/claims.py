"""Orders that the affiliate misses and decisions they object to: asked, and followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import flash, make_response, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.ids import public_id, row_id
from affiliate.people.access import affiliates
from tracker.claims import decide, notes, reading
from tracker.claims.ask import ask_about_order
from tracker.claims.mails import PREFIX
from tracker.claims.models import Claim, ClaimNote
from tracker.claims.object import object_to_click, object_to_order
from tracker.claims.rules import (
    ANSWER_WORKING_DAYS,
    CASES_PER_DAY_MAX,
    MISSING_DAYS_BACK_MAX,
    TEXT_CHARS_MAX,
    Kind,
    Remedy,
    Status,
    day_of,
)
from tracker.desks import claim_words
from tracker.desks.account import cases, sentences
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.orders import PREFIX as ORDER_PREFIX
from tracker.desks.account.orders import tell
from tracker.desks.account.place import Place
from tracker.desks.acting import in_words
from tracker.orders.models import Order

PAGE_ROWS_MAX = 40
FIELDS = {"order_id": "order_id", "day": "day", "said": "said"}
DAY_CHARS = len("2026-11-21")


@account.get("/orders/claims")
@affiliates
@in_program
def claims(place: Place) -> Answer:
    """The form for an order that is missed, and every case so far."""
    return _claims_page(place)


@account.post("/orders/claims")
@affiliates
@in_program
def ask(place: Place) -> Answer:
    """Look for an order that is missed: the answer, or a case."""
    session = db.session()
    given = {name: request.form.get(name, "").strip() for name in FIELDS}
    try:
        asked = ask_about_order(
            session,
            enrollment_id=place.enrollment.id,
            order_id=given["order_id"],
            day=_day(given["day"]),
            said=given["said"],
            by=place.actor.user_id,
            now=place.now,
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        return _refused(refusal, _claims_page(place, given, refusal))
    if asked.order_row_id is not None:
        flash(_("We know this order: it is yours, and here is what became of it."), "success")
        order = public_id(ORDER_PREFIX, asked.order_row_id)
        return redirect(url_for(".order", public=order), 303)
    assert asked.claim_id is not None, "it is an order or a case"
    return redirect(url_for(".claim", claim=public_id(PREFIX, asked.claim_id)), 303)


@account.get("/orders/claims/<claim>")
@affiliates
@in_program
def claim(place: Place, claim: str) -> Answer:
    """One case: what was asked, what was said, what came of it."""
    return _claim_page(place, _mine(place, claim))


@account.post("/orders/claims/<claim>/notes")
@affiliates
@in_program
def add_note(place: Place, claim: str) -> Answer:
    """Add what one knows to an open case."""
    return _change(
        place,
        claim,
        lambda session, found, now: notes.add_own_note(
            session, claim_id=found.id, enrollment_id=place.enrollment.id,
            text=request.form.get("text", ""), by=place.actor.user_id, now=now,
        ),
        _("Your note is added to the case."),
    )  # fmt: skip


@account.post("/orders/claims/<claim>/withdrawal")
@affiliates
@in_program
def withdraw_claim(place: Place, claim: str) -> Answer:
    """Ask no more."""
    return _change(
        place,
        claim,
        lambda session, found, now: decide.withdraw(
            session, claim_id=found.id, enrollment_id=place.enrollment.id, now=now
        ),
        _("The case is withdrawn."),
    )


@account.post("/orders/<public>/objection")
@affiliates
@in_program
def object_order(place: Place, public: str) -> Answer:
    """Object to what became of an order."""
    order_row_id = row_id(ORDER_PREFIX, public)
    return _object(
        lambda session: object_to_order(
            session,
            enrollment_id=place.enrollment.id,
            order_row_id=order_row_id,
            said=request.form.get("said", ""),
            by=place.actor.user_id,
            now=place.now,
        )
    )


@account.post("/clicks/<click_id>/objection")
@affiliates
@in_program
def object_click(place: Place, click_id: str) -> Answer:
    """Object to a click's being left out."""
    named = _click(click_id)
    return _object(
        lambda session: object_to_click(
            session,
            enrollment_id=place.enrollment.id,
            click_id=named,
            said=request.form.get("said", ""),
            by=place.actor.user_id,
            now=place.now,
        )
    )


def _object(verb: Callable[[Session], int]) -> Answer:
    """Open the appeal; a refusal is told on the page that the form stood on."""
    session = db.session()
    try:
        claim_id = verb(session)
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        flash(in_words(refusal), "danger")
        return redirect(_page_before(), 303)
    return redirect(url_for(".claim", claim=public_id(PREFIX, claim_id)), 303)


def _page_before() -> str:
    """Where the form stood, if that was a page of ours."""
    before = request.referrer or ""
    own = before.startswith(request.host_url)
    return "/" + before[len(request.host_url) :] if own else url_for(".claims")


def _change(
    place: Place,
    claim: str,
    verb: Callable[[Session, Claim, datetime], None],
    done: str,
) -> Answer:
    session, found = db.session(), _mine(place, claim)
    try:
        verb(session, found, place.now)
        session.commit()
    except Refusal as refusal:
        session.rollback()
        flash(in_words(refusal), "danger")
        return _refused(refusal, _claim_page(place, _mine(place, claim)))
    flash(done, "success")
    return redirect(url_for(".claim", claim=claim), 303)


def _refused(refusal: Refusal, shown: str) -> Response:
    """The page again, with the refusal's status and when to try again."""
    answer = make_response(shown, refusal.status)
    answer.headers.update(refusal.headers)
    return answer


def _mine(place: Place, claim: str) -> Claim:
    """The case, if it is the reader's in this program; NotFound otherwise."""
    found = db.session.get(Claim, row_id(PREFIX, claim), populate_existing=True)
    if found is None or found.enrollment_id != place.enrollment.id:
        raise NotFound
    return found


def _claims_page(
    place: Place, given: dict[str, str] | None = None, refusal: Refusal | None = None
) -> str:
    before = request.args.get("before")
    lines = cases.case_lines(
        db.session(),
        place=place,
        rows_max=PAGE_ROWS_MAX + 1,
        before_id=row_id(PREFIX, before) if before else None,
    )
    more, lines = len(lines) > PAGE_ROWS_MAX, lines[:PAGE_ROWS_MAX]
    errors = {}
    if refusal is not None:
        fields = FIELDS if isinstance(refusal, Invalid) else {}
        errors = field_messages(refusal, fields)
    return page(
        "claims",
        place,
        lines=lines,
        given=given or {},
        errors=errors,
        plain_day=claim_words.plain_day,
        today=day_of(place.now, place.program.time_zone),
        limits={
            "answer_days": ANSWER_WORKING_DAYS,
            "back_days": MISSING_DAYS_BACK_MAX,
            "per_day": CASES_PER_DAY_MAX,
            "chars": TEXT_CHARS_MAX,
        },
        older=url_for(".claims", before=lines[-1].id) if more else None,
        newest=url_for(".claims") if before else None,
    )


def _claim_page(place: Place, found: Claim) -> str:
    session = db.session()
    order = None if found.order_row_id is None else session.get(Order, found.order_row_id)
    told = [] if order is None else tell(session, place=place, order=order)
    return page(
        "claim",
        place,
        claim=cases.line(found, order.order_id if order else None),
        missing=found.kind == Kind.MISSING_ORDER,
        ground=claim_words.ground(found.ground) if found.ground else None,
        changed=claim_words.CHANGED[Remedy(found.remedy)]() if found.remedy else None,
        at_once=found.decided_at == found.opened_at,
        by_person=found.decided_by is not None,
        open=found.status == Status.OPEN,
        order=order,
        order_url=url_for(".order", public=public_id(ORDER_PREFIX, order.id))
        if order and told
        else None,
        trace=[] if order is None or told else _trace(session, place, order),
        offer=None if order is None or told else _offer(session, place, found, order),
        order_public=order and public_id(ORDER_PREFIX, order.id),
        notes=_notes(session, found),
        plain_day=claim_words.plain_day,
        chars_max=TEXT_CHARS_MAX,
    )


def _trace(session: Session, place: Place, order: Order) -> list[dict[str, Any]]:
    """Why it is not theirs, told of their own side alone."""
    decision = reading.last_decision(session, order_row_id=order.id)
    if decision is None:
        return []
    told = sentences.attribution(decision.trace, place.enrollment.id)
    return [asdict(sentence) for sentence in told]


def _offer(session: Session, place: Place, found: Claim, order: Order) -> cases.Offer | None:
    if found.kind == Kind.APPEAL and found.status == Status.OPEN:
        return None
    return cases.offer_for_order(session, place=place, order=order)


def _notes(session: Session, found: Claim) -> list[dict[str, Any]]:
    """What both sides said; what staff wrote for each other stays theirs."""
    rows = session.scalars(
        sa.select(ClaimNote)
        .where(ClaimNote.claim_id == found.id, ClaimNote.for_affiliate)
        .order_by(ClaimNote.id)
    )
    return [{"at": row.at, "mine": not row.from_staff, "text": row.text} for row in rows]


def _click(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


def _day(text: str) -> date | None:
    """`2026-11-21` as the browser's field sends it; None for anything else."""
    if len(text) != DAY_CHARS:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
