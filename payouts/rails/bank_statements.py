"""What a bank says of payments: its files read into values (pure).

Which kind a file is, its beginning says: ISO 20022 XML (camt.053, camt.054, pain.002), the text
that 1C takes from client-banks, or our own CSV `end_to_end_id,status,reference,executed_on,reason`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from affiliate.core.errors import FieldError, Invalid, Phrase
from payouts.rails.bank import END_TO_END
from payouts.rails.bank_camt import read_xml
from payouts.rails.bank_news import News, Said, Statement, cut, day_of, refused
from payouts.rails.bank_statement_1c import SIGNATURE, read_1c

FILE_BYTES_MAX: Final = 10_000_000
NEWS_MAX: Final = 20_000
ERRORS_SHOWN_MAX: Final = 20
HEAD: Final = ("end_to_end_id", "status", "reference", "executed_on", "reason")


def read_statement(raw: bytes, *, own_numbers: Sequence[str], currency: str) -> Statement:
    """Read a bank's file. `own_numbers` are the IBANs or account numbers that we
    pay from, the one in use first.

    Raises Invalid for the field `file`: larger than 10 MB, none of the formats, damaged, of
    another account, or too long. A file is read as a whole or not at all.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise refused("too_large", Phrase("The file is larger than 10 MB."))
    start = raw.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise refused("empty", Phrase("The file is empty."))
    if start.startswith(b"<"):
        found = read_xml(raw, own_numbers=own_numbers, currency=currency)
    elif start.startswith(SIGNATURE):
        found = read_1c(start, own_numbers=own_numbers, currency=currency)
    else:
        found = Statement("csv", tuple(_of_csv(raw)))
    if len(found.news) > NEWS_MAX:
        message = Phrase("A file may have 20,000 entries; ask the bank for fewer days.")
        raise refused("too_many", message)
    return found


def _of_csv(raw: bytes) -> Iterator[News]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise refused(
            "not_text", Phrase("The file is neither a bank's XML, nor 1C's text, nor CSV in UTF-8.")
        )
    first = text.partition("\n")[0]
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=";" if ";" in first else ","))
    except csv.Error:
        message = Phrase("The file is no CSV: a line of it cannot be read.")
        raise refused("not_csv", message) from None
    if tuple(cell.strip().lower() for cell in rows[0]) != HEAD:
        message = Phrase(
            "The first line is not %(head)s, nor is it a bank's XML or 1C's text.",
            head=",".join(HEAD),
        )
        raise refused("unknown_format", message)
    errors: list[FieldError] = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        news = _line(number, [cell.strip() for cell in row])
        if isinstance(news, News):
            yield news
        else:
            message = Phrase("Line %(number)s: %(message)s", number=number, message=news)
            errors.append(FieldError("file", "bad_line", message))
    if errors:
        raise Invalid(errors=errors[:ERRORS_SHOWN_MAX])


def _line(number: int, cells: list[str]) -> News | Phrase:
    """The line, or what is wrong with it."""
    if len(cells) != len(HEAD):
        return Phrase("Five columns are needed.")
    known_as, status, reference, on, reason = cells
    if not END_TO_END.fullmatch(known_as):
        return Phrase("“%(text)s” is no end-to-end id.", text=known_as[:40])
    if status not in ("executed", "rejected", "returned"):
        return Phrase("The status is executed, rejected or returned.")
    if status != "rejected" and not reference:
        return Phrase("The bank's reference is missing.")
    day = day_of(on) if len(on) == len("2026-11-26") else None
    if day is None:
        return Phrase("Write the date as 2026-11-26.")
    return News(
        where=Phrase("line %(number)s", number=number),
        said=Said(status),
        end_to_end_id=known_as,
        reference=cut(reference),
        on=day,
        reason=cut(reason),
    )
