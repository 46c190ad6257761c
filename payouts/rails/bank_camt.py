"""ISO 20022 messages of banks: camt.053 and camt.054 (booked), pain.002 (rejected) (pure).

Versions differ in their namespace alone as far as we read them (camt.05x.001.02 to .08,
pain.002.001.03 to .10), so that names are compared without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from affiliate.core import plain_xml
from affiliate.core.errors import Phrase
from affiliate.core.money import Money
from payouts.rails.bank import END_TO_END
from payouts.rails.bank_news import News, Said, Statement, amount_of, cut, day_of, refused

ACCOUNTS: Final = {
    "BkToCstmrStmt": ("Stmt", "camt.053"),
    "BkToCstmrDbtCdtNtfctn": ("Ntfctn", "camt.054"),
}
STATUS_REPORT: Final = "CstmrPmtStsRpt"
REJECTED: Final = "RJCT"
BOOKED: Final = "BOOK"


def read_xml(raw: bytes, *, own_numbers: Sequence[str], currency: str) -> Statement:
    """The statement, or the report on a file of ours. Raises Invalid for the field `file`."""
    try:
        root = plain_xml.parse(raw)
    except plain_xml.NotPlainXml:
        message = Phrase("The file is no XML as banks write it, or it has a document type.")
        raise refused("not_xml", message) from None
    body = next(iter(root), None)
    name = "" if body is None else _local(body)
    if body is not None and name in ACCOUNTS:
        inside, kind = ACCOUNTS[name]
        return Statement(kind, tuple(_booked(_all(body, inside), own_numbers, currency)))
    if body is not None and name == STATUS_REPORT:
        group = _one(body, "OrgnlGrpInfAndSts")
        answers_to = _text(group, "OrgnlMsgId")
        if not answers_to:
            raise refused("no_message_id", Phrase("The report does not say which file it answers."))
        return Statement("pain.002", tuple(_reported(body, answers_to, currency)), answers_to)
    message = Phrase("The file is XML, but neither camt.053 nor camt.054 nor pain.002.")
    raise refused("unknown_format", message)


def _booked(statements: list[Element], own_numbers: Sequence[str], currency: str) -> Iterator[News]:
    if not statements:
        raise refused("empty", Phrase("The file has no statement in it."))
    for statement in statements:
        account = _text(statement, "Acct", "Id", "IBAN") or _text(
            statement, "Acct", "Id", "Othr", "Id"
        )
        if account.replace(" ", "") not in own_numbers:
            message = Phrase(
                "The statement is of the account %(theirs)s, and this program pays from %(ours)s.",
                theirs=account[:40] or "?",
                ours=own_numbers[0],
            )
            raise refused("another_account", message)
    number = 0
    for statement in statements:
        for entry in _all(statement, "Ntry"):
            number += 1
            yield from _entry(entry, number, currency)


def _entry(entry: Element, number: int, currency: str) -> Iterator[News]:
    """The payments of an entry: one, or those that the bank booked together."""
    details = [one for group in _all(entry, "NtryDtls") for one in _all(group, "TxDtls")]
    status = _text(entry, "Sts", "Cd") or _text(entry, "Sts")
    booked_on = day_of(_text(entry, "BookgDt", "Dt") or _text(entry, "BookgDt", "DtTm"))
    where = Phrase("entry %(number)s", number=number)
    if not details:
        whole = _amount(_one(entry, "Amt"), currency)
        yield News(where, Said.SILENT, "", amount=whole, on=booked_on)
        return
    alone = len(details) == 1
    for one in details:
        known_as = _text(one, "Refs", "EndToEndId")
        ours = bool(END_TO_END.fullmatch(known_as))
        amount = _amount_of(one, currency)
        if amount is None and alone:
            amount = _amount(_one(entry, "Amt"), currency)
        said = _said(entry, one) if ours and status == BOOKED and amount is not None else None
        yield News(
            where=where,
            said=said or Said.SILENT,
            end_to_end_id=known_as if ours else "",
            reference=cut(
                _text(one, "Refs", "AcctSvcrRef")
                or _text(entry, "AcctSvcrRef")
                or _text(entry, "NtryRef")
                or f"{booked_on}"
            ),
            amount=amount,
            on=booked_on,
            reason=_why(_one(one, "RtrInf")),
        )


def _said(entry: Element, one: Element) -> Said | None:
    """Money that left, or the same money come back; by its own direction, else the entry's."""
    direction = _text(one, "CdtDbtInd") or _text(entry, "CdtDbtInd")
    back = _one(one, "RtrInf") is not None or _text(entry, "RvslInd") in ("true", "1")
    if direction == "DBIT" and not back:
        return Said.EXECUTED
    return Said.RETURNED if direction == "CRDT" else None


def _reported(body: Element, answers_to: str, currency: str) -> Iterator[News]:
    """Of a report only rejections change anything: whatever is accepted is booked one day."""
    group = _one(body, "OrgnlGrpInfAndSts")
    infos = _all(body, "OrgnlPmtInfAndSts")
    single = [one for info in infos for one in _all(info, "TxInfAndSts")]
    states = [(group, _text(group, "GrpSts"))]
    states += [(info, _text(info, "PmtInfSts")) for info in infos]
    if not single:
        for one in [one for one, status in states if status == REJECTED][:1]:
            yield News(
                Phrase("the whole file"),
                Said.REJECTED,
                "",
                reason=_why(_one(one, "StsRsnInf")),
                message_id=answers_to,
            )
    for number, one in enumerate(single, start=1):
        known_as = _text(one, "OrgnlEndToEndId")
        ours = bool(END_TO_END.fullmatch(known_as))
        rejected = _text(one, "TxSts") == REJECTED
        yield News(
            where=Phrase("payment %(number)s", number=number),
            said=Said.REJECTED if rejected and ours else Said.SILENT,
            end_to_end_id=known_as if ours else "",
            amount=_amount(_one(one, "OrgnlTxRef", "Amt", "InstdAmt"), currency),
            reason=_why(_one(one, "StsRsnInf")),
        )


def _why(found: Element | None) -> str:
    """`AC04 Account closed`: the code and what the bank adds."""
    code = _text(found, "Rsn", "Cd") or _text(found, "Rsn", "Prtry")
    return cut(f"{code} {_text(found, 'AddtlInf')}")


def _amount_of(one: Element, currency: str) -> Money | None:
    for path in (("Amt",), ("AmtDtls", "TxAmt", "Amt"), ("AmtDtls", "InstdAmt", "Amt")):
        found = _one(one, *path)
        if found is not None:
            return _amount(found, currency)
    return None


def _amount(found: Element | None, currency: str) -> Money | None:
    """None for what is missing, no number or of another currency."""
    if found is None or found.get("Ccy", currency) != currency:
        return None
    return amount_of(found.text or "", currency)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: Element | None, name: str) -> list[Element]:
    return [] if element is None else [child for child in element if _local(child) == name]


def _one(element: Element | None, *path: str) -> Element | None:
    for name in path:
        element = next(iter(_all(element, name)), None)
    return element


def _text(element: Element | None, *path: str) -> str:
    found = _one(element, *path)
    return "" if found is None else (found.text or "").strip()
