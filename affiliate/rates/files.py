"""Files of exchange rates that people bring: our own CSV, and those of two central banks (pure).

Nothing is ever fetched. Which of the three a file is, its first line says:

- `currency,date,rate`: `USD,2026-11-26,98.1234`, so much of the program's currency for one;
- ECB, `eurofxref.csv` or `eurofxref-hist.csv`: `Date, USD, JPY, …`, units for one euro
  (https://www.ecb.europa.eu/stats/eurofxref/);
- Bank of Russia, `XML_daily.asp`: rubles for a nominal of each currency
  (https://www.cbr.ru/development/sxml/).

Out of a bank's file a rate is `value of the source ÷ value of the target`, both in the bank's
currency, as an exact fraction that is rounded once, half to even, to ten digits. So the ECB's
file, which says what a euro costs, gives a dollar in euros as well as a pound in dollars.
Rule: docs/rules.md, "Other currencies".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Final, NoReturn

from affiliate.core import plain_xml
from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.core.exchange import RATE_SCALE, ExchangeRate
from affiliate.core.money import MoneyError, divide_half_even, exponent
from affiliate.rates.rules import Origin, Quote, at

FILE_BYTES_MAX: Final = 4_000_000
"""The ECB's whole history has about two million."""
QUOTES_MAX: Final = 10_000
ERRORS_SHOWN_MAX: Final = 20
HEAD: Final = ("currency", "date", "rate")
_ECB_DAYS: Final = ("%Y-%m-%d", "%d %B %Y")
_ECB_NONE: Final = ("", "N/A")
_DECIMAL: Final = re.compile(r"(?a:[0-9]{1,12})(?:[.,](?a:[0-9]{1,12}))?")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file says, of the currencies that were asked for."""

    origin: Origin
    quotes: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class _Day:
    """What a bank says of a day: what one unit of each currency is worth in the bank's own."""

    day: date
    where: str
    worth: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rates are wanted of a file."""

    target: str
    wanted: tuple[str, ...]
    """Named by whoever brings the file: each has to be in it."""
    usual: tuple[str, ...]
    """Taken of a bank's file where none is named."""
    since: date | None

    def leaves_out(self, day: date) -> bool:
        return self.since is not None and day < self.since


def read_rates(
    raw: bytes,
    *,
    target: str,
    currencies: Iterable[str] = (),
    usual: Iterable[str] = (),
    since: date | None = None,
) -> Sheet:
    """Read a file of rates into `target`, the program's currency.

    `currencies` are those wanted. Without them our own CSV gives all it has, and a bank's file,
    which has many, those of the `usual` ones that it has. `since` leaves older days out. Raises
    Invalid, which names the line; a file is taken as a whole or not at all.
    """
    asked = _Asked(target, _checked(currencies), tuple(usual), since)
    if len(raw) > FILE_BYTES_MAX:
        _refuse("too_large", Phrase("The file is larger than 4 MB."))
    start = raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        sheet = Sheet(Origin.CBR, tuple(_crossed([_cbr_day(raw)], asked)))
    else:
        sheet = _of_csv(_text(raw), asked)
    _check_found(sheet, asked)
    return sheet


def _checked(currencies: Iterable[str]) -> tuple[str, ...]:
    """The codes, each an ISO currency."""
    wanted = tuple(dict.fromkeys(currencies))
    unknown = [code for code in wanted if not _is_currency(code)]
    if unknown:
        message = Phrase("%(code)s is not an ISO 4217 currency.", code=unknown[0][:10])
        raise Invalid.field("currencies", "unknown_currency", message)
    return wanted


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("not_text", Phrase("The file is not text in UTF-8."))
    if "\0" in text:
        _refuse("not_text", Phrase("The file is not text in UTF-8."))
    return text


def _of_csv(text: str, asked: _Asked) -> Sheet:
    try:
        lines = [(n, row) for n, row in enumerate(csv.reader(io.StringIO(text)), start=1) if row]
    except csv.Error:
        _refuse("not_csv", Phrase("The file is no CSV: a line of it cannot be read."))
    if not lines:
        _refuse("empty", Phrase("The file is empty."))
    head = [cell.strip() for cell in lines[0][1]]
    if tuple(cell.lower() for cell in head) == HEAD:
        return Sheet(Origin.CSV, tuple(_ours(lines[1:], asked)))
    if head[0].lower() == "date" and len(head) > 1:
        return Sheet(Origin.ECB, tuple(_crossed(_ecb_days(head, lines[1:], asked), asked)))
    raise Invalid.field(
        "file",
        "unknown_format",
        Phrase(
            "The first line is neither currency,date,rate nor that of the ECB's file; nor is it "
            "the Bank of Russia's XML."
        ),
    )


def _ours(lines: Iterable[tuple[int, list[str]]], asked: _Asked) -> Iterator[Quote]:
    """Line by line; what is wrong with any of them is told together."""
    errors: list[FieldError] = []
    for number, row in lines:
        where = Phrase("line %(number)s", number=number)
        cells = [cell.strip() for cell in row]
        if len(cells) != len(HEAD):
            message = Phrase("Three columns are needed: currency, date, rate.")
            errors.append(at(where, "file", "not_three", message))
            continue
        day = _iso_day(cells[1])
        if day is None:
            message = Phrase("Write the date as 2026-11-26.")
            errors.append(at(where, "valid_from", "not_a_date", message))
            continue
        if (asked.wanted and cells[0] not in asked.wanted) or asked.leaves_out(day):
            continue
        try:
            rate = ExchangeRate.parse(cells[2], source=cells[0], target=asked.target)
        except MoneyError as error:
            errors.append(at(where, "rate", error.code, RATE_WRONG[error.code]))
            continue
        yield Quote(day, rate, where)
    if errors:
        raise Invalid(errors=errors[:ERRORS_SHOWN_MAX])


RATE_WRONG: Final = {
    "unknown_currency": Phrase("This is not an ISO 4217 currency."),
    "not_a_decimal": Phrase("Write the rate with a point and up to ten digits: 98.1234."),
    "not_a_rate": Phrase("An exchange rate is above zero."),
}
"""Why a rate that somebody wrote cannot be one, by the code of the MoneyError."""


def _ecb_days(
    head: Sequence[str], lines: Iterable[tuple[int, list[str]]], asked: _Asked
) -> Iterator[_Day]:
    needed = {asked.target, *asked.wanted, *asked.usual}
    for number, row in lines:
        where = Phrase("line %(number)s", number=number)
        cells = [cell.strip() for cell in row]
        worth = {"EUR": Fraction(1)}
        for code, cell in zip(head[1:], cells[1:], strict=False):
            if code in needed and cell not in _ECB_NONE:
                worth[code] = 1 / _fraction(cell, where)
        yield _Day(_day(cells[0], _ECB_DAYS, where), where, worth)


def _cbr_day(raw: bytes) -> _Day:
    try:
        root = plain_xml.parse(raw)
    except plain_xml.NotPlainXml:
        _refuse("not_xml", Phrase("The file is no XML as the Bank of Russia writes it."))
    if root.tag != "ValCurs":
        _refuse("not_xml", Phrase("The file is no XML as the Bank of Russia writes it."))
    where = Phrase("the file")
    worth = {"RUB": Fraction(1)}
    for valute in root.iter("Valute"):
        code = (valute.findtext("CharCode") or "").strip()
        value = _fraction((valute.findtext("Value") or "").strip(), code or where)
        nominal = _fraction((valute.findtext("Nominal") or "").strip(), code or where)
        worth[code] = value / nominal
    return _Day(_day(root.get("Date", ""), ("%d.%m.%Y",), where), where, worth)


def _crossed(days: Iterable[_Day], asked: _Asked) -> Iterator[Quote]:
    """Rates between any two currencies of a bank's file, through the bank's own."""
    target, sources = asked.target, asked.wanted or asked.usual
    if not sources:
        message = Phrase("Name the currencies: a bank's file has many, and orders come in few.")
        raise Invalid.field("currencies", "required", message)
    known = False
    for each in days:
        if target not in each.worth:
            continue
        known = True
        for source in () if asked.leaves_out(each.day) else sources:
            if source in each.worth and source != target:
                exact = each.worth[source] / each.worth[target]
                scaled = divide_half_even(exact.numerator * RATE_SCALE, exact.denominator)
                if scaled <= 0:
                    message = Phrase("%(currency)s is less than ten digits show.", currency=source)
                    raise Invalid(errors=[at(each.where, "rate", "too_small", message)])
                yield Quote(each.day, ExchangeRate(source, target, scaled), each.where)
    if not known:
        message = Phrase("The file says nothing of %(currency)s.", currency=target)
        _refuse("without_target", message)


def _check_found(sheet: Sheet, asked: _Asked) -> None:
    found = {quote.rate.source for quote in sheet.quotes}
    missing = [code for code in asked.wanted if code not in found]
    if missing:
        message = Phrase("The file has no rate of %(currency)s.", currency=missing[0])
        _refuse("missing", message)
    if not found:
        _refuse("empty", Phrase("The file has no rates that are wanted."))
    if len(sheet.quotes) > QUOTES_MAX:
        message = Phrase("A file may bring 10,000 rates; name fewer currencies or later days.")
        _refuse("too_many", message)


def _iso_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("2026-11-26") else None
    except ValueError:
        return None


def _fraction(text: str, where: str) -> Fraction:
    """A bank's decimal, with a point or a comma, above zero."""
    if _DECIMAL.fullmatch(text):
        found = Fraction(text.replace(",", "."))
        if found > 0:
            return found
    message = Phrase("“%(text)s” is not a rate.", text=text[:20])
    raise Invalid(errors=[at(where, "rate", "not_a_decimal", message)])


def _day(text: str, forms: Sequence[str], where: str) -> date:
    for form in forms:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007 -- a day alone
        except ValueError:
            continue
    message = Phrase("“%(text)s” is not a date.", text=text[:20])
    raise Invalid(errors=[at(where, "valid_from", "not_a_date", message)])


def _is_currency(code: str) -> bool:
    try:
        exponent(code)
    except MoneyError:
        return False
    return True


def _refuse(code: str, message: str) -> NoReturn:
    raise Invalid.field("file", code, message)
