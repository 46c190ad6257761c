"""SEPA credit transfers in an ISO 20022 file, pain.001, by the sepaxml package.

Every file is validated against its schema before anybody can download it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import sepaxml

from affiliate.core.errors import Invalid, Phrase
from affiliate.core.money import minor_unit_micros
from payouts.rails.bank import BankRail, FileOrder, OwnAccount, Payment, Written
from payouts.rails.bank_details import masked
from payouts.rails.bank_iban import (
    SEPA_NAME_CHARS_MAX,
    sepa_account,
    sepa_of,
    sepa_text,
)
from payouts.rails.protocol import AccountField

FORMATS = ("pain.001.001.09", "pain.001.001.03")
"""The newer one first; banks say which of them they take."""
PURPOSE_CHARS_MAX = 140

_IBAN = AccountField("iban", Phrase("IBAN"), Phrase("As your bank writes it."), chars_max=50)
_NAME = AccountField(
    "name",
    Phrase("Account holder"),
    Phrase("Exactly as your bank has the name."),
    chars_max=SEPA_NAME_CHARS_MAX,
)


class SepaRail(BankRail):
    """Euros within SEPA."""

    name: ClassVar[str] = "bank_sepa"
    title: ClassVar[Phrase] = Phrase("bank file, SEPA")
    currency: ClassVar[str] = "EUR"
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        _NAME,
        _IBAN,
        AccountField("bic", Phrase("BIC"), optional=True, chars_max=20),
    )
    own_fields: ClassVar[tuple[AccountField, ...]] = (
        _NAME,
        _IBAN,
        AccountField("bic", Phrase("BIC"), chars_max=20),
        AccountField("format", Phrase("Format of the files"), Phrase("Which one your bank takes.")),
    )
    own_choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"format": FORMATS}

    def account(self, typed: Mapping[str, str]) -> str:
        return sepa_account(typed).text

    def account_in_words(self, destination: str) -> str:
        try:
            found = sepa_of(destination)
        except ValueError:
            return destination
        groups = [found.iban[place : place + 4] for place in range(0, len(found.iban), 4)]
        return ", ".join(filter(None, (found.name, " ".join(groups), found.bic)))

    def account_masked(self, destination: str) -> str:
        try:
            return masked(sepa_of(destination).iban)
        except ValueError:
            return masked(destination)

    def number_of(self, destination: str) -> str:
        return sepa_of(destination).iban

    def own_account(self, typed: Mapping[str, str]) -> OwnAccount:
        if typed.get("format") not in FORMATS:
            raise Invalid.field("format", "unknown", Phrase("Choose one of the formats."))
        return OwnAccount(sepa_account(typed, bic_needed=True).text, {"format": typed["format"]})

    def own_typed(self, own: OwnAccount) -> dict[str, str]:
        found = sepa_of(own.details)
        return {"iban": found.iban, "bic": found.bic, "name": found.name, **own.options}

    def write(self, order: FileOrder) -> Written:
        own, schema = sepa_of(order.own.details), order.own.options["format"]
        made = sepaxml.SepaTransfer(
            {
                "name": sepa_text(own.name, SEPA_NAME_CHARS_MAX),
                "IBAN": own.iban,
                "BIC": own.bic,
                "batch": True,
                "currency": self.currency,
            },
            schema=schema,
        )
        for payment in order.payments:
            made.add_payment(_transfer(payment, order))
        raw: bytes = made.export(validate=True)
        # One group of payments, and yet each booked by itself: only then a statement names the
        # payments. The package ties the two together.
        told = raw.replace(b"<BtchBookg>true</BtchBookg>", b"<BtchBookg>false</BtchBookg>")
        return Written(told, made.msg_id, schema, "xml")


def _transfer(payment: Payment, order: FileOrder) -> dict[str, Any]:
    payee = sepa_of(payment.destination)
    purpose = f"{order.program}, payout {payment.end_to_end_id}"
    told = {
        "name": sepa_text(payee.name, SEPA_NAME_CHARS_MAX),
        "IBAN": payee.iban,
        "amount": payment.amount.micros // minor_unit_micros(payment.amount.currency),
        "execution_date": order.made_on,
        "description": sepa_text(purpose, PURPOSE_CHARS_MAX),
        "endtoend_id": payment.end_to_end_id,
    }
    return told | ({"BIC": payee.bic} if payee.bic else {})
