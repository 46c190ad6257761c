"""An account in the SEPA area: IBAN, BIC and the holder's name (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import stdnum.bic
import stdnum.iban
import stdnum.numdb
from stdnum.exceptions import ValidationError
from text_unidecode import unidecode

from affiliate.core.errors import Invalid, Phrase
from payouts.rails.bank_details import NotAnAccount, Reading, Wrong, joined, parted, printable

SEPA_NAME_CHARS_MAX: Final = 70
"""Of a name in a SEPA transfer (EPC132-08, AT-P001)."""

SEPA_COUNTRIES: Final = frozenset(
    ("AD", "AL", "AT", "BE", "BG", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB",
     "GI", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT", "LU", "LV", "MC", "MD", "ME", "MK",
     "MT", "NL", "NO", "PL", "PT", "RO", "RS", "SE", "SI", "SK", "SM", "VA")
)  # fmt: skip
"""Where a SEPA transfer can go: EPC409-09, by the country code that their IBANs begin with."""
_NOT_SEPA: Final = re.compile(r"[^A-Za-z0-9/\-?:().,'+ ]")
"""What a SEPA text must not hold: EPC217-08, "Basic Latin character set"."""
_BBAN_PART: Final = re.compile(r"([0-9]+)!?[nac]")


@dataclass(frozen=True, slots=True)
class SepaAccount:
    """An account in the SEPA area."""

    iban: str
    bic: str
    """Empty where the payee named none: the IBAN leads there."""
    name: str

    @property
    def text(self) -> str:
        """The canonical form."""
        return joined("iban", self.iban, bic=self.bic, name=self.name)


def sepa_account(typed: Mapping[str, str], *, bic_needed: bool = False) -> SepaAccount:
    """The account out of what a person typed. Raises Invalid with the errors of every field."""
    found = Reading(typed)
    account = SepaAccount(
        iban=found.take("iban", _iban),
        bic=found.take("bic", _bic, optional=not bic_needed),
        name=found.take("name", _sepa_name),
    )
    found.finish()
    return account


def sepa_of(text: str) -> SepaAccount:
    """The account of a canonical text. Raises NotAnAccount."""
    values = parted(text, "iban")
    try:
        account = sepa_account(values)
    except Invalid as error:
        raise NotAnAccount(text) from error
    if account.text != text:
        # One account has one text: what reads as it but is written otherwise is none of ours.
        raise NotAnAccount(text)
    return account


def sepa_text(text: str, chars_max: int) -> str:
    """As a SEPA transfer may carry it: Latin letters for others, nothing but the basic set."""
    plain = " ".join(_NOT_SEPA.sub(" ", unidecode(text)).split())
    return plain[:chars_max].strip("/ ").replace("//", "/")


def _iban(text: str) -> str:
    number = re.sub(r"[\s\-]", "", text).upper()
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}", number, flags=re.ASCII):
        raise Wrong(
            "not_an_iban",
            Phrase("An IBAN begins with two letters and two digits, such as DE89 3704 …"),
        )
    country = number[:2]
    if country not in SEPA_COUNTRIES:
        message = Phrase("SEPA transfers do not go to %(country)s.", country=country)
        raise Wrong("not_in_sepa", message)
    length = _iban_length(country)
    if len(number) != length:
        message = Phrase(
            "An IBAN of %(country)s has %(length)s characters, this one %(found)s.",
            country=country, length=length, found=len(number),
        )  # fmt: skip
        raise Wrong("wrong_length", message)
    try:
        return str(stdnum.iban.validate(number))
    except ValidationError:
        message = Phrase("This IBAN has a typing mistake: its check digits do not fit.")
        raise Wrong("wrong_checksum", message) from None


def _iban_length(country: str) -> int:
    """By the registry of ISO 13616 that the library carries."""
    found = stdnum.numdb.get("iban").info(country)[0][1]
    return 4 + sum(int(part) for part in _BBAN_PART.findall(found["bban"]))


def _bic(text: str) -> str:
    number = re.sub(r"\s", "", text).upper()
    try:
        return str(stdnum.bic.validate(number))
    except ValidationError:
        message = Phrase("A BIC has 8 or 11 letters and digits, such as COBADEFFXXX.")
        raise Wrong("not_a_bic", message) from None


def _sepa_name(text: str) -> str:
    name = printable(text, SEPA_NAME_CHARS_MAX)
    if not sepa_text(name, SEPA_NAME_CHARS_MAX):
        raise Wrong("no_letters", Phrase("Write the name in letters."))
    return name
