"""Confirm what browsers claimed by a file out of the shop's own books."""

from __future__ import annotations

from flask import flash, redirect, request, url_for
from flask_babel import lazy_gettext as _l
from flask_wtf.file import FileField

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.core.http import takes_bytes
from affiliate.imports.rules import FILE_BYTES_MAX, LINES_MAX
from affiliate.people import access
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import actors, manage, page, place, require_acting
from tracker.desks.manage.moving_in import FORM_BYTES
from tracker.desks.manage.rules_form import Form
from tracker.desks.words import _, ngettext
from tracker.orders.confirming_file import COLUMNS, SHOWN_MAX, Confirmations, confirm_file


class ConfirmationsForm(Form):
    """A file."""

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


@manage.get("/confirmations")
@actors
def confirmations() -> str:
    """The form, and what the file holds."""
    return _page(ConfirmationsForm(formdata=None))


@manage.post("/confirmations")
@takes_bytes(FILE_BYTES_MAX + FORM_BYTES)
@actors
def confirm_by_file() -> Answer:
    """Try a file, or confirm by it: the same call, whose transaction is kept or not."""
    here = place()
    program = here.required
    require_acting(program.id)
    form, session = ConfirmationsForm(), db.session()
    if not form.validate_on_submit():
        return _page(form), 422
    try:
        done = confirm_file(
            session,
            program_id=program.id,
            raw=form.raw(),
            by=access.actor().user_id,
            now=clock.now(session),
        )
        if request.form.get("what") != "confirm":
            session.rollback()
            return _page(form, done)
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return _page(form), refusal.status
    flash(in_words(done), "success")
    return redirect(url_for("manage.confirmations", program=program.slug), 303)


def in_words(done: Confirmations) -> str:
    """What came of a file, or would."""
    parts = [
        ngettext("%(num)d order is confirmed.", "%(num)d orders are confirmed.", done.confirmed),
        ngettext("%(num)d was confirmed before.", "%(num)d were confirmed before.", done.known)
        if done.known
        else "",
        ngettext(
            "%(num)d was never reported here.", "%(num)d were never reported here.", done.unknown
        )
        if done.unknown
        else "",
        ngettext("%(num)d is cancelled.", "%(num)d are cancelled.", done.cancelled)
        if done.cancelled
        else "",
        _differing(done) if done.differing else "",
    ]
    return " ".join(part for part in parts if part)


def _differing(done: Confirmations) -> str:
    shown = ", ".join(
        _("line %(number)s (%(order)s)", number=number, order=order_id)
        for number, order_id in done.differing[:SHOWN_MAX]
    )
    more = "…" if len(done.differing) > SHOWN_MAX else ""
    return _("Another total was claimed, so these stay unconfirmed: %(lines)s", lines=shown + more)


def _page(form: ConfirmationsForm, tried: Confirmations | None = None) -> str:
    here = place()
    return page(
        "confirmations",
        here,
        program=here.required,
        form=form,
        tried=tried and in_words(tried),
        columns=COLUMNS,
        lines_max=LINES_MAX,
    )
