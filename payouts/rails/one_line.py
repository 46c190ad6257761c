"""Accounts that are one text: what a person needs to pay, or an id at a provider."""

from __future__ import annotations

from collections.abc import Mapping

from affiliate.core.errors import Invalid, Phrase
from payouts.rails.protocol import AccountField

SHOWN_CHARS = 4
DESTINATION_CHARS_MAX = 500


def one_line(label: Phrase, text: Phrase) -> tuple[AccountField, ...]:
    """The one field of such an account."""
    return (AccountField("destination", label, text, chars_max=DESTINATION_CHARS_MAX),)


class OneLine:
    """A destination is the very text that was typed."""

    def account(self, typed: Mapping[str, str]) -> str:
        text = typed.get("destination", "").strip()
        if not 0 < len(text) <= DESTINATION_CHARS_MAX:
            raise Invalid.field("destination", "not_an_account", "Name the account to pay to.")
        return text

    def account_in_words(self, destination: str) -> str:
        return destination

    def account_for_payee(self, destination: str) -> str:
        return destination

    def account_masked(self, destination: str) -> str:
        """The end of what can be an account number; a short text has nothing to hide."""
        letters = "".join(char for char in destination if char.isalnum())
        if len(letters) <= 2 * SHOWN_CHARS:
            return destination
        return "…" + letters[-SHOWN_CHARS:]
