"""Drafts, hashes and cancellations by statements: what the rule says, for any number of rows."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from money_world import NOW, World
from paying import Pay

from affiliate.core.db import session_for
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches import draft as drafting
from payouts.batches import freeze as freezing
from payouts.batches.cancel import cancel_batch
from payouts.batches.candidates import asked, lock_due
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.freeze import hash_of
from payouts.batches.models import (
    BatchAbsence,
    PayeeAccount,
    PayoutBatch,
    PayoutChoice,
    PayoutHold,
    PayoutItem,
    Withdrawal,
)
from payouts.batches.payee_models import PayeeStop
from payouts.batches.payee_rules import not_due
from payouts.batches.rules import (
    HASHED_AT_ONCE,
    BatchHash,
    Candidate,
    Due,
    NotDue,
    Reserved,
    batch_hash,
    due,
)
from payouts.ledger.accounts import AccountKind, account_ids, of_enrollment
from payouts.ledger.models import LedgerBalance
from payouts.rails.registry import rails

AMOUNTS = (-5_000_000, -1, 0, 1, 9_999, 10_000, 10_001, 999_999, 1_000_000, 12_345_678)
WAITS = {"cooling off": NOW + timedelta(microseconds=1), "cooled off": NOW}
STATUSES = ("active", "suspended", "closed", "rejected", "applied")
PAYEES = (
    "none", "ready", "not ready", "of another rail", "replaced", "cooling off", "cooled off",
    "disowned", "held", "on request", "from 99.99", "from 100.00",
)  # fmt: skip
NAMED = frozenset(PAYEES) - {"none", "of another rail", "replaced"}


def drafted(pay: Pay, session: Any = None) -> list[int]:
    own = session or pay.session
    open_periods(own, now=NOW)
    made = [
        draft_weekly(own, period_id=period_id, rails=pay.rails, now=NOW)
        for period_id in undrafted(own)
    ]
    own.commit()
    return [batch_id for batch_id in made if batch_id]


def rows_of(pay: Pay, batch_id: int) -> list[PayoutItem]:
    pay.session.rollback()
    query = sa.select(PayoutItem).where(PayoutItem.batch_id == batch_id).order_by(PayoutItem.id)
    return list(pay.session.scalars(query.execution_options(populate_existing=True)))


@pytest.mark.parametrize(("currency", "rail"), [("EUR", "manual"), ("HUF", "stripe")])
def test_the_statement_decides_as_the_rule_does(
    world_of: Callable[..., World], settings: Any, currency: str, rail: str
) -> None:
    """Every combination of status, amount and account, against `due` itself."""
    world = world_of(currency, rail)
    program = world.session.get_one(Program, world.program_id)
    candidates = list(_people(world, rail))
    known = rails(settings)
    granularity = known[rail].granularity(currency)
    told = {c.enrollment_id: due(c, granularity) for c in candidates}
    with session_for(world.session.get_bind())() as own:  # type: ignore[arg-type]
        locked = lock_due(own, asked(program, rail, known, NOW))
        own.rollback()
    assert locked == sum(isinstance(each, Due) for each in told.values())
    open_periods(world.session, now=NOW)
    for period_id in undrafted(world.session):
        draft_weekly(world.session, period_id=period_id, rails=known, now=NOW)
    items = world.session.execute(
        sa.select(PayoutItem.enrollment_id, PayoutItem.amount_micros, PayoutItem.destination)
    ).all()
    wanted = [each for each in told.values() if isinstance(each, Due)]
    assert sorted(map(tuple, items)) == sorted(
        (each.enrollment_id, each.amount.micros, each.destination) for each in wanted
    )
    absent = world.session.execute(
        sa.select(BatchAbsence.enrollment_id, BatchAbsence.reason, BatchAbsence.available_micros)
    ).all()
    balances = {c.enrollment_id: c.available.micros for c in candidates}
    assert sorted(map(tuple, absent)) == sorted(
        (n, each.value, balances[n])
        for n, each in told.items()
        if isinstance(each, NotDue) and balances[n]
    )
    assert {reason for _, reason, _ in absent} == {each.value for each in NotDue}


def _people(world: World, rail: str) -> Iterator[Candidate]:
    session = world.session
    for number, (status, micros, payee) in enumerate(
        (s, a, p) for s in STATUSES for a in AMOUNTS for p in PAYEES
    ):
        user = User(email=f"p{number}@x.example", fs_uniquifier=f"p{number}", created_at=NOW)
        session.add(user)
        session.flush()
        affiliate = Affiliate(user_id=user.id, name=f"p{number}", created_at=NOW)
        session.add(affiliate)
        session.flush()
        enrollment = Enrollment(
            program_id=world.program_id, affiliate_id=affiliate.id, status=status, answers={},
            applied_at=NOW,
        )  # fmt: skip
        session.add(enrollment)
        session.flush()
        if payee != "none":
            named = PayeeAccount(
                affiliate_id=affiliate.id,
                rail="pigeon" if payee == "of another rail" else rail,
                destination=f"Анна №{number}",
                ready_at=None if payee == "not ready" else NOW,
                created_at=NOW,
                replaced_at=NOW if payee == "replaced" else None,
                pays_from=WAITS.get(payee),
            )
            session.add(named)
            session.flush()
            if payee == "disowned":
                stop = PayeeStop(affiliate_id=affiliate.id, payee_id=named.id, stopped_at=NOW)
                session.add(stop)
        if payee == "held":
            session.add(
                PayoutHold(enrollment_id=enrollment.id, reason="x", held_by=user.id, held_at=NOW)
            )
        minimum = {"from 99.99": 99_990_000, "from 100.00": 100_000_000}.get(payee, 0)
        if minimum or payee == "on request":
            session.add(
                PayoutChoice(
                    enrollment_id=enrollment.id, on_request=payee == "on request",
                    minimum_micros=minimum, chosen_at=NOW,
                )
            )  # fmt: skip
        key = of_enrollment(AccountKind.AVAILABLE, world.program_id, enrollment.id, world.currency)
        account_id = account_ids(session, [key])[key]
        session.add(LedgerBalance(account_id=account_id, amount_micros=micros * 100))
        session.flush()
        yield Candidate(
            enrollment_id=enrollment.id,
            status=status,
            available=Money(micros * 100, world.currency),
            destination=f"Анна №{number}" if payee in NAMED else None,
            ready=payee in NAMED and payee != "not ready",
            held=payee == "held",
            on_request=payee == "on request",
            minimum_micros=minimum,
            waits=not_due(stopped=payee == "disowned", pays_from=WAITS.get(payee), now=NOW),
        )
    session.commit()


texts = st.text(max_size=20)
hashed = st.builds(
    Reserved,
    item_id=st.integers(1, 2**62),
    enrollment_id=st.integers(1, 2**62),
    amount=st.builds(Money, st.integers(1, 2**62), st.sampled_from(["EUR", "RUB"])),
    destination=texts,
    reserve_id=st.integers(0, 2**62),
)


@given(
    items=st.lists(hashed, max_size=8, unique_by=lambda item: item.item_id), cut=st.integers(0, 8)
)
def test_a_hash_taken_in_parts_is_that_of_the_whole_json(items: list[Reserved], cut: int) -> None:
    """The definition that stored hashes were made by stands here, written out."""
    rows = sorted(
        [i.item_id, i.enrollment_id, i.amount.micros, i.amount.currency, i.destination,
         i.reserve_id]
        for i in items
    )  # fmt: skip
    text = json.dumps(rows, ensure_ascii=True, separators=(",", ":"))
    parts = BatchHash()
    parts.add(tuple(row) for row in rows[:cut])  # type: ignore[misc]
    parts.add(tuple(row) for row in rows[cut:])  # type: ignore[misc]
    assert parts.hexdigest() == sha256(text.encode()).hexdigest() == batch_hash(items)


def test_a_hash_of_more_rows_than_a_chunk_is_the_same() -> None:
    items = [Reserved(n, n, Money(n, "EUR"), f"a{n}", n) for n in range(1, 2 * HASHED_AT_ONCE + 2)]
    rows = [[n, n, n, "EUR", f"a{n}", n] for n in range(1, 2 * HASHED_AT_ONCE + 2)]
    text = json.dumps(rows, separators=(",", ":"))
    assert batch_hash(items) == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("ids", [(2, 1), (1, 1)])
def test_rows_that_come_out_of_order_are_no_hash(ids: tuple[int, int]) -> None:
    whole = BatchHash()
    whole.add([(ids[0], 1, 1, "EUR", "a", 1)])
    with pytest.raises(ValueError, match="by item id"):
        whole.add([(ids[1], 1, 1, "EUR", "a", 1)])


def test_a_batch_over_several_chunks_has_the_hash_of_its_rows(
    by_hand: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "ROWS_AT_ONCE", 2)
    for number in range(7):
        by_hand.affiliate(f"Öko «{number}» 😀", f"{number + 1}.00")
    (batch_id,) = drafted(by_hand)
    items = rows_of(by_hand, batch_id)
    assert [item.enrollment_id for item in items] == sorted(i.enrollment_id for i in items)
    batch = by_hand.batch(batch_id)
    assert batch.hash == hash_of(by_hand.session, batch_id=batch_id)
    assert batch.hash == batch_hash(
        [
            Reserved(
                item.id,
                item.enrollment_id,
                Money(item.amount_micros, item.currency),
                item.destination,
                item.reserve_transaction_id or 0,
            )
            for item in items
        ]
    )
    by_hand.sound()


def test_nobody_due_leaves_no_batch_and_no_number(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00", ready=False)
    assert drafted(by_hand) == []
    by_hand.session.rollback()
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutBatch)) == 0


def test_whoever_stops_being_due_while_the_draft_begins_leaves_no_empty_batch(
    by_hand: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their balance is locked, their account is not: it goes between the two statements."""
    by_hand.affiliate("anna", "5.00")
    begun = drafting.new_batch

    def new_batch(*given: Any, **named: Any) -> PayoutBatch:
        with session_for(by_hand.engine).begin() as own:
            own.execute(sa.update(PayeeAccount).values(ready_at=None))
        return begun(*given, **named)

    monkeypatch.setattr(drafting, "new_batch", new_batch)
    assert drafted(by_hand) == []
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutBatch)) == 0
    assert undrafted(by_hand.session) == []
    assert by_hand.balances("anna").available == by_hand.world.money("5")
    by_hand.sound()


def test_a_cancelled_batch_of_many_returns_every_reserve_and_ends_withdrawals(
    by_hand: Pay,
) -> None:
    for name in ("anna", "boris", "clara"):
        by_hand.affiliate(name, "5.00")
    by_hand.withdraw("anna", "1.00")
    (batch_id,) = drafted(by_hand)
    cancel_batch(by_hand.session, batch_id=batch_id, by_user_id=by_hand.finance, why="no", now=NOW)
    by_hand.session.commit()
    assert {(i.status, i.reason) for i in rows_of(by_hand, batch_id)} == {
        ("cancelled", "batch_cancelled")
    }
    assert by_hand.balances("anna").available == by_hand.world.money("4")
    assert by_hand.balances("boris").in_payout == by_hand.world.money("0")
    # The withdrawal of another batch is not touched.
    assert by_hand.session.scalars(sa.select(Withdrawal.closed_at)).one() is None
    by_hand.sound()


def test_a_balance_taken_while_the_draft_waits_for_it_is_not_paid_twice(by_hand: Pay) -> None:
    """A withdrawal holds the balance; the draft waits and then reads what is left."""
    by_hand.affiliate("anna", "5.00")
    by_hand.affiliate("boris", "2.00")
    begun, found = threading.Event(), []

    def draft() -> None:
        with session_for(by_hand.engine)() as own:
            begun.set()
            found.extend(drafted(by_hand, own))

    by_hand.session.execute(
        sa.select(LedgerBalance).order_by(LedgerBalance.account_id).with_for_update()
    )
    worker = threading.Thread(target=draft)
    worker.start()
    assert begun.wait(20)
    by_hand.withdraw("anna", "5.00")  # Commits, and with it lets the draft go on.
    worker.join(60)
    (batch_id,) = found
    amounts = [item.amount_micros for item in rows_of(by_hand, batch_id)]
    assert amounts == [by_hand.world.money("2").micros]
    by_hand.sound()


def test_drafts_and_cancellations_over_the_same_people_at_once_come_to_an_end(
    by_hand: Pay, pay: Callable[..., Pay]
) -> None:
    """Two batches of the same affiliates, touched from both sides: no circle of locks."""
    for number in range(12):
        by_hand.affiliate(f"p{number}", "9.00")
    names = [f"p{number}" for number in range(12)]
    failures: list[BaseException] = []

    def withdraw_and_cancel(seed: int) -> None:
        order = names[:]
        random.Random(seed).shuffle(order)
        for name in order:
            try:
                with session_for(by_hand.engine)() as own:
                    made = by_hand.withdraw(name, "1.00", session=own)
                    cancel_batch(
                        own, batch_id=made.batch_id, by_user_id=by_hand.finance, why="x", now=NOW
                    )
                    own.commit()
            except Exception as error:  # noqa: BLE001 -- told below
                failures.append(error)

    def draft_and_cancel(_: int) -> None:
        try:
            with session_for(by_hand.engine)() as own:
                for batch_id in drafted(by_hand, own):
                    cancel_batch(
                        own, batch_id=batch_id, by_user_id=by_hand.finance, why="x", now=NOW
                    )
                    own.commit()
        except Exception as error:  # noqa: BLE001 -- told below
            failures.append(error)

    threads = [
        threading.Thread(target=act, args=[n])
        for n, act in enumerate([draft_and_cancel, withdraw_and_cancel, draft_and_cancel])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    # A withdrawal may find the money in the draft that is about to be cancelled; nothing else.
    assert {type(each).__name__ for each in failures} <= {"Invalid", "NothingAvailable"}
    by_hand.sound()
    for name in names:
        assert by_hand.balances(name).available == by_hand.world.money("9")


def test_a_week_later_the_same_people_are_drafted_from_what_came_since(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    (first,) = drafted(by_hand)
    by_hand.world.available("anna", "2.50")
    later = NOW + timedelta(days=7)
    open_periods(by_hand.session, now=later)
    made = [
        draft_weekly(by_hand.session, period_id=p, rails=by_hand.rails, now=later)
        for p in undrafted(by_hand.session)
    ]
    by_hand.session.commit()
    (item,) = rows_of(by_hand, next(b for b in made if b))
    assert Money(item.amount_micros, "EUR") == by_hand.world.money("2.50")
    assert first != item.batch_id
    by_hand.sound()
