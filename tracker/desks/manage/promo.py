"""Promo materials: what the program's affiliates sell with, and what it is used for."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from flask import request, url_for
from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from flask_wtf.file import FileField
from sqlalchemy.orm import Session
from wtforms import StringField, TextAreaField
from wtforms.validators import Length, Optional

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.http import takes_bytes
from affiliate.people import access
from affiliate.promo.creatives import (
    add_creative,
    bring_back,
    change_creative,
    creative_row,
    retire_creative,
)
from affiliate.promo.lookup import Material, listed, material
from affiliate.promo.pictures import FILE_BYTES_MAX
from affiliate.promo.rules import (
    ADDRESS_CHARS_MAX,
    ALT_CHARS_MAX,
    BODY_CHARS_MAX,
    BUTTON_CHARS_MAX,
    FIELDS,
    NAME_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    Kind,
    Wording,
    needed,
)
from tracker.desks import promo_words
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.rules_form import NEEDED, Form
from tracker.desks.words import _
from tracker.stats.questions import Figures, Period, Scope, by_creative, today

FIGURES_DAYS: Final = 90
FORM_BYTES: Final = 200_000
"""Of a form beside its file."""
_DAY: Final = {"type": "date"}
_URL: Final = {"inputmode": "url", "placeholder": "https://", "autocomplete": "off"}


class CreativeForm(Form):
    """A material; the page shows the fields of its kind alone."""

    name = StringField(lazy_pgettext("of a thing", "Name"), [NEEDED, Length(max=NAME_CHARS_MAX)])
    picture = FileField(
        _l("Picture"),
        description=_l("PNG, JPEG, GIF or WebP, up to 3 MB; it is written anew when it is taken."),
    )
    alt = StringField(
        _l("What it shows"),
        [Optional(), Length(max=ALT_CHARS_MAX)],
        description=_l("Read out to whoever does not see the picture."),
    )
    button = StringField(_l("Text of the button"), [Optional(), Length(max=BUTTON_CHARS_MAX)])
    subject = StringField(_l("Subject line"), [Optional(), Length(max=SUBJECT_CHARS_MAX)])
    body = TextAreaField(
        _l("Text"), [Optional(), Length(max=BODY_CHARS_MAX)], render_kw={"rows": 10}
    )
    destination = StringField(
        _l("Page of the shop"), [Optional(), Length(max=ADDRESS_CHARS_MAX)], render_kw=_URL
    )
    video_url = StringField(
        _l("Address of the video"), [Optional(), Length(max=ADDRESS_CHARS_MAX)], render_kw=_URL
    )
    language = StringField(
        _l("Language"),
        [Optional(), Length(max=2)],
        description=_l("Two letters, such as en or ru; empty for any language."),
    )
    starts_on = StringField(_l("First day"), [Optional(), Length(max=10)], render_kw=_DAY)
    ends_on = StringField(
        _l("Last day"),
        [Optional(), Length(max=10)],
        render_kw=_DAY,
        description=_l("Of a season, by the program's calendar. Empty: always."),
    )

    def wording(self) -> Wording:
        """Raises Invalid for what is no day."""
        return Wording(
            **{
                name: getattr(self, name).data or ""
                for name in (
                    "name", "language", "subject", "body", "alt", "destination", "video_url",
                    "button",
                )
            },
            starts_on=self._day("starts_on"),
            ends_on=self._day("ends_on"),
        )  # fmt: skip

    def uploaded(self) -> bytes:
        """The file; nothing where none was chosen."""
        if not getattr(self.picture.data, "filename", ""):
            return b""
        content: bytes = self.picture.data.read(FILE_BYTES_MAX + 1)
        return content

    def _day(self, name: str) -> date | None:
        text = (getattr(self, name).data or "").strip()
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            message = Phrase("Write the date as 2026-11-26.")
            raise Invalid.field(name, "not_a_date", message) from None


@manage.get("/promo")
@readers
def promo() -> str:
    """Everything that is offered or was, with what it brought."""
    here = place()
    program, session = here.required, db.session()
    day = today(clock.now(session), program.time_zone)
    period = Period.ending(day, FIGURES_DAYS)
    return page(
        "promo",
        here,
        program=program,
        materials=listed(session, program_id=program.id, today=day),
        figures=by_creative(session, scope=Scope.of(program), period=period),
        nothing=Figures.none(program.currency),
        kinds=promo_words.kinds(),
        days=FIGURES_DAYS,
    )


@manage.get("/promo/new")
@actors
def new_creative() -> str:
    """The form of a kind; without one, the kinds to choose from."""
    here = place()
    require_acting(here.required.id)
    return _form_page(here, _kind_asked(), CreativeForm(formdata=None))


@manage.post("/promo/new")
@takes_bytes(FILE_BYTES_MAX + FORM_BYTES)
@actors
def offer_creative() -> Answer:
    """Offer a material; what cannot be accepted stays in the form with the reason beside it."""
    here, form, kind = place(), CreativeForm(), _kind_asked()
    program_id = here.required.id
    require_acting(program_id)
    if kind is None:
        raise NotFound

    def verb(session: Session, now: datetime) -> None:
        add_creative(
            session, program_id=program_id, kind=kind, wording=form.wording(),
            picture=form.uploaded() if "picture" in FIELDS[kind] else None,
            by=access.actor().user_id, now=now,
        )  # fmt: skip

    return submit(
        form, verb, done=_("It is offered to affiliates from now on."), back=_list_of(here),
        page=lambda: _form_page(here, kind, form),
    )  # fmt: skip


@manage.get("/promo/<code>")
@readers
def creative(code: str) -> str:
    """One material: what is said about it, and the form to say it anew."""
    here, shown = _found(code)
    return _form_page(here, shown.kind, _filled(shown), shown)


@manage.post("/promo/<code>")
@actors
def say_creative(code: str) -> Answer:
    """Change what is said about a material."""
    here, shown = _found(code)
    require_acting(here.required.id)
    form = CreativeForm()

    def verb(session: Session, now: datetime) -> None:
        change_creative(
            session, creative_id=shown.row.id, wording=form.wording(),
            by=access.actor().user_id, now=now,
        )  # fmt: skip

    return submit(
        form, verb, done=_("It is changed. What was copied before stays as it was."),
        back=_list_of(here), page=lambda: _form_page(here, shown.kind, form, shown),
    )  # fmt: skip


@manage.post("/promo/<code>/retired")
@actors
def retire(code: str) -> Answer:
    """Offer it no more."""
    here, shown = _found(code)
    require_acting(here.required.id)
    return act(
        lambda session, now: retire_creative(
            session, creative_id=shown.row.id, by=access.actor().user_id, now=now
        ),
        done=_("It is offered no more; where it stands already it goes on working."),
        back=_list_of(here),
        page=promo,
    )


@manage.post("/promo/<code>/offered")
@actors
def offer_again(code: str) -> Answer:
    """Offer it again."""
    here, shown = _found(code)
    require_acting(here.required.id)
    return act(
        lambda session, now: bring_back(
            session, creative_id=shown.row.id, by=access.actor().user_id, now=now
        ),
        done=_("It is offered to affiliates from now on."),
        back=_list_of(here),
        page=promo,
    )


def _list_of(here: Place) -> str:
    """The materials of this program, whichever the reader looked at last."""
    return url_for("manage.promo", program=here.required.slug)


def _form_page(
    here: Place, kind: Kind | None, form: CreativeForm, shown: Material | None = None
) -> str:
    for name in needed(kind) if kind else ():
        form[name].flags.optional = False
    return page(
        "creative",
        here,
        program=here.required,
        kind=kind,
        kinds=promo_words.kinds(),
        hints=promo_words.hints(),
        fields=FIELDS[kind] if kind else (),
        form=form,
        shown=shown,
    )


def _filled(shown: Material) -> CreativeForm:
    row = shown.row
    days = {"starts_on": row.starts_on, "ends_on": row.ends_on}
    texts = ("name", "language", "subject", "body", "alt", "destination", "video_url", "button")
    return CreativeForm(
        formdata=None,
        **{name: getattr(row, name) for name in texts},
        **{name: day.isoformat() if day else "" for name, day in days.items()},
    )


def _found(code: str) -> tuple[Place, Material]:
    """The material and the place of its program; NotFound for anybody else's."""
    session = db.session()
    now = clock.now(session)
    shown = material(session, creative_id=creative_row(code), today=now.date())
    if shown.row.enrollment_id is not None:  # An affiliate made it for themselves.
        raise NotFound
    here = place_of(shown.row.program_id)
    zone = here.required.time_zone
    return here, material(session, creative_id=shown.row.id, today=today(now, zone))


def _kind_asked() -> Kind | None:
    text = request.args.get("kind")
    if text is None:
        return None
    if text not in list(Kind):
        raise NotFound
    return Kind(text)
