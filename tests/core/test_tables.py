"""The one writer of CSV and XLSX: nothing is a formula, numbers are numbers, bytes are equal."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from datetime import UTC, date, datetime

import pytest

from affiliate.core import tables
from affiliate.core.money import Money
from affiliate.core.tables import Number, Sheet, TooLong, csv_parts, guarded, write_xlsx

AT = datetime(2026, 11, 30, 21, 0, tzinfo=UTC)


def workbook(*rows: tuple[tables.Cell, ...], zone: str = "UTC") -> tuple[bytes, str]:
    """The file's bytes and the XML of its sheet."""
    file = io.BytesIO()
    sheet = Sheet("One", ("a", "b"), rows, zone)
    write_xlsx(file, [sheet], title="Title", made_at=AT)
    with zipfile.ZipFile(file) as book:
        return file.getvalue(), book.read("xl/worksheets/sheet1.xml").decode()


FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\N{NO-BREAK SPACE}=1",
    "\ufeff=1", "\u200b=1", "＝1", "＋1", "－1", "＠x", " ＝1", "=cmd|' /C calc'!A0", "\tplain",
]  # fmt: skip


@pytest.mark.abuse("A31")
@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_no_text_becomes_a_formula(text: str) -> None:
    assert guarded(text) == f"'{text}"
    file = "".join(csv_parts(("head",), [(text,)]))
    _head, row = csv.reader(io.StringIO(file, newline=""))
    assert row == [f"'{text}"]
    _bytes, xml = workbook((text, 1))
    assert "<f>" not in xml
    assert re.search(r'<c r="A2"[^>]* t="inlineStr">', xml)


@pytest.mark.parametrize("text", ["A-1", "1+1", "a=b", "mail@example.com", "", "Анна", "'=1"])
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert guarded(text) == text


@pytest.mark.abuse("A31")
def test_a_negative_number_is_one_by_its_type() -> None:
    rows = [(Money(-5_250_000, "EUR"), Number("-0.5"), -3, "-3")]
    text = "".join(csv_parts(("a", "b", "c", "d"), rows))
    assert text.splitlines()[1] == "-5.25,-0.5,-3,'-3"


def test_csv_writes_moments_in_utc_and_nothing_for_none() -> None:
    text = "".join(csv_parts(("at", "day", "none"), [(AT, date(2026, 1, 2), None)]))
    assert text == "\ufeffat,day,none\r\n2026-11-30T21:00:00+00:00,2026-01-02,\r\n"


def test_xlsx_writes_numbers_dates_and_texts_as_what_they_are() -> None:
    _bytes, xml = workbook(
        (Money(1_234_567_891, "RUB"), AT), (date(2026, 1, 2), "017"), zone="Europe/Moscow"
    )
    # 1 December 2026, 00:00 in Moscow is day 46357 of the spreadsheets' calendar.
    assert "<v>1234.567891</v>" in xml
    assert "<v>46357</v>" in xml
    assert "<v>46024</v>" in xml
    assert "<is><t>017</t></is>" in xml


def test_an_amount_that_a_spreadsheet_would_round_is_text() -> None:
    _bytes, xml = workbook((Money(123_456_789_012_345_678, "EUR"), Money(10**18, "JPY")))
    assert "<is><t>123456789012.345678</t></is>" in xml
    assert "<v>1000000000000</v>" in xml


def test_what_xml_cannot_carry_is_replaced() -> None:
    _bytes, xml = workbook(("a\x01b\x0bc", "x"))
    assert "a\ufffdb\ufffdc" in xml


def test_equal_tables_make_equal_files() -> None:
    row = ("text", Money(1, "EUR"))
    assert workbook(row)[0] == workbook(row)[0]


def test_a_table_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "XLSX_ROWS_MAX", 2)
    assert workbook(("a", 1), ("b", 2))
    with pytest.raises(TooLong):
        workbook(("a", 1), ("b", 2), ("c", 3))
