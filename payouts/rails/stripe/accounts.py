"""Connected accounts of payees at Stripe: made, led to Stripe's own pages, read.

Accounts by `controller` (docs.stripe.com/connect/accounts-v2 names the older `type` as
replaced): we bear fees and losses, Stripe collects what the law wants and gives the payee an
Express dashboard. No e-mail and no name of ours goes there; the payee tells Stripe.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import stripe

from affiliate.core.config import STRIPE_API_BASE, Settings
from payouts.rails.protocol import (
    AccountRefused,
    AccountState,
    Need,
    NewAccount,
    RailAway,
    Standing,
)
from payouts.rails.stripe.keys import Keys

_EEA = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IS IE IT LV LI LT LU MT NL NO PL PT RO SK SI ES SE"
EEA = frozenset(_EEA.split())
REGIONS = (EEA, frozenset({"GB"}), frozenset({"CH"}), frozenset({"US"}), frozenset({"CA"}))
"""Self-serve transfers cross between these regions and within them, and nowhere else
(docs.stripe.com/connect/cross-border-payouts). Across, the payee agrees as a recipient."""
COUNTRIES = tuple(sorted(frozenset().union(*REGIONS)))

STRIPE_PAGES = ("https://connect.stripe.com", "https://*.stripe.com")
BANK_CHARS = 32
"""Of the hash that tells bank accounts apart: 128 bits."""
FAILING = ("errored", "verification_failed")
"""States of a bank account to which Stripe's payouts bounce."""
STOPPED = ("rejected", "listed", "platform_paused", "other")
"""Beginnings of `requirements.disabled_reason` that the payee's details do not mend."""
NEEDS = (
    ("external_account", Need.BANK_ACCOUNT),
    ("tos_acceptance", Need.TERMS),
    ("settings.payouts", Need.BANK_ACCOUNT),
    ("individual", Need.PERSON),
    ("person_", Need.PERSON),
    ("representative", Need.PERSON),
    ("owners", Need.PERSON),
    ("directors", Need.PERSON),
    ("executives", Need.PERSON),
    ("relationship", Need.PERSON),
    ("company", Need.BUSINESS),
    ("business_", Need.BUSINESS),
    ("documents", Need.DOCUMENT),
)
"""Beginnings of Stripe's names of what it wants; whatever holds a document is one first."""

# At DEBUG the library logs whole answers: an account link in them opens the payee's account.
logging.getLogger("stripe").setLevel(logging.WARNING)


class StripeAccounts:
    """Connected accounts for payees, by the same pair of API keys as transfers."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.stripe_api_base or STRIPE_API_BASE
        self._keys = Keys(
            (settings.stripe_api_key, settings.stripe_api_key_previous), settings.stripe_api_base
        )
        self._country: str | None = None

    def configured(self) -> bool:
        return bool(self._keys)

    def countries(self) -> tuple[str, ...]:
        return COUNTRIES

    def page_origins(self) -> tuple[str, ...]:
        """Stripe's own, or that of the double in its place."""
        if self._base == STRIPE_API_BASE:
            return STRIPE_PAGES
        parts = urlsplit(self._base)
        return (f"{parts.scheme}://{parts.netloc}",)

    def crosses_border(self, country: str) -> bool:
        """Whether Stripe wants the recipient agreement: our own account is in another region."""
        if self._country is None:
            try:
                self._country = self._keys.ask(_country_of)
            except stripe.StripeError as error:
                raise RailAway(_code(error)) from error
        own = self._country
        return country != own and not any({country, own} <= region for region in REGIONS)

    def create(self, new: NewAccount, *, key: str) -> str:
        try:
            account = self._keys.ask(
                lambda client: client.v1.accounts.create(
                    _params(new), options={"idempotency_key": key}
                )
            )
        except stripe.InvalidRequestError as error:
            raise AccountRefused(_code(error)) from error
        except stripe.StripeError as error:
            raise RailAway(_code(error)) from error
        return str(account.id)

    def link(self, account: str, *, return_url: str, refresh_url: str) -> str:
        try:
            made = self._keys.ask(
                lambda client: client.v1.account_links.create(
                    {
                        "account": account,
                        "type": "account_onboarding",
                        "return_url": return_url,
                        "refresh_url": refresh_url,
                    }
                )
            )
        except (stripe.InvalidRequestError, stripe.PermissionError) as error:
            raise AccountRefused(_code(error)) from error
        except stripe.StripeError as error:
            raise RailAway(_code(error)) from error
        return str(made.url)

    def state(self, account: str) -> AccountState:
        try:
            found = self._keys.ask(lambda client: client.v1.accounts.retrieve(account))
        except stripe.InvalidRequestError as error:
            return AccountState(False, Standing.CLOSED, disabled_reason=_code(error))
        except stripe.PermissionError as error:
            # 403 of this one account is the end of our access; of our key, it is no answer.
            if _code(error) != "account_invalid":
                raise RailAway(_code(error)) from error
            return AccountState(False, Standing.CLOSED, disabled_reason=_code(error))
        except stripe.StripeError as error:
            raise RailAway(_code(error)) from error
        return state_of(found)


def state_of(account: Any) -> AccountState:
    """A Stripe account in no provider's words.

    Ready is `capabilities.transfers` active and `payouts_enabled`, nothing else
    (docs.stripe.com/connect/account-capabilities); a visit to our return address is not.
    """
    requirements = getattr(account, "requirements", None)
    due = _listed(requirements, "currently_due") + _listed(requirements, "past_due")
    reason = getattr(requirements, "disabled_reason", None) or None
    capabilities = getattr(account, "capabilities", None)
    active = getattr(capabilities, "transfers", None) == "active"
    ready = active and bool(getattr(account, "payouts_enabled", False))
    deadline = getattr(requirements, "current_deadline", None)
    return AccountState(
        ready=ready,
        standing=_standing(account, ready=ready, due=bool(due), reason=reason or ""),
        needs=_needs(due),
        disabled_reason=reason,
        needed_by=datetime.fromtimestamp(deadline, UTC) if deadline else None,
        bank=_bank(account),
        bank_masked=_bank_masked(account),
    )


def _standing(account: Any, *, ready: bool, due: bool, reason: str) -> Standing:
    if _bank_fails(account):
        return Standing.PAYOUTS_FAILING
    if ready:
        return Standing.READY
    if reason.startswith(STOPPED):
        return Standing.RESTRICTED
    if due or not getattr(account, "details_submitted", False):
        return Standing.DETAILS_MISSING
    return Standing.IN_REVIEW


def _bank_fails(account: Any) -> bool:
    return any(getattr(each, "status", None) in FAILING for each in _listed_banks(account))


def _bank(account: Any) -> str | None:
    """Of all bank accounts and cards that Stripe pays out to, in no order.

    A fingerprint is that of the number: the same account taken away and given anew has the same.
    """
    named = [
        getattr(each, "fingerprint", None) or getattr(each, "id", None) for each in _banks(account)
    ]
    prints = sorted(str(each) for each in named if each)
    if not prints:
        return None
    return hashlib.sha256("\n".join(prints).encode()).hexdigest()[:BANK_CHARS]


def _bank_masked(account: Any) -> str | None:
    ends = [str(last4) for each in _banks(account) if (last4 := getattr(each, "last4", None))]
    return ", ".join(f"…{last4}" for last4 in sorted(ends)) or None


def _banks(account: Any) -> list[Any]:
    """Those that are paid to: per currency the default one, or all where none is marked."""
    listed = _listed_banks(account)
    defaults = [each for each in listed if getattr(each, "default_for_currency", False)]
    return defaults or listed


def _listed_banks(account: Any) -> list[Any]:
    return list(getattr(getattr(account, "external_accounts", None), "data", None) or ())


def _needs(names: Iterable[str]) -> tuple[Need, ...]:
    """Classes of what is wanted, each once, in the order in which they are named."""
    return tuple(dict.fromkeys(_need(name) for name in names))


def _need(name: str) -> Need:
    if "document" in name:
        return Need.DOCUMENT
    return next((need for start, need in NEEDS if name.startswith(start)), Need.OTHER)


def _listed(requirements: Any, name: str) -> list[str]:
    return [str(each) for each in getattr(requirements, name, None) or ()]


def _country_of(client: stripe.StripeClient) -> str:
    return str(client.v1.accounts.retrieve_current().country)


def _params(new: NewAccount) -> stripe.params.AccountCreateParams:
    params: stripe.params.AccountCreateParams = {
        "country": new.country,
        "capabilities": {"transfers": {"requested": True}},
        "controller": {
            "fees": {"payer": "application"},
            "losses": {"payments": "application"},
            "requirement_collection": "stripe",
            "stripe_dashboard": {"type": "express"},
        },
        "metadata": {"affiliate_id": str(new.affiliate), "env": new.installation},
    }
    if new.cross_border:
        params["tos_acceptance"] = {"service_agreement": "recipient"}
    return params


def _code(error: stripe.StripeError) -> str:
    inner = getattr(error.error, "code", None) if error.error else None
    return str(error.code or inner or type(error).__name__.lower())
