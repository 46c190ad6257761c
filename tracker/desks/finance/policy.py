"""The rules of approval of a program: who signs, what is approved by itself, and who changed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, StringField
from wtforms.validators import InputRequired, Length

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import FieldError, Invalid, NotFound, Phrase, Refusal
from affiliate.core.money import Money, MoneyError
from affiliate.core.pages import say
from affiliate.people import access, freshness
from affiliate.people.access import Role
from affiliate.programs.models import Program
from payouts.policies.change import (
    REASON_CHARS_MAX,
    change_policy,
    policies_of,
    policy_of,
    read,
)
from payouts.policies.models import PayoutPolicy
from payouts.policies.rules import Automatic, Policy
from tracker.desks.acting import Answer
from tracker.desks.finance.blueprint import allowed, desk, finance, owners
from tracker.desks.manage.people import user_names
from tracker.desks.words import _

AMOUNT_CHARS_MAX = 30
DAYS_CHARS_MAX = 5
SHOWN_MAX = 50
_AMOUNT = {"inputmode": "decimal", "autocomplete": "off"}


class PolicyForm(FlaskForm):  # type: ignore[misc]
    """One program's rules of approval; an empty amount switches its rule off."""

    second_signature = StringField(
        _l("Two signatures above"), [Length(max=AMOUNT_CHARS_MAX)], render_kw=_AMOUNT
    )
    automatic_item = StringField(
        _l("Withdrawals up to"), [Length(max=AMOUNT_CHARS_MAX)], render_kw=_AMOUNT
    )
    automatic_day = StringField(
        _l("All of one day together"), [Length(max=AMOUNT_CHARS_MAX)], render_kw=_AMOUNT
    )
    account_days = StringField(
        _l("Account named longer ago than, in days"),
        [Length(max=DAYS_CHARS_MAX)],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    one_person = BooleanField(_l("One-person mode: whoever made a batch may approve it"))
    reason = StringField(
        _l("Why"),
        [InputRequired(_l("Please fill this in.")), Length(max=REASON_CHARS_MAX)],
        render_kw={"autocomplete": "off"},
    )

    def policy(self, currency: str) -> Policy:
        """What the fields say. Raises Invalid naming each that cannot be read."""
        errors: list[FieldError] = []
        above = self._amount("second_signature", currency, errors)
        item = self._amount("automatic_item", currency, errors)
        day = self._amount("automatic_day", currency, errors)
        days = self._days(errors)
        given = (item, day, days)
        if not errors and any(each is not None for each in given):
            errors += [
                FieldError(name, "required", "For small withdrawals all three are needed.")
                for name, value in zip(
                    ("automatic_item", "automatic_day", "account_days"), given, strict=True
                )
                if value is None
            ]
        if errors:
            raise Invalid(errors=errors)
        automatic = None
        if item is not None and day is not None and days is not None:
            automatic = Automatic(item, day, days)
        return Policy(None, above, automatic, bool(self.one_person.data))

    def show(self, refusal: Refusal) -> None:
        """Put each error beside its field; what belongs to none goes above the form."""
        for error in refusal.errors:
            if error.field in self:
                field = self[error.field]
                field.errors = [*field.errors, say(error.message)]
            else:
                self.form_errors.append(say(error.message))
        if not refusal.errors:
            self.form_errors.append(say(refusal.detail))

    def _amount(self, name: str, currency: str, errors: list[FieldError]) -> Money | None:
        text = (self[name].data or "").strip().replace(",", ".").replace(" ", "")
        if not text:
            return None
        try:
            return Money.parse(text, currency)
        except MoneyError as error:
            message = Phrase("Write an amount such as 1500.00, in %(currency)s.", currency=currency)
            errors.append(FieldError(name, error.code, message))
            return None

    def _days(self, errors: list[FieldError]) -> int | None:
        text = (self.account_days.data or "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit()):
            errors.append(FieldError("account_days", "not_a_number", "Write a whole number."))
            return None
        return int(text)


@dataclass(frozen=True)
class Change:
    """Rules that were in force, with who set them."""

    row: PayoutPolicy
    policy: Policy
    by: str


@finance.get("/policies")
@allowed
def policies() -> str:
    """A program's rules of approval, and every set that it had before."""
    program = _program(request.args.get("program"))
    if program is None:
        return render_template("tracker/finance/policies.html", program=None)
    return _page(program, None)


@finance.post("/policies/<slug>")
@owners
def set_policy(slug: str) -> Answer:
    """Put other rules in force; an owner with a fresh second factor."""
    freshness.require_factor()
    program = _program(slug)
    if program is None:
        raise NotFound
    session, form = db.session(), PolicyForm()
    if not form.validate_on_submit():
        return _page(program, form), 422
    try:
        changed = change_policy(
            session,
            program_id=program.id,
            wanted=form.policy(program.currency),
            why=form.reason.data,
            by_user_id=access.actor().user_id,
            now=clock.now(session),
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(refusal)
        return _page(program, form), refusal.status
    if changed:
        flash(_("These rules are in force from now on, also for batches that wait."), "success")
    else:
        flash(_("These rules are in force already; nothing has changed."), "info")
    return redirect(url_for("finance.policies", program=slug), 303)


def _program(slug: str | None) -> Program | None:
    """The program of this name, of those that the reader looks after; else the first."""
    programs = list(desk().programs.values())
    if slug is None:
        return programs[0] if programs else None
    return access.require_program(slug, Role.FINANCE, Role.OWNER)


def _page(program: Program, form: PolicyForm | None) -> str:
    session = db.session()
    now_in_force = policy_of(session, program_id=program.id)
    rows = policies_of(session, program_id=program.id, rows_max=SHOWN_MAX)
    names = user_names(session, {f"user:{row.set_by}" for row in rows})
    return render_template(
        "tracker/finance/policies.html",
        program=program,
        programs=list(desk().programs.values()),
        policy=now_in_force,
        form=form or PolicyForm(formdata=None, data=_data(now_in_force)),
        owner=access.is_owner(),
        factor=freshness.factor_at() is not None,
        changes=[Change(row, read(row), names.get(f"user:{row.set_by}", "Kopeck")) for row in rows],
    )


def _data(policy: Policy) -> dict[str, Any]:
    rule, above = policy.automatic, policy.second_signature_above
    return {
        "second_signature": "" if above is None else above.decimal,
        "automatic_item": "" if rule is None else rule.item.decimal,
        "automatic_day": "" if rule is None else rule.day.decimal,
        "account_days": "" if rule is None else str(rule.account_days),
        "one_person": policy.one_person,
    }
