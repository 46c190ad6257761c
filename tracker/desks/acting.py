"""What every form of a desk does: call one verb, commit once, say in words what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from flask import flash, redirect, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Refusal, Unauthenticated
from affiliate.core.pages import say
from tracker.desks.words import _

Answer = str | Response | tuple[str, int]
Made = TypeVar("Made")
REASON_CHARS_MAX = 500


class Fields(Protocol):
    """A form that shows a refusal beside the fields that it is about."""

    def validate_on_submit(self) -> bool:
        """Whether it was sent and its fields are filled in as they should be."""

    def show(self, refusal: Refusal) -> None:
        """Put each error of the refusal beside its field."""


def act(
    verb: Callable[[Session, datetime], object],
    *,
    done: str | Callable[[], str],
    back: str,
    page: Callable[[], str],
) -> Answer:
    """Run the verb and go back; a refusal is shown on the page that the form stood on.

    `done` is asked for after the commit, where the sentence depends on what came of it.

    What was not there (404) and who is not signed in keep their own answers.
    """
    session = db.session()
    try:
        verb(session, clock.now(session))
        session.commit()
    except (NotFound, Unauthenticated):
        raise
    except Refusal as refusal:
        session.rollback()
        flash(in_words(refusal), "danger")
        return page(), refusal.status
    flash(done if isinstance(done, str) else done(), "success")
    return redirect(back, 303)


def submit(
    form: Fields,
    verb: Callable[[Session, datetime], Made],
    *,
    done: str | Callable[[Made], str],
    back: str | Callable[[Made], str],
    page: Callable[[], str],
) -> Answer:
    """Run the verb on what a form says and go on; a refusal stands beside the fields it is about.

    `done` and `back` are asked for after the commit with what the verb made. What was not there
    (404) and who is not signed in keep their own answers.
    """
    session = db.session()
    if not form.validate_on_submit():
        return page(), 422
    try:
        made = verb(session, clock.now(session))
        session.commit()
    except (NotFound, Unauthenticated):
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return page(), refusal.status
    flash(done if isinstance(done, str) else done(made), "success")
    return redirect(back if isinstance(back, str) else back(made), 303)


def in_words(refusal: Refusal) -> str:
    """The refusal's sentence; with errors of fields, theirs."""
    return " ".join(say(error.message) for error in refusal.errors) or say(refusal.detail)


def reason_said() -> str:
    """Why, in the words of whoever does it; it is kept. Raises Invalid (`reason`) without any."""
    text = " ".join(request.form.get("reason", "").split())
    if not 1 <= len(text) <= REASON_CHARS_MAX:
        raise Invalid.field("reason", "length", _("Say why, in a few words; it is kept."))
    return text
