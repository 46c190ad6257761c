"""The files as the bank gets them: valid by their schemas, with the right sums and counts."""

from __future__ import annotations

import importlib.resources
import time
from datetime import date
from xml.etree import ElementTree

import pytest
import xmlschema
from bank_accounts import OWN_RUSSIA, OWN_SEPA, PAYEE_RUSSIA, PAYEE_SEPA

from affiliate.core.money import Money
from payouts.rails.bank import END_TO_END, FileOrder, Payment, end_to_end_id
from payouts.rails.bank_russia import PURPOSE_CHARS_MAX, RussianRail, purpose
from payouts.rails.bank_sepa import FORMATS, SepaRail

INSTALLATION = "0123456789abcdef01"
DAY = date(2026, 11, 23)
SEPA, RUSSIA = SepaRail(), RussianRail()
WRITE_S_MAX = 30


def sepa_order(count: int, schema: str) -> FileOrder:
    """`count` payments of 0.01, 0.02, 0.03 … euros."""
    destination = SEPA.account(PAYEE_SEPA)
    return FileOrder(
        own=SEPA.own_account(OWN_SEPA | {"format": schema}),
        program="Lamp & Leaf <partners>",
        number=7,
        made_on=DAY,
        payments=tuple(
            Payment(
                end_to_end_id(INSTALLATION, item_id=number, attempt=1),
                destination,
                Money(number * 10_000, "EUR"),
                number,
            )
            for number in range(1, count + 1)
        ),
    )


@pytest.mark.parametrize("schema", FORMATS)
@pytest.mark.parametrize("count", [1, 2, 1_000])
def test_a_sepa_file_is_valid_and_its_control_totals_are_right(schema: str, count: int) -> None:
    begun = time.monotonic()
    written = SEPA.write(sepa_order(count, schema))
    assert time.monotonic() - begun < WRITE_S_MAX
    folder = importlib.resources.files("sepaxml") / "schemas"
    with importlib.resources.as_file(folder / f"{schema}.xsd") as path:
        xmlschema.XMLSchema(path).validate(written.raw.decode())
    root = ElementTree.fromstring(written.raw)
    told = {
        name: [
            element.text
            for element in root.iter(f"{{urn:iso:std:iso:20022:tech:xsd:{schema}}}{name}")
        ]
        for name in ("NbOfTxs", "CtrlSum", "InstdAmt", "EndToEndId", "MsgId", "BtchBookg", "Nm")
    }
    # 1 + 2 + … + n cents: n (n + 1) / 2. 1,000 of them are 500,500 cents.
    cents = count * (count + 1) // 2
    assert told["NbOfTxs"] == [str(count)] * 2
    assert told["CtrlSum"] == [f"{cents // 100}.{cents % 100:02d}"] * 2
    assert len(set(told["EndToEndId"])) == count
    assert told["InstdAmt"][:2] == ["0.01", "0.02"][:count]
    assert told["MsgId"] == [written.message_id]
    assert told["BtchBookg"] == ["false"], "booked one by one, so that statements name each"
    assert set(told["Nm"]) == {"Lamp Leaf GmbH", "Anna Ivanova"}
    assert (written.format, written.ending) == (schema, "xml")


def test_a_bic_goes_along_where_it_is_known() -> None:
    order = sepa_order(1, FORMATS[0])
    payee = SEPA.account(PAYEE_SEPA | {"bic": "ABNANL2A"})
    (payment,) = order.payments
    told = Payment(payment.end_to_end_id, payee, payment.amount, 1)
    raw = SEPA.write(FileOrder(order.own, order.program, order.number, order.made_on, (told,))).raw
    assert b"<BICFI>ABNANL2A</BICFI>" in raw


def russian_order(count: int = 2, *, program: str = "Лампа и лист") -> FileOrder:
    destination = RUSSIA.account(PAYEE_RUSSIA)
    return FileOrder(
        own=RUSSIA.own_account(OWN_RUSSIA),
        program=program,
        number=3,
        made_on=DAY,
        payments=tuple(
            Payment(
                end_to_end_id(INSTALLATION, item_id=number, attempt=1),
                destination,
                Money(100_000_000 * number, "RUB"),
                999_998 + number,
            )
            for number in range(1, count + 1)
        ),
    )


def sections(raw: bytes) -> list[dict[str, str]]:
    """The documents of a file, field by field."""
    text = raw.decode("cp1251")
    return [
        dict(line.partition("=")[::2] for line in part.split("\r\n") if "=" in line)
        for part in text.split("СекцияДокумент=")[1:]
    ]


def test_a_1c_file_has_what_a_payment_order_needs() -> None:
    written = RUSSIA.write(russian_order())
    lines = written.raw.decode("cp1251").split("\r\n")
    assert lines[:3] == ["1CClientBankExchange", "ВерсияФормата=1.03", "Кодировка=Windows"]
    assert lines[-2:] == ["КонецФайла", ""]
    assert b"\n" not in written.raw.replace(b"\r\n", b"")
    first, second = sections(written.raw)
    assert first["Сумма"] == "100.00"
    assert first["Дата"] == "23.11.2026"
    assert first["Плательщик1"] == "ООО «Лампа и лист»"
    assert (first["ПлательщикИНН"], first["ПлательщикКПП"]) == ("7707083893", "773601001")
    assert first["ПлательщикСчет"] == "40702810238000000002"
    assert (first["ПлательщикБИК"], first["ПлательщикКорсчет"]) == (
        "044525225",
        "30101810400000000225",
    )
    assert first["Получатель1"] == "Иванова Анна Сергеевна", "1C keeps Cyrillic"
    assert first["Получатель"] == "ИНН 500100732259 Иванова Анна Сергеевна"
    assert (first["ПолучательИНН"], first["ПолучательКПП"]) == ("500100732259", "")
    assert first["ПолучательСчет"] == "40817810438000000001"
    assert (first["ВидОплаты"], first["Очередность"]) == ("01", "5")
    assert first["НазначениеПлатежа"] == (
        "Вознаграждение по партнерской программе Лампа и лист. "
        "Выплата 0123456789abcdef01-1-1. НДС не облагается."
    )
    # Numbers of documents have six digits: after 999999 they begin anew.
    assert (first["Номер"], second["Номер"]) == ("999999", "1")


@pytest.mark.parametrize("count", [1, 2, 1_000])
def test_a_1c_file_has_every_payment(count: int) -> None:
    documents = sections(RUSSIA.write(russian_order(count)).raw)
    assert len(documents) == count
    # 100 + 200 + … rubles: 100 × n (n + 1) / 2.
    total = sum(int(document["Сумма"].removesuffix(".00")) for document in documents)
    assert total == 100 * count * (count + 1) // 2


@pytest.mark.parametrize("name", ["П" * 300, "Лампа\r\nСумма=1", "🙂", "x" * 120 + " y"], ids=len)
def test_no_name_of_a_program_breaks_the_purpose(name: str) -> None:
    order = russian_order(program=name)
    known_as = order.payments[0].end_to_end_id
    text = purpose(known_as, order)
    assert len(text) <= PURPOSE_CHARS_MAX
    assert known_as in text
    assert text.endswith("НДС не облагается.")
    assert "\n" not in text
    assert len(sections(RUSSIA.write(order).raw)) == 2


def test_end_to_end_ids_fit_and_are_found_in_longer_texts() -> None:
    made = end_to_end_id(INSTALLATION, item_id=99_999_999_999, attempt=999)
    assert len(made) == 34
    found = END_TO_END.search(f"Возврат п/п 17. Выплата {made}. НДС")
    assert found is not None and found.group() == made
    with pytest.raises(RuntimeError):
        end_to_end_id(INSTALLATION, item_id=100_000_000_000, attempt=1)
