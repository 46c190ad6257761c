"""How the affiliate is paid: weekly, on request, or from an amount of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import current_app, flash, redirect, url_for

from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.core.http import only_value
from affiliate.core.money import MICROS, Money, MoneyError
from affiliate.core.pages import money
from affiliate.people.access import affiliates
from payouts.batches.choices import MINIMUM_UNITS_MAX, choice_of, choose
from payouts.batches.draft import schedule_of
from payouts.batches.rules import next_due
from payouts.rails.registry import rail_named, rails
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.money import amount_of, amount_words
from tracker.desks.account.place import Place

FIELDS = {"minimum": "minimum"}


@dataclass
class Typed:
    """What stands in the form, and what is wrong with it."""

    on_request: bool
    minimum: str
    minimum_errors: list[str] = field(default_factory=list)


@account.get("/money/choice")
@affiliates
@in_program
def choice_page(place: Place) -> Answer:
    """The choice in force, to be changed."""
    found = choice_of(db.session(), enrollment_id=place.enrollment.id, currency=place.currency)
    return _page(place, Typed(found.on_request, found.minimum.decimal if found.minimum else ""))


@account.post("/money/choice")
@affiliates
@in_program
def change_choice(place: Place) -> Answer:
    """Choose; batches that are drafted already stay as they are."""
    typed = Typed(only_value("when") == "on_request", only_value("minimum").strip())
    session = db.session()
    try:
        choose(
            session,
            enrollment_id=place.enrollment.id,
            on_request=typed.on_request,
            minimum=amount_of(typed.minimum, place.currency) or Money.zero(place.currency),
            by=place.actor.label,
            now=place.now,
        )
    except MoneyError as error:
        session.rollback()
        typed.minimum_errors = [_wrong(error, place.currency)]
        return _page(place, typed), 422
    except Refusal as refusal:
        session.rollback()
        typed.minimum_errors = field_messages(refusal, FIELDS).get("minimum", [])
        return _page(place, typed), refusal.status
    session.commit()
    flash(_("Saved. It holds from the next weekly payout on."), "success")
    return redirect(url_for("account.money_page"), 303)


def _wrong(error: MoneyError, currency: str) -> str:
    if error.code == "too_large":
        return _("At most %(most)s.", most=money(Money(MINIMUM_UNITS_MAX * MICROS, currency)))
    return amount_words(error, currency)


def _page(place: Place, typed: Typed) -> str:
    rail = rail_named(rails(current_app.extensions["kopeck.settings"]), place.program.rail)
    units = rail.granularity(place.currency)
    return page(
        "choice",
        place,
        typed=typed,
        smallest=Money.of_minor_units(units, place.currency),
        next_payout=next_due(schedule_of(place.program), after=place.now),
    )
