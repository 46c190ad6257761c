"""What the money page says about the account that money goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from babel import Locale
from flask import current_app
from flask_babel import get_locale
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.batches.models import PayeeAccount
from payouts.batches.own_accounts import fee_of
from payouts.batches.payee_banks import changed_bank_alone
from payouts.batches.payee_guard import is_stopped
from payouts.batches.payees import Payee, as_payee, history
from payouts.rails.protocol import AccountField, AccountState, Need, Rail, Standing
from payouts.rails.registry import payee_accounts, rail_named, rails
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place

HISTORY_ROWS_MAX = 10


@dataclass(frozen=True, slots=True)
class Named:
    """One line of the history."""

    row: PayeeAccount
    destination: str
    by: str
    where: str


@dataclass(frozen=True, slots=True)
class PayeeShown:
    """All that the page says about the account."""

    kind: str
    """Whose template part it is: stripe, manual, …"""
    payee: Payee | None
    destination: str
    """The account as its owner reads it."""
    fields: tuple[AccountField, ...]
    """What is asked for where the affiliate types it."""
    fee: Money | None
    """What a payout costs, which the program bears; none: it was not said."""
    standing: tuple[str, str, str] | None
    """(tone, word, sentence) of an account that a provider keeps."""
    needs: tuple[str, ...]
    """What the provider still wants, in words."""
    former: PayeeAccount | None
    """What the affiliate may go back to while the new one waits."""
    bank_alone: bool
    """It differs from the one before in the bank behind it, which the provider keeps."""
    stopped: bool
    named: tuple[Named, ...]
    countries: list[tuple[str, str]]
    """(code, name) where the provider serves payees."""
    configured: bool
    page_origins: tuple[str, ...]
    cooling_hours: int


def payee_shown(session: Session, place: Place) -> PayeeShown:
    """What there is to say about the account of this program's rail."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    rail = place.program.rail
    known = rail_named(rails(settings), rail)
    provider = payee_accounts(settings).get(rail)
    rows = history(
        session, affiliate_id=place.affiliate_id, rail=rail, rows_max=HISTORY_ROWS_MAX + 1
    )
    live = next((row for row in rows if row.replaced_at is None), None)
    payee = None if live is None else as_payee(live)
    before = next((row for row in rows if live is not None and row.id < live.id), None)
    cools = payee is not None and payee.cools(place.now)
    bank_alone = live is not None and changed_bank_alone(live)
    return PayeeShown(
        kind=rail if provider is not None else "manual",
        payee=payee,
        destination=known.account_for_payee(payee.destination) if payee else "",
        fields=known.account_fields,
        fee=fee_of(session, program_id=place.program.id, rail=rail, currency=place.currency),
        standing=standing_words(payee.state) if provider is not None and payee else None,
        needs=tuple(need_words(need) for need in payee.state.needs)
        if payee is not None and payee.state is not None
        else (),
        former=before if cools and not bank_alone else None,
        bank_alone=bank_alone,
        stopped=is_stopped(session, affiliate_id=place.affiliate_id),
        named=tuple(_named(row, place, known) for row in rows[:HISTORY_ROWS_MAX]),
        countries=country_names(provider.countries()) if provider is not None else [],
        configured=provider is None or provider.configured(),
        page_origins=provider.page_origins() if provider is not None else (),
        cooling_hours=settings.payee_cooling_off_h,
    )


def country_names(countries: tuple[str, ...]) -> list[tuple[str, str]]:
    """(code, name) in the reader's language, by name."""
    names = (get_locale() or Locale("en")).territories
    return sorted(((code, str(names[code])) for code in countries), key=lambda each: each[1])


def standing_words(state: AccountState | None) -> tuple[str, str, str]:
    """(tone, word, sentence) of how an account stands."""
    if state is None:
        return "info", _("being asked"), _("We are asking Stripe how your account stands.")
    return {
        Standing.DETAILS_MISSING: (
            "warning", _("details missing"), _("Stripe still needs something from you."),
        ),
        Standing.IN_REVIEW: (
            "info", _("in review"),
            _("Stripe checks what you gave; that mostly takes minutes, sometimes a few days."),
        ),
        Standing.READY: ("success", _("ready"), ""),
        Standing.RESTRICTED: (
            "danger", _("stopped by Stripe"),
            _("Stripe has stopped this account. Only Stripe can say why: open your details there, "
              "or set up another account."),
        ),
        Standing.PAYOUTS_FAILING: (
            "danger", _("your bank refuses"),
            _("What Stripe sends to your bank comes back. Give it another bank account there."),
        ),
        Standing.CLOSED: (
            "danger", _("closed"),
            _("This account is closed, or you have ended our access to it. Set up another one."),
        ),
    }[state.standing]  # fmt: skip


def need_words(need: Need) -> str:
    """What Stripe still wants, in plain words."""
    return {
        Need.BANK_ACCOUNT: _("the bank account that your money goes to"),
        Need.TERMS: _("your agreement to Stripe's terms"),
        Need.DOCUMENT: _("a photo of a document"),
        Need.PERSON: _("who you are: name, birthday, address"),
        Need.BUSINESS: _("what you do, or about your company"),
        Need.OTHER: _("some further details"),
    }[need]


def _named(row: PayeeAccount, place: Place, rail: Rail) -> Named:
    by = {place.actor.label: _("you"), None: "", "system": _("the program")}
    where: Mapping[str | None, str] = {
        "known": _("a browser you had used before"),
        "new": _("a new browser"),
    }
    return Named(
        row=row,
        destination=rail.account_masked(row.destination),
        by=by.get(row.named_by, _("the program")),
        where=where.get(row.named_browser, ""),
    )
