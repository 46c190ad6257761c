"""Confirm what browsers claimed by a file out of the shop's own books."""

from __future__ import annotations

from flask import request, url_for

from affiliate.core.http import takes_bytes
from affiliate.imports.rules import FILE_BYTES_MAX, LINES_MAX
from affiliate.people import access
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import actors, manage, page, place, require_acting
from tracker.desks.manage.file_forms import FORM_BYTES, FileForm, try_or_keep
from tracker.desks.words import _, ngettext
from tracker.orders.confirming_file import COLUMNS, SHOWN_MAX, Confirmations, confirm_file


@manage.get("/confirmations")
@actors
def confirmations() -> str:
    """The form, and what the file holds."""
    return _page(FileForm(formdata=None))


@manage.post("/confirmations")
@takes_bytes(FILE_BYTES_MAX + FORM_BYTES)
@actors
def confirm_by_file() -> Answer:
    """Try a file, or confirm by it: the same call, whose transaction is kept or not."""
    here = place()
    program = here.required
    require_acting(program.id)
    form = FileForm()
    return try_or_keep(
        form,
        lambda session, now: confirm_file(
            session,
            program_id=program.id,
            raw=form.raw(),
            by=access.actor().user_id,
            now=now,
        ),
        keep=request.form.get("what") == "confirm",
        done=in_words,
        back=url_for("manage.confirmations", program=program.slug),
        page=lambda tried: _page(form, tried),
        tone=tone_of,
    )


def tone_of(done: Confirmations) -> str:
    """Green only where nothing is left for a person to look at."""
    return "warning" if done.differing else "success"


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


def _page(form: FileForm, tried: Confirmations | None = None) -> str:
    here = place()
    return page(
        "confirmations",
        here,
        program=here.required,
        form=form,
        tried=tried,
        in_words=in_words,
        tone_of=tone_of,
        columns=COLUMNS,
        lines_max=LINES_MAX,
    )
