"""The clients of the current and the previous API key: a key is rolled without losing a try.

A key that Stripe refuses (401) has done nothing, so the same request goes out with the other one,
under the same idempotency key. Stripe keeps idempotency keys by account, whichever of its API keys
sends: the second request is answered with what the first did. Only for the same account, though;
with a key of another one the same request would pay a second time. So each key must show whose it
is before it sends, once the account is known (`pin`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import stripe

from affiliate.core.config import STRIPE_API_BASE
from payouts.rails.stripe.answers import code_of

CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 20

T = TypeVar("T")


class OtherAccount(Exception):
    """The key belongs to another Stripe account than payouts are made from."""

    def __init__(self, account: str, expected: str) -> None:
        self.account, self.expected = account, expected
        super().__init__(f"The key is of account {account}, payouts are made from {expected}.")


class AccountUnknown(Exception):
    """Stripe did not say whose the key is, so nothing was asked with it; the text is the code."""


class Keys:
    """API keys in the order in which they are tried; the one that was let in last goes first."""

    def __init__(self, keys: tuple[str, ...], base: str) -> None:
        self._keys = tuple(key for key in keys if key)
        self._base = base or STRIPE_API_BASE
        self._clients: dict[str, stripe.StripeClient] = {}
        self._accounts: dict[str, str] = {}
        self._expected: str | None = None

    def __bool__(self) -> bool:
        return bool(self._keys)

    def pin(self, account: str) -> None:
        """From now on a key of another account than this one is not used."""
        self._expected = account

    def ask(self, question: Callable[[stripe.StripeClient], T]) -> T:
        """The answer by the first key that Stripe lets in.

        Raises what the library raises, AuthenticationError when no key is let in, and
        OtherAccount or AccountUnknown where a key did not show that it is of the account:
        then the question was not asked with it.
        """
        refused = stripe.AuthenticationError("No API key is set.")
        tried = self._keys
        for key in tried:
            try:
                self._check(key)
                answer = question(self._client(key))
            except stripe.AuthenticationError as error:
                refused = error
                continue
            if key != tried[0]:
                # One assignment: threads that send at the same time read a whole order.
                self._keys = (key, *(other for other in tried if other != key))
            return answer
        raise refused

    def account(self) -> str:
        """Whose the key is that Stripe lets in; asked once a key. Raises as `ask`."""
        account = self.ask(self._account_of)
        self._accounts[self._keys[0]] = account
        return account

    def _check(self, key: str) -> None:
        if self._expected is None:
            return
        if key not in self._accounts:
            try:
                self._accounts[key] = self._account_of(self._client(key))
            except stripe.AuthenticationError:
                raise
            except stripe.StripeError as error:
                raise AccountUnknown(code_of(error)) from error
        if self._accounts[key] != self._expected:
            raise OtherAccount(self._accounts[key], self._expected)

    @staticmethod
    def _account_of(client: stripe.StripeClient) -> str:
        found: Any = client.v1.accounts.retrieve_current()
        return str(found.id)

    def _client(self, key: str) -> stripe.StripeClient:
        if key not in self._clients:
            self._clients[key] = stripe.StripeClient(
                key,
                base_addresses={"api": self._base},
                max_network_retries=0,
                http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)),
            )
        return self._clients[key]
