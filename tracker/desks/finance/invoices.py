"""Self-billing invoices: who the merchant is, whose data lack, what was issued and credited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock, ids
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.http import only_value
from affiliate.core.money import total
from affiliate.core.tables import Cell, Sheet
from affiliate.people import access, freshness
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from payouts.batches.periods import Period
from payouts.invoices.issue import credit
from payouts.invoices.jobs import AT_ONCE_MAX, issue_month, issue_rest, last_month
from payouts.invoices.models import Invoice
from payouts.invoices.parties import MerchantData, countries
from payouts.invoices.profiles import issuer_of, set_issuer
from payouts.invoices.reading import PREFIX, Payable, document_of, invoices_of, payable_in
from tracker.desks.account.blueprint import field_messages
from tracker.desks.acting import Answer, act
from tracker.desks.files import Format, pdf_answer, table_answer
from tracker.desks.finance.blueprint import allowed, chosen, desk, finance
from tracker.desks.finance.statements import month_of, months_around
from tracker.desks.papers import invoice as papers
from tracker.desks.words import _, ngettext

ISSUER_FIELDS: Final = ("name", "address", "country", "tax_number", "vat_number", "number_prefix")
HEAD: Final = (
    "number", "kind", "corrects", "issued_at", "month", "affiliate", "supplier", "tax_number",
    "vat_number", "net", "vat", "gross", "currency", "hash",
)  # fmt: skip


@finance.get("/invoices")
@allowed
def invoices() -> Response | str:
    """A month of invoices; the documents as a register with `?format=csv` or `xlsx`."""
    programs = list(desk().programs.values())
    if not programs:
        return render_template("tracker/finance/invoices.html", program=None)
    program, month, _now = _asked(programs)
    wanted = request.args.get("format")
    if wanted in (Format.CSV, Format.XLSX):
        name = f"invoices-{program.slug}-{month.key}"
        sheet = Sheet(month.key, HEAD, _register(db.session(), program, month), program.time_zone)
        return table_answer(
            Format(wanted), name, [sheet], title=_("Self-billing invoices"), made_at=month.ends_at
        )
    return _page(program, month, None, {})


@finance.post("/invoices")
@allowed
def issue_invoices() -> Response:
    """Issue what of the month can be issued: at once, or the rest by a job."""
    freshness.require_fresh()
    session = db.session()
    program, month, now = _asked(list(desk().programs.values()))
    by = access.actor().user_id
    made, left = issue_month(
        session, program=program, period=month, by=by, now=now, rows_max=AT_ONCE_MAX
    )
    if left:
        issue_rest.after_commit(session, program.id, month.first.isoformat(), by)
        session.commit()
        flash(_("The first are issued; the others follow within minutes."), "info")
    elif made:
        said = ngettext("%(num)s invoice is issued.", "%(num)s invoices are issued.", made)
        flash(said, "success")
    else:
        flash(_("There is nothing to issue in this month now."), "info")
    return redirect(_here(program, month), 303)


@finance.post("/invoices/issuer")
@allowed
def save_issuer() -> Answer:
    """Say who the merchant is; documents that are issued keep what they say."""
    freshness.require_fresh()
    session = db.session()
    program, month, now = _asked(list(desk().programs.values()))
    typed: dict[str, Any] = {name: only_value(name)[:1_000] for name in ISSUER_FIELDS}
    typed["includes_vat"] = request.form.get("includes_vat") == "yes"
    typed["automatic"] = "automatic" in request.form
    try:
        set_issuer(
            session,
            program_id=program.id,
            given=MerchantData(**{name: typed[name] for name in ISSUER_FIELDS}),
            includes_vat=typed["includes_vat"],
            automatic=typed["automatic"],
            by_user_id=access.actor().user_id,
            now=now,
        )
    except Refusal as refusal:
        session.rollback()
        errors = field_messages(refusal, {name: name for name in ISSUER_FIELDS})
        return _page(program, month, typed, errors), refusal.status
    session.commit()
    flash(_("Saved. Documents that are issued keep what they say."), "success")
    return redirect(_here(program, month), 303)


@finance.get("/invoices/<invoice>.pdf")
@allowed
def invoice_pdf(invoice: str) -> Response:
    """One document as it was issued."""
    view, document = document_of(db.session(), invoice_id=_visible(invoice).id)
    return pdf_answer(view.name, papers.paper_of(view, document))


@finance.post("/invoices/<invoice>/credit")
@allowed
def credit_invoice(invoice: str) -> Answer:
    """Take an invoice back by a credit; the month can then be issued again."""
    row = _visible(invoice)
    freshness.require_fresh()
    program = desk().programs[row.program_id]
    month = month_of(f"{row.period:%Y-%m}", program=program, now=clock.now(db.session()))
    return act(
        lambda session, now: credit(
            session,
            invoice_id=row.id,
            reason=only_value("reason"),
            by_user_id=access.actor().user_id,
            now=now,
        ),
        done=_("The credit is issued; the month can be issued again."),
        back=_here(program, month),
        page=lambda: _page(program, month, None, {}),
    )


def _page(
    program: Program, month: Period, typed: dict[str, Any] | None, errors: dict[str, list[str]]
) -> str:
    session = db.session()
    now = clock.now(session)
    payable = payable_in(session, program=program, period=month)
    issuer = issuer_of(session, program_id=program.id)
    before, after = months_around(month, now=now)
    return render_template(
        "tracker/finance/invoices.html",
        program=program,
        programs=list(desk().programs.values()),
        month=month,
        before=before,
        after=after,
        over=month.ends_at <= now,
        payable=payable,
        paid=total((each.paid for each in payable), program.currency),
        to_issue=sum(_can_be_issued(each) for each in payable),
        lacking=[each for each in payable if not each.has_tax_data and each.invoice is None],
        documents=invoices_of(session, program_ids=[program.id], period=month.first),
        issuer=issuer,
        typed=typed or _typed(issuer),
        errors=errors,
        fresh=freshness.is_fresh(),
        countries=sorted(countries(), key=papers.country_name),
        country_name=papers.country_name,
    )


def _typed(issuer: Any) -> dict[str, Any]:
    names = (*ISSUER_FIELDS, "includes_vat", "automatic")
    if issuer is None:
        return dict.fromkeys(names, "") | {"includes_vat": True, "automatic": False}
    return {name: getattr(issuer, name) for name in names}


def _can_be_issued(one: Payable) -> bool:
    return one.invoice is None and one.has_tax_data and bool(one.paid)


def _register(session: Session, program: Program, month: Period) -> Iterator[Sequence[Cell]]:
    for view in reversed(invoices_of(session, program_ids=[program.id], period=month.first)):
        _view, document = document_of(session, invoice_id=view.id)
        amounts = (papers.parsed(text, document.currency)
                   for text in (document.net, document.vat, document.gross))  # fmt: skip
        yield (
            document.number, document.kind, document.corrects, view.issued_at, document.period,
            people_ids.public(view.enrollment_id), document.supplier.name,
            document.supplier.tax_number, document.supplier.vat_number, *amounts,
            document.currency, view.hash,
        )  # fmt: skip


def _asked(programs: list[Program]) -> tuple[Program, Period, datetime]:
    """The program and month of the address; last month without one."""
    program, now = chosen(programs), clock.now(db.session())
    text = request.args.get("month")
    month = last_month(program, now) if text is None else month_of(text, program=program, now=now)
    return program, month, now


def _here(program: Program, month: Period) -> str:
    return url_for("finance.invoices", program=program.slug, month=month.key)


def _visible(text: str) -> Invoice:
    """A document of the reader's programs; NotFound for any other."""
    found = db.session.get(Invoice, ids.row_id(PREFIX, text))
    if found is None or found.program_id not in desk().programs:
        raise NotFound
    return found
