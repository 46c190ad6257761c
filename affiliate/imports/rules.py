"""Files of a merchant who moves in: which kinds there are and what their lines hold (pure).

CSV in UTF-8 with a line of names on top; commas, semicolons or tabs. The names and what they
mean stand in docs/moving-in.md.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, NoReturn

from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.core.money import Money, MoneyError

FILE_BYTES_MAX: Final = 2_000_000
LINES_MAX: Final = 5_000
"""As many as one request does in some seconds; more come in further files."""
ERRORS_SHOWN_MAX: Final = 20
COLUMNS_MAX: Final = 50
"""Of a first line: each name is looked for among the others."""
COUNT_MAX: Final = 10**12
_DELIMITERS: Final = ",;\t"
_COUNT: Final = re.compile(r"(?a:[0-9]{1,13})")
_DAY: Final = re.compile(r"(?a:[0-9]{4}-[0-9]{2}-[0-9]{2})")
_MONTH: Final = re.compile(r"(?a:[0-9]{4}-[0-9]{2})")


class Kind(StrEnum):
    """What a file brings, in the order in which files are brought."""

    AFFILIATES = "affiliates"
    LINKS = "links"
    COUPONS = "coupons"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a kind."""

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return self.needed + self.optional


COLUMNS: Final[Mapping[Kind, Columns]] = {
    Kind.AFFILIATES: Columns(
        ("email", "name"), ("website", "joined", "recruiter", "customer_id", "language")
    ),
    Kind.LINKS: Columns(("email", "code"), ("destination", "name")),
    Kind.COUPONS: Columns(("email", "code")),
    Kind.HISTORY: Columns(("email", "month"), ("clicks", "orders", "sales", "earned", "paid")),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, and where it stands."""

    number: int
    values: Mapping[str, str]
    """By column; "" where the file says nothing."""

    def error(self, field: str, code: str, message: str) -> FieldError:
        """The error of one value, named by line and column."""
        said = Phrase(
            "line %(number)s, %(column)s: %(what)s", number=self.number, column=field, what=message
        )
        return FieldError("file", code, said)

    def reject(self, field: str, code: str, message: str) -> NoReturn:
        raise Invalid(errors=[self.error(field, code, message)])


def read(raw: bytes, kind: Kind) -> list[Line]:
    """The lines of a file of that kind; raises what `read_columns` raises."""
    return read_columns(raw, COLUMNS[kind])


def read_columns(raw: bytes, columns: Columns) -> list[Line]:
    """The lines of a file. Raises Invalid (`file`): no text, no CSV, columns, too much."""
    if len(raw) > FILE_BYTES_MAX:
        _refuse("too_large", Phrase("The file is larger than 2 MB."))
    rows = _rows(_text(raw))
    head = [cell.strip().lower() for cell in rows[0][1]]
    _check_head(head, columns)
    if len(rows) == 1:
        _refuse("empty", Phrase("The file has a line of names and nothing below it."))
    if len(rows) > LINES_MAX + 1:
        most = Phrase("A file has at most %(most)s lines; bring several.", most=LINES_MAX)
        _refuse("too_many_lines", most)
    errors: list[FieldError] = []
    lines = []
    for number, cells in rows[1:]:
        line = Line(number, dict(zip(head, (cell.strip() for cell in cells), strict=False)))
        if len(cells) != len(head):
            message = Phrase(
                "line %(number)s has %(cells)s values for %(columns)s columns.",
                number=number, cells=len(cells), columns=len(head),
            )  # fmt: skip
            errors.append(FieldError("file", "columns", message))
        else:
            errors += [
                line.error(name, "required", Phrase("This is needed."))
                for name in columns.needed
                if not line.values[name]
            ]
        lines.append(line)
    if errors:
        raise Invalid(errors=errors[:ERRORS_SHOWN_MAX])
    return lines


def day_in(line: Line, field: str) -> date | None:
    """A day such as 2026-11-27; None where the line says nothing."""
    text = line.values.get(field, "")
    if not text:
        return None
    found = _iso(text) if _DAY.fullmatch(text) else None
    if found is None:
        line.reject(field, "not_a_date", Phrase("Write the date as 2026-11-26."))
    return found


def month_in(line: Line, field: str) -> date:
    """The first day of a month such as 2026-11."""
    text = line.values.get(field, "")
    found = _iso(f"{text}-01") if _MONTH.fullmatch(text) else None
    if found is None:
        line.reject(field, "not_a_month", Phrase("Write the month as 2026-11."))
    return found


def count_in(line: Line, field: str) -> int:
    """A whole number, 0 where the line says nothing."""
    text = line.values.get(field, "") or "0"
    if not _COUNT.fullmatch(text) or int(text) > COUNT_MAX:
        line.reject(field, "not_a_number", Phrase("Write a whole number, not below zero."))
    return int(text)


def money_in(line: Line, field: str, currency: str) -> Money:
    """An amount of the program's currency such as 1234.50, zero where the line says nothing."""
    text = line.values.get(field, "")
    if not text:
        return Money.zero(currency)
    try:
        amount = Money.parse(text, currency)
    except MoneyError as error:
        message = Phrase(
            "Write an amount in %(currency)s with a point: 1234.50.", currency=currency
        )
        line.reject(field, error.code, message)
    if amount.micros < 0:
        line.reject(field, "negative", Phrase("An amount is not below zero."))
    return amount


def _iso(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        _refuse("not_text", Phrase("The file is not text in UTF-8."))
    return text


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers in the file."""
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error:
        _refuse("not_csv", Phrase("The file is no CSV: a line of it cannot be read."))
    if not rows:
        _refuse("empty", Phrase("The file is empty."))
    return rows


def _check_head(head: Sequence[str], columns: Columns) -> None:
    if len(head) > COLUMNS_MAX:
        _refuse("too_many_columns", Phrase("The first line has too many names."))
    errors = []
    missing = [name for name in columns.needed if name not in head]
    unknown = [name for name in head if name not in columns.all]
    twice = sorted({name for name in head if head.count(name) > 1})
    if missing:
        message = Phrase("Columns are missing: %(names)s.", names=", ".join(missing))
        errors.append(FieldError("file", "columns_missing", message))
    if unknown:
        # A name with a slip in it would leave its whole column out without a word.
        message = Phrase(
            "Columns are not known: %(names)s. Known are %(known)s.",
            names=", ".join(name[:30] or "—" for name in unknown[:5]),
            known=", ".join(columns.all),
        )
        errors.append(FieldError("file", "columns_unknown", message))
    elif twice:
        message = Phrase("Columns stand twice: %(names)s.", names=", ".join(twice))
        errors.append(FieldError("file", "columns_twice", message))
    if errors:
        raise Invalid(errors=errors)


def _refuse(code: str, message: Phrase) -> NoReturn:
    raise Invalid.field("file", code, message)
