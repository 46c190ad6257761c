"""Last month's statement by mail: once, with sums that add up and a head that can be held to."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from world import World

from affiliate.core import clock
from affiliate.core.db import session_for
from affiliate.core.outbox import Mail
from affiliate.programs.models import Program
from payouts.batches.periods import Period, month_at
from payouts.ledger.models import LedgerTransaction
from payouts.ledger.seals.sealing import newest, seal_next
from payouts.reports.models import StatementLetter
from payouts.reports.statement_letters import (
    AFTER,
    SEALED_WITHIN,
    UNTIL,
    last_month,
    list_months,
    write_letters,
)

MINUTE = timedelta(minutes=1)
URL = "https://kopeck.example"


@pytest.fixture
def month(world: World) -> Period:
    """Anna earned in it, Boris did not; it is sealed."""
    world.affiliate("Anna")
    world.affiliate("Boris")
    world.sale("Anna", "3500.00", days_ago=0.1)
    while seal_next(world.session, real_now=clock.real_now(), transactions_max=4_096):
        world.session.commit()
    at = world.session.scalars(sa.select(LedgerTransaction.occurred_at)).first()
    assert at is not None
    zone = ZoneInfo(world.program.time_zone)
    return month_at(at.astimezone(zone).date(), world.program.time_zone)


def due(month: Period) -> datetime:
    return month.ends_at + AFTER


def write(
    world: World, month: Period, *, real_now: datetime | None = None, own: Session | None = None
) -> int:
    session = own or world.session
    list_months(session, now=due(month))
    session.commit()
    with world.app.app_context():
        written = write_letters(
            session, public_url=URL, now=due(month), real_now=real_now or clock.real_now()
        )
    session.commit()
    return written


def letters(session: Session) -> list[Mail]:
    return list(session.scalars(sa.select(Mail).where(Mail.template == "statement")))


def test_whoever_had_something_booked_gets_one_letter(world: World, month: Period) -> None:
    assert (write(world, month), write(world, month)) == (1, 0)
    (mail,) = letters(world.session)
    assert mail.recipient == "anna@example.com"
    for line in (
        "Owed to you at the beginning: 0.00\N{NO-BREAK SPACE}RUB",
        "Earned: 350.00\N{NO-BREAK SPACE}RUB",
        "Owed to you at the end: 350.00\N{NO-BREAK SPACE}RUB",
        f"{URL}/account/money/statements/{month.key}?program={world.program.slug}",
    ):
        assert line in mail.text
        assert line in mail.html or line.startswith("Owed to you at the end") or "://" in line
    anna = world.people["Anna"].client
    assert anna is not None
    path = re.search(r"/account/money/statements/\S+", mail.text)
    assert path is not None
    assert anna.get(path[0]).status_code == 200


def test_the_head_in_the_letter_holds_the_proof(
    world: World, month: Period, tmp_path: Path
) -> None:
    """Later seals do not matter: the letter's head is in the chain that the proof carries."""
    write(world, month)
    head = re.search(r"^\d+:[0-9a-f]{64}$", letters(world.session)[0].text, re.MULTILINE)
    assert head is not None
    world.sale("Anna", "10.00", days_ago=0.1)
    while seal_next(world.session, real_now=clock.real_now(), transactions_max=4_096):
        world.session.commit()
    assert not head[0].startswith(f"{newest(world.session).number}:")
    anna = world.people["Anna"].client
    assert anna is not None
    proof = anna.get(f"/account/money/statements/{month.key}/proof.json")
    (tmp_path / "proof.json").write_bytes(proof.data)
    verifier = Path(world.app.static_folder or "") / "verify" / "verify_statement.py"
    command = [sys.executable, "-I", str(verifier), "proof.json", "--head"]
    held, other = (
        subprocess.run([*command, head], cwd=tmp_path, capture_output=True, check=False)
        for head in (head[0], head[0][:-1] + ("0" if head[0][-1] != "0" else "1"))
    )
    assert held.returncode == 0, held.stdout
    assert other.returncode != 0


def test_nothing_goes_out_before_the_month_has_settled_or_long_after(
    world: World, month: Period
) -> None:
    session = world.session
    assert list_months(session, now=due(month) - MINUTE) == 0
    assert list_months(session, now=month.ends_at + UNTIL) == 0
    assert list_months(session, now=month.ends_at + UNTIL - MINUTE) == 1


def test_letters_wait_for_the_sealer(world: World, month: Period) -> None:
    world.sale("Anna", "10.00", days_ago=0.1)
    later = clock.real_now() + SEALED_WITHIN + MINUTE
    assert write(world, month, real_now=later) == 0
    while seal_next(world.session, real_now=clock.real_now(), transactions_max=4_096):
        world.session.commit()
    assert write(world, month, real_now=later) == 1


def test_workers_side_by_side_write_each_letter_once(
    world: World, month: Period, engine: sa.Engine
) -> None:
    barrier = threading.Barrier(4)

    def work() -> None:
        with session_for(engine)() as session:
            barrier.wait()
            write(world, month, own=session)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.session.rollback()
    assert len(letters(world.session)) == 1
    assert world.session.scalars(sa.select(StatementLetter.written_at)).one() is not None


def test_it_is_written_in_the_readers_language(world: World, month: Period) -> None:
    world.session.execute(
        sa.text("UPDATE users SET locale = 'ru' WHERE email = 'anna@example.com'")
    )
    write(world, month)
    (mail,) = letters(world.session)
    assert "Начислено: 350,00\N{NO-BREAK SPACE}RUB" in mail.text
    assert 'lang="ru"' in mail.html


@pytest.mark.parametrize(
    ("zone", "now", "first"),
    [
        ("Pacific/Kiritimati", datetime(2026, 10, 31, 10, 0, tzinfo=UTC), date(2026, 10, 1)),
        ("Pacific/Kiritimati", datetime(2026, 10, 31, 9, 59, tzinfo=UTC), date(2026, 9, 1)),
        ("America/New_York", datetime(2026, 11, 1, 3, 59, tzinfo=UTC), date(2026, 9, 1)),
        ("America/New_York", datetime(2026, 11, 1, 4, 0, tzinfo=UTC), date(2026, 10, 1)),
        ("UTC", datetime(2026, 1, 31, 12, 0, tzinfo=UTC), date(2025, 12, 1)),
    ],
)
def test_a_month_ends_in_the_programs_zone(zone: str, now: datetime, first: date) -> None:
    assert last_month(Program(time_zone=zone), now).first == first
