"""Files of lines that a manager tries first: the same call, whose transaction is kept or not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from flask import flash, redirect
from flask_babel import lazy_gettext as _l
from flask_wtf.file import FileField
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.imports.rules import FILE_BYTES_MAX
from tracker.desks.acting import Answer
from tracker.desks.manage.rules_form import Form

FORM_BYTES: Final = 100_000
"""Of a form beside its file."""

Came = TypeVar("Came")


class FileForm(Form):
    """A file of lines."""

    file = FileField(_l("File"))

    def field_of(self, path: str) -> str:
        """What is wrong with a file is a list of lines: it stands above the form."""
        return "" if path == "file" else path

    def raw(self) -> bytes:
        """What the file holds. Raises Invalid."""
        if not getattr(self.file.data, "filename", ""):
            raise Invalid.field("file", "required", Phrase("Choose a file."))
        content: bytes = self.file.data.read(FILE_BYTES_MAX + 1)
        return content


def try_or_keep(
    form: FileForm,
    verb: Callable[[Session, datetime], Came],
    *,
    keep: bool,
    done: Callable[[Came], str],
    back: str,
    page: Callable[[Came | None], str],
    tone: Callable[[Came], str] = lambda _came: "success",
) -> Answer:
    """Run the verb on a file; kept, or only shown on the page with what would come of it.

    `done` says what came of it, `tone` how glad one may be. A refusal stands on the form.
    What was not there (404) keeps its own answer.
    """
    session = db.session()
    if not form.validate_on_submit():
        return page(None), 422
    try:
        came = verb(session, clock.now(session))
        if not keep:
            session.rollback()
            return page(came)
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return page(None), refusal.status
    flash(done(came), tone(came))
    return redirect(back, 303)
