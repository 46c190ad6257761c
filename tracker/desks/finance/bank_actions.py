"""What finance does with files for the bank, and with what the bank says of them."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

from flask import current_app, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock, ids
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.core.http import only_value, takes_bytes
from affiliate.people import access, freshness
from payouts.batches.bank_answers import apply_statement, bring_statement, look_at
from payouts.batches.bank_files import NothingForAFile, make_file
from payouts.batches.bank_handover import declare_not_sent, open_file
from payouts.batches.bank_rules import Outcome
from payouts.batches.fence import check_fence
from payouts.batches.models import PayoutBatch
from payouts.rails.bank_statements import FILE_BYTES_MAX
from tracker.desks.acting import Answer, act, in_words, reason_said
from tracker.desks.finance import bank
from tracker.desks.finance.blueprint import (
    BATCH,
    STATEMENT,
    allowed,
    batch_row,
    desk,
    file_row,
    finance,
    known_rails,
    statement_row,
)
from tracker.desks.finance.web import batch_page
from tracker.desks.words import _

FILES_AT_ONCE = 20
"""Made by one press of the button; each is committed before the next."""
UPLOAD_BYTES_MAX = FILE_BYTES_MAX + 100_000
"""With the rest of the form around it."""
HASH_CHARS = 64


@finance.post("/batches/<batch>/files")
@allowed
def make_files(batch: str) -> Answer:
    """Put everything payable that is in no file yet into files for the bank."""
    batch_id = batch_row(batch)
    _see_batch(batch_id)
    freshness.require_fresh()
    return act(
        lambda session, now: _make_all(session, batch_id, now),
        done=_("The file is made. Download it, and hand it to your bank."),
        back=url_for("finance.batch", batch=batch) + "#bank",
        page=lambda: batch_page(batch_id),
    )


@finance.get("/files/<file>")
@allowed
def download(file: str) -> Answer:
    """The file, the same to the byte each time."""
    file_id = file_row(file)
    session = db.session()
    found = bank.file(session, programs=desk().programs, file_id=file_id)
    batch_id = found.batch_id
    if not freshness.is_fresh():
        # Back to the page with the button: a download would leave them before the password.
        there = url_for("finance.batch", batch=ids.public_id(BATCH, batch_id)) + "#bank"
        return redirect(url_for("sign_in.confirm_password", next=there), 303)
    try:
        found = open_file(
            session,
            file_id=file_id,
            by_user_id=access.actor().user_id,
            data_dir=_data_dir(),
            now=clock.now(session),
        )
        content, name, ending = found.content, found.name, found.name.rpartition(".")[2]
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        flash(in_words(refusal), "danger")
        return batch_page(batch_id), refusal.status
    kind = "application/xml" if ending == "xml" else "text/plain; charset=windows-1251"
    response = Response(content, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@finance.post("/files/<file>/not-sent")
@allowed
def not_sent(file: str) -> Answer:
    """Declare that the bank never got the file: its payouts may go into another."""
    file_id = file_row(file)
    found = bank.file(db.session(), programs=desk().programs, file_id=file_id)
    batch_id = found.batch_id
    freshness.require_factor()
    return act(
        lambda session, now: declare_not_sent(
            session,
            file_id=file_id,
            by_user_id=access.actor().user_id,
            why=reason_said(),
            now=now,
        ),
        done=_("Noted. Its payouts wait for another file."),
        back=url_for("finance.batch", batch=ids.public_id(BATCH, batch_id)) + "#bank",
        page=lambda: batch_page(batch_id),
    )


@finance.post("/batches/<batch>/statements")
@takes_bytes(UPLOAD_BYTES_MAX)
@allowed
def bring(batch: str) -> Answer:
    """Bring what the bank says was executed; nothing changes before it was looked at."""
    batch_id = batch_row(batch)
    found = _see_batch(batch_id)
    program_id, rail = found.program_id, found.rail
    session = db.session()
    try:
        raw, name = _sent()
        made = bring_statement(
            session,
            program_id=program_id,
            rail=rail,
            raw=raw,
            name=name,
            by_user_id=access.actor().user_id,
            rails=known_rails(),
            now=clock.now(session),
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        flash(in_words(refusal), "danger")
        return batch_page(batch_id), refusal.status
    there = url_for("finance.bank_statement", statement=ids.public_id(STATEMENT, made), batch=batch)
    return redirect(there, 303)


@finance.get("/bank-statements/<statement>")
@allowed
def bank_statement(statement: str) -> str:
    """What applying a statement would do, line by line."""
    return _statement_page(statement_row(statement))


@finance.post("/bank-statements/<statement>/application")
@allowed
def application(statement: str) -> Answer:
    """Do what the page showed."""
    statement_id = statement_row(statement)
    bank.statement(db.session(), programs=desk().programs, statement_id=statement_id)
    freshness.require_fresh()
    return act(
        lambda session, now: apply_statement(
            session,
            statement_id=statement_id,
            by_user_id=access.actor().user_id,
            seen=only_value("seen")[:HASH_CHARS],
            rails=known_rails(),
            now=now,
            real_now=clock.real_now(),
        ),
        done=_("Applied. Every line says what became of it."),
        back=url_for("finance.bank_statement", statement=statement),
        page=lambda: _statement_page(statement_id),
    )


def _make_all(session: Session, batch_id: int, now: datetime) -> None:
    """As many files as it takes, up to a limit; each is on disk before the next is begun."""
    check_fence(session, _data_dir(), now=now)
    session.commit()
    for made in range(FILES_AT_ONCE):
        try:
            make_file(
                session,
                batch_id=batch_id,
                by_user_id=access.actor().user_id,
                rails=known_rails(),
                now=now,
                real_now=clock.real_now(),
            )
        except NothingForAFile:
            if made == 0:
                # What stands in the way of each was written down: it stays.
                session.commit()
                raise
            return
        session.commit()


def _sent() -> tuple[bytes, str]:
    """The file of the form and its name. Raises Invalid without one."""
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        raise Invalid.field("file", "required", Phrase("Choose a file."))
    # A larger one lies on the disk until it is closed.
    with closing(sent):
        return sent.read(), sent.filename


def _statement_page(statement_id: int) -> str:
    session, programs = db.session(), desk().programs
    found = bank.statement(session, programs=programs, statement_id=statement_id)
    plan = look_at(session, statement_id=statement_id, rails=known_rails())
    steps = bank.in_order(plan.steps)
    return render_template(
        "tracker/finance/bank_statement.html",
        statement=found,
        public=ids.public_id(STATEMENT, found.id),
        program=programs[found.program_id],
        plan=plan,
        counts=[(one, plan.count(one)) for one in Outcome if plan.count(one)],
        steps=steps[: bank.STEPS_SHOWN_MAX],
        steps_hidden=max(0, len(steps) - bank.STEPS_SHOWN_MAX),
        changing=sum(step.changes for step in steps),
        locking=plan.count(Outcome.CONTRADICTION),
        tones=bank.TONES,
        label=bank.outcome_label,
        sentence=bank.outcome_sentence,
    )


def _see_batch(batch_id: int) -> PayoutBatch:
    """Another program's batch is not there."""
    found = db.session.get(PayoutBatch, batch_id)
    if found is None or found.program_id not in desk().programs:
        raise NotFound
    return found


def _data_dir() -> Path:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings.data_dir
