"""Documents on the desks: statements, invoices, corrections, accruals, journal, batch files."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from datetime import timedelta

import pypdfium2
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from staff import Staff, earned, hire, two_in_a_batch, url_of
from werkzeug.test import TestResponse
from world import World

from affiliate.core.outbox import Mail
from affiliate.people import ids
from payouts.adjustments.models import LedgerAdjustment
from payouts.invoices.models import Invoice, TaxProfile

MERCHANT = {
    "name": "ООО «Лампы»", "address": "Москва, Тверская, 1", "country": "RU",
    "tax_number": "7736207543", "vat_number": "", "number_prefix": "LAMPS", "includes_vat": "yes",
}  # fmt: skip
TAX_DATA = {
    "legal_form": "self_employed", "name": "Анна Ёлкина", "address": "Москва", "country": "RU",
    "tax_number": "500100732259", "vat_status": "not_registered", "vat_number": "",
    "vat_rate": "", "agreed": "yes",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def text_of(content: bytes) -> str:
    document = pypdfium2.PdfDocument(content)
    found = "\n".join(page.get_textpage().get_text_bounded() for page in document)
    document.close()
    return found.replace("\r\n", "\n").replace("\N{NO-BREAK SPACE}", " ")


def flat(content: bytes) -> str:
    return " ".join(text_of(content).split())


def rows_of(client: FlaskClient, url: str) -> list[dict[str, str]]:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def sheets_of(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        names = sorted(name for name in book.namelist() if name.startswith("xl/worksheets/"))
        return [book.read(name).decode() for name in names]


def paid_last_month(world: World) -> None:
    """Anna was paid 100.00 in the middle of the month before."""
    earned(world, "Anna", days_ago=90)
    at = (world.local.replace(day=1) - timedelta(days=15)).replace(hour=12)
    world.pay(world.withdraw("Anna", "100.00", at=at), at=at)


def propose(world: World, client: FlaskClient, **changes: str) -> TestResponse:
    form = {
        "affiliate": ids.public(world.people["Anna"].enrollment.id),
        "kind": "adjust",
        "amount": "12,50",
        "reason": "missed_commission",
        "note": "Order A-1 was missed",
    }
    return client.post("/finance/adjustments", data=form | changes)


def public_of(world: World, model: type, prefix: str) -> str:
    from affiliate.core.ids import public_id

    world.session.expire_all()
    return public_id(prefix, world.session.scalars(sa.select(sa.func.max(model.id))).one())


# ---- statements ----


@pytest.mark.parametrize("key", ["month", "quarter", "year"])
def test_a_statement_is_taken_in_three_shapes_with_the_same_sums(world: World, key: str) -> None:
    anna = world.affiliate("Anna")
    order = world.sale("Anna", "3500.00", at=world.lately(hours=2))
    keys = {
        "month": world.month(),
        "quarter": f"{world.local.year}-Q{(world.local.month - 1) // 3 + 1}",
        "year": str(world.local.year),
    }
    url = f"/account/money/statements/{keys[key]}"
    page = anna.client.get(url)
    assert page.status_code == 200
    assert order.order_id in page.text
    assert "10% of 3,500.00\N{NO-BREAK SPACE}RUB" in page.text
    rows = rows_of(anna.client, f"{url}.csv")
    assert (rows[1]["how"].replace("\N{NO-BREAK SPACE}", " "), rows[1]["pending"]) == (
        "10% of 3,500.00 RUB", "350.00",
    )  # fmt: skip
    book = anna.client.get(f"{url}.xlsx")
    assert book.headers["Content-Disposition"].endswith('.xlsx"')
    assert "<v>350</v>" in sheets_of(book.data)[0]
    paper = anna.client.get(f"{url}.pdf")
    assert paper.mimetype == "application/pdf"
    told = flat(paper.data)
    assert f"Commission earned {order.order_id}: 10% of 3,500.00 RUB" in told
    assert "350.00 RUB" in told
    assert "Page 1 of 1" in told


def test_the_paper_is_in_the_readers_language(world: World) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "3500.00", days_ago=0.1)
    world.session.execute(sa.text("UPDATE users SET locale = 'ru'"))
    world.session.commit()
    paper = anna.client.get(f"/account/money/statements/{world.now:%Y-%m}.pdf")
    told = flat(paper.data)
    assert "Страница 1 из 1" in told
    assert "Отчёт о вознаграждении" in told


def test_a_month_that_is_over_prints_to_equal_bytes(world: World) -> None:
    paid_last_month(world)
    anna = world.people["Anna"].client
    for ending in ("pdf", "xlsx", "csv"):
        url = f"/account/money/statements/{world.month(1)}.{ending}"
        assert anna.get(url).data == anna.get(url).data


def test_a_long_statement_shows_its_first_lines_and_prints_by_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracker.desks.account import statements
    from tracker.desks.papers import statement

    anna = world.affiliate("Anna")
    for _ in range(3):
        world.sale("Anna", "1000.00", days_ago=0.05)
    monkeypatch.setattr(statements, "LINES_SHOWN_MAX", 2)
    monkeypatch.setattr(statement, "LINES_PRINTED_MAX", 2)
    url = f"/account/money/statements/{world.now:%Y-%m}"
    assert "1 more line is in the files." in anna.client.get(url).text
    assert len(rows_of(anna.client, f"{url}.csv")) == 5
    told = flat(anna.client.get(f"{url}.pdf").data)
    assert "added up by day and kind" in told
    assert "300.00 RUB" in told


@pytest.mark.parametrize("key", ["2026-13", "2026-Q5", "2026-Q0", "1999", "9999", "2199", "x"])
def test_a_period_that_is_none_is_not_there(world: World, key: str) -> None:
    anna = world.affiliate("Anna").client
    for ending in ("", ".pdf", ".xlsx", ".csv"):
        assert anna.get(f"/account/money/statements/{key}{ending}").status_code == 404


def test_finance_takes_an_affiliates_statement_of_its_own_programs_alone(world: World) -> None:
    paid_last_month(world)
    public = ids.public(world.people["Anna"].enrollment.id)
    url = f"/finance/statements/{public}/{world.month(1)}.pdf"
    mine = hire(world, "finance", name="reader").client
    assert url in mine.get(f"/finance/statements?month={world.month(1)}").text
    paper = mine.get(url)
    theirs = world.people["Anna"].client.get(f"/account/money/statements/{world.month(1)}.pdf")
    assert paper.data == theirs.data
    stranger = hire(world, "finance", program=world.euros).client
    assert stranger.get(url).status_code == 404


# ---- batches ----


def test_a_batch_is_taken_with_its_approval_and_results(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance", name="approver")
    finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert f"{url_of(batch)}.pdf" in finance.client.get(url_of(batch)).text
    told = flat(finance.client.get(f"{url_of(batch)}.pdf").data)
    for text in ("Payout batch 1", "Approved by Approver", "412.17 RUB", "four eyes", "Boris",
                 str(batch.hash)[:20]):  # fmt: skip
        assert text in told
    rows = rows_of(finance.client, f"{url_of(batch)}.csv")
    assert sorted((row["name"], row["amount"], row["status"]) for row in rows) == [
        ("Anna", "410.00", "queued"), ("Boris", "2.17", "queued"),
    ]  # fmt: skip
    items, facts = sheets_of(finance.client.get(f"{url_of(batch)}.xlsx").data)
    assert "<v>2.17</v>" in items
    assert str(batch.hash) in facts
    assert hire(world, "finance", program=world.euros).client.get(
        f"{url_of(batch)}.pdf").status_code == 404  # fmt: skip


# ---- accruals and journal ----


def test_accruals_of_today_and_of_a_day_before_anything(world: World) -> None:
    paid_last_month(world)
    finance = hire(world, "finance", name="reader").client
    page = finance.get("/finance/accruals").text
    assert "310.00" in page
    assert "Anna" in page
    (row,) = rows_of(finance, "/finance/accruals?format=csv")
    assert (row["available"], row["paid"], row["owed"]) == ("310.00", "100.00", "310.00")
    assert "<v>310</v>" in sheets_of(finance.get("/finance/accruals?format=xlsx").data)[0]
    assert (
        "Nothing is in the books of that day" in finance.get("/finance/accruals?on=2001-01-01").text
    )
    assert rows_of(finance, "/finance/accruals?on=2001-01-01&format=csv") == []


def test_the_journal_has_both_sides_and_closes(world: World) -> None:
    paid_last_month(world)
    finance = hire(world, "finance", name="reader").client
    first = (world.now - timedelta(days=100)).date()
    asked = f"from={first}&to={world.now.date() + timedelta(days=1)}"
    assert "Paid out (by hand)" in finance.get(f"/finance/journal?{asked}").text
    rows = rows_of(finance, f"/finance/journal?{asked}&format=csv")
    assert sum(float(row["amount"]) for row in rows) == 0
    assert {row["kind"] for row in rows} == {"earn", "release", "reserve", "settle"}
    accounts = rows_of(finance, f"/finance/journal?{asked}&format=accounts")
    assert {row["account"]: row["closing"] for row in accounts} == {
        "available": "310.00", "cash:manual": "100.00", "expense": "-410.00",
        "in_payout": "0.00", "pending": "0.00",
    }  # fmt: skip
    assert len(sheets_of(finance.get(f"/finance/journal?{asked}&format=xlsx").data)) == 2


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("/finance/accruals?on=2026-02-30", "Write the day as 2026-11-21."),
        ("/finance/accruals?on=20261121", "Write the day as 2026-11-21."),
        ("/finance/journal?from=soon", "Write the day as 2026-11-21."),
        ("/finance/journal?from=2026-02-01&to=2026-01-01", "The period ends before it begins."),
        ("/finance/journal?from=2024-01-01&to=2026-01-01", "Take at most 400 days at once."),
        ("/finance/invoices?month=2026-13", "Write the month as 2026-11."),
    ],
)
def test_a_day_that_is_none_is_refused_in_words(world: World, query: str, says: str) -> None:
    answer = hire(world, "finance").client.get(query)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize("page", ["accruals", "journal", "invoices", "statements"])
def test_another_programs_books_are_not_there(world: World, page: str) -> None:
    stranger = hire(world, "finance", program=world.euros).client
    assert stranger.get(f"/finance/{page}?program=demo").status_code == 404
    assert stranger.get(f"/finance/{page}").status_code == 200


# ---- corrections ----


def test_a_correction_goes_from_one_to_another_to_the_affiliate(world: World) -> None:
    earned(world, "Anna")
    one, other = hire(world, "finance", name="one"), hire(world, "finance", name="other")
    assert propose(world, one.client).status_code == 303
    mine = one.client.get("/finance/adjustments").text
    assert "Somebody else confirms it." in mine
    public = public_of(world, LedgerAdjustment, "adj")
    refused = one.client.post(f"/finance/adjustments/{public}/confirmation")
    assert refused.status_code == 403
    assert "another person must confirm it" in refused.text
    done = other.client.post(f"/finance/adjustments/{public}/confirmation", follow_redirects=True)
    assert "Booked." in done.text
    again = other.client.post(f"/finance/adjustments/{public}/confirmation")
    assert (again.status_code, "decided already" in again.text) == (409, True)
    money = world.people["Anna"].client.get("/account/money").text
    assert "A commission was missed" in money
    assert "Order A-1 was missed" in money
    assert "422.50" in money
    statement = world.people["Anna"].client.get(f"/account/money/statements/{world.now:%Y-%m}").text
    assert "A commission was missed. Order A-1 was missed" in statement
    mail = world.session.scalars(sa.select(Mail).where(Mail.template == "balance_corrected")).one()
    assert mail.subject == "Your balance was corrected by 12.50 RUB"
    assert "A commission was missed: Order A-1 was missed" in mail.text


def test_a_proposal_is_turned_down_with_a_reason(world: World) -> None:
    earned(world, "Anna")
    one, other = hire(world, "finance", name="one"), hire(world, "finance", name="other")
    propose(world, one.client)
    url = f"/finance/adjustments/{public_of(world, LedgerAdjustment, 'adj')}/refusal"
    assert other.client.post(url, data={"reason": " "}).status_code == 422
    assert other.client.post(url, data={"reason": "no such order"}).status_code == 303
    assert "no such order" in one.client.get("/finance/adjustments").text
    assert "Order A-1 was missed" not in world.people["Anna"].client.get("/account/money").text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"affiliate": "aff_zzzz"}, "No affiliate of yours has this id, name or address."),
        ({"affiliate": "Ann"}, "No affiliate of yours has this id, name or address."),
        ({"affiliate": ""}, "No affiliate of yours has this id, name or address."),
        ({"affiliate": "\0"}, "No affiliate of yours has this id, name or address."),
        ({"kind": ""}, "Choose one."),
        ({"amount": "ten"}, "Write the amount in digits"),
        ({"amount": "1.0000001"}, "At most six digits after the point."),
        ({"amount": "99999999999999"}, "Write the amount in digits"),
        ({"amount": "1000000.01"}, "One correction adds at most"),
        ({"amount": "0"}, "Write an amount other than zero."),
        ({"amount": "−411"}, "Only 410.00"),
        ({"kind": "write_off", "reason": "goodwill"}, "there is nothing to write off"),
        ({"reason": "goodwill"}, "Choose one of the reasons."),
        ({"reason": "because"}, "Choose one of the reasons."),
        ({"note": ""}, "Say why, in a few words; it is kept."),
    ],
    ids=lambda value: ",".join(value.values()) if isinstance(value, dict) else None,
)
def test_a_bad_proposal_says_what_is_wrong(
    world: World, changes: dict[str, str], says: str
) -> None:
    earned(world, "Anna")
    answer = propose(world, hire(world, "finance").client, **changes)
    assert answer.status_code == 422
    assert says in answer.text
    assert world.session.scalar(sa.select(sa.func.count(LedgerAdjustment.id))) == 0


@pytest.mark.parametrize("typed", ["anna", " ANNA ", "Anna@Example.com"])
def test_a_correction_takes_a_whole_name_or_address(world: World, typed: str) -> None:
    earned(world, "Anna")
    world.affiliate("Anna Maria")
    answer = propose(world, hire(world, "finance").client, affiliate=typed)
    assert answer.status_code == 303
    row = world.session.scalars(sa.select(LedgerAdjustment)).one()
    assert row.enrollment_id == world.people["Anna"].enrollment.id


def test_where_two_have_the_name_a_correction_asks_for_the_id(world: World) -> None:
    earned(world, "Anna")
    other = world.affiliate("anna maria")
    world.session.execute(sa.text("UPDATE affiliates SET name = 'ANNA' WHERE name = 'anna maria'"))
    world.session.commit()
    answer = propose(world, hire(world, "finance").client, affiliate="Anna")
    assert answer.status_code == 422
    assert "Several fit, write one" in answer.text
    for enrollment in (world.people["Anna"].enrollment, other.enrollment):
        assert f"{ids.public(enrollment.id)} (Lamp &amp; Leaf partners)" in answer.text
    assert world.session.scalar(sa.select(sa.func.count(LedgerAdjustment.id))) == 0


# ---- invoices ----


def issued(world: World, finance: Staff) -> str:
    """Anna's invoice of last month, from nothing to its number."""
    paid_last_month(world)
    saved = finance.client.post("/finance/invoices/issuer", data=MERCHANT)
    assert saved.status_code == 303, saved.text
    anna = world.people["Anna"].client
    assert anna.post("/account/invoices/tax-data", data=TAX_DATA).status_code == 303
    done = finance.client.post("/finance/invoices", follow_redirects=True)
    assert "1 invoice is issued." in done.text
    return public_of(world, Invoice, "inv")


def test_an_invoice_goes_from_tax_data_to_paper(world: World) -> None:
    finance = hire(world, "finance", name="issuer")
    public = issued(world, finance)
    again = finance.client.post("/finance/invoices", follow_redirects=True)
    assert "There is nothing to issue" in again.text
    anna = world.people["Anna"].client
    page = anna.get("/account/invoices").text
    assert f"LAMPS-{world.now.year}-00001" in page
    paper = anna.get(f"/account/invoices/{public}.pdf")
    assert paper.data == anna.get(f"/account/invoices/{public}.pdf").data
    told = flat(paper.data)
    for text in (
        "Self-billing invoice", f"LAMPS-{world.now.year}-00001", "ООО «Лампы»",
        "INN 7736207543", "Анна Ёлкина", "Self-employed", "500100732259",
        "payout batch 1", "PP-", "100.00 RUB", "The supplier is not registered for VAT",
        "Nothing is to be paid.",
    ):  # fmt: skip
        assert text in told
    assert finance.client.get(f"/finance/invoices/{public}.pdf").data == paper.data
    (row,) = rows_of(finance.client, "/finance/invoices?format=csv")
    assert (row["gross"], row["supplier"], row["tax_number"]) == (
        "100.00", "Анна Ёлкина", "500100732259",
    )  # fmt: skip


def test_a_credit_takes_it_back_and_it_is_issued_again(world: World) -> None:
    finance = hire(world, "finance", name="issuer")
    public = issued(world, finance)
    url = f"/finance/invoices/{public}/credit"
    assert finance.client.post(url, data={"reason": ""}).status_code == 422
    done = finance.client.post(url, data={"reason": "wrong address"}, follow_redirects=True)
    assert "The credit is issued" in done.text
    taken = flat(finance.client.get(
        f"/finance/invoices/{public_of(world, Invoice, 'inv')}.pdf").data)  # fmt: skip
    assert "Credit for a self-billing invoice" in taken
    assert "wrong address" in taken
    assert "−100.00 RUB" in taken
    assert finance.client.post(url, data={"reason": "again"}).status_code == 409
    again = finance.client.post("/finance/invoices", follow_redirects=True)
    assert "1 invoice is issued." in again.text
    assert f"LAMPS-{world.now.year}-00003" in again.text


def test_finance_sees_who_lacks_tax_data_and_that_the_merchant_is_unknown(world: World) -> None:
    paid_last_month(world)
    finance = hire(world, "finance", name="issuer").client
    page = finance.get("/finance/invoices").text
    assert "Nobody knows yet who the merchant is." in page
    assert "missing" in page
    finance.post("/finance/invoices/issuer", data=MERCHANT)
    page = finance.get("/finance/invoices").text
    assert "not issued" in page
    assert "Issue 1 invoice" not in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tax_number": "123"}, "An INN has 10 digits"),
        ({"agreed": ""}, "Without your agreement nobody can bill for you."),
        ({"country": ""}, "Choose a country."),
        ({"vat_status": "registered", "vat_rate": "50"}, "Write the rate in percent"),
        ({"name": "x" * 201}, "At most 200 characters."),
    ],
    ids=["inn", "agreement", "country", "rate", "name"],
)
def test_bad_tax_data_are_refused_beside_their_field(
    world: World, changes: dict[str, str], says: str
) -> None:
    anna = world.affiliate("Anna").client
    answer = anna.post("/account/invoices/tax-data", data=TAX_DATA | changes)
    assert answer.status_code == 422
    assert says in answer.text
    assert world.session.scalar(sa.select(sa.func.count(TaxProfile.id))) == 0


def test_a_bad_merchant_is_refused_beside_the_field(world: World) -> None:
    finance = hire(world, "finance").client
    answer = finance.post("/finance/invoices/issuer", data=MERCHANT | {"tax_number": "1"})
    assert answer.status_code == 422
    assert "An INN has 10 digits" in answer.text


@pytest.mark.abuse("A24")
def test_an_invoice_of_somebody_else_is_not_there(world: World) -> None:
    public = issued(world, hire(world, "finance", name="issuer"))
    boris = world.affiliate("Boris").client
    assert boris.get(f"/account/invoices/{public}.pdf").status_code == 404
    stranger = hire(world, "finance", program=world.euros).client
    assert stranger.get(f"/finance/invoices/{public}.pdf").status_code == 404
    assert (
        stranger.post(f"/finance/invoices/{public}/credit", data={"reason": "x"}).status_code == 404
    )


@pytest.mark.abuse("A31")
def test_no_name_is_a_formula_in_any_file(world: World) -> None:
    batch = two_in_a_batch(world)
    world.session.execute(sa.text("UPDATE affiliates SET name = '=cmd|'' /C calc''!A0'"))
    world.session.commit()
    finance = hire(world, "finance").client
    month = world.month()
    paths = (f"{url_of(batch)}.", "/finance/accruals?format=", "/finance/journal?format=",
             f"/finance/statements?month={month}&format=")  # fmt: skip
    for path in paths:
        text = finance.get(f"{path}csv").text
        assert not re.search(r"(^|,)\"?=cmd", text, flags=re.MULTILINE), path
        assert "'=cmd" in text, path
        for sheet in sheets_of(finance.get(f"{path}xlsx").data):
            assert "<f>" not in sheet
