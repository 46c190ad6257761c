"""Programs: the list, a new one, the settings of one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from babel.dates import get_day_names
from flask import current_app, flash, redirect, url_for
from flask_babel import get_locale
from wtforms.fields.choices import SelectChoice

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.core.pages import say
from affiliate.people import access
from affiliate.programs import programs as verbs
from affiliate.programs.models import Program
from affiliate.programs.terms import (
    AttributionTerms,
    CommissionTerms,
    CouponPolicy,
    CustomerPolicy,
    LevelTwo,
    Model,
    Of,
    PayoutTerms,
    Percent,
    Terms,
)
from affiliate.programs.terms_document import dump
from payouts.rails.registry import rails
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import ACTORS, actors, manage, owners, page, place, readers
from tracker.desks.manage.forms import ProgramForm, SettingsForm
from tracker.desks.words import _

FIRST_RULES: Final = dump(
    Terms(
        AttributionTerms(
            Model.LAST_CLICK,
            timedelta(days=30),
            CouponPolicy.LOSES,
            existing_customer=CustomerPolicy.PAYS,
            self_purchase=CustomerPolicy.REFUSES,
        ),
        CommissionTerms(level_1=Percent(100_000), level_2=LevelTwo(Of.SALE, 20_000)),
        PayoutTerms(hold=timedelta(days=14)),
    )
)
"""What the form of a new program begins with."""


@manage.get("/programs")
@readers
def programs() -> str:
    """The reader's programs."""
    return page("programs", place(), owner=access.is_owner())


@manage.get("/programs/new")
@owners
def new_program() -> str:
    """The form of a new program."""
    form = ProgramForm(formdata=None)
    _choices(form)
    form.payout_hour.data, form.time_zone.data = 9, "Europe/Moscow"
    form.fill(FIRST_RULES)
    return page("program_form", place(), form=form, program=None)


@manage.post("/programs")
@owners
def create() -> Answer:
    """Create a program with version 1 of its rules."""
    session, form = db.session(), ProgramForm()
    _choices(form)
    if not form.validate_on_submit():
        return page("program_form", place(), form=form, program=None), 422
    currency = form.currency.data.strip().upper()
    try:
        _refuse_other_currency(form, currency)
        made = verbs.create_program(
            session,
            slug=form.slug.data.strip(),
            currency=currency,
            terms_document=form.document(),
            by=access.actor().user_id,
            now=clock.now(session),
            plain_loopback=_plain_loopback(),
            **form.changes(),
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return page("program_form", place(), form=form, program=None), refusal.status
    flash(_("%(name)s is open for applications.", name=made.name), "success")
    return redirect(url_for("manage.integration", program=made.slug), 303)


@manage.get("/programs/<slug>")
@actors
def settings(slug: str) -> str:
    """Settings of a program."""
    program = access.require_program(slug, *ACTORS)
    form = SettingsForm(formdata=None, data=_data(program))
    _choices(form, program)
    form.rail.data, form.payout_weekday.data = program.rail, program.payout_weekday
    return page("program_form", place(), form=form, program=program)


@manage.post("/programs/<slug>")
@actors
def change(slug: str) -> Answer:
    """Change settings; what is equal stays, what changed is in the audit log."""
    program = access.require_program(slug, *ACTORS)
    program_id = program.id
    session, form = db.session(), SettingsForm()
    _choices(form, program)
    if not form.validate_on_submit():
        return page("program_form", place(), form=form, program=program), 422
    try:
        verbs.update_program(
            session,
            program_id=program_id,
            changes=form.changes(),
            by=access.actor().user_id,
            now=clock.now(session),
            plain_loopback=_plain_loopback(),
        )
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return page("program_form", place(), form=form, program=program), refusal.status
    flash(_("The settings are saved."), "success")
    return redirect(url_for("manage.settings", slug=slug), 303)


def _refuse_other_currency(form: ProgramForm, currency: str) -> None:
    """A rail that does not pay the program's currency would return every batch."""
    rail = rails(_settings()).get(form.rail.data)
    if rail is not None and not rail.pays(currency):
        message = Phrase("This way of paying does not pay in %(currency)s.", currency=currency)
        raise Invalid.field("rail", "other_currency", message)


def _choices(form: SettingsForm, program: Program | None = None) -> None:
    """A program's own currency is known: only what pays it can be chosen."""
    form.rail.choices = [
        SelectChoice(
            name,
            say(rail.title)
            if rail.configured()
            else _("%(rail)s (not configured yet)", rail=say(rail.title)),
        )
        for name, rail in rails(_settings()).items()
        if program is None or rail.pays(program.currency) or name == program.rail
    ]
    days = get_day_names("wide", locale=get_locale())
    form.payout_weekday.choices = [SelectChoice(number, days[number]) for number in range(7)]


def _data(program: Program) -> dict[str, Any]:
    names = ("name", "summary", "landing_url", "payout_hour", "time_zone", "contact_email",
             "auto_approve", "notice_days", "rate_days_max")  # fmt: skip
    return {
        **{name: getattr(program, name) for name in names},
        "allowed_sites": "\n".join(program.allowed_sites),
    }


def _plain_loopback() -> bool:
    return not _settings().production


def _settings() -> Settings:
    found: Settings = current_app.extensions["kopeck.settings"]
    return found
