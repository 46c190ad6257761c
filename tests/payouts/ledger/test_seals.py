"""Sealing: out of order, twice at once, in blocks; and every tampering is found by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW, World
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db, session_for
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.locks import open_locks
from payouts.batches.review import mark_paid
from payouts.cli import payouts_group
from payouts.commissions.earn import earn
from payouts.ledger import accounts
from payouts.ledger.posting import Kind, Line, post
from payouts.ledger.seals import kept, walk
from payouts.ledger.seals.cli import seals_group
from payouts.ledger.seals.jobs import seal
from payouts.ledger.seals.rules import GENESIS
from payouts.ledger.seals.sealing import newest, seal_next, unsealed
from payouts.ledger.seals.walk import Broken

HOUR = timedelta(hours=1)


def book(session: Session, world: World, name: str, reference: str) -> int:
    """One transaction of 2.00 for somebody, not committed; its id."""
    pending = accounts.of_enrollment(
        accounts.AccountKind.PENDING, world.program_id, world.enrollments[name], world.currency
    )
    expense = accounts.expense(world.program_id, world.currency)
    two = world.money("2")
    lines = [Line(expense, -two), Line(pending, two)]
    return post(session, kind=Kind.EARN, reference=reference, reason="test", lines=lines, now=NOW)


def seal_all(session: Session, *, at: datetime | None = None, **options: int) -> int:
    """Seal until nothing is left, a commit a block; how many transactions."""
    sealed = 0
    while found := seal_next(session, real_now=at or clock.real_now(), **options):
        session.commit()
        sealed += found
    session.rollback()
    return sealed


def findings(session: Session, *heads: str, back_dating: bool = False) -> list[walk.Finding]:
    """All that the command looks for."""
    last = walk.last_number(session)
    return [
        *walk.broken_links(session),
        *walk.unknown_heads(session, heads),
        *walk.changed_entries(session, first=1, last=last, back_dating=back_dating),
        *walk.written_behind(session, rows_max=5),
    ]


def seals(session: Session) -> list[tuple[int, int, bytes, bytes]]:
    """(number, leaves, before, head) of every seal."""
    rows = session.execute(
        sa.text("SELECT number, leaves, before, head FROM ledger_seals ORDER BY number")
    )
    return [(row.number, row.leaves, row.before, row.head) for row in rows]


@pytest.fixture
def sealed(by_hand: Pay) -> Pay:
    """A sale, releases and a payout in three seals of which the last took all that was left."""
    by_hand.world.affiliate("rita")
    by_hand.affiliate("anna", "9.00")
    by_hand.affiliate("boris", "3.00")
    earn(by_hand.session, sale=by_hand.world.sale("anna", "100.00"), waits_for=None, now=NOW)
    made = by_hand.approved("anna", "2.00")
    mark_paid(
        by_hand.session,
        item_id=made.item_id,
        reference="17",
        by_user_id=by_hand.finance,
        rails=by_hand.rails,
        now=NOW,
    )
    by_hand.session.commit()
    assert seal_all(by_hand.session, transactions_max=3) == 7
    return by_hand


def test_blocks_are_bounded_and_each_names_the_head_before(sealed: Pay) -> None:
    found = seals(sealed.session)
    assert [(number, leaves) for number, leaves, *_ in found] == [(1, 6), (2, 6), (3, 2)]
    assert [before for _, _, before, _ in found] == [GENESIS, *(head for *_, head in found[:-1])]
    assert findings(sealed.session, *(head.hex() for *_, head in found)) == []
    assert seal_next(sealed.session, real_now=clock.real_now()) == 0, "nothing is sealed twice"


def test_a_lower_id_that_commits_later_is_in_the_next_seal(world: World, engine: sa.Engine) -> None:
    """No job advances by the largest id seen: an id is open while a higher one is sealed."""
    for name in ("anna", "rita"):  # Their accounts are there: neither waits for the other's.
        book(world.session, world, name, f"earn:test:{name}")
    world.session.commit()
    assert seal_all(world.session) == 2
    with session_for(engine)() as slow, session_for(engine)() as quick:
        first = book(slow, world, "anna", "earn:test:slow")
        second = book(quick, world, "rita", "earn:test:quick")
        assert first < second
        quick.commit()
        assert seal_all(world.session) == 1
        assert seal_all(world.session) == 0
        slow.commit()
    assert [row.id for row in unsealed(world.session, rows_max=5)] == [first]
    assert seal_all(world.session) == 1
    ids = world.session.scalars(
        sa.text("SELECT transaction_ids::text FROM ledger_seals WHERE number > 1 ORDER BY number")
    )
    assert list(ids) == [f"{{[{second},{second + 1})}}", f"{{[{first},{first + 1})}}"]
    assert findings(world.session) == []


def test_ids_that_were_never_booked_are_gaps_and_no_hindrance(
    world: World, engine: sa.Engine
) -> None:
    for n in range(6):
        with session_for(engine)() as session:
            book(session, world, "anna", f"earn:test:{n}")
            if n % 2:
                session.commit()
    assert seal_all(world.session, transactions_max=2) == 3
    assert findings(world.session) == []


def test_two_sealers_at_once_make_one_chain(world: World, engine: sa.Engine) -> None:
    for n in range(40):
        book(world.session, world, "anna", f"earn:test:{n}")
    world.session.commit()
    start, deadline_s = threading.Barrier(4), time.monotonic() + 60
    sealed: list[int] = []

    def sealer() -> None:
        with session_for(engine)() as session:
            start.wait()
            # Who comes while another seals has nothing to do, however often that is.
            while sum(sealed) < 40 and time.monotonic() < deadline_s:
                found = seal_next(session, real_now=clock.real_now(), transactions_max=2)
                session.commit()
                sealed.append(found)

    threads = [threading.Thread(target=sealer) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(sealed) == 40
    assert [number for number, *_ in seals(world.session)] == list(range(1, 21))
    assert findings(world.session) == []


def test_who_comes_while_another_seals_leaves_it_to_them(world: World, engine: sa.Engine) -> None:
    book(world.session, world, "anna", "earn:test:1")
    world.session.commit()
    with session_for(engine)() as other:
        assert seal_next(other, real_now=clock.real_now()) == 1
        assert seal_next(world.session, real_now=clock.real_now()) == 0
        other.rollback()  # Killed before its commit: nothing is half-sealed.
    assert seal_all(world.session) == 1


def test_the_database_refuses_a_fork_and_every_change(sealed: Pay) -> None:
    session = sealed.session
    copy = (
        "INSERT INTO ledger_seals SELECT {number}, before, root, sha256(head), leaves, emptied,"
        " sealed_at, transaction_ids, entry_ids, salts, leaf_hashes FROM ledger_seals"
        " WHERE number = 2"
    )
    for refused, why in [
        (copy.format(number=2), "pk_ledger_seals"),
        (copy.format(number=9), "uq_ledger_seals_before"),
        ("UPDATE ledger_seals SET salts = salts", "append-only"),
        ("DELETE FROM ledger_seals", "append-only"),
        ("TRUNCATE ledger_seals", "append-only"),
        ("UPDATE ledger_seal_salt SET salt = salt", "append-only"),
        ("DELETE FROM ledger_seal_salt", "append-only"),
        ("TRUNCATE ledger_seal_salt", "append-only"),
    ]:
        with pytest.raises(sa.exc.DBAPIError, match=why):
            session.execute(sa.text(refused))
        session.rollback()


def test_a_clock_that_is_set_back_does_not_turn_the_times_of_seals(world: World) -> None:
    late = clock.real_now()
    for n, at in enumerate((late, late - HOUR)):
        book(world.session, world, "anna", f"earn:test:{n}")
        world.session.commit()
        assert seal_next(world.session, real_now=at) == 1
        world.session.commit()
    assert newest(world.session).sealed_at == late
    assert findings(world.session) == []


def test_an_affiliate_who_is_erased_leaves_the_chain_whole(sealed: Pay) -> None:
    session = sealed.session
    session.execute(sa.text("UPDATE affiliates SET name = 'erased'"))
    session.execute(sa.text("UPDATE users SET email = id || '@erased.invalid'"))
    session.commit()
    assert findings(session) == []


_SWAP = """
    UPDATE ledger_entries e SET {column} = o.{column} FROM ledger_entries o
    WHERE (e.id, o.id) IN ((1, 2), (2, 1))
"""
_INSERT_OLD = """
    INSERT INTO ledger_transactions (kind, reference, reason, occurred_at, recorded_at)
    VALUES ('bonus', 'bonus:old', 'test', now() - interval '9 days', {recorded});
    INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
    SELECT (SELECT max(id) FROM ledger_transactions), account_id, currency, amount_micros
    FROM ledger_entries WHERE transaction_id = 1
"""
_SEAL_IT_AGAIN = """
    UPDATE ledger_seals SET head = sha256(head) WHERE number = 2;
    UPDATE ledger_seals SET before = (SELECT head FROM ledger_seals WHERE number = 2)
    WHERE number = 3
"""
TAMPERED = {
    "an amount": (
        "UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE id = 1",
        {(Broken.ENTRY_CHANGED, 1)},
    ),
    "a transaction moved to another day": (
        "UPDATE ledger_transactions SET occurred_at = occurred_at - interval '1 day' WHERE id = 4",
        {(Broken.ENTRY_CHANGED, 2)},
    ),
    "the time at which it was written": (
        "UPDATE ledger_transactions SET recorded_at = recorded_at + interval '1 s' WHERE id = 4",
        {(Broken.ENTRY_CHANGED, 2)},
    ),
    "a reference": (
        "UPDATE ledger_transactions SET reference = 'another' WHERE id = 1",
        {(Broken.ENTRY_CHANGED, 1)},
    ),
    "a kind": (
        "UPDATE ledger_transactions SET kind = 'bonus' WHERE id = 1",
        {(Broken.ENTRY_CHANGED, 1)},
    ),
    "a reason": (
        "UPDATE ledger_transactions SET reason = 'bonus' WHERE id = 1",
        {(Broken.ENTRY_CHANGED, 1)},
    ),
    "what it reverses": (
        "UPDATE ledger_transactions SET reverses_id = 2 WHERE id = 1",
        {(Broken.ENTRY_CHANGED, 1)},
    ),
    "money to another person": (
        "UPDATE ledger_accounts SET enrollment_id = (SELECT max(id) FROM enrollments)"
        " WHERE kind = 'in_payout'",
        {(Broken.ENTRY_CHANGED, 2), (Broken.ENTRY_CHANGED, 3)},
    ),
    "an account that is gone": (
        "DELETE FROM ledger_accounts WHERE kind = 'cash'",
        {(Broken.ENTRY_CHANGED, 3)},
    ),
    "an entry is gone": (
        "DELETE FROM ledger_entries WHERE id = 2",
        {(Broken.ENTRY_GONE, 1)},
    ),
    "a transaction is gone": (
        "DELETE FROM ledger_entries WHERE transaction_id = 5;"
        "DELETE FROM ledger_transactions WHERE id = 5",
        {(Broken.TRANSACTION_GONE, 2), (Broken.ENTRY_GONE, 2)},
    ),
    "an entry more": (
        "INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)"
        " SELECT transaction_id, account_id, currency, 7 FROM ledger_entries WHERE id = 1",
        {(Broken.ENTRY_ADDED, 1)},
    ),
    "an old transaction, not sealed": (
        _INSERT_OLD.format(recorded="now() - interval '9 days'"),
        {(Broken.WRITTEN_BEHIND, None)},
    ),
    "amounts swapped": (_SWAP.format(column="amount_micros"), {(Broken.ENTRY_CHANGED, 1)}),
    "another order": (
        "UPDATE ledger_seals SET entry_ids = entry_ids[2:2] || entry_ids[1:1] || entry_ids[3:]"
        " WHERE number = 1",
        {(Broken.ORDER_CHANGED, 1), (Broken.ENTRY_CHANGED, 1)},
    ),
    "another order, leaves and salts alike": (
        "UPDATE ledger_seals SET entry_ids = entry_ids[2:2] || entry_ids[1:1] || entry_ids[3:],"
        " salts = substr(salts, 17, 16) || substr(salts, 1, 16) || substr(salts, 33),"
        " leaf_hashes = substr(leaf_hashes, 33, 32) || substr(leaf_hashes, 1, 32)"
        " || substr(leaf_hashes, 65) WHERE number = 1",
        {(Broken.ORDER_CHANGED, 1), (Broken.ROOT_CHANGED, 1)},
    ),
    "a salt": (
        "UPDATE ledger_seals SET salts = set_byte(salts, 20, 255 - get_byte(salts, 20))"
        " WHERE number = 2",
        {(Broken.ENTRY_CHANGED, 2)},
    ),
    "the salt of the pseudonyms": (
        "UPDATE ledger_seal_salt SET salt = sha256(salt)",
        {(Broken.ENTRY_CHANGED, n) for n in (1, 2, 3)},
    ),
    "no salt of the pseudonyms": (
        "DELETE FROM ledger_seal_salt",
        {(Broken.ENTRY_CHANGED, n) for n in (1, 2, 3)},
    ),
    "a leaf": (
        "UPDATE ledger_seals SET leaf_hashes = set_byte(leaf_hashes, 0,"
        " 255 - get_byte(leaf_hashes, 0)) WHERE number = 1",
        {(Broken.ROOT_CHANGED, 1), (Broken.ENTRY_CHANGED, 1)},
    ),
    "a root": (
        "UPDATE ledger_seals SET root = sha256(root) WHERE number = 1",
        {(Broken.HEAD_CHANGED, 1), (Broken.ROOT_CHANGED, 1)},
    ),
    "a head": (
        "UPDATE ledger_seals SET head = sha256(head) WHERE number = 2",
        {(Broken.HEAD_CHANGED, 2), (Broken.LINK_CHANGED, 3)},
    ),
    "a head, and the next seal made to fit": (
        _SEAL_IT_AGAIN,
        {(Broken.HEAD_CHANGED, 2), (Broken.HEAD_CHANGED, 3)},
    ),
    "a time": (
        "UPDATE ledger_seals SET sealed_at = sealed_at - interval '1 day' WHERE number = 2",
        {(Broken.HEAD_CHANGED, 2)},
    ),
    "that all was sealed": (
        "UPDATE ledger_seals SET emptied = NOT emptied WHERE number = 1",
        {(Broken.HEAD_CHANGED, 1)},
    ),
    "a seal is missing": (
        "DELETE FROM ledger_seals WHERE number = 2",
        {(Broken.SEAL_MISSING, 3)},
    ),
    "the first seals are missing": (
        "DELETE FROM ledger_seals WHERE number < 3",
        {(Broken.SEAL_MISSING, 3)},
    ),
    "what a seal holds": (
        "UPDATE ledger_seals SET transaction_ids = '{[1,)}' WHERE number = 1",
        {(Broken.CONTENTS_CHANGED, 1)},
    ),
    "a transaction out of its seal": (
        "UPDATE ledger_seals SET transaction_ids = transaction_ids - '{[2,3)}' WHERE number = 1",
        {(Broken.ENTRY_GONE, 1)},
    ),
    "the tail is cut off": (
        "DELETE FROM ledger_seals WHERE number = 3",
        {(Broken.HEAD_UNKNOWN, None)},
    ),
    "no seal at all": ("DELETE FROM ledger_seals", {(Broken.HEAD_UNKNOWN, None)}),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found_and_named(sealed: Pay, what: str) -> None:
    """As a superuser would do it, without triggers; the newest head was given out before."""
    session = sealed.session
    given = newest(session).head.hex()
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    statements, expected = TAMPERED[what]
    for statement in statements.split(";"):
        session.execute(sa.text(statement))
    found = {(each.broken, each.seal) for each in findings(session, given)}
    session.rollback()
    if Broken.HEAD_UNKNOWN not in {broken for broken, _ in expected}:
        found.discard((Broken.HEAD_UNKNOWN, None))
    assert found == expected


def test_every_kind_of_finding_was_seen_and_has_a_sentence() -> None:
    planted = {broken for _, expected in TAMPERED.values() for broken, _ in expected}
    assert planted == set(Broken) - {Broken.DATED_BACK}, "dated back: the next tests"
    assert all(each.sentence for each in Broken)


def test_a_changed_entry_is_named_with_its_seal_and_transaction(sealed: Pay) -> None:
    session = sealed.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text("UPDATE ledger_entries SET amount_micros = 1 WHERE id = 9"))
    (found,) = findings(session)
    assert str(found) == (
        "seal 2, transaction_id 5, entry_id 9: an entry or its salt is not what was sealed"
        " (entry_changed)"
    )


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("now() - interval '9 days'", Broken.WRITTEN_BEHIND),
        ("now()", Broken.DATED_BACK),
    ],
)
def test_an_old_transaction_that_was_put_in_and_sealed_is_found(
    sealed: Pay, recorded: str, expected: Broken
) -> None:
    session = sealed.session
    for statement in _INSERT_OLD.format(recorded=recorded).split(";"):
        session.execute(sa.text(statement))
    session.commit()
    assert seal_all(session) == 1
    found = {(each.broken, each.seal) for each in findings(session, back_dating=True)}
    assert found == {(expected, 4)}


def test_a_backlog_that_is_sealed_late_is_no_finding(world: World) -> None:
    """After an upgrade the first seals hold what was written months before."""
    for n in range(5):
        book(world.session, world, "anna", f"earn:test:{n}")
    world.session.commit()
    later = clock.real_now() + timedelta(days=90)
    assert seal_all(world.session, at=later, transactions_max=2) == 5
    assert findings(world.session, back_dating=True) == []


def test_what_waits_for_its_seal_alerts_and_is_silent_once_sealed(world: World) -> None:
    book(world.session, world, "anna", "earn:test:1")
    world.session.commit()

    def broken(after: timedelta) -> set[str]:
        found = run(world.session, CHECKS, real_now=clock.real_now() + after)
        return {each.check.name for each in found} & {"L10", "L11", "L12"}

    assert broken(HOUR - timedelta(minutes=1)) == set()
    assert broken(HOUR + timedelta(minutes=1)) == {"L12"}
    seal_all(world.session)
    assert broken(timedelta(days=9)) == set()


def test_an_audit_compares_the_newest_and_the_daily_job_everything(
    app: Flask, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from payouts.audit import sealed
    from payouts.audit.jobs import compare_books

    for n in range(6):
        book(world.session, world, "anna", f"earn:test:{n}")
    world.session.commit()
    seal_all(world.session, transactions_max=1)
    for leaves, first in ((0, 6), (1, 6), (2, 6), (4, 5), (5, 5), (12, 1), (99, 1)):
        assert walk.first_of_newest(world.session, leaves_max=leaves) == first
    with app.app_context():
        compare_books()
    assert open_locks(world.session) == []
    world.session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    world.session.execute(sa.text("UPDATE ledger_entries SET amount_micros = 3 WHERE id = 2"))
    world.session.commit()
    monkeypatch.setattr(sealed, "NEWEST_LEAVES_MAX", 4)
    assert list(sealed.changed_entries(world.session, clock.real_now())) == []
    with app.app_context():
        compare_books()
    (lock,) = open_locks(world.session)
    assert lock.detail.startswith("seal 1, transaction_id 1, entry_id 2: an entry or its salt")


@pytest.fixture
def heads_of(app: Flask, settings: Settings) -> Callable[[], kept.KeptHead | None]:
    """What the node has noted."""
    return lambda: kept.kept_head(settings.data_dir)


def test_the_job_notes_committed_heads_and_seals(
    app: Flask, world: World, heads_of: Callable[[], kept.KeptHead | None]
) -> None:
    for n in range(3):
        book(world.session, world, "anna", f"earn:test:{n}")
        world.session.commit()
        with app.app_context():
            seal()
        noted = heads_of()
        assert (noted.number if noted else 0) == n, "the head of the run before"
        world.session.rollback()
        assert newest(world.session).number == n + 1


def test_f26_a_machine_whose_clock_ran_days_ahead_makes_nobody_a_forger(
    app: Flask, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seals are dated by the clock that dates the entries: PostgreSQL's."""
    real = clock.real_now
    book(world.session, world, "anna", "earn:test:before")
    world.session.commit()
    with app.app_context():
        monkeypatch.setattr(clock, "real_now", lambda: real() + timedelta(days=3))
        seal()
        monkeypatch.undo()
        book(db.session(), world, "anna", "earn:test:after")
        db.session.commit()
        assert findings(db.session()) == [], "what is not sealed yet"
        seal()
        assert findings(db.session()) == [], "what is"


def test_a_chain_that_was_cut_or_rebuilt_is_noticed_from_the_nodes_own_file(
    app: Flask, sealed: Pay, heads_of: Callable[[], kept.KeptHead | None]
) -> None:
    session, runner = sealed.session, app.test_cli_runner()
    with app.app_context():
        seal()
        assert run(db.session(), CHECKS, real_now=clock.real_now()) == []
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text("DELETE FROM ledger_seals WHERE number > 1"))
    session.commit()
    noted = heads_of()
    assert noted is not None
    assert noted.number == 3
    with app.app_context():
        (found,) = run(db.session(), CHECKS, real_now=clock.real_now())
    assert found.check.name == "L11"
    assert found.rows[0]["head"] == noted.head
    # Sealed anew it is as long as before, and still another chain; the file keeps what it has.
    seal_all(session, transactions_max=1)
    with app.app_context():
        seal()
    assert heads_of() == noted
    verified = runner.invoke(seals_group, ["verify"])
    assert verified.exit_code == 1
    assert f"head {noted.head}: a head that was given out is not in the chain" in verified.output
    # A person has looked and lifts the lock: the file starts from what the database has.
    runner.invoke(payouts_group, ["unlock", "--why", "restored, compared"])
    assert heads_of() == kept.KeptHead(newest(session).number, newest(session).head.hex())
    assert runner.invoke(seals_group, ["verify"]).exit_code == 0


def test_the_commands_seal_print_and_verify(app: Flask, sealed: Pay) -> None:
    runner = app.test_cli_runner()
    book(sealed.session, sealed.world, "anna", "earn:test:1")
    sealed.session.commit()
    done = runner.invoke(seals_group, ["now"]).output
    row = newest(sealed.session)
    assert done.startswith(f"1 transactions sealed.\n4 {row.head.hex()} ")
    good = runner.invoke(seals_group, ["verify", "--head", row.head.hex()])
    assert (good.exit_code, good.output) == (
        0, "4 seals and 1 heads given out looked at, 0 findings.\n",
    )  # fmt: skip
    bad = runner.invoke(seals_group, ["verify", "--head", "0" * 64])
    assert (bad.exit_code, bad.output.count("head_unknown")) == (1, 1)
    refused = runner.invoke(seals_group, ["verify", "--head", "17"])
    assert refused.exit_code == 2
    assert "is not a head" in refused.output


def test_before_the_first_seal_the_commands_say_so(app: Flask) -> None:
    runner = app.test_cli_runner()
    assert runner.invoke(seals_group, ["head"]).output == "Nothing is sealed yet.\n"
    assert runner.invoke(seals_group, ["verify"]).exit_code == 0
