"""`kopeck export`: every kind as CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from builders import make_affiliate, make_program
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.core.tables import guarded
from affiliate.links.coupons import create_coupon
from affiliate.people import ids
from tracker.cli import export_command
from tracker.export import QUERIES, export
from tracker.leads.intake import report_lead
from tracker.leads.rules import LeadReportIn
from tracker.orders.intake import report_order
from tracker.orders.rules import OrderReportIn, Source

ALWAYS = {
    "since": datetime(1970, 1, 1, tzinfo=UTC),
    "until": datetime(9999, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize("kind", sorted(QUERIES))
def test_each_kind_is_written_with_a_head_line(app: Flask, session: Session, kind: str) -> None:
    with app.app_context():
        program = make_program(session, now=NOW - timedelta(days=1))
        anna = make_affiliate(session, program, "anna@x.example", now=NOW - timedelta(days=1))
        create_coupon(
            session, enrollment_id=anna.id, code="ANNA10", by=None, now=NOW - timedelta(days=1)
        )
        report = OrderReportIn(
            order_id="A-1", placed_at=NOW, total=Money(3_500_000_000, "RUB"), coupon="ANNA10"
        )
        report_order(
            session,
            program_id=program.id,
            report=report,
            source=Source.API,
            reported_by="test",
            now=NOW,
        )
        report_lead(
            session,
            program_id=program.id,
            report=LeadReportIn(lead_id="L-1", placed_at=NOW, kind="=inquiry"),
            reported_by="test",
            now=NOW,
        )
    out = io.StringIO()
    count = export(session, kind=kind, program_id=program.id, to=out, **ALWAYS)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert len(rows) == count
    if kind == "orders":
        assert (rows[0]["order_id"], rows[0]["total"]) == ("A-1", "3500.00")
    if kind == "leads":
        assert (rows[0]["lead_id"], rows[0]["kind"]) == ("L-1", "'=inquiry")
    if kind == "commissions":
        assert (rows[0]["affiliate"], rows[0]["amount"]) == (ids.public(anna.id), "350.00")
    if kind == "ledger":
        assert sorted(row["amount"] for row in rows) == ["-350.00", "350.00"]
    nothing = export(
        session,
        kind=kind,
        program_id=program.id,
        to=io.StringIO(),
        since=NOW + timedelta(days=2),
        until=ALWAYS["until"],
    )
    assert nothing == 0


@pytest.mark.abuse("A31")
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1"])
def test_a_formula_is_written_as_text(text: str) -> None:
    assert guarded(text) == "'" + text


def test_ordinary_text_is_left_alone() -> None:
    assert guarded("A-1") == "A-1"


def test_the_command_writes_and_refuses(app: Flask, session: Session) -> None:
    make_program(session, now=NOW)
    session.commit()
    runner = app.test_cli_runner()
    done = runner.invoke(export_command, ["orders", "--program", "lamps"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("order_id,placed_at,status")
    unknown = runner.invoke(export_command, ["orders", "--program", "nothing"])
    assert unknown.exit_code == 1
    assert "no program" in unknown.output
