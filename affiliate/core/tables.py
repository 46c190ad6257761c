"""Tables as files: the one writer of CSV and XLSX, in which nothing is ever a formula.

A cell says what it is by its type: Money and integers are numbers, dates are dates, every
other thing is text. Text that a spreadsheet would run gets an apostrophe in front in CSV
(abuse A31); in XLSX it is written as a string, which no spreadsheet evaluates.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any, Final, Protocol
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from affiliate.core.errors import Refusal
from affiliate.core.money import MICROS, Money, exponent

BYTE_ORDER_MARK: Final = "\ufeff"
"""Without it Excel takes UTF-8 for the machine's old code page."""
CHUNK_CHARS: Final = 64 * 1024
XLSX_ROWS_MAX: Final = 300_000
"""A workbook is whole before its first byte leaves; longer tables are taken as CSV."""
XLSX_TEXT_CHARS_MAX: Final = 32_767
XLSX_DIGITS_MAX: Final = 15
"""What a spreadsheet keeps of a number; a longer amount is written as text, whole."""
COLUMN_CHARS_MIN: Final = 20
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "﹢", "﹣", "﹦", "﹫")
_BREAKS: Final = ("\t", "\r", "\n")
_UNSEEN: Final = re.compile(r"[\s\x00-\x1f\x7f\u00ad\u200b-\u200f\u2028-\u202f\u2060\ufeff]+")
_NOT_IN_A_NAME: Final = re.compile(r"[\[\]:*?/\\']")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class TooLong(Refusal):
    """The table does not fit into a workbook."""

    code = "table_too_long"
    title = "The table is too long for a workbook: take the CSV, or a shorter period."


class Number(str):
    """A decimal string that is a number: a minus in front of it is no formula."""

    __slots__ = ()


Cell = str | int | Money | date | datetime | None
"""`datetime` before `date`, which it is one of; a bool is written as text."""


class _Writer(Protocol):
    def writerow(self, row: Iterable[Any], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of a file. `zone` is the one that its moments are told in (XLSX)."""

    name: str
    head: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    zone: str = "UTC"


def guarded(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula.

    Looked at is the first character that can be seen. A number is one by its type, never by
    what it looks like.
    """
    lead = _UNSEEN.match(text)
    seen = text[lead.end() :] if lead else text
    return f"'{text}" if seen.startswith(_FORMULA_SIGNS) or text.startswith(_BREAKS) else text


def csv_cell(cell: object) -> str:
    """A cell as CSV has it: decimals with a point, moments and days by ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, Number | int | Decimal):
        return str(cell)
    if isinstance(cell, Money):
        return cell.decimal
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    return guarded(str(cell))


def csv_rows(to: IO[str]) -> _Writer:
    """A writer by RFC 4180 for whoever makes the rows one by one; cells by `csv_cell`."""
    plain = csv.writer(to, lineterminator="\r\n")

    class Cells:
        def writerow(self, row: Iterable[Any], /) -> Any:
            return plain.writerow([csv_cell(cell) for cell in row])

    return Cells()


def csv_parts(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The file in pieces of some kilobytes; rows are taken as the pieces are."""
    text = io.StringIO()
    text.write(BYTE_ORDER_MARK)
    writer = csv_rows(text)
    writer.writerow(head)
    for row in rows:
        writer.writerow(row)
        if text.tell() >= CHUNK_CHARS:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def write_xlsx(to: IO[bytes], sheets: Sequence[Sheet], *, title: str, made_at: datetime) -> None:
    """A workbook of these sheets, row by row: memory stays flat, equal input equal bytes.

    `made_at` is the only time in the file. Raises TooLong above XLSX_ROWS_MAX rows.
    """
    book = xlsxwriter.Workbook(
        to,
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
        },
    )
    plain = made_at.astimezone(UTC).replace(tzinfo=None)
    book.set_properties({"title": title, "author": "Kopeck", "created": plain})
    try:
        for sheet in sheets:
            _write_sheet(book, sheet)
    finally:
        # Also where a row raised: what the workbook keeps in temporary files goes with it.
        book.close()


def _write_sheet(book: Workbook, sheet: Sheet) -> None:
    page = book.add_worksheet(_NOT_IN_A_NAME.sub(" ", sheet.name)[:31])
    bold = book.add_format({"bold": True, "bottom": 1})
    page.freeze_panes(1, 0)
    for column, label in enumerate(sheet.head):
        page.set_column(column, column, max(len(label) + 2, COLUMN_CHARS_MIN))
        page.write_string(0, column, _printable(label), bold)
    formats = _Formats(book)
    zone = ZoneInfo(sheet.zone)
    for number, row in enumerate(sheet.rows, start=1):
        if number > XLSX_ROWS_MAX:
            raise TooLong
        for column, cell in enumerate(row):
            _write_cell(page, number, column, cell, formats, zone)


class _Formats:
    """Formats of a workbook, each made once."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._made: dict[str, Format] = {}

    def of(self, pattern: str) -> Format:
        if pattern not in self._made:
            self._made[pattern] = self._book.add_format({"num_format": pattern})
        return self._made[pattern]

    def money(self, currency: str) -> Format:
        """The currency's digits, and up to six where an amount has them."""
        digits = exponent(currency)
        fraction = "0" * digits + "#" * (6 - digits) if digits else ""
        return self.of(f'#,##0{"." if fraction else ""}{fraction} "{currency}"')


def _write_cell(
    page: Worksheet, row: int, column: int, cell: object, formats: _Formats, zone: ZoneInfo
) -> None:
    if cell is None or cell == "":
        return
    if isinstance(cell, Money):
        if len(str(abs(cell.micros))) > XLSX_DIGITS_MAX and cell.micros % MICROS:
            page.write_string(row, column, cell.decimal)
        else:
            number = Decimal(cell.micros) / MICROS
            page.write_number(row, column, number, formats.money(cell.currency))
    elif isinstance(cell, datetime):
        shown = cell.astimezone(zone).replace(tzinfo=None)
        page.write_datetime(row, column, shown, formats.of("yyyy-mm-dd hh:mm:ss"))
    elif isinstance(cell, date):
        page.write_datetime(row, column, cell, formats.of("yyyy-mm-dd"))
    elif isinstance(cell, Number):
        page.write_number(row, column, Decimal(cell))
    elif isinstance(cell, int) and not isinstance(cell, bool) and abs(cell) < 10**XLSX_DIGITS_MAX:
        page.write_number(row, column, cell)
    else:
        page.write_string(row, column, _printable(str(cell)))


def _printable(text: str) -> str:
    """Without what XML cannot carry, and no longer than a cell may be."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:XLSX_TEXT_CHARS_MAX]
