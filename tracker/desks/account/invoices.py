"""Invoices that the program issues for the affiliate, and the tax data that it needs for them."""

from __future__ import annotations

from typing import Any, Final

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.http import only_value
from affiliate.core.money import PPM
from affiliate.people import freshness
from affiliate.people.access import affiliates
from payouts.invoices.models import Invoice
from payouts.invoices.parties import LegalForm, TaxData, VatStatus, countries
from payouts.invoices.profiles import Profile, issuer_of, profile_of, set_tax_data
from payouts.invoices.reading import PREFIX, document_of, invoices_of
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place
from tracker.desks.files import pdf_answer
from tracker.desks.papers import invoice as papers

FIELDS: Final = ("legal_form", "name", "address", "country", "tax_number", "vat_status",
                 "vat_number", "vat_rate")  # fmt: skip


@account.get("/invoices")
@affiliates
@in_program
def invoices_page(place: Place) -> Answer:
    """Invoices issued for the reader, and their tax data."""
    return _page(place, None, {})


@account.post("/invoices/tax-data")
@affiliates
@in_program
def save_tax_data(place: Place) -> Answer:
    """Say who one is to the tax office; invoices that are issued keep what they say."""
    freshness.require_fresh()
    session = db.session()
    typed: dict[str, Any] = {name: only_value(name)[:1_000] for name in FIELDS}
    agreed = request.form.get("agreed") == "yes"
    try:
        set_tax_data(
            session,
            affiliate_id=place.affiliate_id,
            given=TaxData(**typed),
            agreed=agreed,
            by_user_id=place.actor.user_id,
            now=place.now,
        )
    except Refusal as refusal:
        session.rollback()
        errors = field_messages(refusal, {name: name for name in (*FIELDS, "agreed")})
        return _page(place, typed | {"agreed": agreed}, errors), refusal.status
    session.commit()
    flash(_("Saved. Invoices that are issued keep what they say."), "success")
    return redirect(url_for(".invoices_page"), 303)


@account.get("/invoices/<invoice>.pdf")
@affiliates
@in_program
def invoice_pdf(place: Place, invoice: str) -> Response:
    """One document as it was issued. NotFound for anybody else's."""
    session = db.session()
    row = session.get(Invoice, ids.row_id(PREFIX, invoice))
    if row is None or row.enrollment_id != place.enrollment.id:
        raise NotFound
    view, document = document_of(session, invoice_id=row.id)
    return pdf_answer(view.name, papers.paper_of(view, document))


def _page(place: Place, typed: dict[str, Any] | None, errors: dict[str, list[str]]) -> str:
    session = db.session()
    profile = profile_of(session, affiliate_id=place.affiliate_id)
    return page(
        "invoices",
        place,
        invoices=invoices_of(
            session, program_ids=[place.program.id], enrollment_id=place.enrollment.id
        ),
        issuer=issuer_of(session, program_id=place.program.id),
        profile=profile,
        typed=typed or _typed(profile, place),
        errors=errors,
        fresh=freshness.is_fresh(),
        forms=[(form.value, papers.legal_form(form)) for form in LegalForm],
        statuses=[(status.value, papers.vat_status(status)) for status in VatStatus],
        countries=sorted(
            ((code, papers.country_name(code)) for code in countries()), key=lambda pair: pair[1]
        ),
    )


def _typed(profile: Profile | None, place: Place) -> dict[str, Any]:
    if profile is None:
        return dict.fromkeys(FIELDS, "") | {"name": place.name, "agreed": False}
    rate = profile.vat_rate_ppm * 100
    percent = f"{rate // PPM}.{rate % PPM:06d}".rstrip("0").rstrip(".") if rate else ""
    names = (name for name in FIELDS if name != "vat_rate")
    return {name: getattr(profile, name) for name in names} | {"vat_rate": percent, "agreed": True}
