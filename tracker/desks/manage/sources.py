"""Shop systems that report orders by webhooks: connect one, look at what it sent."""

from __future__ import annotations

from typing import Final

from flask import current_app, flash, redirect, request, url_for
from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from wtforms import BooleanField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, Optional

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.people import access, freshness
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage import source_words as words
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
from tracker.desks.manage.rules_form import Form
from tracker.desks.words import _
from tracker.sources import connect, lookup
from tracker.sources.models import Source
from tracker.sources.rules import Kind, State
from tracker.sources.signatures import Scheme

SCHEMES: Final = {
    Scheme.HMAC_HEX: _l("HMAC-SHA256, hexadecimal"),
    Scheme.HMAC_BASE64: _l("HMAC-SHA256, Base64"),
    Scheme.STANDARD: "Standard Webhooks",
}
COUPONS_CHARS_MAX: Final = 50_000


def scheme_field() -> SelectField:
    """How a generic source signs."""
    choices = [SelectChoice(scheme.value, name) for scheme, name in SCHEMES.items()]
    return SelectField(_l("How it signs"), choices=choices, default=Scheme.HMAC_HEX.value)


def header_field() -> StringField:
    """In which header a generic source puts the signature."""
    return StringField(
        _l("Header of the signature"),
        [Length(max=connect.HEADER_CHARS_MAX)],
        default="X-Signature",
        description=_l("Standard Webhooks has headers of its own."),
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )


class SourceForm(Form):
    """A new source."""

    kind = HiddenField()
    name = StringField(
        lazy_pgettext("of a thing", "Name"),
        [InputRequired(_l("Please fill this in.")), Length(max=connect.NAME_CHARS_MAX)],
    )
    secret = StringField(
        _l("Secret"),
        [Optional(), Length(max=connect.SECRET_CHARS_MAX)],
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )
    scheme = scheme_field()
    header = header_field()


class SecretForm(Form):
    """Another secret."""

    secret = StringField(
        _l("New secret"),
        [Length(max=connect.SECRET_CHARS_MAX)],
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )


class OptionsForm(Form):
    """Whether test orders count, and which promotion code is which."""

    takes_tests = BooleanField(_l("Test orders count too"))
    coupons = TextAreaField(
        _l("Promotion codes"),
        [Length(max=COUPONS_CHARS_MAX)],
        description=_l("One a line: promo_1MtAnna = ANNA10. Stripe sends the id, not the code."),
        render_kw={"rows": "4", "spellcheck": "false"},
    )

    def pairs(self) -> dict[str, str]:
        """Codes by ids. Raises Invalid."""
        found = {}
        for line in (self.coupons.data or "").splitlines():
            if not line.strip():
                continue
            id_, sign, code = (part.strip() for part in line.partition("="))
            if not (id_ and sign and code):
                message = Phrase("Write each line as: promo_1MtAnna = ANNA10")
                raise Invalid.field("coupons", "not_a_pair", message)
            found[id_] = code
        return found


@manage.get("/sources")
@readers
def sources() -> str:
    """The program's sources, and what can be connected."""
    here = place()
    program = here.required
    return page(
        "sources",
        here,
        program=program,
        connected=lookup.sources_of(db.session(), program_id=program.id),
        kinds=list(Kind),
        public=connect.public,
        words=words,
    )


@manage.get("/sources/new")
@actors
def new_source() -> str:
    """The form for a system of one kind."""
    here, kind = place(), _kind(request.args.get("kind", ""))
    require_acting(here.required.id)
    return _new_page(here, kind, SourceForm(formdata=None, kind=kind.value, name=_name(kind)))


@manage.post("/sources")
@actors
def add_source() -> Answer:
    """Connect a system; a secret that is made here is shown this once."""
    here, form = place(), SourceForm()
    program_id, kind = here.required.id, _kind(form.kind.data or "")
    require_acting(program_id)
    freshness.require_fresh()
    session = db.session()
    if not form.validate_on_submit():
        return _new_page(here, kind, form), 422
    try:
        source, made = connect.add_source(
            session, program_id=program_id, kind=kind, name=form.name.data,
            secret=form.secret.data or "", scheme=Scheme(form.scheme.data),
            header=form.header.data or "", by=me(), settings=_settings(), now=clock.now(session),
        )  # fmt: skip
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return _new_page(here, kind, form), refusal.status
    if made is not None:
        return _page(here, source, made=made), 201
    flash(
        _("The address is ready. Give it to the shop system.")
        if source.secret
        else _("The address is ready. Give it to the shop system, then set its secret here."),
        "success",
    )
    return redirect(address_of(source), 303)


@manage.get("/sources/<source>")
@readers
def source_page(source: str) -> str:
    """A source: its address, how it is connected, what it sent."""
    return _page(*found(source))


@manage.post("/sources/<source>/secret")
@actors
def set_source_secret(source: str) -> Answer:
    """Set another secret; the one before counts for some days more."""
    here, row = found(source)
    require_acting(row.program_id)
    freshness.require_fresh()
    session, form = db.session(), SecretForm()
    if not form.validate_on_submit():
        return _page(here, row, secret=form), 422
    try:
        made = connect.set_secret(
            session, source_id=row.id, secret=form.secret.data or "", by=me(),
            settings=_settings(), now=clock.now(session), real_now=clock.real_now(),
        )  # fmt: skip
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return _page(here, row, secret=form), refusal.status
    if made is not None:
        return _page(here, row, made=made), 201
    flash(_("The secret is set; webhooks that it signed are taken from now on."), "success")
    return redirect(address_of(row), 303)


@manage.post("/sources/<source>/previous-secret/end")
@actors
def end_source_secret(source: str) -> Answer:
    """The secret before counts no longer."""
    here, row = found(source)
    require_acting(row.program_id)
    return act(
        lambda session, now: connect.end_previous_secret(
            session, source_id=row.id, by=me(), now=now
        ),
        done=_("The secret before counts no longer."),
        back=address_of(row),
        page=lambda: _page(here, row),
    )


@manage.post("/sources/<source>/state")
@actors
def turn_source(source: str) -> Answer:
    """Turn the address on or off."""
    here, row = found(source)
    require_acting(row.program_id)
    is_on = request.form.get("on") == "yes"
    return act(
        lambda session, now: connect.set_on(
            session, source_id=row.id, is_on=is_on, by=me(), now=now
        ),
        done=_("The address is on.") if is_on else _("The address is off; it answers nobody."),
        back=address_of(row),
        page=lambda: _page(here, row),
    )


@manage.post("/sources/<source>/options")
@actors
def set_source_options(source: str) -> Answer:
    """Say whether test orders count, and which code is which."""
    here, row = found(source)
    require_acting(row.program_id)
    form = OptionsForm()
    return submit(
        form,
        lambda session, now: connect.set_options(
            session, source_id=row.id, takes_tests=bool(form.takes_tests.data),
            coupons=form.pairs(), by=me(), now=now,
        ),
        done=_("It is kept."),
        back=address_of(row),
        page=lambda: _page(here, row, options=form),
    )  # fmt: skip


def found(text: str) -> tuple[Place, Source]:
    """The source and the place of its program; NotFound for anybody else's."""
    row = connect.source_of(db.session(), text)
    return place_of(row.program_id), row


def address_of(row: Source) -> str:
    """The source's page."""
    return url_for("manage.source_page", source=connect.public(row.id))


def _new_page(here: Place, kind: Kind, form: SourceForm) -> str:
    return page("source_new", here, program=here.required, kind=kind, form=form, words=words)


def _page(
    here: Place,
    row: Source,
    *,
    made: str | None = None,
    secret: SecretForm | None = None,
    options: OptionsForm | None = None,
) -> str:
    session, kind = db.session(), Kind(row.kind)
    state = request.args.get("state", "")
    state = state if state in set(State) else ""
    before = request.args.get("before", "")
    rows, following = lookup.deliveries_of(
        session, source_id=row.id, state=state,
        before=_number(before),
    )  # fmt: skip
    if options is None:
        pairs = row.options.get("coupons", {}).items()
        options = OptionsForm(
            formdata=None, takes_tests=row.options.get("takes_tests", False),
            coupons="\n".join(f"{id_} = {code}" for id_, code in pairs),
        )  # fmt: skip
    name = connect.public(row.id)
    real_now = clock.real_now()
    return page(
        "source",
        here,
        source=row,
        kind=kind,
        name=name,
        address=f"{_settings().public_url}/webhooks/shops/{name}",
        steps=words.steps(kind),
        made=made,
        secret=secret or SecretForm(formdata=None),
        options=options,
        rolls=row.previous_until is not None and row.previous_until > real_now,
        rows=[(each, lookup.public(each.id), words.told(each)) for each in rows],
        state=state,
        states=words.STATES,
        older=url_for(".source_page", source=name, state=state or None, before=following)
        if following else None,
        newest=url_for(".source_page", source=name, state=state or None) if before else None,
        words=words,
        schemes=SCHEMES,
        Scheme=Scheme,
    )  # fmt: skip


def _number(text: str) -> int | None:
    """Where a page of the list begins; none for what is no number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _kind(text: str) -> Kind:
    if text not in set(Kind):
        raise NotFound
    return Kind(text)


def _name(kind: Kind) -> str:
    return _("Our shop") if kind is Kind.GENERIC else str(words.NAMES[kind])


def me() -> str:
    """Who acts, as the audit log has it."""
    return f"user:{access.actor().user_id}"


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
