"""The account that money goes to, where the affiliate types it; and the way back to the last.

Rails whose provider makes the account have their own forms (payee_stripe.py).
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from flask import current_app, flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Conflict, Refusal
from affiliate.core.http import only_value
from affiliate.core.pages import moment
from affiliate.people import freshness, limits
from affiliate.people.access import affiliates
from payouts.batches.models import PayeeAccount
from payouts.batches.payee_banks import former_of
from payouts.batches.payee_letters import tell_of_account
from payouts.batches.payees import NamedFrom, payee_of, set_payee
from payouts.rails.protocol import PayeeAccounts, Rail, RailAway
from payouts.rails.registry import payee_accounts
from tracker.attribution.models import AffiliateSighting
from tracker.clicks.visitors import VisitorCookie
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program
from tracker.desks.account.language import gettext as _
from tracker.desks.account.money import Typed, money_page_of, rail_of
from tracker.desks.account.place import Place
from tracker.orders.keys import order_keys

NETWORK_MARK_CHARS = 12
KNOWN_BROWSER = timedelta(days=1)
"""A browser in which the account was open a day ago is known; a thief's is not, at first."""


class MadeByTheProvider(Conflict):
    code = "account_made_by_the_provider"
    title = "In this program the account is set up at the provider; nobody types its number."


class NothingToGoBackTo(Conflict):
    code = "no_account_before"
    title = "There is no account to go back to any more; reload the page."


@account.post("/money/payee")
@affiliates
@in_program
def change_payee(place: Place) -> Answer:
    """Name the account to pay to; the owner of the address is told by mail.

    `again` has the account that is named already looked at anew.
    """
    freshness.require_fresh()
    if _provider(place) is not None:
        raise MadeByTheProvider
    session, rail = db.session(), rail_of(place.program.rail)
    before = payee_of(session, affiliate_id=place.affiliate_id, rail=rail.name)
    typed = {one.name: only_value(one.name).strip() for one in rail.account_fields}
    try:
        if before is not None and only_value("again"):
            destination = before.destination
        else:
            destination = rail.account(typed)
        ready = _ready(rail, destination)
        name_account(session, place, destination=destination, ready=ready)
    except Refusal as refusal:
        session.rollback()
        errors = field_messages(refusal, {one.name: one.name for one in rail.account_fields})
        return money_page_of(place, Typed(account=typed, account_errors=errors), refusal.status)
    session.commit()
    flash_named(place, ready=ready)
    return redirect(url_for(".money_page") + "#payee", 303)


@account.post("/money/payee/former")
@affiliates
@in_program
def go_back(place: Place) -> Answer:
    """Go back to the account before, while the new one is not paid to yet."""
    freshness.require_fresh()
    session = db.session()
    payee = payee_of(session, affiliate_id=place.affiliate_id, rail=place.program.rail)
    former = None
    if payee is not None and payee.cools(place.now):
        former = former_of(session, payee=session.get_one(PayeeAccount, payee.id))
    if payee is None or former is None or former.destination == payee.destination:
        raise NothingToGoBackTo
    try:
        name_account(
            session, place, destination=former.destination, ready=former.ready_at is not None
        )
    except Refusal as refusal:
        session.rollback()
        typed = Typed(account_errors=field_messages(refusal, {}))
        return money_page_of(place, typed, refusal.status)
    session.commit()
    flash(_("Your money goes to the account before again."), "success")
    return redirect(url_for(".money_page") + "#payee", 303)


def name_account(session: Session, place: Place, *, destination: str, ready: bool) -> int:
    """Name it, and write the letters when it is another one than before; its row."""
    before = payee_of(session, affiliate_id=place.affiliate_id, rail=place.program.rail)
    payee_id = set_payee(
        session,
        affiliate_id=place.affiliate_id,
        rail=place.program.rail,
        destination=destination,
        ready=ready,
        by=place.actor.label,
        now=place.now,
        cooling=cooling(),
        named_from=named_from(session, place),
    )
    if before is None or before.id != payee_id:
        tell_by_mail(session, place, payee_id)
    return payee_id


def tell_by_mail(session: Session, place: Place, payee_id: int) -> None:
    """The letters about a named account, to the address on file and those before it."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    tell_of_account(
        session, payee_id=payee_id, program=place.program, settings=settings, now=place.now
    )


def cooling() -> timedelta:
    """How long nothing goes to an account that replaces another, in this installation."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    return timedelta(hours=settings.payee_cooling_off_h)


def named_from(session: Session, place: Place) -> NamedFrom:
    """From which network and browser this request comes, as far as it may be kept."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    mark = hmac.new(settings.key("payee-network"), limits.network().encode(), "sha256")
    return NamedFrom(mark.hexdigest()[:NETWORK_MARK_CHARS], _browser(session, place, settings))


def flash_named(place: Place, *, ready: bool) -> None:
    """Say what becomes of it, in one sentence."""
    payee = payee_of(db.session(), affiliate_id=place.affiliate_id, rail=place.program.rail)
    if payee is not None and payee.cools(place.now) and payee.pays_from is not None:
        flash(
            _(
                "Saved. For your safety it is paid to from %(at)s on; payouts that are approved "
                "already still go to the account before.",
                at=moment(payee.pays_from),
            ),
            "success",
        )
    elif ready:
        flash(
            _("Saved. Payouts that are approved already still go to the account before."),
            "success",
        )
    else:
        flash(
            _("Saved. It cannot receive money yet; have it checked again when it can."), "warning"
        )


def _provider(place: Place) -> PayeeAccounts | None:
    return payee_accounts(current_app.extensions["kopeck.settings"]).get(place.program.rail)


def _ready(rail: Rail, destination: str) -> bool:
    """What the rail says of the account; when it does not answer, it is asked again later."""
    if not rail.configured():
        return False
    try:
        return rail.payee_ready(destination)
    except RailAway:
        return False


def _browser(session: Session, place: Place, settings: Settings) -> str:
    """known, new or unknown: nothing is noted of browsers in consent mode."""
    cookie = VisitorCookie(settings.keys("visitor"), https=settings.https)
    visitor = cookie.read(request.headers.get("Cookie", ""))
    if visitor is None:
        return "unknown" if settings.consent_mode else "new"
    marks = order_keys(settings).device_marks(UUID(bytes=visitor))
    first = session.scalar(
        sa.select(sa.func.min(AffiliateSighting.first_seen_at)).where(
            AffiliateSighting.affiliate_id == place.affiliate_id,
            AffiliateSighting.mark.in_(marks),
        )
    )
    return "known" if first is not None and first <= place.now - KNOWN_BROWSER else "new"
