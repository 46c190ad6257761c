"""Moving in: bring the affiliates, links, coupons and history of the program before Kopeck."""

from __future__ import annotations

from typing import Final

from flask import request, url_for
from flask_babel import get_locale
from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, RadioField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired

from affiliate.core.http import takes_bytes
from affiliate.imports.bring import Brought, bring
from affiliate.imports.rules import COLUMNS, FILE_BYTES_MAX, LINES_MAX, Kind
from affiliate.people import access
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import actors, manage, page, place, require_acting
from tracker.desks.manage.file_forms import FORM_BYTES, FileForm, try_or_keep
from tracker.desks.words import _, ngettext

KIND_NAMES: Final = {
    Kind.AFFILIATES: _l("Affiliates"),
    Kind.LINKS: _l("Links"),
    Kind.COUPONS: _l("Coupons"),
    Kind.HISTORY: _l("History by month"),
}


class MovingInForm(FileForm):
    """A file, and whether it is only tried."""

    kind = RadioField(
        _l("What it brings"),
        [InputRequired()],
        choices=[SelectChoice(kind.value, name) for kind, name in KIND_NAMES.items()],
        default=Kind.AFFILIATES.value,
    )
    tell = BooleanField(_l("Mail new affiliates how they get in"))


@manage.get("/moving-in")
@actors
def moving_in() -> str:
    """The form, and what each kind of file holds."""
    return _page(MovingInForm(formdata=None))


@manage.post("/moving-in")
@takes_bytes(FILE_BYTES_MAX + FORM_BYTES)
@actors
def bring_in() -> Answer:
    """Try a file, or bring it in: the same call, whose transaction is kept or not."""
    here = place()
    program = here.required
    require_acting(program.id)
    form = MovingInForm()
    return try_or_keep(
        form,
        lambda session, now: bring(
            session,
            program_id=program.id,
            kind=Kind(form.kind.data),
            raw=form.raw(),
            tell=bool(form.tell.data),
            locale=str(get_locale()),
            by=access.actor().user_id,
            now=now,
        ),
        keep=request.form.get("what") == "bring",
        done=lambda brought: _("The file is in.") + " " + in_words(brought),
        back=url_for("manage.moving_in", program=program.slug),
        page=lambda tried: _page(form, tried),
    )


def in_words(brought: Brought) -> str:
    """What came of a file, or would."""
    parts = [
        ngettext("%(num)d line is new.", "%(num)d lines are new.", brought.new),
        ngettext(
            "%(num)d month says something else than before.",
            "%(num)d months say something else than before.",
            brought.changed,
        )
        if brought.changed
        else "",
        ngettext("%(num)d was known already.", "%(num)d were known already.", brought.known)
        if brought.known
        else "",
        ngettext("%(num)d letter goes out.", "%(num)d letters go out.", brought.told)
        if brought.told
        else "",
    ]
    return " ".join(part for part in parts if part)


def _page(form: MovingInForm, tried: Brought | None = None) -> str:
    here = place()
    return page(
        "moving_in",
        here,
        program=here.required,
        form=form,
        tried=tried and in_words(tried),
        columns=[(KIND_NAMES[kind], COLUMNS[kind]) for kind in Kind],
        lines_max=LINES_MAX,
    )
