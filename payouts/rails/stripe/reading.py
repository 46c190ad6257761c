"""What is asked of Stripe and moves nothing: transfers, accounts, bank payouts, events, balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe

from affiliate.core.money import Money, MoneyError
from payouts.rails.protocol import Account, BankPayout, Event, RailAway, Transfer
from payouts.rails.stripe.accounts import state_of
from payouts.rails.stripe.answers import code_of
from payouts.rails.stripe.currencies import money
from payouts.rails.stripe.keys import AccountUnknown, Keys, OtherAccount

LIST_ROWS: Final = 100
PAGES_MAX: Final = 10_000
"""A million objects: more are never listed in one go."""
NUMBER_DIGITS_MAX: Final = 18

UNREADABLE: Final = (AttributeError, LookupError, TypeError, ValueError)
"""What reading an answer raises that is none of Stripe's: a proxy's page, a field that is missing,
bytes that are no UTF-8. A time-out of the job's is none of these."""

T = TypeVar("T")


class StripeReading:
    """The questions; every one raises RailAway when Stripe does not answer it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def own_account(self) -> str:
        """The platform's account that the API key belongs to."""
        return self._answer(self._keys.account)

    def funds(self, currency: str) -> Money | None:
        """What is available in the currency, for GET /v1/balance names each that it has."""
        code = currency.lower()
        minor = _read(
            self._ask(lambda client: client.v1.balance.retrieve()),
            lambda found: sum(each.amount for each in found.available if each.currency == code),
        )
        return money(int(minor), currency)

    def transfers_since(self, since: datetime, *, destination: str = "") -> Iterator[Transfer]:
        """GET /v1/transfers from an instant on, newest first."""
        asked: dict[str, Any] = {"created": {"gte": int(since.timestamp())}}
        if destination:
            asked["destination"] = destination
        for found in self._pages(lambda client, page: client.v1.transfers.list(page), asked):
            transfer = _read(found, _transfer)
            if transfer is not None:
                yield transfer

    def transfer(self, transfer_id: str) -> Transfer | None:
        """GET /v1/transfers/<id>; None when there is none of that id."""
        found = self._find(lambda client: client.v1.transfers.retrieve(transfer_id))
        return None if found is None else _read(found, _transfer)

    def payee(self, destination: str) -> Account | None:
        """GET /v1/accounts/<id>; None for one that is gone or has withdrawn its leave."""
        found = self._find(lambda client: client.v1.accounts.retrieve(destination))
        if found is None or getattr(found, "deleted", False):
            return None
        return _read(found, _account)

    def bank_payout(self, payout_id: str, *, account: str) -> BankPayout | None:
        """GET /v1/payouts/<id> of a connected account."""
        found = self._find(
            lambda client: client.v1.payouts.retrieve(
                payout_id, options={"stripe_account": account}
            )
        )
        if found is None:
            return None
        return _read(found, lambda read: _bank_payout(read, account))

    def events_since(self, since: datetime, *, account: str = "") -> Iterator[Event]:
        """GET /v1/events from an instant on, newest first; Stripe keeps them for 30 days."""
        options: Any = {"stripe_account": account} if account else {}
        asked = {"created": {"gte": int(since.timestamp())}}
        for found in self._pages(
            lambda client, page: client.v1.events.list(page, options=options), asked
        ):
            yield _read(found, lambda read: event_of(read.to_dict(), account=account))

    def _pages(
        self, ask: Callable[[stripe.StripeClient, Any], Any], asked: dict[str, Any]
    ) -> Iterator[Any]:
        page = {**asked, "limit": LIST_ROWS}
        for _ in range(PAGES_MAX):
            answer = self._ask(lambda client, page=page: ask(client, page))  # type: ignore[misc]
            rows, more = _read(answer, lambda read: (list(read.data), bool(read.has_more)))
            yield from rows
            if not more or not rows:
                return
            page = {**page, "starting_after": rows[-1].id}
        raise RailAway("list_too_long")

    def _find(self, ask: Callable[[stripe.StripeClient], T]) -> T | None:
        """None when Stripe says that there is no such object, or that it is not ours any more."""

        def missing(client: stripe.StripeClient) -> T | None:
            try:
                return ask(client)
            except (stripe.InvalidRequestError, stripe.PermissionError) as error:
                if code_of(error) in ("resource_missing", "account_invalid"):
                    return None
                raise

        return self._ask(missing)

    def _ask(self, ask: Callable[[stripe.StripeClient], T]) -> T:
        return self._answer(lambda: self._keys.ask(ask))

    @staticmethod
    def _answer(ask: Callable[[], T]) -> T:
        try:
            return ask()
        except stripe.StripeError as error:
            raise RailAway(code_of(error)) from error
        except OtherAccount as error:
            raise RailAway("other_account") from error
        except AccountUnknown as error:
            raise RailAway(str(error)) from error
        except UNREADABLE as error:
            raise RailAway("unreadable") from error


def _read(found: Any, as_what: Callable[[Any], T]) -> T:
    """The answer's object as a value of ours. Raises RailAway for well-formed JSON that is none."""
    try:
        return as_what(found)
    except UNREADABLE as error:
        raise RailAway("unreadable") from error


def event_of(found: dict[str, Any], *, account: str = "") -> Event:
    """An event out of its JSON; only what says which object to ask for.

    Raises ValueError when it is none: fields are missing, or of the wrong kind.
    """
    request = found.get("request")
    if request is None or isinstance(request, str):  # An id alone, before API version 2017-05-25.
        request = {}
    content = _part(_part(found, "data"), "object")
    if not isinstance(request, dict):
        raise ValueError("a request is an object")
    words = (found.get("id"), found.get("type"))
    created = found.get("created")
    if not all(isinstance(word, str) and word for word in words) or type(created) is not int:
        raise ValueError("an event has an id, a type and a time")
    return Event(
        id=str(found["id"]),
        type=str(found["type"]),
        account=str(found.get("account") or account),
        object_id=str(content.get("id") or ""),
        idempotency_key=str(request.get("idempotency_key") or ""),
        live=bool(found.get("livemode")),
        created_at=_moment(created),
    )


def _account(found: Any) -> Account:
    needs = getattr(found, "requirements", None)
    due = [
        *(getattr(needs, "past_due", None) or ()),
        *(getattr(needs, "currently_due", None) or ()),
    ]
    state = state_of(found)
    return Account(
        id=str(found.id),
        ready=state.ready,
        disabled_reason=str(getattr(needs, "disabled_reason", None) or ""),
        due=tuple(dict.fromkeys(str(each) for each in due)),
        state=state,
    )


def _bank_payout(found: Any, account: str) -> BankPayout | None:
    """None for one in a currency that ISO 4217 does not have."""
    try:
        amount = money(int(found.amount), str(found.currency))
    except MoneyError:
        return None
    return BankPayout(
        id=str(found.id),
        account=account,
        amount=amount,
        status=str(found.status),
        failure=str(getattr(found, "failure_code", None) or ""),
        arrives_at=_moment(found.arrival_date),
        created_at=_moment(found.created),
    )


def _part(found: Any, name: str) -> dict[str, Any]:
    part = found.get(name) if isinstance(found, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"an event has its {name}")
    return part


def _transfer(found: Any) -> Transfer | None:
    """None for one in a currency that ISO 4217 does not have: Kopeck sends none."""
    labels = found.metadata.to_dict() if found.metadata else {}
    try:
        return Transfer(
            id=str(found.id),
            amount=money(int(found.amount), str(found.currency)),
            reversed=money(int(found.amount_reversed), str(found.currency)),
            destination=str(found.destination),
            group=str(found.transfer_group or ""),
            installation=str(labels.get("env", "")),
            item_id=_number(labels.get("item_id")),
            attempt=_number(labels.get("attempt")),
            created_at=_moment(found.created),
        )
    except MoneyError:
        return None


def _number(text: Any) -> int | None:
    """A number of ours out of metadata, which anybody with the key can edit."""
    word = str(text or "")
    is_number = word.isascii() and word.isdigit() and len(word) < NUMBER_DIGITS_MAX
    return int(word) if is_number else None


def _moment(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
