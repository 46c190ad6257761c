"""The ledger: balanced, once, append-only, mirrored; races with two real sessions."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from money_world import NOW, World
from sqlalchemy.orm import Session

from affiliate.core.db import session_for
from affiliate.core.money import Money
from payouts.ledger.accounts import AccountKind, account_ids, expense, of_enrollment
from payouts.ledger.balances import balances, lock_available
from payouts.ledger.models import LedgerAccount, LedgerBalance, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import (
    AlreadyPosted,
    Kind,
    Line,
    Posting,
    Unbalanced,
    lines_of,
    post,
    post_many,
    reverse,
)


def lines(world: World, amount: str, kind: AccountKind = AccountKind.AVAILABLE) -> list[Line]:
    key = of_enrollment(kind, world.program_id, world.enrollments["anna"], world.currency)
    sum_ = world.money(amount)
    return [Line(expense(world.program_id, world.currency), -sum_), Line(key, sum_)]


def book(session: Session, world: World, amount: str, reference: str = "bonus:1") -> int:
    return post(
        session,
        kind=Kind.BONUS,
        reference=reference,
        reason="bonus",
        lines=lines(world, amount),
        now=NOW,
    )


def cached(session: Session, world: World) -> int:
    return session.scalars(sa.select(LedgerBalance.amount_micros)).one()


def test_a_posting_moves_the_balance_and_its_row_alike(session: Session, world: World) -> None:
    book(session, world, "1.50")
    book(session, world, "0.000001", "bonus:2")
    found = balances(session, enrollment_id=world.enrollments["anna"], currency="EUR")
    assert found.available == Money(1_500_001, "EUR")
    assert cached(session, world) == 1_500_001
    assert found.owed == Money(1_500_001, "EUR")


def test_the_same_reference_is_booked_once_and_harms_nothing(
    session: Session, world: World
) -> None:
    book(session, world, "1.50")
    with pytest.raises(AlreadyPosted, match="bonus:1"):
        book(session, world, "9.99")
    book(session, world, "0.50", "bonus:2")
    session.commit()
    assert cached(session, world) == 2_000_000
    assert session.scalar(sa.select(sa.func.count()).select_from(LedgerTransaction)) == 2


def test_lines_that_another_statement_books_are_checked_alike(world: World) -> None:
    """They move no balance, so that an account which has one must not be among them."""
    whole = tuple(lines(world, "1.00", AccountKind.PENDING))
    assert [each["position"] for each in lines_of({1: whole, 3: whole})] == [1, 1, 3, 3]
    for wrong in (whole[:1], (whole[0], whole[0]), tuple(lines(world, "1.00")), ()):
        with pytest.raises(Unbalanced):
            lines_of({1: wrong})


def test_a_set_with_one_repeated_reference_writes_none(session: Session, world: World) -> None:
    book(session, world, "1.00")
    postings = [
        Posting(Kind.BONUS, f"bonus:{n}", "bonus", tuple(lines(world, "1.00"))) for n in (3, 1, 2)
    ]
    with pytest.raises(AlreadyPosted):
        post_many(session, postings=postings, now=NOW)
    session.commit()
    assert cached(session, world) == 1_000_000
    assert session.scalar(sa.select(sa.func.count()).select_from(LedgerEntry)) == 2


@pytest.mark.parametrize("wrong", ["one line", "unequal", "zero", "currency"])
def test_lines_that_do_not_balance_are_refused(session: Session, world: World, wrong: str) -> None:
    good = lines(world, "1.00")
    bad = {
        "one line": good[:1],
        "unequal": [good[0], Line(good[1].account, Money(999_999, "EUR"))],
        "zero": [Line(line.account, Money(0, "EUR")) for line in good],
        "currency": [good[0], Line(good[1].account, Money(1_000_000, "RUB"))],
    }[wrong]
    with pytest.raises(Unbalanced):
        post(session, kind=Kind.BONUS, reference="b", reason="bonus", lines=bad, now=NOW)


def test_the_database_itself_refuses_entries_that_do_not_balance(
    session: Session, world: World
) -> None:
    transaction = book(session, world, "1.00")
    account = session.scalars(sa.select(LedgerAccount.id)).first()
    with pytest.raises(sa.exc.DBAPIError, match="does not balance"), session.begin_nested():
        session.execute(
            sa.insert(LedgerEntry).values(
                transaction_id=transaction, account_id=account, currency="EUR", amount_micros=1
            )
        )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_entries SET amount_micros = 1",
        "DELETE FROM ledger_entries",
        "UPDATE ledger_transactions SET reason = 'x'",
    ],
)
def test_the_database_refuses_to_change_the_books(
    session: Session, world: World, change: str
) -> None:
    book(session, world, "1.00")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        session.execute(sa.text(change))


def test_a_reversal_is_the_exact_mirror_and_comes_once(session: Session, world: World) -> None:
    transaction = book(session, world, "1.23")
    undo = {"transaction_id": transaction, "kind": Kind.ADJUST, "reason": "mistake", "now": NOW}
    reverse(session, reference="adjust:1", **undo)
    assert cached(session, world) == 0
    with pytest.raises(AlreadyPosted):
        reverse(session, reference="adjust:2", **undo)
    assert session.scalar(sa.select(sa.func.sum(LedgerEntry.amount_micros))) == 0


def test_five_thousand_postings_are_one_matter_of_sets(session: Session, world: World) -> None:
    postings = [
        Posting(Kind.BONUS, f"bonus:{n}", "bonus", tuple(lines(world, "0.01")))
        for n in range(2_500)
    ]
    ids = post_many(session, postings=postings, now=NOW)
    assert len(set(ids.values())) == 2_500
    assert cached(session, world) == 25_000_000  # 2,500 × 0.01 = 25.00


def test_two_sessions_that_make_the_same_account_get_one(engine: sa.Engine, world: World) -> None:
    key = of_enrollment(AccountKind.PENDING, world.program_id, world.enrollments["anna"], "EUR")
    barrier, found = threading.Barrier(8), []

    def make() -> None:
        with session_for(engine)() as own:
            barrier.wait()
            found.append(account_ids(own, [key])[key])
            own.commit()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_locked_balance_makes_the_second_session_wait(engine: sa.Engine, world: World) -> None:
    key = of_enrollment(AccountKind.AVAILABLE, world.program_id, world.enrollments["anna"], "EUR")
    with session_for(engine)() as first, session_for(engine)() as second:
        assert lock_available(first, keys=[key]) == {key: Money.zero("EUR")}
        first.commit()
        lock_available(first, keys=[key])
        second.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            lock_available(second, keys=[key])
