"""Lines of a file of orders: what they say, or why they cannot be read (pure).

Format: docs/api.md, "Many orders at once".
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from affiliate.core import strict_json
from affiliate.core.errors import FieldError, Invalid, Malformed, Refusal

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
ROWS_MAX: Final = 100_000
"""Of one file; more come in further files."""
LINE_BYTES_MAX: Final = 1_000_000
"""As long as the body of one order may be."""
CHUNK_BYTES: Final = 64 * 1024
AMOUNTS: Final = ("total", "discount", "tax", "shipping", "fees", "credits")
NEEDED: Final = ("order_id", "placed_at", "total", "currency")
COLUMNS: Final = (
    *NEEDED, *AMOUNTS[1:], "tax_included", "customer_id", "customer_email_sha256",
    "customer_is_new", "customer_payment_sha256", "subscription_id", "subscription_sequence",
    "clicks", "visitor", "ip", "coupon",
)  # fmt: skip
METADATA: Final = "metadata."
"""Begins the names of columns whose values are kept and given back."""
_DELIMITERS: Final = ",;\t"
_NAMES_SHOWN_MAX: Final = 5
_NAME_CHARS_SHOWN_MAX: Final = 40
# What cannot be decoded is carried through the CSV reader as half a surrogate pair, which no
# text in UTF-8 can hold, and refuses the row it came to stand in.
_TOO_LONG_MARK: Final = "\ud800"
_WORDS: Final = {"true": True, "false": False}


class Format(StrEnum):
    """How a file says its orders."""

    NDJSON = "ndjson"
    CSV = "csv"


class State(StrEnum):
    """How far an import came."""

    RUNNING = "running"
    COMPLETE = "complete"
    CUT = "cut"
    """The file ended, or we did, before its last row: what stands there stands."""
    TOO_LONG = "too_long"
    """It had more rows than one file may have: the first of them stand."""


class Outcome(StrEnum):
    """What a row did."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    REFUSED = "refused"


class NotReadable(Refusal):
    """Of a row; never answered as such."""

    code = "malformed"
    status = 400
    title = "The row could not be read."


class LineTooLong(NotReadable):
    code = "line_too_long"
    status = 422
    title = "A row has at most 1 MB."


@dataclass(frozen=True, slots=True)
class Row:
    """One order of a file."""

    line: int
    """Where it begins in the file, from 1."""
    said: Any
    """As the body of `POST /orders`; None where it could not be read."""
    refusal: Refusal | None = None


def rows_of(form: Format, read: Callable[[int], bytes]) -> Iterator[Row]:
    """The rows of a file that is read piece by piece; `read(bytes)` as a file's.

    Never more than a line is held. The head of a CSV file is read, and refused, at once: Invalid
    (`file`: empty, columns_missing, columns_unknown, columns_twice).
    """
    lines = _lines(read)
    return _ndjson(lines) if form is Format.NDJSON else _csv(lines)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes | None
    """None: it is too long."""


def _lines(read: Callable[[int], bytes]) -> Iterator[_Line]:
    number, kept, dropping = 0, b"", False
    while chunk := read(CHUNK_BYTES):
        *whole, kept_next = (kept + chunk).split(b"\n")
        for raw in whole:
            number += 1
            too_long = dropping or len(raw) > LINE_BYTES_MAX
            yield _Line(number, None if too_long else _without_mark(number, raw))
            dropping = False
        dropping = dropping or len(kept_next) > LINE_BYTES_MAX
        kept = b"" if dropping else kept_next
    if kept or dropping:
        number += 1
        yield _Line(number, None if dropping else _without_mark(number, kept))


def _without_mark(number: int, raw: bytes) -> bytes:
    """Spreadsheets put a byte order mark before the first line."""
    return raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw


def _ndjson(lines: Iterator[_Line]) -> Iterator[Row]:
    for line in lines:
        if line.raw is None:
            yield Row(line.number, None, LineTooLong())
        elif line.raw.strip():
            yield _document(line.number, line.raw.strip())


def _document(number: int, raw: bytes) -> Row:
    try:
        return Row(number, strict_json.loads(raw))
    except Malformed as refusal:
        return Row(number, None, refusal)


def _csv(lines: Iterator[_Line]) -> Iterator[Row]:
    first = next((line for line in lines if line.raw is None or line.raw.strip()), None)
    if first is None:
        raise Invalid.field("file", "empty", "The file is empty.")
    text = _text(first)
    delimiter = max(_DELIMITERS, key=text.count)
    try:
        cells = next(csv.reader([text], delimiter=delimiter))
    except csv.Error:  # Such as a lone carriage return.
        raise Invalid.field("file", "malformed", NotReadable.title) from None
    head = [cell.strip().lower() for cell in cells]
    _check_head(head)
    return _records(head, delimiter, lines)


def _records(head: Sequence[str], delimiter: str, lines: Iterator[_Line]) -> Iterator[Row]:
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for line in lines:
            last = line.number
            yield _text(line)

    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
    begun = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:
            # The reader goes on with the next line; an open quote has swallowed some by then.
            yield Row(_first_line(last, reader, begun), None, NotReadable(
                "The row is no CSV: a quote in it is not closed, or stands where none may."
            ))  # fmt: skip
            begun = reader.line_num
            continue
        if cells is None:
            return
        line = _first_line(last, reader, begun)
        begun = reader.line_num
        if any(map(str.strip, cells)):
            yield _order(line, head, [cell.strip() for cell in cells])


def _first_line(last: int, reader: Any, begun: int) -> int:
    """Where a row begins that ends in line `last` of the file."""
    return last - max(0, int(reader.line_num) - begun - 1)


def _text(line: _Line) -> str:
    if line.raw is None:
        return _TOO_LONG_MARK
    return line.raw.decode("utf-8", "surrogateescape").removesuffix("\r") + "\n"


def _check_head(head: Sequence[str]) -> None:
    known = {name for name in head if name in COLUMNS or name.startswith(METADATA)}
    missing = [name for name in NEEDED if name not in head]
    unknown = [name for name in head if name not in known]
    twice = sorted({name for name in head if head.count(name) > 1})
    for code, names, said in (
        ("columns_missing", missing, "Columns are missing"),
        ("columns_unknown", unknown, "Columns are not known"),
        ("columns_twice", twice, "Columns stand twice"),
    ):
        if names:
            shown = ", ".join(_shown(name) for name in names[:_NAMES_SHOWN_MAX])
            raise Invalid.field("file", code, f"{said}: {shown}. Known: {', '.join(COLUMNS)}.")


def _shown(name: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in name)
    return printable[:_NAME_CHARS_SHOWN_MAX] or "(without a name)"


def _order(line: int, head: Sequence[str], cells: Sequence[str]) -> Row:
    """A row of CSV as the body of `POST /orders`; an empty cell says nothing."""
    if any(_TOO_LONG_MARK in cell for cell in cells):
        return Row(line, None, LineTooLong())
    if any("\0" in cell or not _is_utf8(cell) for cell in cells):
        return Row(line, None, NotReadable("The row is not text in UTF-8."))
    if len(cells) != len(head):
        return Row(line, None, NotReadable(
            f"The row has {len(cells)} values for {len(head)} columns.",
            errors=[FieldError("file", "columns", "Each column has one value; it may be empty.")],
        ))  # fmt: skip
    return Row(line, _said({name: cell for name, cell in zip(head, cells, strict=True) if cell}))


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _said(values: dict[str, str]) -> dict[str, Any]:
    currency = values.pop("currency", "")
    said: dict[str, Any] = {
        name: {"amount": values.pop(name), "currency": currency}
        for name in AMOUNTS
        if name in values
    }
    nested = (("customer", "customer_"), ("subscription", "subscription_"), ("metadata", METADATA))
    for name, prefix in nested:
        inner = {key.removeprefix(prefix): values.pop(key) for key in _under(values, prefix)}
        if inner:
            said[name] = inner
    said.update(values)
    if "clicks" in said:
        said["clicks"] = said["clicks"].split()
    if "tax_included" in said:
        said["tax_included"] = _WORDS.get(said["tax_included"].lower(), said["tax_included"])
    customer, subscription = said.get("customer", {}), said.get("subscription", {})
    if "is_new" in customer:
        customer["is_new"] = _WORDS.get(customer["is_new"].lower(), customer["is_new"])
    number = subscription.get("sequence", "")
    if number.isascii() and number.isdigit() and len(number) <= strict_json.INTEGER_DIGITS_MAX:
        subscription["sequence"] = int(number)
    return said


def _under(values: dict[str, str], prefix: str) -> list[str]:
    return [key for key in values if key.startswith(prefix)]
