"""A bank's statement in the text that 1C takes from client-banks (pure).

Sections of `name=value` lines, as the files that we write (payouts/rails/bank_russia.py). A
document has no field for an id of ours, so that it is looked for in the purpose of the payment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Final

from affiliate.core.errors import Phrase
from payouts.rails.bank import END_TO_END
from payouts.rails.bank_news import News, Said, Statement, amount_of, cut, refused

SIGNATURE: Final = b"1CClientBankExchange"
FORMAT: Final = "1CClientBankExchange"
_DOS: Final = "DOS".encode("ascii")


def read_1c(raw: bytes, *, own_numbers: Sequence[str], currency: str) -> Statement:
    """The documents of a statement. Raises Invalid for the field `file`."""
    lines = [line.strip() for line in _text(raw).splitlines()]
    if not any(line.startswith("КонецФайла") for line in lines):
        raise refused("cut_off", Phrase("The file has no end: it was cut off on its way."))
    accounts = {
        value.strip()
        for name, _, value in (line.partition("=") for line in lines)
        if name == "РасчСчет"
    }
    if accounts.isdisjoint(own_numbers):
        message = Phrase(
            "The statement is of the account %(theirs)s, and this program pays from %(ours)s.",
            theirs=", ".join(sorted(accounts))[:80] or "?",
            ours=own_numbers[0],
        )
        raise refused("another_account", message)
    news = (
        _news(number, document, own_numbers, currency)
        for number, document in enumerate(_documents(lines), start=1)
    )
    return Statement(FORMAT, tuple(news))


def _text(raw: bytes) -> str:
    """Windows-1251 as the standard says, DOS where the file says so, UTF-8 where it is that."""
    for encoding in ("utf-8", "cp866" if _DOS in raw[:400] else "cp1251"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "РасчСчет=" in text and "\0" not in text:
            return text
    raise refused("wrong_encoding", Phrase("The file is not in Windows-1251, as 1C's files are."))


def _documents(lines: list[str]) -> Iterator[dict[str, str]]:
    document: dict[str, str] | None = None
    for line in lines:
        name, _, value = line.partition("=")
        if name == "СекцияДокумент":
            document = {}
        elif line == "КонецДокумента":
            if document is not None:
                yield document
            document = None
        elif document is not None:
            document[name] = value.strip()
    if document is not None:
        raise refused("cut_off", Phrase("The file has no end: it was cut off on its way."))


def _news(number: int, document: dict[str, str], own_numbers: Sequence[str], currency: str) -> News:
    purpose = document.get("НазначениеПлатежа") or "".join(
        document.get(f"НазначениеПлатежа{part}", "") for part in range(1, 7)
    )
    found = END_TO_END.search(purpose)
    amount = amount_of(document.get("Сумма", ""), currency)
    left, came = _day(document.get("ДатаСписано", "")), _day(document.get("ДатаПоступило", ""))
    said = Said.SILENT
    if found is not None and amount is not None:
        if left is not None and _is_of(own_numbers, document, "Плательщик"):
            said = Said.EXECUTED
        elif came is not None and _is_of(own_numbers, document, "Получатель"):
            said = Said.RETURNED
    on = left if said is not Said.RETURNED else came
    return News(
        where=Phrase("document %(number)s", number=number),
        said=said,
        end_to_end_id=found.group() if found else "",
        reference=cut(f"{document.get('Номер', '')} {on or ''}"),
        amount=amount,
        on=on,
        reason=cut(purpose) if said is Said.RETURNED else "",
    )


def _is_of(own_numbers: Sequence[str], document: dict[str, str], role: str) -> bool:
    return any(document.get(f"{role}{end}") in own_numbers for end in ("Счет", "РасчСчет"))


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%d.%m.%Y").date()  # noqa: DTZ007 -- a day alone
    except ValueError:
        return None
