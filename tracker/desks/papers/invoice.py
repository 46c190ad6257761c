"""A self-billing invoice or its credit on paper, out of the stored document alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from babel import Locale
from flask_babel import get_locale

from affiliate.core.money import MICROS, Money
from affiliate.core.pages import percent
from affiliate.core.paper import Align, Block, Column, Note, Paper, Party, Row, Sums, Table
from payouts.batches.periods import period_named
from payouts.invoices.parties import LegalForm, VatStatus
from payouts.invoices.reading import InvoiceView
from payouts.invoices.rules import Document, InvoiceParty
from tracker.desks.papers.words import calendar_day, language, money, page_words, period_title
from tracker.desks.words import _


def paper_of(view: InvoiceView, document: Document) -> Paper:
    """The document as it was issued, in the reader's language; nothing of it is asked anew."""
    month = period_title(period_named(document.period, document.time_zone))
    issued = date.fromisoformat(document.issued_on)
    credit = document.kind == "credit"
    facts = [
        (_("Number"), document.number),
        (_("Issued on"), calendar_day(issued)),
        (_("For payouts of"), month),
    ]
    if credit:
        before = date.fromisoformat(document.corrects_issued_on)
        facts.append((_("Takes back"), _("%(number)s of %(day)s", number=document.corrects,
                                         day=calendar_day(before))))  # fmt: skip
        facts.append((_("Why"), document.reason))
    return Paper(
        identity=document.number,
        language=language(),
        made_at=_instant(issued, document.time_zone),
        brand=document.program,
        title=_("Credit for a self-billing invoice") if credit else _("Self-billing invoice"),
        subtitle=_("Issued by the customer on behalf of the supplier, as both agreed on %(day)s.",
                   day=calendar_day(date.fromisoformat(document.agreed_on))),
        page_words=page_words(),
        facts=facts,
        parties=[
            Party(_("Supplier"), _party(document.supplier)),
            Party(_("Customer"), _party(document.customer)),
        ],
        blocks=_blocks(document, view.hash),
    )  # fmt: skip


def legal_form(code: str) -> str:
    """What kind of a person the supplier is."""
    return {
        LegalForm.COMPANY: _("Company"),
        LegalForm.SELF_EMPLOYED: _("Self-employed"),
        LegalForm.INDIVIDUAL: _("Private person"),
    }[LegalForm(code)]


def vat_status(code: str) -> str:
    """How the supplier stands to VAT."""
    return {
        VatStatus.NOT_REGISTERED: _("Not registered for VAT"),
        VatStatus.REGISTERED: _("Registered for VAT"),
        VatStatus.REVERSE_CHARGE: _("Registered for VAT in another EU country: reverse charge"),
    }[VatStatus(code)]


def country_name(code: str) -> str:
    """The country in the reader's language."""
    locale = get_locale() or Locale("en")
    return str(locale.territories.get(code, code))


def _blocks(document: Document, fingerprint: str) -> list[Block]:
    def told(text: str) -> str:
        return money(parsed(text, document.currency))

    lines = [
        Row(
            (
                calendar_day(date.fromisoformat(line.paid_on)),
                _("Commission for referred sales, payout batch %(number)s", number=line.batch),
                line.reference,
                told(line.amount),
            )
        )
        for line in document.lines
    ]
    columns = [
        Column(_("Paid on"), 14),
        Column(_("What for"), 42),
        Column(_("Reference"), 26),
        Column(_("Amount"), 18, Align.RIGHT),
    ]
    sums = [(_("Net"), told(document.net))]
    if document.status is VatStatus.REGISTERED:
        sums.append((_("VAT %(rate)s", rate=percent(document.vat_rate_ppm)), told(document.vat)))
    else:
        sums.append((_("VAT"), told(document.vat)))
    sums.append((_("Total"), told(document.gross)))
    blocks: list[Block] = [Table("", columns, lines), Sums(sums)]
    blocks += [Note(text) for text in _notes(document)]
    blocks.append(
        Note(_("Fingerprint of the stored document (SHA-256): %(hash)s", hash=fingerprint))
    )
    return blocks


def _notes(document: Document) -> list[str]:
    notes = []
    if document.status is VatStatus.NOT_REGISTERED:
        notes.append(_("The supplier is not registered for VAT; no VAT is charged."))
    elif document.status is VatStatus.REVERSE_CHARGE:
        notes.append(_("Reverse charge: the customer accounts for the VAT."))
    elif document.includes_vat:
        notes.append(
            _("Commissions of this program include VAT; it is taken out of what was paid.")
        )
    else:
        notes.append(_("Commissions of this program are without VAT; it is added on top."))
    due = parsed(document.due, document.currency)
    paid = money(parsed(document.paid, document.currency))
    if document.kind == "credit":
        notes.append(_("This document takes back the whole of the invoice that it names."))
    elif due:
        notes.append(
            _("Paid out: %(paid)s. Still to be paid besides: %(due)s.", paid=paid, due=money(due))
        )
    else:
        notes.append(_("Paid out already: %(paid)s. Nothing is to be paid.", paid=paid))
    if document.status is VatStatus.REGISTERED:
        notes.append(
            _("VAT is rounded once for the document, half to the even neighbour, to the smallest "
              "unit of the currency.")
        )  # fmt: skip
    return notes


def _party(party: InvoiceParty) -> list[str]:
    lines = [party.name]
    if party.legal_form:
        lines.append(legal_form(party.legal_form))
    lines += [party.address, country_name(party.country)]
    if party.tax_number:
        label = _("INN") if party.country == "RU" else _("Tax number")
        lines.append(f"{label} {party.tax_number}")
    if party.vat_number:
        lines.append(_("VAT number %(number)s", number=party.vat_number))
    return lines


def parsed(text: str, currency: str) -> Money:
    """A decimal of the document, which may be negative and have up to six digits."""
    sign = -1 if text.startswith("-") else 1
    whole, _point, fraction = text.lstrip("-").partition(".")
    return Money(sign * (int(whole) * MICROS + int(fraction.ljust(6, "0"))), currency)


def _instant(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
