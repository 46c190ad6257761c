"""Stripe Connect transfers by the official package.

The library's own retries are off: each try is a row of ours. Which answer means what:
docs/reliability.md, "Answers of Stripe"; docs.stripe.com/error-low-level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import stripe

from affiliate.core.config import Settings
from affiliate.core.errors import Phrase
from payouts.rails.one_line import OneLine, one_line
from payouts.rails.protocol import (
    Account,
    AccountField,
    Answer,
    Found,
    LookUp,
    LookUpFailed,
    NotFound,
    Order,
    Postponed,
    RailAway,
    Refused,
    Succeeded,
    Unknown,
)
from payouts.rails.rehearsal import MayAsk, Objected, Objection, Planned, Rehearsed
from payouts.rails.stripe.answers import meaning
from payouts.rails.stripe.currencies import CURRENCIES, minor_units
from payouts.rails.stripe.keys import AccountUnknown, Keys, OtherAccount
from payouts.rails.stripe.reading import LIST_ROWS, UNREADABLE, StripeReading

LIST_PAGES_MAX: Final = 200
TRANSFER_PREFIX: Final = "tr_"


class StripeRail(StripeReading, OneLine):
    """Transfers from the platform's balance to connected accounts."""

    name: ClassVar[str] = "stripe"
    title: ClassVar[Phrase] = Phrase("Stripe")
    by_hand: ClassVar[bool] = False
    account_fields: ClassVar[tuple[AccountField, ...]] = one_line(
        Phrase("Stripe account"), Phrase("Its id begins with acct_.")
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            Keys(
                (settings.stripe_api_key, settings.stripe_api_key_previous),
                settings.stripe_api_base,
            )
        )

    def pays(self, currency: str) -> bool:
        return currency in CURRENCIES

    def granularity(self, currency: str) -> int:
        return CURRENCIES.get(currency, 1)

    def configured(self) -> bool:
        return bool(self._keys)

    def pin(self, account: str) -> None:
        """Use no key of another account than this from now on."""
        self._keys.pin(account)

    def send(self, order: Order, *, key: str) -> Answer:
        """POST /v1/transfers once, with this idempotency key.

        Once for each API key that Stripe refuses (401): a refused key has done nothing, and the
        other one of the same account meets the same idempotency key.
        """
        if order.amount.currency not in CURRENCIES:
            return Refused("currency_not_enabled", f"{order.amount.currency} is not enabled.")
        try:
            transfer = self._keys.ask(
                lambda client: client.v1.transfers.create(
                    _params(order), options={"idempotency_key": key}
                )
            )
        except stripe.StripeError as error:
            return meaning(error)
        except OtherAccount as error:
            return Postponed("other_account", str(error), halts=True)
        except AccountUnknown as error:
            return Postponed(str(error), "Stripe did not say whose the API key is.", halts=True)
        except UNREADABLE as error:
            # The request is out, and what came back cannot be read.
            return Unknown("unreadable", type(error).__name__)
        if not _answers(transfer, order):
            return Unknown("other_answer", "The answer is not the transfer that was asked for.")
        return Succeeded(str(transfer.id))

    def find(self, order: Order) -> LookUp:
        """Page through GET /v1/transfers of the group and destination.

        Stripe cannot filter by metadata, so item, installation, amount and currency are
        compared here. Which attempt made it does not matter: the item was paid.
        """
        asked: dict[str, Any] = {
            "transfer_group": order.group,
            "destination": order.destination,
            "limit": LIST_ROWS,
        }
        try:
            for _ in range(LIST_PAGES_MAX):
                page = self._ask(
                    lambda client, asked=asked: client.v1.transfers.list(asked)  # type: ignore[misc]
                )
                for transfer in page.data:
                    if _is_of(transfer, order):
                        return Found(str(transfer.id))
                if not page.has_more:
                    return NotFound()
                asked = {**asked, "starting_after": page.data[-1].id}
        except RailAway as away:
            return LookUpFailed(str(away))
        except UNREADABLE:
            return LookUpFailed("unreadable")
        return LookUpFailed("list_too_long")

    def payee_ready(self, destination: str) -> bool:
        """Transfers are active and payouts enabled; an account that is gone is not ready."""
        account = self.payee(destination)
        return account is not None and account.ready

    def rehearse(self, currency: str, payouts: Sequence[Planned], *, may_ask: MayAsk) -> Rehearsed:
        """The balance, then account by account as long as `may_ask` lets; each account once."""
        asked, found = 0, list[Objected]()
        funds = None
        known: dict[str, tuple[Objection, str] | None] = {}
        try:
            if may_ask():
                funds = self.funds(currency)
            for payout in payouts:
                if payout.destination not in known:
                    if not may_ask():
                        break
                    known[payout.destination] = _objection(self.payee(payout.destination))
                asked += 1
                objection = known[payout.destination]
                if objection is not None:
                    found.append(Objected(payout.item_id, *objection))
        except RailAway as away:
            return Rehearsed(asked, tuple(found), funds, away=str(away))
        return Rehearsed(asked, tuple(found), funds)


def _objection(account: Account | None) -> tuple[Objection, str] | None:
    if account is None:
        return Objection.GONE, ""
    if account.ready:
        return None
    return Objection.NOT_READY, account.disabled_reason or ", ".join(account.due)


def _params(order: Order) -> Any:
    return {
        "amount": minor_units(order.amount),
        "currency": order.amount.currency.lower(),
        "destination": order.destination,
        "transfer_group": order.group,
        "metadata": {
            "item_id": str(order.item_id),
            "attempt": str(order.attempt),
            "env": order.installation,
        },
    }


def _answers(transfer: Any, order: Order) -> bool:
    """Whether a 200 is this transfer: a proxy and a redirect answer with 200 as well."""
    wanted = _params(order)
    return str(getattr(transfer, "id", "")).startswith(TRANSFER_PREFIX) and all(
        getattr(transfer, name, None) == wanted[name]
        for name in ("amount", "currency", "destination")
    )


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
