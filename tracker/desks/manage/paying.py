"""How a program pays: the account that files for the bank pay from, what a payout costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import current_app, flash, redirect, url_for

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.core.http import only_value
from affiliate.core.money import Money, MoneyError
from affiliate.core.pages import say
from affiliate.people import access, freshness
from affiliate.programs.models import Program
from payouts.batches.own_accounts import (
    fee_of,
    live_own_account,
    set_fee,
    set_own_account,
    value_of,
)
from payouts.rails.bank import BankRail
from payouts.rails.registry import Rails, rail_named, rails
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import ACTORS, actors, manage, page, place
from tracker.desks.words import _

AMOUNT_CHARS_MAX = 20


@dataclass
class Typed:
    """What stood in the two forms, and what is wrong with it."""

    account: dict[str, str] | None = None
    fee: str | None = None
    errors: dict[str, list[str]] = field(default_factory=dict)


@manage.get("/programs/<slug>/paying")
@actors
def paying(slug: str) -> str:
    """The account to pay from, and the cost of a payout."""
    return _page(access.require_program(slug, *ACTORS), Typed())


@manage.post("/programs/<slug>/paying/account")
@actors
def name_own_account(slug: str) -> Answer:
    """Name the account that the files for the bank pay from."""
    program = access.require_program(slug, *ACTORS)
    rail = rail_named(_rails(), program.rail)
    if not isinstance(rail, BankRail):
        raise NotFound
    freshness.require_fresh()
    session = db.session()
    typed = Typed(account={one.name: only_value(one.name).strip() for one in rail.own_fields})
    try:
        set_own_account(
            session,
            program_id=program.id,
            rail=rail.name,
            typed=typed.account or {},
            rails=_rails(),
            by=access.actor().user_id,
            now=clock.now(session),
        )
        session.commit()
    except Refusal as refusal:
        return _refused(program, typed, refusal)
    flash(_("Saved. Files that are made from now on pay from this account."), "success")
    return redirect(url_for("manage.paying", slug=slug), 303)


@manage.post("/programs/<slug>/paying/fee")
@actors
def say_fee(slug: str) -> Answer:
    """Say what a payout costs the program."""
    program = access.require_program(slug, *ACTORS)
    session = db.session()
    typed = Typed(fee=only_value("fee").strip()[:AMOUNT_CHARS_MAX])
    try:
        set_fee(
            session,
            program_id=program.id,
            rail=program.rail,
            fee=_fee(typed.fee or "", program.currency),
            by=access.actor().user_id,
            now=clock.now(session),
        )
        session.commit()
    except Refusal as refusal:
        return _refused(program, typed, refusal)
    flash(_("Saved. Affiliates read it where they are paid."), "success")
    return redirect(url_for("manage.paying", slug=slug), 303)


def _fee(text: str, currency: str) -> Money:
    try:
        return Money.parse(text.replace(",", "."), currency)
    except MoneyError:
        message = Phrase("Write what one payout costs: from 0 to 1,000.")
        raise Invalid.field("fee", "not_an_amount", message) from None


def _refused(program: Program, typed: Typed, refusal: Refusal) -> Answer:
    db.session.rollback()
    for error in refusal.errors:
        typed.errors.setdefault(error.field, []).append(say(error.message))
    if not refusal.errors:
        typed.errors[""] = [say(refusal.detail)]
    return _page(program, typed), refusal.status


def _page(program: Program, typed: Typed) -> str:
    session, rail = db.session(), rail_named(_rails(), program.rail)
    own, known = None, None
    if isinstance(rail, BankRail):
        own = live_own_account(session, program_id=program.id, rail=rail.name)
        known = None if own is None else rail.own_typed(value_of(own))
    fee = fee_of(session, program_id=program.id, rail=rail.name, currency=program.currency)
    return page(
        "paying",
        place(),
        program=program,
        rail=rail,
        by_file=isinstance(rail, BankRail),
        own=own,
        account=typed.account or known or {},
        fee=typed.fee if typed.fee is not None else (fee.decimal if fee else "0"),
        errors=typed.errors,
    )


def _rails() -> Rails:
    return rails(current_app.extensions["kopeck.settings"])
