"""Exchange rates of a program: entered once, corrected by a further row, out of files too."""

from __future__ import annotations

import re
import threading
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.exchange import RATE_SCALE, ExchangeRate, convert
from affiliate.core.money import Money
from affiliate.programs.models import Program
from affiliate.rates.cli import rates_group
from affiliate.rates.enter import Entered, RateKnown, enter_rate, import_rates
from affiliate.rates.files import FILE_BYTES_MAX, QUOTES_MAX, read_rates
from affiliate.rates.lookup import listed, rate_at, takes_currency
from affiliate.rates.models import DatedRate
from affiliate.rates.rules import Origin
from payouts.commissions.rules import reversal
from tests.builders import make_program

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TODAY = NOW.date()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"

ECB_DAILY = "Date, USD, JPY, GBP, \n26 November 2026, 1.0543, 162.50, 0.8367, \n"
ECB_HISTORY = (
    "Date,USD,JPY,GBP,CYP,\n2026-11-26,1.0543,162.50,0.8367,N/A,\n"
    "2026-11-25,1.0500,161.00,0.8300,N/A,\n"
)
CBR = (
    '<?xml version="1.0" encoding="windows-1251"?>'
    '<ValCurs Date="26.11.2026" name="Foreign Currency Market">'
    '<Valute ID="R01235"><NumCode>840</NumCode><CharCode>USD</CharCode><Nominal>1</Nominal>'
    "<Name>Доллар США</Name><Value>98,1234</Value><VunitRate>98,1234</VunitRate></Valute>"
    '<Valute ID="R01335"><NumCode>398</NumCode><CharCode>KZT</CharCode><Nominal>100</Nominal>'
    "<Name>Тенге</Name><Value>19,8765</Value><VunitRate>0,198765</VunitRate></Valute>"
    "</ValCurs>"
).encode("windows-1251")


@pytest.fixture
def program(session: Session) -> Program:
    made = make_program(session, now=NOW - timedelta(days=90))
    session.commit()
    return made


def enter(
    session: Session, program: Program, rate: str, day: date = TODAY, currency: str = "EUR"
) -> Entered:
    done = enter_rate(
        session, program_id=program.id, currency=currency, valid_from=day, rate=rate, by=None,
        now=NOW,
    )  # fmt: skip
    session.commit()
    return done


def found_at(session: Session, program: Program, placed_at: datetime) -> str | None:
    found = rate_at(
        session, program_id=program.id, source="EUR", target="RUB", placed_at=placed_at,
        zone=program.time_zone,
    )  # fmt: skip
    return None if found is None else found.rate.decimal


def codes(refused: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in refused.value.errors]


class TestEntering:
    def test_a_rate_is_kept_with_who_entered_it_and_audited(
        self, session: Session, program: Program
    ) -> None:
        assert enter(session, program, "98.1234567891") == Entered(1, 0, 0)
        row = session.scalars(sa.select(DatedRate)).one()
        assert (row.source, row.target, row.valid_from, row.revision, row.origin) == (
            "EUR", "RUB", TODAY, 1, "typed",
        )  # fmt: skip
        assert row.rate_scaled == 981_234_567_891
        line = session.scalars(
            sa.select(AuditEntry).where(AuditEntry.action == "rates.enter")
        ).one()
        assert (line.scope, line.old, line.new) == (
            program.id, None,
            {"EUR 2026-11-26": "98.1234567891", "rates": 1, "origin": "typed"},
        )  # fmt: skip

    def test_another_rate_of_the_day_corrects_it(self, session: Session, program: Program) -> None:
        enter(session, program, "98")
        assert enter(session, program, "99") == Entered(0, 1, 0)
        assert found_at(session, program, NOW) == "99"
        shown = listed(session, program=program, rows_max=10)
        assert [(one.rate.decimal, one.row.revision, one.replaced) for one in shown] == [
            ("99", 2, False), ("98", 1, True),
        ]  # fmt: skip
        last = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert last is not None
        assert last.old == {"EUR 2026-11-26": "98"}

    def test_the_same_rate_again_is_refused(self, session: Session, program: Program) -> None:
        enter(session, program, "98")
        with pytest.raises(RateKnown):
            enter(session, program, "98.0")

    @pytest.mark.parametrize(
        ("changes", "field", "code"),
        [
            ({"rate": "0"}, "rate", "not_a_rate"),
            ({"rate": "0.0000000000"}, "rate", "not_a_rate"),
            ({"rate": "-1"}, "rate", "not_a_decimal"),
            ({"rate": "1,5"}, "rate", "not_a_decimal"),
            ({"rate": "1e3"}, "rate", "not_a_decimal"),
            ({"rate": "1.12345678901"}, "rate", "not_a_decimal"),
            ({"rate": "١"}, "rate", "not_a_decimal"),
            ({"rate": ""}, "rate", "not_a_decimal"),
            ({"rate": "100000000.0000000001"}, "rate", "too_large"),
            ({"currency": "XXQ"}, "currency", "unknown_currency"),
            ({"currency": "usd"}, "currency", "unknown_currency"),
            ({"currency": "RUB"}, "currency", "same_currency"),
            ({"day": TODAY + timedelta(days=2)}, "valid_from", "in_the_future"),
            ({"day": date(1999, 12, 31)}, "valid_from", "too_early"),
        ],
    )
    def test_what_cannot_be_a_rate_is_refused_with_its_field(
        self, session: Session, program: Program, changes: dict[str, Any], field: str, code: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            enter(session, program, **{"rate": "98", **changes})
        session.rollback()
        assert codes(refused) == [(field, code)]
        assert session.scalar(sa.select(sa.func.count()).select_from(DatedRate)) == 0

    @pytest.mark.parametrize(
        ("changes", "rate"),
        [
            ({"day": TODAY + timedelta(days=1)}, "98"),
            ({"day": date(2000, 1, 1)}, "98"),
            ({}, "100000000"),
            ({}, "0.0000000001"),
        ],
    )
    def test_what_lies_on_a_boundary_is_taken(
        self, session: Session, program: Program, changes: dict[str, Any], rate: str
    ) -> None:
        assert enter(session, program, rate, **changes).new == 1

    def test_today_is_that_of_the_programs_zone(self, session: Session, program: Program) -> None:
        """At noon in London it is the next day on Kiritimati: there the day after is tomorrow."""
        program.time_zone = "Pacific/Kiritimati"
        session.commit()
        assert enter(session, program, "98", TODAY + timedelta(days=2)).new == 1
        with pytest.raises(Invalid):
            enter(session, program, "98", TODAY + timedelta(days=3))

    def test_there_has_to_be_such_a_program(self, session: Session) -> None:
        with pytest.raises(NotFound):
            enter_rate(
                session, program_id=999, currency="EUR", valid_from=TODAY, rate="98", by=None,
                now=NOW,
            )  # fmt: skip

    def test_of_two_who_enter_at_once_one_corrects_the_other(
        self, engine: sa.Engine, session: Session, program: Program
    ) -> None:
        start, done = threading.Barrier(2), []

        def work(rate: str) -> None:
            with sessionmaker(engine)() as mine:
                start.wait()
                done.append(enter(mine, program, rate))

        program_id = program.id
        workers = [threading.Thread(target=work, args=(rate,)) for rate in ("98", "99")]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted((each.new, each.corrected) for each in done) == [(0, 1), (1, 0)]
        revisions = session.scalars(
            sa.select(DatedRate.revision).where(DatedRate.program_id == program_id)
        ).all()
        assert sorted(revisions) == [1, 2]

    def test_a_program_takes_a_currency_from_its_first_rate_on(
        self, session: Session, program: Program
    ) -> None:
        assert not takes_currency(session, program_id=program.id, currency="EUR")
        enter(session, program, "98", date(2000, 1, 1))
        assert takes_currency(session, program_id=program.id, currency="EUR")
        assert not takes_currency(session, program_id=program.id, currency="USD")


class TestFiles:
    def test_our_own_csv(self) -> None:
        raw = b"\xef\xbb\xbfcurrency,date,rate\r\nUSD,2026-11-26,98.1234\r\n\r\n"
        sheet = read_rates(raw + b"EUR,2026-11-25,103\r\n", target="RUB")
        assert sheet.origin is Origin.CSV
        assert [(q.rate.source, q.valid_from, q.rate.decimal) for q in sheet.quotes] == [
            ("USD", date(2026, 11, 26), "98.1234"), ("EUR", date(2026, 11, 25), "103"),
        ]  # fmt: skip

    @pytest.mark.parametrize("text", [ECB_DAILY, ECB_HISTORY])
    def test_the_ecbs_files(self, text: str) -> None:
        sheet = read_rates(text.encode(), target="EUR", currencies=["USD"], since=TODAY)
        # 1 / 1.0543 = 0.94849663283…
        assert [(q.valid_from, q.rate.decimal) for q in sheet.quotes] == [(TODAY, "0.9484966328")]
        assert sheet.origin is Origin.ECB

    def test_the_bank_of_russias_file(self) -> None:
        sheet = read_rates(CBR, target="RUB", currencies=["USD", "KZT"])
        assert [(q.rate.source, q.valid_from, q.rate.decimal) for q in sheet.quotes] == [
            ("USD", TODAY, "98.1234"), ("KZT", TODAY, "0.198765"),
        ]  # fmt: skip
        assert sheet.origin is Origin.CBR

    def test_a_rate_between_two_currencies_that_are_not_the_banks(self) -> None:
        [quote] = read_rates(ECB_DAILY.encode(), target="USD", currencies=["GBP"]).quotes
        assert quote.rate.decimal == "1.2600693199"  # 1.0543 / 0.8367 = 1.26006931994…

    def test_without_names_a_banks_file_gives_what_is_usual_and_there(self) -> None:
        sheet = read_rates(ECB_DAILY.encode(), target="EUR", usual=["USD", "KZT"])
        assert [q.rate.source for q in sheet.quotes] == ["USD"]

    @pytest.mark.parametrize(
        ("raw", "asked", "field", "code", "says"),
        [
            (b"", {}, "file", "empty", "The file is empty."),
            (b"\xff\xfe\x00", {}, "file", "not_text", "The file is not text in UTF-8."),
            (b"a\0b,c\n", {}, "file", "not_text", "The file is not text in UTF-8."),
            (b"what,is,this\n", {}, "file", "unknown_format", None),
            (b"currency,date,rate\n", {}, "file", "empty", None),
            (b"currency,date,rate\nUSD,2026-11-26\n", {}, "file", "not_three", None),
            (b"currency,date,rate\nUSD,26.11.2026,98\n", {}, "file", "not_a_date",
             "line 2: Write the date as 2026-11-26."),
            (b"currency,date,rate\nUSD,2026-02-30,98\n", {}, "file", "not_a_date", None),
            (b"currency,date,rate\nUSD,2026-11-26,0\n", {}, "file", "not_a_rate",
             "line 2: An exchange rate is above zero."),
            (b"currency,date,rate\nUSD,2026-11-26,-1\n", {}, "file", "not_a_decimal", None),
            (b"currency,date,rate\nXXQ,2026-11-26,1\n", {}, "file", "unknown_currency", None),
            (b"currency,date,rate\nUSD,2026-11-26,98\n", {"currencies": ["EUR"]}, "file",
             "missing", "The file has no rate of EUR."),
            (b"currency,date,rate\nUSD,2026-11-26,98\n", {"currencies": ["QQQ"]}, "currencies",
             "unknown_currency", None),
            (ECB_DAILY.encode(), {}, "currencies", "required", None),
            (ECB_DAILY.encode(), {"currencies": ["KZT"]}, "file", "missing", None),
            (ECB_DAILY.replace("1.0543", "x").encode(), {"currencies": ["USD"]}, "file",
             "not_a_decimal", "line 2: “x” is not a rate."),
            (ECB_DAILY.replace("1.0543", "0").encode(), {"currencies": ["USD"]}, "file",
             "not_a_decimal", None),
            (ECB_DAILY.replace("26 November", "26 Nonember").encode(), {"currencies": ["USD"]},
             "file", "not_a_date", None),
            (ECB_DAILY.encode(), {"currencies": ["USD"], "target": "RUB"}, "file",
             "without_target", "The file says nothing of RUB."),
            (b"<html></html>", {}, "file", "not_xml", None),
            (b"<ValCurs", {}, "file", "not_xml", None),
            (b'<?xml version="1.0" encoding="nonsense"?><ValCurs/>', {}, "file", "not_xml", None),
            (CBR.replace(b"98,1234", b""), {"currencies": ["USD"], "target": "RUB"}, "file",
             "not_a_decimal", None),
            (CBR.replace(b"26.11.2026", b""), {"currencies": ["USD"], "target": "RUB"}, "file",
             "not_a_date", None),
            (b"x" * (FILE_BYTES_MAX + 1), {}, "file", "too_large",
             "The file is larger than 4 MB."),
        ],
    )  # fmt: skip
    def test_what_is_no_file_of_rates_is_refused(
        self, raw: bytes, asked: dict[str, Any], field: str, code: str, says: str | None
    ) -> None:
        with pytest.raises(Invalid) as refused:
            read_rates(raw, **{"target": "EUR", **asked})
        [error] = refused.value.errors
        assert (error.field, error.code) == (field, code)
        assert says is None or error.message == says

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
    def test_entities_are_never_expanded(self, encoding: str) -> None:
        bomb = (
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "9"><!ENTITY b "&a;">]>'
            '<ValCurs Date="26.11.2026"><Valute><CharCode>USD</CharCode>'
            "<Nominal>1</Nominal><Value>&b;</Value></Valute></ValCurs>"
        ).encode(encoding)
        with pytest.raises(Invalid) as refused:
            read_rates(bomb, target="RUB", currencies=["USD"])
        assert [field for field, _ in codes(refused)] == ["file"]

    def test_more_rates_than_a_file_may_bring_are_refused(self) -> None:
        lines = (f"USD,{date(1900, 1, 1) + timedelta(days=n)},1" for n in range(QUOTES_MAX + 1))
        raw = "\n".join(["currency,date,rate", *lines]).encode()
        with pytest.raises(Invalid) as refused:
            read_rates(raw, target="RUB")
        assert codes(refused) == [("file", "too_many")]

    @given(raw=st.binary(max_size=400))
    def test_garbage_is_refused_and_never_an_error(self, raw: bytes) -> None:
        for start in (b"", b"currency,date,rate\n", b"Date,USD\n", b"<ValCurs>"):
            try:
                read_rates(start + raw, target="EUR", currencies=["USD"])
            except Invalid:
                continue

    @given(value=st.integers(1, 10**9), other=st.integers(1, 10**9))
    def test_a_cross_rate_is_the_exact_fraction_rounded_once(self, value: int, other: int) -> None:
        text = f"Date,USD,GBP\n2026-11-26,{value}.5,{other}.25\n"
        exact = Fraction(value * 2 + 1, 2) / Fraction(other * 4 + 1, 4)
        if round(exact * RATE_SCALE) == 0:
            return
        [quote] = read_rates(text.encode(), target="USD", currencies=["GBP"]).quotes
        assert quote.rate.scaled == round(exact * RATE_SCALE)  # Python rounds halves to even


class TestImport:
    def bring(self, session: Session, program: Program, text: str, **asked: Any) -> Entered:
        done = import_rates(
            session, program_id=program.id, raw=text.encode(), by=None, now=NOW, **asked
        )
        session.commit()
        return done

    def test_the_same_file_again_changes_nothing(self, session: Session, program: Program) -> None:
        text = "currency,date,rate\nUSD,2026-11-26,98\nEUR,2026-11-26,103\n"
        assert self.bring(session, program, text) == Entered(2, 0, 0)
        assert self.bring(session, program, text) == Entered(0, 0, 2)
        corrected = text.replace("98", "97")
        assert self.bring(session, program, corrected) == Entered(0, 1, 1)
        actions = session.scalars(
            sa.select(AuditEntry.action).where(AuditEntry.action == "rates.enter")
        ).all()
        assert len(actions) == 2

    def test_a_file_is_taken_as_a_whole_or_not_at_all(
        self, session: Session, program: Program
    ) -> None:
        text = (
            "currency,date,rate\nUSD,2026-11-26,98\nEUR,2026-11-28,103\nRUB,2026-11-26,1\n"
            "USD,2026-11-26,99\n"
        )
        with pytest.raises(Invalid) as refused:
            self.bring(session, program, text)
        session.rollback()
        assert [(e.field, e.message) for e in refused.value.errors] == [
            ("file", "line 3: A rate is entered at most a day ahead."),
            ("file", "line 4: The program is in RUB itself."),
            ("file", "line 5: USD of 2026-11-26 stands there twice."),
        ]
        assert session.scalar(sa.select(sa.func.count()).select_from(DatedRate)) == 0

    def test_a_banks_file_gives_the_currencies_that_are_taken(
        self, session: Session, program: Program
    ) -> None:
        raw = CBR
        with pytest.raises(Invalid):
            import_rates(session, program_id=program.id, raw=raw, by=None, now=NOW)
        session.rollback()
        enter(session, program, "90", date(2026, 11, 1), "USD")
        enter(session, program, "90", date(2026, 11, 1), "GBP")  # not in the file
        done = import_rates(session, program_id=program.id, raw=raw, by=None, now=NOW)
        session.commit()
        assert done == Entered(1, 0, 0)


class TestCommands:
    def run(self, app: Flask, *arguments: str, text: bytes | str = "") -> Any:
        return app.test_cli_runner().invoke(rates_group, list(arguments), input=text)

    def test_import_and_list(self, app: Flask, program: Program, tmp_path: Path) -> None:
        file = tmp_path / "daily.xml"
        file.write_bytes(CBR.replace(b"26.11.2026", b"20.11.2025"))
        told = self.run(app, "import", "--program", program.slug, "--currency", "USD", str(file))
        assert (told.exit_code, told.output) == (0, "1 new, 0 corrected, 0 unchanged\n"), (
            told.output
        )
        told = self.run(app, "list", "--program", program.slug)
        assert told.output == "2025-11-20  1 USD = 98.1234 RUB  cbr\n"

    def test_enter_and_correct(self, app: Flask, program: Program) -> None:
        given = ["enter", "--program", program.slug, "--currency", "EUR", "--from", "2025-11-26"]
        assert self.run(app, *given, "--rate", "98").output == "Entered.\n"
        assert self.run(app, *given, "--rate", "99").output == "Corrected.\n"
        told = self.run(app, "list", "--program", program.slug, "--currency", "EUR")
        assert told.output == (
            "2025-11-26  1 EUR = 99 RUB  typed\n2025-11-26  1 EUR = 98 RUB  typed *\n"
        )
        assert self.run(app, "list", "--program", program.slug, "--currency", "USD").output == ""

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["list", "--program", "none"], "There is no program under that address."),
            (["enter", "--program", "lamps", "--currency", "EUR", "--from", "2025-01-01",
              "--rate", "0"], "rate: An exchange rate is above zero."),
            (["import", "--program", "lamps", "-"], "file: The file is empty."),
        ],
    )  # fmt: skip
    def test_a_refusal_is_told_in_a_sentence(
        self, app: Flask, program: Program, arguments: list[str], says: str
    ) -> None:
        assert program.slug == "lamps"
        told = self.run(app, *arguments)
        assert told.exit_code == 1
        assert says in told.output


def examples(kind: str) -> list[dict[str, str]]:
    """The blocks of this kind under "## Other currencies" of docs/rules.md."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"^## Other currencies\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    blocks = re.findall(rf"^```{kind}\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)
    assert blocks, f"the page has no example of {kind}"
    return [dict(line.split(": ", 1) for line in block.strip().split("\n")) for block in blocks]


def amount(text: str) -> Money:
    number, currency = text.split()
    return Money(int(Fraction(number) * 10**6), currency)


class TestPage:
    """Each example of the page comes out as written."""

    @pytest.mark.parametrize("said", examples("conversion"))
    def test_conversions(self, said: dict[str, str]) -> None:
        original, (rate, target) = amount(said["amount"]), said["rate"].split()
        found = convert(original, ExchangeRate.parse(rate, source=original.currency, target=target))
        assert str(found) == said["gives"]

    @pytest.mark.parametrize("said", examples("rate"))
    def test_which_rate_holds(
        self, session: Session, program: Program, said: dict[str, str]
    ) -> None:
        program.rate_days_max = int(said.get("days", program.rate_days_max))
        for known in said["known"].split(", "):
            day, rate = known.split(" at ")
            enter(session, program, rate, date.fromisoformat(day))
        placed_at = datetime.fromisoformat(said["order"]).replace(hour=12, tzinfo=UTC)
        found = found_at(session, program, placed_at)
        assert (found or "none") == said["holds"]

    @pytest.mark.parametrize("said", examples("file"))
    def test_files(self, said: dict[str, str]) -> None:
        source, target = said["rate"].split(" in ")
        if said["bank"] == "ECB":
            pairs = [one.split() for one in said["euro"].split(", ")]
            names, values = zip(*pairs, strict=True)
            raw = f"Date,{','.join(names)}\n2026-11-26,{','.join(values)}\n".encode()
        else:
            rows = [one.split() for one in said["rubles"].split(", ")]
            valutes = "".join(
                f"<Valute><CharCode>{code}</CharCode><Nominal>{nominal}</Nominal>"
                f"<Value>{value.replace('.', ',')}</Value></Valute>"
                for code, value, _for, nominal in rows
            )
            raw = f'<ValCurs Date="26.11.2026">{valutes}</ValCurs>'.encode()
        [quote] = read_rates(raw, target=target, currencies=[source]).quotes
        assert quote.rate.decimal == said["gives"]

    @pytest.mark.parametrize("said", examples("refund"))
    def test_refunds(self, said: dict[str, str]) -> None:
        net, (rate, target) = amount(said["net"]), said["rate"].split()
        exchange = ExchangeRate.parse(rate, source=net.currency, target=target)
        whole = convert(net, exchange)
        earned = whole.share(int(said["level 1"].removesuffix(" %")) * 10_000)
        back, refunded, taken = Money.zero(target), Money.zero(net.currency), []
        for part in said["refunds"].split(", "):
            refunded += amount(f"{part} {net.currency}")
            now = reversal(
                frozen=earned, refunded_net=convert(refunded, exchange), net=whole, already=back
            )
            back += now
            taken.append(now.decimal)
        assert ", ".join(taken) == said["taken back"]
        assert back == earned
