"""Files of payments: made once, the same bytes for ever, never two live attempts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from bank_accounts import executed
from bank_world import Bank, made_bank
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Refusal
from affiliate.people.models import Enrollment
from payouts.batches.approve import NotFinance, approve
from payouts.batches.bank_files import (
    BatchIsStopped,
    BatchNotPayable,
    NothingForAFile,
    NotThisRailsAccount,
    make_file,
)
from payouts.batches.bank_handover import FileAnswered, FileNotSent, declare_not_sent, open_file
from payouts.batches.bank_models import OwnAccountRow, PayoutFile, PayoutFileLine
from payouts.batches.cancel import ItemAlreadySent, hold_item
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.fence import RESTORED_AHEAD, check_fence, lower_fence, read
from payouts.batches.locks import LockReason, PayoutsLocked, lock, unlock
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutItem
from payouts.batches.own_accounts import NoOwnAccount
from payouts.batches.pause import pause_batch, resume_batch
from payouts.batches.payee_release import release_to_approved
from payouts.batches.payee_stops import Outcome, lift, stop
from payouts.batches.payees import payee_of
from payouts.batches.rules import ItemReason

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bank(pay: Callable[..., Pay]) -> Bank:
    """A euro program on the SEPA rail."""
    return made_bank(pay("bank_sepa"), "bank_sepa")


def weekly(bank: Bank, names: dict[str, str]) -> int:
    """An approved weekly batch of these affiliates."""
    for name, amount in names.items():
        bank.affiliate(name, amount)
    session = bank.session
    open_periods(session, now=NOW)
    made = [
        batch_id
        for period in undrafted(session)
        if (batch_id := draft_weekly(session, period_id=period, rails=bank.pay.rails, now=NOW))
    ]
    session.commit()
    bank.pay.approve(made[-1])
    return made[-1]


def items(bank: Bank, batch_id: int) -> list[PayoutItem]:
    bank.session.rollback()
    return list(
        bank.session.scalars(
            sa.select(PayoutItem)
            .where(PayoutItem.batch_id == batch_id)
            .order_by(PayoutItem.id)
            .execution_options(populate_existing=True)
        )
    )


def test_a_file_is_the_intent_with_its_bytes(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "12.34", "boris": "0.07"})
    file = bank.file(batch_id)
    assert (file.number, file.items, file.total_micros) == (1, 2, 12_410_000)
    assert file.sha256 == hashlib.sha256(file.content).hexdigest()
    for item, line in zip(items(bank, batch_id), bank.lines(file), strict=True):
        (attempt,) = bank.pay.attempts(item.id)
        assert (item.status, attempt.status) == ("sending", "sent")
        assert line.attempt_id == attempt.id
        assert attempt.params["end_to_end_id"] == line.end_to_end_id
        assert len(line.end_to_end_id) <= 35
        assert line.end_to_end_id.endswith(f"-{item.id}-1")
        assert line.end_to_end_id.encode() in file.content
    bank.pay.sound()


def test_the_second_download_is_the_same_to_the_byte(bank: Bank) -> None:
    file = bank.file(weekly(bank, {"anna": "1.00"}))
    first, second = (
        open_file(
            bank.session, file_id=file.id, by_user_id=bank.pay.finance,
            data_dir=bank.pay.settings.data_dir, now=NOW,
        ).content
        for _ in range(2)
    )  # fmt: skip
    assert first == second == file.content


def test_a_batch_larger_than_a_file_goes_into_several(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "3.00", "boris": "2.00", "vera": "1.00"})
    first, second = bank.file(batch_id, items_max=2), bank.file(batch_id, items_max=2)
    assert [(f.number, f.items, f.first_document) for f in (first, second)] == [
        (1, 2, 1),
        (2, 1, 3),
    ]
    with pytest.raises(NothingForAFile):
        bank.file(batch_id)
    known = [line.end_to_end_id for file in (first, second) for line in bank.lines(file)]
    assert len(set(known)) == 3
    bank.pay.sound()


def test_a_stopped_batch_goes_into_no_file_and_its_files_go_to_no_bank(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "1.00", "boris": "2.00"})
    file = bank.file(batch_id, items_max=1)
    finance, session = bank.pay.finance, bank.session

    def opened() -> bytes:
        return open_file(
            session, file_id=file.id, by_user_id=finance,
            data_dir=bank.pay.settings.data_dir, now=NOW,
        ).content  # fmt: skip

    pause_batch(session, batch_id=batch_id, by_user_id=finance, why="a call", now=NOW)
    session.commit()
    for refused in (lambda: bank.file(batch_id), opened):
        with pytest.raises(BatchIsStopped):
            refused()
        session.rollback()
    resume_batch(session, batch_id=batch_id, by_user_id=finance, why="settled", now=NOW)
    session.commit()
    assert opened() == file.content
    assert bank.file(batch_id).items == 1


@pytest.mark.abuse("A40")
def test_the_audit_log_knows_bank_accounts_by_their_end_alone(bank: Bank) -> None:
    """Whatever is done about an account that was named: changed, let go, disowned, put back."""
    bank.affiliate("anna", "9.00")
    made = bank.pay.approved("anna", "5.00")
    bank.payee("anna", iban="FR1420041010050500013M02606")
    session, finance = bank.session, bank.pay.finance
    affiliate_id = bank.pay.world.affiliate_id("anna")
    release_to_approved(session, item_id=made.item_id, by_user_id=finance, why="Asked", now=NOW)
    payee = payee_of(session, affiliate_id=affiliate_id, rail="bank_sepa")
    assert payee is not None
    stop(session, payee_id=payee.id, now=NOW)
    lift(session, affiliate_id=affiliate_id, outcome=Outcome.PUT_BACK, by="x", why="Asked", now=NOW)
    session.commit()
    logged = str(session.execute(sa.select(AuditEntry.old, AuditEntry.new)).all())
    assert "•••• 4300" in logged and "•••• 2606" in logged
    assert "0417164300" not in logged and "13M02606" not in logged


def test_after_a_restore_no_payment_bears_the_id_of_one_that_is_forgotten(bank: Bank) -> None:
    """A bank's statement of then would pay an item of now: both would have one end-to-end id."""
    bank.affiliate("anna", "9.00")
    item_id, _line = bank.paid_out("anna", "1.00")
    data_dir, session = bank.pay.settings.data_dir, bank.session
    lower_fence(session, data_dir)
    bank.affiliate("boris", "9.00")
    following = bank.pay.withdraw("boris", "1.00").item_id
    assert following == item_id + 1  # An ordinary unlocking moves nothing.
    lock(session, reason=LockReason.RESTORED_BACKUP, detail="", now=NOW)
    session.commit()
    lower_fence(session, data_dir)
    unlock(session, by="cli", why="compared with the bank", now=NOW)
    session.commit()
    bank.affiliate("vera", "9.00")
    assert bank.pay.withdraw("vera", "1.00").item_id > following + RESTORED_AHEAD
    bank.pay.sound()


def test_two_people_at_once_make_one_file(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "1.00", "boris": "2.00"})
    second = bank.pay.world.user("galina", role="finance")
    outcomes: list[object] = []
    both = threading.Barrier(2)

    def make(user_id: int) -> None:
        with session_for(bank.pay.engine)() as session:
            both.wait()
            try:
                made = make_file(
                    session, batch_id=batch_id, by_user_id=user_id, rails=bank.pay.rails,
                    now=NOW, real_now=clock.real_now(),
                )  # fmt: skip
                outcomes.append(made.items)
                session.commit()
            except Refusal as refusal:
                outcomes.append(refusal.code)

    threads = [threading.Thread(target=make, args=(who,)) for who in (bank.pay.finance, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["2", "nothing_for_a_file"]
    assert bank.session.scalar(sa.select(sa.func.count(PayoutFile.id))) == 1
    assert bank.session.scalar(sa.select(sa.func.count(PayoutAttempt.id))) == 2
    bank.pay.sound()


KILLED = """
import json, os, signal, sys
import sqlalchemy as sa
from datetime import datetime
from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.core.config import Settings
from affiliate.core.db import session_for
from affiliate.people import models as people
from payouts.batches import bank_files
from payouts.rails.registry import rails

told = json.loads(sys.argv[1])
settings = Settings.from_environ(os.environ)
if told["step"] == "before_commit":
    real = bank_files._write_intents
    def write_intents(*args):
        real(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    bank_files._write_intents = write_intents
with session_for(sa.create_engine(settings.database_url))() as session:
    bank_files.make_file(
        session, batch_id=told["batch"], by_user_id=told["by"], rails=rails(settings),
        now=datetime.fromisoformat(told["now"]), real_now=clock.real_now())
    session.commit()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("step", "files"), [("before_commit", 0), ("after_commit", 1)])
def test_a_process_killed_while_it_makes_a_file_leaves_all_or_nothing(
    bank: Bank, step: str, files: int
) -> None:
    batch_id = weekly(bank, {"anna": "1.00", "boris": "2.00"})
    told = {"step": step, "batch": batch_id, "by": bank.pay.finance, "now": NOW.isoformat()}
    environ = {
        **os.environ,
        "KOPECK_MODE": "test",
        "DATABASE_URL": bank.pay.settings.database_url,
        "REDIS_URL": bank.pay.settings.redis_url,
        "KOPECK_SECRET": "a-secret-for-tests-that-is-long-enough-0123456789",
        "KOPECK_DATA_DIR": str(bank.pay.settings.data_dir),
        "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
        "KOPECK_SMTP_URL": "smtp://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(told)], cwd=ROOT, env=environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    bank.session.rollback()
    count = bank.session.scalar(sa.select(sa.func.count(PayoutFile.id)))
    attempts = bank.session.scalar(sa.select(sa.func.count(PayoutAttempt.id)))
    assert (count, attempts) == (files, 2 * files)
    if files:
        with pytest.raises(NothingForAFile):
            bank.file(batch_id)
    else:
        assert bank.file(batch_id).items == 2
    bank.pay.sound()


def test_an_item_in_a_file_is_not_held_any_more(bank: Bank) -> None:
    bank.affiliate("anna", "5.00")
    item_id, _ = bank.paid_out("anna", "5.00")
    with pytest.raises(ItemAlreadySent) as refusal:
        hold_item(
            bank.session, item_id=item_id, by_user_id=bank.pay.finance, why="Too late.", now=NOW
        )
    assert refusal.value.status == 409


def test_a_file_that_never_reached_the_bank_gives_its_items_back(bank: Bank) -> None:
    bank.affiliate("anna", "5.00")
    made = bank.pay.approved("anna", "5.00")
    first = bank.file(made.batch_id)
    declare_not_sent(
        bank.session, file_id=first.id, by_user_id=bank.pay.finance,
        why="The bank's page refused the upload.", now=NOW,
    )  # fmt: skip
    bank.session.commit()
    item = bank.pay.item(made.item_id)
    assert (item.status, item.reason) == ("queued", ItemReason.FILE_NOT_SENT)
    second = bank.file(made.batch_id)
    one, two = bank.pay.attempts(made.item_id)
    assert (one.status, one.error_code, two.status) == ("failed", "file_not_sent", "sent")
    known = {line.end_to_end_id for file in (first, second) for line in bank.lines(file)}
    assert len(known) == 2
    with pytest.raises(FileNotSent):
        open_file(
            bank.session, file_id=first.id, by_user_id=bank.pay.finance,
            data_dir=bank.pay.settings.data_dir, now=NOW,
        )  # fmt: skip
    with pytest.raises(FileNotSent):
        declare_not_sent(
            bank.session, file_id=first.id, by_user_id=bank.pay.finance, why="Again.", now=NOW
        )
    bank.session.rollback()
    bank.pay.sound()


def test_a_file_that_the_bank_answered_was_sent(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "1.00", "boris": "2.00"})
    file = bank.file(batch_id)
    bank.told(executed(bank.lines(file)[0].end_to_end_id))
    with pytest.raises(FileAnswered):
        declare_not_sent(
            bank.session, file_id=file.id, by_user_id=bank.pay.finance, why="No.", now=NOW
        )


def test_whoever_changed_their_account_since_stays_behind_with_the_reason(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "1.00", "boris": "2.00", "vera": "3.00", "gleb": "4.00"})
    bank.payee("anna", iban="FR14 2004 1010 0505 0001 3M02 606")
    bank.session.execute(
        sa.update(Enrollment)
        .where(Enrollment.id == bank.pay.world.enrollments["boris"])
        .values(status="suspended")
    )
    bank.session.execute(
        sa.update(PayeeAccount)
        .where(PayeeAccount.affiliate_id == bank.pay.world.affiliate_id("vera"))
        .values(ready_at=None)
    )
    bank.session.commit()
    file = bank.file(batch_id)
    assert file.items == 1
    by_name = {item.enrollment_id: item for item in items(bank, batch_id)}
    standing = {
        name: (by_name[enrollment].status, by_name[enrollment].reason)
        for name, enrollment in bank.pay.world.enrollments.items()
    }
    assert standing == {
        "anna": ("queued", "payee_changed"),
        "boris": ("queued", "not_active"),
        "vera": ("queued", "payee_not_ready"),
        "gleb": ("sending", None),
    }
    assert b"FR14" not in file.content


def test_an_attempt_keeps_the_approved_account_when_another_is_named(bank: Bank) -> None:
    bank.affiliate("anna", "5.00")
    item_id, line = bank.paid_out("anna", "5.00")
    bank.payee("anna", iban="FR14 2004 1010 0505 0001 3M02 606")
    assert "NL91ABNA0417164300" in bank.pay.attempts(item_id)[0].destination
    bank.told(executed(line.end_to_end_id))
    assert bank.pay.item(item_id).status == "paid"
    bank.pay.sound()


def test_only_finance_of_the_program_makes_files(bank: Bank) -> None:
    batch_id = weekly(bank, {"anna": "1.00"})
    with pytest.raises(NotFinance):
        bank.file(batch_id, by=bank.pay.world.user("maria", role="manager"))


def test_no_file_of_a_batch_that_is_not_approved(bank: Bank) -> None:
    bank.affiliate("anna", "5.00")
    made = bank.pay.withdraw("anna")
    with pytest.raises(BatchNotPayable):
        bank.file(made.batch_id)


def test_while_payouts_are_locked_no_file_is_made_and_none_leaves(bank: Bank) -> None:
    file = bank.file(weekly(bank, {"anna": "1.00"}))
    bank.affiliate("boris", "2.00")
    other = bank.pay.approved("boris", "2.00")
    lock(bank.session, reason=LockReason.BY_HAND, detail="", now=NOW)
    bank.session.commit()
    with pytest.raises(PayoutsLocked):
        bank.file(other.batch_id)
    with pytest.raises(PayoutsLocked):
        open_file(
            bank.session, file_id=file.id, by_user_id=bank.pay.finance,
            data_dir=bank.pay.settings.data_dir, now=NOW,
        )  # fmt: skip


def test_without_an_account_to_pay_from_nothing_is_approved_and_no_file_is_made(
    bank: Bank,
) -> None:
    batch_id = weekly(bank, {"anna": "1.00"})
    bank.affiliate("boris", "1.00")
    waiting = bank.pay.withdraw("boris")
    bank.session.execute(sa.update(OwnAccountRow).values(replaced_at=NOW))
    bank.session.commit()
    with pytest.raises(NoOwnAccount):
        bank.file(batch_id)
    bank.session.rollback()
    with pytest.raises(NoOwnAccount):
        approve(
            bank.session, batch_id=waiting.batch_id, by_user_id=bank.pay.finance,
            seen_hash=bank.pay.batch(waiting.batch_id).hash or "", rails=bank.pay.rails, now=NOW,
        )  # fmt: skip


def test_an_account_that_is_none_stops_the_file_and_says_whose(bank: Bank) -> None:
    bank.affiliate("anna", "5.00")
    bank.session.execute(sa.update(PayeeAccount).values(destination="my bank, you know it"))
    bank.session.commit()
    made = bank.pay.approved("anna", "5.00")
    with pytest.raises(NotThisRailsAccount, match="my bank, you know it"):
        bank.file(made.batch_id)
    bank.session.rollback()
    assert bank.pay.attempts(made.item_id) == []


def test_a_database_older_than_a_file_that_left_locks_payouts(bank: Bank) -> None:
    file = bank.file(weekly(bank, {"anna": "1.00"}))
    data_dir = bank.pay.settings.data_dir
    assert read(data_dir) is None
    open_file(
        bank.session, file_id=file.id, by_user_id=bank.pay.finance, data_dir=data_dir, now=NOW
    )
    bank.session.commit()
    (line,) = bank.lines(file)
    fence = read(data_dir)
    assert fence is not None and fence.attempt == line.attempt_id
    # The backup was taken before the file was made.
    for table in (PayoutFileLine, PayoutFile, PayoutAttempt):
        bank.session.execute(sa.delete(table))
    assert not check_fence(bank.session, data_dir, now=NOW)
    bank.session.commit()
    with pytest.raises(PayoutsLocked):
        bank.file(items(bank, file.batch_id)[0].batch_id)
    unlock(bank.session, by="test", why="looked", now=NOW)
