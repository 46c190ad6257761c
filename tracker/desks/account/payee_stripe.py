"""Set up at Stripe: make the account, lead there and back, read what became of it.

The address that leads there lets whoever opens it act for the payee: it goes into one redirect
and nowhere else. That somebody came back says nothing; readiness is what Stripe answers.
"""

from __future__ import annotations

from datetime import datetime

from flask import current_app, flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal, Unavailable
from affiliate.core.http import only_value
from affiliate.people import freshness, limits
from affiliate.people.access import affiliates
from affiliate.people.freshness import PasswordNeeded
from affiliate.people.next_page import page_before
from payouts.batches.payee_guard import refuse_stopped
from payouts.batches.payee_onboarding import (
    Intent,
    account_made,
    account_refused,
    intend_account,
)
from payouts.batches.payees import Payee, payee_of, refresh_payee
from payouts.rails.protocol import AccountRefused, AccountState, PayeeAccounts, RailAway
from payouts.rails.registry import payee_accounts
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program
from tracker.desks.account.language import gettext as _
from tracker.desks.account.money import Typed, money_page_of
from tracker.desks.account.payee import cooling, named_from, tell_by_mail
from tracker.desks.account.payee_shown import standing_words
from tracker.desks.account.place import Place

COUNTRY_CHARS_MAX = 2
FORM_FIELDS = {"country": "country"}


class ProviderAway(Unavailable):
    code = "provider_away"
    title = "Stripe does not answer right now. Nothing is lost; try again in a few minutes."


class ProviderRefused(Refusal):
    code = "provider_refused"
    title = "Stripe does not open an account like this. Choose another country, or write to us."


@account.post("/money/payee/onboarding")
@affiliates
@limits.braked(limits.brake_provider)
@in_program
def begin_onboarding(place: Place) -> Answer:
    """Make the account where there is none, or in place of the one that was seen; go there."""
    freshness.require_fresh()
    provider = _provider(place)
    country = only_value("country").strip().upper()[:COUNTRY_CHARS_MAX]
    try:
        _make(place, provider, country, instead_of=_number(only_value("instead_of")))
        return redirect(_link(place, provider), 303)
    except Refusal as refusal:
        db.session.rollback()
        errors = field_messages(refusal, FORM_FIELDS)
        typed = Typed(account={"country": country}, account_errors=errors)
        return money_page_of(place, typed, refusal.status)


@account.post("/money/payee/onboarding/link")
@affiliates
@limits.braked(limits.brake_provider)
@in_program
def go_on(place: Place) -> Answer:
    """Go to Stripe again, to give what is missing or to change the bank account there."""
    freshness.require_fresh()
    try:
        return redirect(_link(place, _provider(place)), 303)
    except Refusal as refusal:
        if isinstance(refusal, NotFound):
            raise
        typed = Typed(account_errors=field_messages(refusal, FORM_FIELDS))
        return money_page_of(place, typed, refusal.status)


@account.get("/money/payee/onboarding/refresh")
@affiliates
@limits.braked(limits.brake_provider)
@in_program
def renew_link(place: Place) -> Answer:
    """Stripe sends people here whose link was used or too old: they get a new one.

    Whoever had to sign in on the way, or to give the password, came through a form of ours:
    a browser would not let that lead to another site, so they go on by the page's button.
    """
    provider = _provider(place)
    own_page = redirect(url_for(".money_page") + "#payee", 303)
    try:
        freshness.require_fresh()
    except PasswordNeeded:
        flash(_("The way to Stripe has ended meanwhile; go on by the button."), "info")
        return own_page
    site = request.headers.get("Sec-Fetch-Site")
    if site == "same-origin" or (site is None and page_before()):
        return own_page
    try:
        return redirect(_link(place, provider), 303)
    except NotFound:
        return own_page
    except Refusal as refusal:
        flash(" ".join(field_messages(refusal, {})[""]), "warning")
        return own_page


@account.get("/money/payee/onboarding/return")
@affiliates
@limits.braked(limits.brake_provider)
@in_program
def come_back(place: Place) -> Answer:
    """Stripe sends people here when they leave its pages, whatever they did there."""
    _ask(place, _provider(place))
    return redirect(url_for(".money_page") + "#payee", 303)


@account.post("/money/payee/onboarding/state")
@affiliates
@limits.braked(limits.brake_provider)
@in_program
def ask_again(place: Place) -> Answer:
    """Ask Stripe how the account stands."""
    _ask(place, _provider(place))
    return redirect(url_for(".money_page") + "#payee", 303)


def _make(place: Place, provider: PayeeAccounts, country: str, *, instead_of: int | None) -> None:
    """Intent, call, answer; nothing to do where the affiliate has their account already."""
    session = db.session()
    crosses = _crosses(provider, country)
    intent = intend_account(
        session,
        affiliate_id=place.affiliate_id,
        rail=place.program.rail,
        country=country,
        countries=provider.countries(),
        cross_border=crosses,
        instead_of=instead_of,
        by=place.actor.label,
        now=place.now,
    )
    session.commit()
    if intent is not None:
        _call(session, place, provider, intent)


def _call(session: Session, place: Place, provider: PayeeAccounts, intent: Intent) -> None:
    try:
        made = provider.create(intent.new, key=intent.key)
    except AccountRefused as no:
        account_refused(session, onboarding_id=intent.onboarding_id, code=no.code, now=place.now)
        session.commit()
        raise ProviderRefused from no
    except RailAway as away:
        raise ProviderAway from away
    payee_id = account_made(
        session,
        onboarding_id=intent.onboarding_id,
        account=made,
        by=place.actor.label,
        now=place.now,
        cooling=cooling(),
        named_from=named_from(session, place),
    )
    if payee_id is not None:
        tell_by_mail(session, place, payee_id)
    session.commit()


def _crosses(provider: PayeeAccounts, country: str) -> bool:
    if country not in provider.countries():
        return False  # Refused by name in a moment, without asking anybody.
    try:
        return provider.crosses_border(country)
    except RailAway as away:
        raise ProviderAway from away


def _link(place: Place, provider: PayeeAccounts) -> str:
    """A fresh address at Stripe for this affiliate's own account; NotFound without one."""
    session = db.session()
    refuse_stopped(session, affiliate_id=place.affiliate_id)
    payee = payee_of(session, affiliate_id=place.affiliate_id, rail=place.program.rail)
    if payee is None:
        raise NotFound
    session.commit()  # No transaction stays open while Stripe is asked.
    base = _settings().public_url
    ways = {
        name: base + url_for(f".{view}", program=place.program.slug)
        for name, view in (("return_url", "come_back"), ("refresh_url", "renew_link"))
    }
    try:
        return provider.link(payee.destination, **ways)
    except AccountRefused as no:
        _ask(place, provider)
        raise ProviderRefused(
            "Stripe has closed this account, or you have ended our access to it. "
            "Set up another one."
        ) from no
    except RailAway as away:
        raise ProviderAway from away


def _ask(place: Place, provider: PayeeAccounts) -> None:
    """Read the account and write what Stripe says; a flash when nobody answers."""
    session = db.session()
    payee = payee_of(session, affiliate_id=place.affiliate_id, rail=place.program.rail)
    if payee is None:
        return
    session.commit()
    asked_at = clock.real_now()
    try:
        state = provider.state(payee.destination)
    except RailAway:
        flash(_("Stripe does not answer right now; we go on asking by ourselves."), "warning")
        return
    refresh_payee(session, payee_id=payee.id, state=state, asked_at=asked_at, now=place.now)
    session.commit()
    seen = payee_of(session, affiliate_id=place.affiliate_id, rail=place.program.rail)
    flash(_said(state, payee, seen or payee, place.now), "info")


def _said(state: AccountState, before: Payee, seen: Payee, now: datetime) -> str:
    if not state.ready:
        return standing_words(state)[2]
    if seen.cools(now) and seen.id != before.id:
        return _("Stripe says that your account is ready, with another bank account: its safety "
                 "wait begins.")  # fmt: skip
    if seen.cools(now):
        return _("Stripe says that your account is ready; the safety wait goes on.")
    return _("Stripe says that your account is ready.")


def _provider(place: Place) -> PayeeAccounts:
    """The provider of this program's rail; NotFound where there is none."""
    provider = payee_accounts(_settings()).get(place.program.rail)
    if provider is None:
        raise NotFound
    if not provider.configured():
        raise ProviderAway("Payouts by Stripe are not set up in this installation yet.")
    return provider


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
