"""A merchant moves in: affiliates, old codes, coupons and history, a file whole or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.outbox import Mail
from affiliate.imports import rules
from affiliate.imports.bring import Brought, bring
from affiliate.imports.cli import bring_in_command
from affiliate.imports.lookup import former_months
from affiliate.imports.models import FormerMonth
from affiliate.imports.rules import Kind
from affiliate.links.models import Coupon, Link
from affiliate.people import account, enrollments, mail_links
from affiliate.people.mail_links import Purpose
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from tests.builders import make_affiliate, make_program

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TWO = (
    "email,name,website,joined,recruiter,customer_id,language\n"
    "boris@old.example,Boris,https://boris.example,2024-02-29,anna@old.example,,ru\n"
    "anna@old.example,Anna Lamp,,2023-01-05,,c-17,\n"
)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "moving-in.md"


@pytest.fixture(autouse=True)
def inside_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def program(session: Session) -> Program:
    made = make_program(session, now=NOW - timedelta(days=90))
    session.commit()
    return made


def put(session: Session, program: Program, kind: Kind, text: str | bytes, **how: Any) -> Brought:
    raw = text.encode() if isinstance(text, str) else text
    done = bring(session, program_id=program.id, kind=kind, raw=raw, by=None, now=NOW, **how)
    session.commit()
    return done


def refused(session: Session, program: Program, kind: Kind, text: str | bytes) -> list[str]:
    """What is said of each line; nothing of the file is kept."""
    with pytest.raises(Invalid) as told:
        put(session, program, kind, text)
    session.rollback()
    assert {error.field for error in told.value.errors} == {"file"}
    return [str(error.message) for error in told.value.errors]


def enrollment_of(session: Session, email: str) -> Enrollment:
    query = sa.select(Enrollment).join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
    return session.scalars(
        query.join(User, User.id == Affiliate.user_id).where(User.email == email)
    ).one()


def count(session: Session, model: type[Any]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_affiliates_are_in_at_once_with_their_recruiters_and_nobody_is_told(
    session: Session, program: Program
) -> None:
    done = put(session, program, Kind.AFFILIATES, TWO)
    assert (done.new, done.known, done.told) == (2, 0, 0)
    boris, anna = (enrollment_of(session, f"{who}@old.example") for who in ("boris", "anna"))
    assert (boris.status, anna.status) == ("active", "active")
    assert boris.recruiter_id == anna.id
    assert boris.applied_at == datetime(2024, 2, 28, 21, tzinfo=UTC)  # midnight in Moscow
    assert boris.approved_at == NOW
    assert anna.shop_customer_id == "c-17"
    user = session.scalars(sa.select(User).where(User.email == "boris@old.example")).one()
    assert (user.password, user.confirmed_at, user.locale) == (None, None, "ru")
    assert user.time_zone == program.time_zone
    person = session.get_one(Affiliate, boris.affiliate_id)
    assert (person.name, person.website) == ("Boris", "https://boris.example")
    assert count(session, Mail) == 0


def test_the_same_file_again_changes_nothing(session: Session, program: Program) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    before = count(session, AuditEntry)
    again = put(session, program, Kind.AFFILIATES, TWO, tell=True)
    assert (again.new, again.known, again.told) == (0, 2, 0)
    assert count(session, AuditEntry) == before + 1  # that a file was brought


def test_whoever_is_told_gets_in_by_the_page_of_forgotten_passwords(
    session: Session, program: Program
) -> None:
    put(session, program, Kind.AFFILIATES, TWO, tell=True)
    letter = session.scalars(sa.select(Mail).where(Mail.recipient == "anna@old.example")).one()
    assert "/forgot-password" in letter.text
    assert "Lamp & Leaf" in letter.text
    russian = session.scalars(sa.select(Mail).where(Mail.recipient == "boris@old.example")).one()
    assert russian.subject != letter.subject
    user = session.scalars(sa.select(User).where(User.email == "anna@old.example")).one()
    token = mail_links.make(user, Purpose.RESET)
    account.reset(session, token=token, password="three lamps and a leaf", now=NOW)
    assert user.confirmed_at == NOW


def test_somebody_with_an_account_here_is_told_to_sign_in_and_keeps_their_name(
    session: Session, program: Program
) -> None:
    other = make_program(session, now=NOW - timedelta(days=90), slug="other")
    known = make_affiliate(session, other, "anna@old.example", now=NOW - timedelta(days=50))
    users_before = count(session, User)
    session.get_one(User, session.get_one(Affiliate, known.affiliate_id).user_id).password = "x"
    session.commit()
    done = put(session, program, Kind.AFFILIATES, TWO, tell=True)
    assert done.new == 2  # A manager does not learn who has an account here.
    assert count(session, User) == users_before + 1
    letter = session.scalars(sa.select(Mail).where(Mail.recipient == "anna@old.example")).all()[-1]
    assert "/sign-in" in letter.text
    assert "/forgot-password" not in letter.text


def test_who_was_turned_down_or_suspended_stays_so(session: Session, program: Program) -> None:
    row = make_affiliate(session, program, "anna@old.example", now=NOW - timedelta(days=50))
    enrollments.suspend(session, enrollment_id=row.id, reason="No.", by=None, now=NOW)
    session.commit()
    assert put(session, program, Kind.AFFILIATES, "email,name\nAnna@Old.example,Anna\n").known == 1
    assert session.get_one(Enrollment, row.id).status == "suspended"


def test_old_codes_stay_alive_and_theirs(session: Session, program: Program) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    links = (
        "email;code;destination;name\n"
        "ANNA@old.example;lamps-by-anna;https://shop.example/lamps;Blog\n"
        "boris@old.example;b0r1s;;\n"
    )
    done = put(session, program, Kind.LINKS, links)
    assert done.new == 2
    anna = enrollment_of(session, "anna@old.example")
    link = session.scalars(sa.select(Link).where(Link.code == "lamps-by-anna")).one()
    assert (link.enrollment_id, link.name) == (anna.id, "Blog")
    assert link.destination == "https://shop.example/lamps"
    other = session.scalars(sa.select(Link).where(Link.code == "b0r1s")).one()
    assert other.destination == program.landing_url
    again = put(session, program, Kind.LINKS, links.replace("b0r1s", "B0R1S"))
    assert (again.new, again.known) == (0, 2)
    assert refused(
        session, program, Kind.LINKS, "email,code\nboris@old.example,Lamps-by-Anna\n"
    ) == ["line 2, line: This code is taken; choose another one."]


def test_coupons_are_theirs_for_ever(session: Session, program: Program) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    text = "email\tcode\nanna@old.example\tanna10\n"
    assert put(session, program, Kind.COUPONS, text).new == 1
    assert put(session, program, Kind.COUPONS, text).known == 1
    coupon = session.scalars(sa.select(Coupon)).one()
    assert coupon.code == "ANNA10"
    assert refused(session, program, Kind.COUPONS, "email,code\nboris@old.example,ANNA10\n") == [
        "line 2, line: The program has this coupon already; choose another code."
    ]


def test_history_is_kept_by_month_and_a_later_file_replaces_what_it_names(
    session: Session, program: Program
) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    head = "email,month,clicks,orders,sales,earned,paid\n"
    text = (
        head
        + "anna@old.example,2026-09,1200,31,45100.50,4510.05,4000\nanna@old.example,2026-10,7,,,,\n"
    )
    assert put(session, program, Kind.HISTORY, text).new == 2
    anna = enrollment_of(session, "anna@old.example")
    months = former_months(session, enrollment_id=anna.id, currency="RUB")
    assert [one.month for one in months] == [date(2026, 10, 1), date(2026, 9, 1)]
    assert (months[1].clicks, months[1].orders) == (1200, 31)
    assert [amount.decimal for amount in (months[1].sales, months[1].earned, months[1].paid)] == [
        "45100.50", "4510.05", "4000.00",
    ]  # fmt: skip
    again = put(session, program, Kind.HISTORY, text.replace("1200", "1201"))
    assert (again.new, again.changed, again.known) == (0, 1, 1)
    months = former_months(session, enrollment_id=anna.id, currency="RUB")
    assert months[1].clicks == 1201


def test_what_is_wrong_is_told_of_every_line_and_nothing_is_kept(
    session: Session, program: Program
) -> None:
    text = (
        "email,name,website,joined,recruiter,language\n"
        "good@old.example,Good,,,,\n"
        "nobody,Nobody,,,,\n"
        "good@OLD.example,Twice,,,,\n"
        "site@old.example,Site,javascript:alert(1),,,\n"
        "late@old.example,Late,,2031-01-01,,\n"
        "day@old.example,Day,,29.02.2024,,\n"
        "alone@old.example,Alone,,,ghost@old.example,\n"
        "tongue@old.example,Tongue,,,,xx\n"
        "hidden@old.example,H\u202eidden,,,,\n"
        "long@old.example," + "n" * 81 + ",,,,\n"
    )
    said = refused(session, program, Kind.AFFILIATES, text)
    assert [each.partition(":")[0] for each in said] == [
        "line 3, email", "line 4, email", "line 5, website", "line 6, joined", "line 7, joined",
        "line 9, language", "line 10, name", "line 11, name", "line 8, recruiter",
    ]  # fmt: skip
    assert "line 2 too" in said[1]
    assert (count(session, User), count(session, Enrollment), count(session, AuditEntry)) == (
        0, 0, count(session, AuditEntry),
    )  # fmt: skip


def test_recruiters_in_a_circle_and_ones_own_are_refused(
    session: Session, program: Program
) -> None:
    circle = "email,name,recruiter\na@old.example,A,b@old.example\nb@old.example,B,a@old.example\n"
    assert refused(session, program, Kind.AFFILIATES, circle)
    own = "email,name,recruiter\na@old.example,A,a@old.example\n"
    assert refused(session, program, Kind.AFFILIATES, own)
    assert count(session, User) == 0


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Kind.LINKS, "email,code\nghost@old.example,abcd\n", "Nobody in this program"),
        (Kind.LINKS, "email,code,destination\nanna@old.example,abcd,https://evil.example/\n",
         "shop.example"),
        (Kind.LINKS, "email,code\nanna@old.example,admin\n", "kept for the program"),
        (Kind.LINKS, "email,code\nanna@old.example,a/b\n", "letters a-z"),
        (Kind.COUPONS, "email,code\nanna@old.example,a b\n", "line 2, code"),
        (Kind.HISTORY, "email,month\nanna@old.example,2026-13\n", "2026-11"),
        (Kind.HISTORY, "email,month\nanna@old.example,2026-12\n", "not one of the past"),
        (Kind.HISTORY, "email,month\nanna@old.example,0001-01\n", "not one of the past"),
        (Kind.HISTORY, "email,month,clicks\nanna@old.example,2026-10,-1\n", "whole number"),
        (Kind.HISTORY, "email,month,clicks\nanna@old.example,2026-10,9999999999999\n", "whole"),
        (Kind.HISTORY, "email,month,clicks\nanna@old.example,2026-10,٣\n", "whole number"),
        (Kind.HISTORY, "email,month,sales\nanna@old.example,2026-10,1.234\n", "amount in RUB"),
        (Kind.HISTORY, "email,month,sales\nanna@old.example,2026-10,NaN\n", "amount in RUB"),
        (Kind.HISTORY, "email,month,sales\nanna@old.example,2026-10,-5.00\n", "line 2, sales"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_refused_by_its_column(
    session: Session, program: Program, kind: Kind, text: str, said: str
) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    told = refused(session, program, kind, text)
    assert len(told) == 1
    assert said in told[0]
    assert told[0].startswith("line 2, ")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"email,name\n", "nothing below"),
        (b"email\nanna@old.example\n", "Columns are missing: name"),
        (b"email,name,adress\na@b.example,A,x\n", "adress"),
        (b"email,name,name\na@b.example,A,A\n", "stand twice: name"),
        (b"email,name\na@b.example\n", "line 2 has 1 values for 2 columns"),
        (b"email,name\na@b.example,A,B\n", "line 2 has 3 values for 2 columns"),
        (b"email,name\n,A\n", "line 2, email: This is needed."),
        ("email,name\nанна@пример.рф,Анна\n".encode("cp1251"), "not text in UTF-8"),
        (b"email,name\na@b.example,A\0\n", "not text in UTF-8"),
        (b'email,name\na@b.example,"A\n', "no CSV"),
        (b"email,name\n" + b"a" * rules.FILE_BYTES_MAX, "larger than 2 MB"),
        (b"email,name\n" + b"a@b.example,A\n" * (rules.LINES_MAX + 1), "at most 5000 lines"),
    ],
)
def test_a_file_that_is_none_is_refused(
    session: Session, program: Program, raw: bytes, said: str
) -> None:
    told = refused(session, program, Kind.AFFILIATES, raw)
    assert said in " ".join(told)


def test_an_unknown_program_and_a_closed_one_are_refused(
    session: Session, program: Program
) -> None:
    with pytest.raises(NotFound):
        bring(session, program_id=10**9, kind=Kind.AFFILIATES, raw=TWO.encode(), by=None, now=NOW)
    program.status = "closed"
    session.commit()
    assert "line 2, line" in refused(session, program, Kind.AFFILIATES, TWO)[0]


def test_a_first_line_of_very_many_names_is_refused_at_once() -> None:
    """Looking for each name among all of them would take hours for two megabytes."""
    head = ",".join(f"c{number}" for number in range(200_000))
    begun = time.monotonic()
    with pytest.raises(Invalid) as refused:
        rules.read(f"{head}\n1\n".encode(), Kind.LINKS)
    assert [error.code for error in refused.value.errors] == ["too_many_columns"]
    assert time.monotonic() - begun < 5


def test_many_errors_end_the_file_early(session: Session, program: Program) -> None:
    lines = "".join(f"nobody{n},N\n" for n in range(200))
    assert len(refused(session, program, Kind.AFFILIATES, "email,name\n" + lines)) == 20


def test_the_same_file_twice_at_once_makes_nobody_twice(
    session: Session, engine: sa.Engine, app: Flask, program: Program
) -> None:
    lines = "".join(f"a{n}@old.example,A{n}\n" for n in range(40))
    ended: list[str] = []

    def run() -> None:
        with app.app_context(), sessionmaker(engine)() as own:
            try:
                put(own, program_of(own), Kind.AFFILIATES, "email,name\n" + lines)
                ended.append("in")
            except Exception as error:  # noqa: BLE001 -- which refusal it is, is asserted below
                own.rollback()
                ended.append(type(error).__name__)

    def program_of(own: Session) -> Program:
        return own.get_one(Program, program_id)

    program_id = program.id
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "in" in ended
    session.rollback()
    assert count(session, Enrollment) == count(session, User) == 40


def test_the_command_tries_brings_and_says_what_is_wrong(
    session: Session, app: Flask, program: Program, tmp_path: Path
) -> None:
    file = tmp_path / "affiliates.csv"
    file.write_text("\ufeff" + TWO, encoding="utf-8")
    run = app.test_cli_runner().invoke
    call = ["affiliates", str(file), "--program", program.slug]
    tried = run(bring_in_command, [*call, "--dry-run"])
    assert tried.exit_code == 0, tried.output
    assert "2 new" in tried.output
    assert "nothing is kept" in tried.output
    session.rollback()
    assert count(session, User) == 0
    assert "2 new" in run(bring_in_command, call).output
    session.rollback()
    assert count(session, User) == 2
    file.write_text("email,name\nnobody,N\n")
    wrong = run(bring_in_command, call)
    assert wrong.exit_code == 1
    assert "line 2, email" in wrong.output


@pytest.mark.parametrize("kind", list(Kind))
def test_the_page_of_the_docs_names_every_column(kind: Kind) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {kind.value} |")]
    assert len(rows) == 1
    for column in rules.COLUMNS[kind].all:
        assert f"`{column}`" in rows[0]


def test_history_belongs_to_nobodys_figures(session: Session, program: Program) -> None:
    put(session, program, Kind.AFFILIATES, TWO)
    put(session, program, Kind.HISTORY, "email,month,earned\nanna@old.example,2026-09,4510.05\n")
    assert count(session, FormerMonth) == 1
    entries = session.scalar(sa.text("SELECT count(*) FROM ledger_entries"))
    assert entries == 0
