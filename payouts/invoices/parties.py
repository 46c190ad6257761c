"""Who may stand on an invoice: names, addresses, tax numbers and VAT, checked. Pure.

Numbers are checked by their checksums (python-stdnum), never over the network.
Rule: docs/rules.md, "Self-billing invoices".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Final

from babel import Locale
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError
from stdnum.ru import inn

from affiliate.core.errors import FieldError, Phrase

NAME_CHARS_MAX: Final = 200
ADDRESS_CHARS_MAX: Final = 500
VAT_RATE_PPM_MAX: Final = 400_000
INN_CHARS_COMPANY, INN_CHARS_PERSON = 10, 12
_NUMBER: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9 ./-]{0,38}[A-Z0-9])?", re.ASCII)
_RATE: Final = re.compile(r"([0-9]{1,2})(?:[.,]([0-9]{1,4}))?", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9-]{0,10}[A-Z0-9])?", re.ASCII)
_NO_COUNTRY: Final = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})
_EU_PREFIX: Final = {"GR": "EL"}
"""Greece writes its VAT numbers with the code of its language."""


class LegalForm(StrEnum):
    COMPANY = "company"
    SELF_EMPLOYED = "self_employed"
    """In business under their own name: sole trader, НПД."""
    INDIVIDUAL = "individual"
    """A private person."""


class VatStatus(StrEnum):
    NOT_REGISTERED = "not_registered"
    REGISTERED = "registered"
    REVERSE_CHARGE = "reverse_charge"
    """The customer accounts for the VAT: 0 on the invoice, both VAT numbers on it."""


@dataclass(frozen=True, slots=True)
class TaxData:
    """What an affiliate gives; texts as typed, until `checked` has cleaned them."""

    legal_form: str
    name: str
    address: str
    country: str
    tax_number: str
    vat_status: str
    vat_number: str
    vat_rate: str
    """In percent, as typed: `20`, `7,7`."""


@dataclass(frozen=True, slots=True)
class MerchantData:
    """What finance gives of the merchant."""

    name: str
    address: str
    country: str
    tax_number: str
    vat_number: str
    number_prefix: str


def checked(given: TaxData) -> tuple[TaxData, int, list[FieldError]]:
    """The data cleaned, the rate in parts per million, and what is wrong with which field."""
    clean = replace(
        given,
        name=_line(given.name),
        address=_line(given.address),
        country=given.country.strip().upper(),
        tax_number=_tax_number_of(given.tax_number, given.country),
        vat_number=_bare(given.vat_number),
        vat_rate=given.vat_rate.strip().removesuffix("%").strip(),
    )
    rate = _rate_ppm(clean.vat_rate) if clean.vat_status == VatStatus.REGISTERED else 0
    errors = [*_name_errors(clean.name, clean.address, clean.country)]
    if clean.legal_form not in set(LegalForm):
        errors.append(FieldError("legal_form", "unknown", "Choose one."))
    else:
        errors += _tax_number(clean.tax_number, clean.country, LegalForm(clean.legal_form))
    errors += _vat(clean, rate)
    return clean, rate or 0, errors


def checked_merchant(given: MerchantData) -> tuple[MerchantData, list[FieldError]]:
    """The merchant's data cleaned, and what is wrong with which field."""
    clean = replace(
        given,
        name=_line(given.name),
        address=_line(given.address),
        country=given.country.strip().upper(),
        tax_number=_tax_number_of(given.tax_number, given.country),
        vat_number=_bare(given.vat_number),
        number_prefix=given.number_prefix.strip().upper(),
    )
    errors = [*_name_errors(clean.name, clean.address, clean.country)]
    lengths = (INN_CHARS_COMPANY, INN_CHARS_PERSON)
    errors += _number(clean.tax_number, clean.country, lengths, needed=True)
    if clean.vat_number:
        errors += _vat_number(clean.vat_number, clean.country)
    if not _PREFIX.fullmatch(clean.number_prefix):
        errors.append(
            FieldError("number_prefix", "shape", "1 to 12 letters A-Z, digits and hyphens: LAMPS.")
        )
    return clean, errors


@cache
def countries() -> frozenset[str]:
    """ISO 3166-1 alpha-2 codes."""
    codes = (str(code) for code in Locale("en").territories)
    return frozenset(code for code in codes if len(code) == 2) - _NO_COUNTRY


def in_eu(country: str) -> bool:
    """Whether the country's VAT numbers are those of the European Union."""
    return country.lower() in eu_vat.MEMBER_STATES - {"xi"}


def _name_errors(name: str, address: str, country: str) -> Iterator[FieldError]:
    for field, text, most in (
        ("name", name, NAME_CHARS_MAX),
        ("address", address, ADDRESS_CHARS_MAX),
    ):
        if not text:
            yield FieldError(field, "required", "Please fill this in.")
        elif len(text) > most:
            yield FieldError(field, "too_long", Phrase("At most %(most)s characters.", most=most))
    if country not in countries():
        yield FieldError("country", "unknown", "Choose a country.")


def _tax_number(text: str, country: str, form: LegalForm) -> list[FieldError]:
    lengths = (INN_CHARS_COMPANY,) if form is LegalForm.COMPANY else (INN_CHARS_PERSON,)
    needed = country == "RU" or form is not LegalForm.INDIVIDUAL
    return _number(text, country, lengths, needed=needed)


def _number(
    text: str, country: str, inn_lengths: tuple[int, ...], *, needed: bool
) -> list[FieldError]:
    if not text:
        return [FieldError("tax_number", "required", "Please fill this in.")] if needed else []
    if country == "RU":
        try:
            valid = bool(_NUMBER.fullmatch(text)) and len(inn.validate(text)) in inn_lengths
        except ValidationError:
            valid = False
        said = Phrase(
            "An INN has 10 digits for a company, 12 for a person; the last ones check the others."
        )
        return [] if valid else [FieldError("tax_number", "not_an_inn", said)]
    if not _NUMBER.fullmatch(text):
        return [
            FieldError("tax_number", "shape", "2 to 40 letters A-Z, digits, spaces, . / and -.")
        ]
    return []


def _vat(clean: TaxData, rate: int | None) -> Iterator[FieldError]:
    if clean.vat_status not in set(VatStatus):
        yield FieldError("vat_status", "unknown", "Choose one.")
        return
    status = VatStatus(clean.vat_status)
    if status is VatStatus.NOT_REGISTERED:
        if clean.vat_number:
            yield FieldError(
                "vat_number", "not_registered", "Leave it empty, or say that you are registered."
            )
        return
    if clean.legal_form == LegalForm.INDIVIDUAL:
        yield FieldError("vat_status", "individual", "A private person is not registered for VAT.")
        return
    if status is VatStatus.REVERSE_CHARGE and not in_eu(clean.country):
        yield FieldError(
            "vat_status", "not_in_eu", "Reverse charge is for suppliers in the European Union."
        )
        return
    if rate is None:
        yield FieldError(
            "vat_rate", "not_a_rate", "Write the rate in percent: 20 or 7.7, at most 40."
        )
    if clean.vat_number:
        yield from _vat_number(clean.vat_number, clean.country)
    elif in_eu(clean.country):
        yield FieldError("vat_number", "required", "Please fill this in.")


def _vat_number(text: str, country: str) -> list[FieldError]:
    if not in_eu(country):
        fits = _NUMBER.fullmatch(text)
        said = Phrase("2 to 40 letters A-Z, digits, spaces, . / and -.")
        return [] if fits else [FieldError("vat_number", "shape", said)]
    prefix = _EU_PREFIX.get(country, country)
    try:
        valid = bool(_NUMBER.fullmatch(text)) and eu_vat.validate(text).startswith(prefix)
    except ValidationError:
        valid = False
    if valid:
        return []
    return [
        FieldError(
            "vat_number",
            "not_a_vat_number",
            Phrase(
                "Not a VAT number of this country: it begins with %(prefix)s, and its digits check "
                "each other.",
                prefix=prefix,
            ),
        )
    ]


def _rate_ppm(text: str) -> int | None:
    """`7.7` percent as 77,000 parts per million; None for what is none, or out of range."""
    found = _RATE.fullmatch(text)
    if found is None:
        return None
    rate = int(found[1]) * 10_000 + int((found[2] or "").ljust(4, "0"))
    return rate if 0 < rate <= VAT_RATE_PPM_MAX else None


def _line(text: str) -> str:
    return " ".join(text.split())


def _tax_number_of(text: str, country: str) -> str:
    """As it is kept: an INN without the spaces that people put into it."""
    return _bare(text) if country.strip().upper() == "RU" else " ".join(text.upper().split())


def _bare(text: str) -> str:
    return "".join(text.upper().split()).replace("-", "").replace(".", "")
