"""Stripe Connect transfers by the official package: the only importer of `stripe`.

The library's own retries are off: each try is a row of ours. Which answer means what:
docs/reliability.md, "Answers of Stripe"; docs.stripe.com/error-low-level.
"""

from __future__ import annotations

from typing import Any, ClassVar

import stripe

from affiliate.core.config import STRIPE_API_BASE, Settings
from affiliate.core.errors import Phrase
from affiliate.core.money import minor_unit_micros
from payouts.rails.one_line import OneLine, one_line
from payouts.rails.protocol import (
    AccountField,
    Answer,
    Found,
    LookUp,
    LookUpFailed,
    NotFound,
    NotReady,
    Order,
    Postponed,
    RailAway,
    Refused,
    Succeeded,
    Unknown,
)
from payouts.rails.stripe_accounts import state_of

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 20
LIST_ROWS = 100
LIST_PAGES_MAX = 200
TEXT_CHARS_MAX = 500

CURRENCIES = {"EUR": 1, "USD": 1, "GBP": 1, "CHF": 1, "CAD": 1, "PLN": 1, "CZK": 1, "SEK": 1,
              "NOK": 1, "DKK": 1, "RON": 1, "RUB": 1, "JPY": 1, "HUF": 100}  # fmt: skip
"""Enabled one by one, each with a row in the test; the value is the granularity in minor
units. HUF can be paid out by Stripe in whole forints alone."""

LATER_CODES = frozenset({"balance_insufficient"})
NOT_READY_CODES = frozenset({"insufficient_capabilities_for_transfer", "transfers_not_allowed"})
"""The payee's account, not our request: parked, and paid once it is ready."""


class StripeRail(OneLine):
    """Transfers from the platform's balance to connected accounts."""

    name: ClassVar[str] = "stripe"
    title: ClassVar[Phrase] = Phrase("Stripe")
    by_hand: ClassVar[bool] = False
    account_fields: ClassVar[tuple[AccountField, ...]] = one_line(
        Phrase("Stripe account"), Phrase("Its id begins with acct_.")
    )

    def __init__(self, settings: Settings) -> None:
        self._key = settings.stripe_api_key
        self._base = settings.stripe_api_base
        self._client: stripe.StripeClient | None = None

    def pays(self, currency: str) -> bool:
        return currency in CURRENCIES

    def granularity(self, currency: str) -> int:
        return CURRENCIES.get(currency, 1)

    def configured(self) -> bool:
        return bool(self._key)

    def send(self, order: Order, *, key: str) -> Answer:
        """POST /v1/transfers once, with this idempotency key."""
        if order.amount.currency not in CURRENCIES:
            return Refused("currency_not_enabled", f"{order.amount.currency} is not enabled.")
        try:
            transfer = self._stripe().v1.transfers.create(
                _params(order), options={"idempotency_key": key}
            )
        except stripe.StripeError as error:
            return _answer(error)
        return Succeeded(str(transfer.id))

    def find(self, order: Order) -> LookUp:
        """Page through GET /v1/transfers of the group and destination.

        Stripe cannot filter by metadata, so item, installation, amount and currency are
        compared here. Which attempt made it does not matter: the item was paid.
        """
        asked: stripe.params.TransferListParams = {
            "transfer_group": order.group,
            "destination": order.destination,
            "limit": LIST_ROWS,
        }
        try:
            for _ in range(LIST_PAGES_MAX):
                page = self._stripe().v1.transfers.list(asked)
                for transfer in page.data:
                    if _is_of(transfer, order):
                        return Found(str(transfer.id))
                if not page.has_more:
                    return NotFound()
                asked["starting_after"] = page.data[-1].id
        except stripe.StripeError as error:
            return LookUpFailed(_code(error))
        return LookUpFailed("list_too_long")

    def payee_ready(self, destination: str) -> bool:
        """Transfers are active and payouts enabled; an account that is gone is not ready."""
        try:
            account = self._stripe().v1.accounts.retrieve(destination)
        except (stripe.InvalidRequestError, stripe.PermissionError):
            return False
        except stripe.StripeError as error:
            raise RailAway(_code(error)) from error
        return state_of(account).ready

    def _stripe(self) -> stripe.StripeClient:
        """One client a rail; made late, so that a rail without a key can stand in a list."""
        if self._client is None:
            self._client = stripe.StripeClient(
                self._key,
                base_addresses={"api": self._base or STRIPE_API_BASE},
                max_network_retries=0,
                http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)),
            )
        return self._client


def _params(order: Order) -> Any:
    return {
        "amount": order.amount.micros // minor_unit_micros(order.amount.currency),
        "currency": order.amount.currency.lower(),
        "destination": order.destination,
        "transfer_group": order.group,
        "metadata": {
            "item_id": str(order.item_id),
            "attempt": str(order.attempt),
            "env": order.installation,
        },
    }


def _is_of(transfer: Any, order: Order) -> bool:
    wanted = _params(order)
    metadata = transfer.metadata.to_dict() if transfer.metadata else {}
    return (
        metadata.get("item_id") == wanted["metadata"]["item_id"]
        and metadata.get("env") == order.installation
        and transfer.amount == wanted["amount"]
        and transfer.currency == wanted["currency"]
        and transfer.destination == order.destination
    )


def _answer(error: stripe.StripeError) -> Answer:
    """What an error means for the attempt. Whatever is not known to be a no is unknown."""
    code, text = _code(error), str(error.user_message or error)[:TEXT_CHARS_MAX]
    if isinstance(error, stripe.RateLimitError):
        return Postponed(code, text)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Postponed(code, text, halts=True)
    if isinstance(error, stripe.IdempotencyError):
        # Another request went out under this key: what became of it must be looked up.
        return Unknown(code, text)
    if isinstance(error, stripe.InvalidRequestError) and error.http_status in (400, 404):
        if code in NOT_READY_CODES:
            return NotReady(code, text)
        return Refused(code, text, again=code in LATER_CODES)
    return Unknown(code, text)


def _code(error: stripe.StripeError) -> str:
    inner = getattr(error.error, "code", None) if error.error else None
    return str(error.code or inner or _kind(error))


def _kind(error: stripe.StripeError) -> str:
    status = f"_{error.http_status}" if error.http_status else ""
    return f"{type(error).__name__}{status}".lower()
