"""What banks send, read into values; and all that they should not send."""

from __future__ import annotations

import random
from datetime import date

import pytest
from bank_accounts import camt, camt_entry, csv_of

from affiliate.core.errors import Invalid
from affiliate.core.money import Money
from payouts.rails.bank_news import News, Said
from payouts.rails.bank_statements import FILE_BYTES_MAX, NEWS_MAX, read_statement

OWN = "DE89370400440532013000"
OWN_RU = "40702810238000000002"
KNOWN = "0123456789abcdef01-17-1"


def read(raw: str | bytes, own: str = OWN, currency: str = "EUR") -> tuple[News, ...]:
    told = raw.encode() if isinstance(raw, str) else raw
    return read_statement(told, own_numbers=[own], currency=currency).news


@pytest.mark.parametrize("kind", ["053", "054"])
def test_a_booked_debit_is_executed(kind: str) -> None:
    (news,) = read(camt(camt_entry(KNOWN, "4.00", reference="AB 17"), kind=kind))
    assert (news.said, news.end_to_end_id) == (Said.EXECUTED, KNOWN)
    assert (news.amount, news.on) == (Money(4_000_000, "EUR"), date(2026, 11, 23))
    assert news.reference == "AB 17"


def test_a_credit_with_our_id_came_back_with_the_reason() -> None:
    (news,) = read(camt(camt_entry(KNOWN, "4.00", direction="CRDT", reason="AC04")))
    assert (news.said, news.reason) == (Said.RETURNED, "AC04")


def test_newer_versions_write_the_status_and_the_amount_elsewhere() -> None:
    entry = f"""<Ntry><Amt Ccy="EUR">9.00</Amt><CdtDbtInd>DBIT</CdtDbtInd>
      <Sts><Cd>BOOK</Cd></Sts><BookgDt><DtTm>2026-11-23T10:00:00+01:00</DtTm></BookgDt>
      <NtryDtls><TxDtls><Refs><AcctSvcrRef>ONE</AcctSvcrRef><EndToEndId>{KNOWN}</EndToEndId></Refs>
      <Amt Ccy="EUR">4.00</Amt></TxDtls>
      <TxDtls><Refs><EndToEndId>{KNOWN.replace("-17-", "-18-")}</EndToEndId></Refs>
      <AmtDtls><TxAmt><Amt Ccy="EUR">5.00</Amt></TxAmt></AmtDtls></TxDtls></NtryDtls></Ntry>"""
    one, two = read(camt(entry))
    assert (one.said, one.amount, one.reference) == (Said.EXECUTED, Money(4_000_000, "EUR"), "ONE")
    assert (two.said, two.amount) == (Said.EXECUTED, Money(5_000_000, "EUR"))
    assert one.on == date(2026, 11, 23)


@pytest.mark.parametrize(
    "entry",
    [
        camt_entry(KNOWN, "4.00", status="PDNG"),
        camt_entry("NOTPROVIDED", "4.00"),
        camt_entry(KNOWN, "4.00", currency="CHF"),
        camt_entry(KNOWN, "four"),
        camt_entry(KNOWN, "-4.00"),
        camt_entry(KNOWN, "1e400"),
        camt_entry(KNOWN, "٤.00"),
        '<Ntry><Amt Ccy="EUR">4.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>BOOK</Sts></Ntry>',
        "<Ntry/>",
    ],
    ids=["pending", "not-ours", "currency", "words", "negative", "endless", "digits", "sum",
         "bare"],
)  # fmt: skip
def test_what_says_nothing_of_a_payment_of_ours_is_silent(entry: str) -> None:
    assert [news.said for news in read(camt(entry))] == [Said.SILENT]


STATEMENT_1C = """1CClientBankExchange
ВерсияФормата=1.03
Кодировка={encoding}
РасчСчет={account}
СекцияРасчСчет
КонецРасчСчет
СекцияДокумент=Платежное поручение
Номер=17
Дата=23.11.2026
Сумма=4.00
ПлательщикСчет={payer}
ПолучательСчет={payee}
{date}
НазначениеПлатежа=Вознаграждение. Выплата {known}. НДС не облагается.
КонецДокумента
КонецФайла
"""


def statement_1c(**changes: str) -> str:
    values = {
        "encoding": "Windows",
        "account": OWN_RU,
        "payer": OWN_RU,
        "payee": "40817810438000000001",
        "date": "ДатаСписано=24.11.2026",
        "known": KNOWN,
    }
    return STATEMENT_1C.format(**values | changes).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("encoding", "codec"), [("Windows", "cp1251"), ("DOS", "cp866"), ("Windows", "utf-8")]
)
def test_a_1c_statement_in_the_encodings_that_banks_write(encoding: str, codec: str) -> None:
    raw = statement_1c(encoding=encoding).encode(codec)
    (news,) = read(raw, OWN_RU, "RUB")
    assert (news.said, news.end_to_end_id) == (Said.EXECUTED, KNOWN)
    assert (news.amount, news.on) == (Money(4_000_000, "RUB"), date(2026, 11, 24))
    assert news.reference == "17 2026-11-24"


def test_a_1c_document_that_came_in_with_our_id_is_a_return() -> None:
    raw = statement_1c(
        payer="40817810438000000001", payee=OWN_RU, date="ДатаПоступило=25.11.2026"
    ).encode("cp1251")
    (news,) = read(raw, OWN_RU, "RUB")
    assert (news.said, news.on) == (Said.RETURNED, date(2026, 11, 25))


@pytest.mark.parametrize(
    "changes",
    [{"date": "ДатаСписано="}, {"payer": "40702810900000000099"}, {"known": "17"}],
    ids=["not-executed", "another-payer", "not-ours"],
)
def test_a_1c_document_that_says_nothing_is_silent(changes: dict[str, str]) -> None:
    (news,) = read(statement_1c(**changes).encode("cp1251"), OWN_RU, "RUB")
    assert news.said is Said.SILENT


def test_our_csv_reads_line_by_line() -> None:
    raw = csv_of(
        (KNOWN, "executed", "A", "2026-11-23", ""),
        (KNOWN, "rejected", "", "2026-11-23", "no such account"),
        (KNOWN, "returned", "B", "2026-11-25", "closed"),
    )
    expected = [Said.EXECUTED, Said.REJECTED, Said.RETURNED]
    assert [news.said for news in read(raw)] == expected
    assert [news.said for news in read(raw.replace(",", ";"))] == expected
    assert [news.said for news in read("\ufeff" + raw)] == expected


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("17", "executed", "A", "2026-11-23", ""), "no end-to-end id"),
        ((KNOWN, "done", "A", "2026-11-23", ""), "executed, rejected or returned"),
        ((KNOWN, "executed", "", "2026-11-23", ""), "reference is missing"),
        ((KNOWN, "executed", "A", "23.11.2026", ""), "2026-11-26"),
        ((KNOWN, "executed", "A", "2026-11-23x", ""), "2026-11-26"),
        ((KNOWN, "executed", "A", "2026-11-23", "a,b"), "Five columns"),
    ],
    ids=["id", "status", "reference", "date", "long-date", "columns"],
)
def test_a_line_that_is_wrong_is_named(row: tuple[str, str, str, str, str], says: str) -> None:
    good = (KNOWN, "executed", "A", "2026-11-23", "")
    with pytest.raises(Invalid) as refusal:
        read(csv_of(good, row))
    (error,) = refusal.value.errors
    assert error.message.startswith("Line 3: ")
    assert says in error.message


BOMB = """<?xml version="1.0"?><!DOCTYPE Document [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<Document><x>&c;</x></Document>"""
OUTSIDE = '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>'

GARBAGE = {
    "empty": (b"", "empty"),
    "spaces": (b" \r\n ", "empty"),
    "zeros": (b"\0" * 100, "not_text"),
    "binary": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not_text"),
    "words": (b"hello", "unknown_format"),
    "another csv": (b"a,b,c\n1,2,3\n", "unknown_format"),
    "cut-off xml": (b"<Document><BkToCstmrStmt>", "not_xml"),
    "bomb": (BOMB.encode(), "not_xml"),
    "bomb in UTF-16": (BOMB.replace('version="1.0"', 'version="1.0" encoding="UTF-16"')
                       .encode("utf-16"), "not_text"),
    "outside": (OUTSIDE.encode(), "not_xml"),
    "deep": (b"<a>" * 100_000 + b"</a>" * 100_000, "not_xml"),
    "html": (b"<html><body>Sign in</body></html>", "unknown_format"),
    "bare": (b"<Document/>", "unknown_format"),
    "camt.052": (b"<Document><BkToCstmrAcctRpt/></Document>", "unknown_format"),
    "no statement": (b"<Document><BkToCstmrStmt/></Document>", "empty"),
    "no message": (b"<Document><CstmrPmtStsRpt/></Document>", "no_message_id"),
    "huge": (b"x" * (FILE_BYTES_MAX + 1), "too_large"),
    "1C cut off": (statement_1c().encode("cp1251")[:-20], "cut_off"),
    "1C in a document": (statement_1c().replace("КонецДокумента", "").encode("cp1251"), "cut_off"),
    "1C in KOI8": (statement_1c().encode("koi8-r"), "wrong_encoding"),
    "1C in UTF-16": (b"1CClientBankExchange" + statement_1c().encode("utf-16"), "wrong_encoding"),
    "1C of another account": (statement_1c(account="40702810900000000099").encode("cp1251"),
                              "another_account"),
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_statement_is_refused_with_the_reason(name: str) -> None:
    raw, code = GARBAGE[name]
    with pytest.raises(Invalid) as refusal:
        read(raw, OWN_RU, "RUB")
    (error,) = refusal.value.errors
    assert (error.field, error.code) == ("file", code)


def test_a_statement_of_another_account_says_which() -> None:
    with pytest.raises(Invalid, match="NL91ABNA0417164300"):
        read(camt(camt_entry(KNOWN, "4.00"), iban="NL91ABNA0417164300"))


def test_a_file_without_end_is_refused() -> None:
    rows = [(KNOWN, "executed", "A", "2026-11-23", "")] * (NEWS_MAX + 1)
    with pytest.raises(Invalid) as refusal:
        read(csv_of(*rows))
    assert refusal.value.errors[0].code == "too_many"


def test_no_damage_to_a_file_raises_anything_but_a_refusal() -> None:
    chance = random.Random(5)
    whole = [
        camt(camt_entry(KNOWN, "4.00"), iban=OWN_RU).encode(),
        statement_1c().encode("cp1251"),
        csv_of((KNOWN, "executed", "A", "2026-11-23", "")).encode(),
    ]
    refusals = 0
    for _ in range(1_500):
        raw = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(raw))
            if chance.random() < 0.5:
                raw[place] = chance.randrange(256)
            else:
                del raw[place : place + chance.randrange(1, 30)]
        try:
            read(bytes(raw), OWN_RU, "RUB")
        except Invalid:
            refusals += 1
    assert refusals > 100
