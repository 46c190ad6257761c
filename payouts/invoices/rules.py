"""What an invoice comes to, and what it consists of. Pure.

Rule: docs/rules.md, "Self-billing invoices".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from affiliate.core.money import PPM, Money, divide_half_even, minor_unit_micros
from payouts.invoices.parties import VatStatus

VERSION: Final = 1
"""Of the stored document; a reader of a later version still prints this one."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """net + vat = gross, each in whole minor units."""

    net: Money
    vat: Money
    gross: Money
    paid: Money
    """What the payouts of the month came to."""

    @property
    def due(self) -> Money:
        """What is still to be paid beside the payouts: VAT on top of net commissions."""
        return self.gross - self.paid


def amounts(paid: Money, *, includes_vat: bool, vat_rate_ppm: int) -> Amounts:
    """What an invoice over `paid` comes to.

    Rounded once per document, half to even, to the currency's minor unit. Where commissions
    include VAT it is taken out of what was paid: vat = paid × rate / (1 + rate); where they
    do not, it comes on top: vat = paid × rate.
    """
    whole = PPM + vat_rate_ppm if includes_vat else PPM
    unit = minor_unit_micros(paid.currency)
    vat = Money(divide_half_even(paid.micros * vat_rate_ppm, whole * unit) * unit, paid.currency)
    if includes_vat:
        return Amounts(paid - vat, vat, paid, paid)
    return Amounts(paid, vat, paid + vat, paid)


@dataclass(frozen=True, slots=True)
class InvoiceParty:
    """One side of the document, as it was on the day of issue."""

    name: str
    address: str
    country: str
    tax_number: str
    vat_number: str
    legal_form: str = ""


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A payout of the month."""

    paid_on: str
    """ISO date in the program's zone."""
    batch: int
    reference: str
    """The provider's id, or what a person typed."""
    amount: str


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that stands on an invoice or a credit; texts are decimal strings and dates."""

    kind: str
    number: str
    program: str
    affiliate: str
    """Public id of the enrollment."""
    period: str
    """`2026-11`."""
    time_zone: str
    issued_on: str
    currency: str
    supplier: InvoiceParty
    customer: InvoiceParty
    agreed_on: str
    """When the supplier agreed to being billed by the customer."""
    includes_vat: bool
    vat_status: str
    vat_rate_ppm: int
    lines: tuple[InvoiceLine, ...]
    net: str
    vat: str
    gross: str
    paid: str
    due: str
    corrects: str = ""
    """Of a credit: the number of the invoice that it takes back."""
    corrects_issued_on: str = ""
    reason: str = ""
    version: int = VERSION

    @property
    def status(self) -> VatStatus:
        return VatStatus(self.vat_status)


def stored(document: Document) -> dict[str, Any]:
    """The document as it lies in its row."""
    found = asdict(document)
    return {**found, "lines": [asdict(line) for line in document.lines]}


def read(row: dict[str, Any]) -> Document:
    """The document out of its row."""
    values = dict(row)
    values["lines"] = tuple(InvoiceLine(**line) for line in values["lines"])
    for side in ("supplier", "customer"):
        values[side] = InvoiceParty(**values[side])
    return Document(**values)


def fingerprint(row: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: keys sorted, no spaces, UTF-8; no number but integers."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def printed_number(prefix: str, year: int, number: int) -> str:
    """`LAMPS-2026-00017`."""
    return f"{prefix}-{year}-{number:05d}"


def lines_in_order(lines: Sequence[InvoiceLine]) -> tuple[InvoiceLine, ...]:
    """By day, batch and reference: equal payouts make an equal document."""
    return tuple(sorted(lines, key=lambda line: (line.paid_on, line.batch, line.reference)))
