"""Switches: each sets one guard of the payout protocol out of force, for a scenario's time.

A guard's scenario leaves that guard alone in force; its twin switches it off as well, and the
oracle must see it. What a switch does is what a careless version of the code would do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy.orm import Session, object_session

from affiliate.core.money import Money
from payouts.batches import approve, candidates, claims, draft, execute, intents, jobs, withdraw
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutBatch, PayoutItem
from payouts.ledger.accounts import account_ids
from payouts.ledger.models import LedgerBalance
from payouts.rails.protocol import Answer, LookUp, NotFound, Order
from tests.payouts.simulation.house import House
from tests.payouts.simulation.provider import SimulatedRail
from tests.payouts.simulation.scene import Scene

Switch = Callable[[House], Any]

_numbers = itertools.count(1)


@contextmanager
def switched(scene: Scene, *switches: Switch) -> Iterator[None]:
    """All these guards are out of force while the block runs."""
    with ExitStack() as stack:
        for switch in switches:
            stack.enter_context(switch(scene.house))
        yield


@contextmanager
def no_attempt_row(house: House) -> Iterator[None]:
    """Nothing is on disk before the call: what was written of the intent dies with the process.

    As where the attempt's row and the call are one transaction.
    """

    def in_one_transaction(sending: Any, *, item_id: int, rail: Any) -> bool:
        with sending.sessions.begin() as session:
            claimed = intents.claim(
                session, item_id=item_id, now=sending.now(session), real_now=sending.real_now()
            )
            if claimed is None:
                return True
            answer = rail.send(claimed.order, key=claimed.key)
            claims.record(
                session, claimed=claimed, answer=answer, now=sending.now(session),
                real_now=sending.real_now(),
            )  # fmt: skip
        return True

    with patch.object(execute, "move_item", in_one_transaction):
        yield


@contextmanager
def no_key_reuse(house: House) -> Iterator[None]:
    """Every call has a key of its own, as a library makes one where none is given."""
    real = SimulatedRail.send

    def send(self: SimulatedRail, order: Order, *, key: str) -> Answer:
        return real(self, order, key=f"{key}:{next(_numbers)}")

    with patch.object(SimulatedRail, "send", send):
        yield


@contextmanager
def no_look_up(house: House) -> Iterator[None]:
    """The provider's list is never looked into."""

    def find(self: SimulatedRail, order: Order) -> LookUp:
        return NotFound()

    with patch.object(SimulatedRail, "find", find):
        yield


@contextmanager
def no_key_life(house: House) -> Iterator[None]:
    """A key is sent again at any age."""
    with patch.object(intents, "KEY_LIFE_H", 24 * 365):
        yield


@contextmanager
def no_claim(house: House) -> Iterator[None]:
    """An item is taken without its lock and without a look at who has taken it already."""

    def claim_group(
        session: Session, *, batch_id: int, now: Any, real_now: Any, items_max: int,
        item_ids: Any = None,
    ) -> intents.Group:  # fmt: skip
        query = sa.select(PayoutItem).where(
            PayoutItem.batch_id == batch_id, PayoutItem.status.in_(intents.MOVING)
        )
        if item_ids is not None:
            query = query.where(PayoutItem.id.in_(item_ids))
        items = session.scalars(
            query.limit(items_max).execution_options(populate_existing=True)
        ).all()
        batch = session.get_one(PayoutBatch, batch_id)
        return intents._write(session, batch, items, now, real_now)

    with (
        patch.object(intents, "claim_group", claim_group),
        patch.object(execute, "claim_group", claim_group),
    ):
        yield


@contextmanager
def no_live_attempt(house: House) -> Iterator[None]:
    """Each claim makes an attempt of its own: no look for one that may still succeed."""
    real = intents._attempts

    def attempts(session: Session, item_ids: list[int]) -> Any:
        found = real(session, item_ids)
        for each in found.values():
            each.live = None
        return found

    with patch.object(intents, "_attempts", attempts):
        yield


def without_index(*statements: str) -> Switch:
    """Unique indexes are gone, and come back."""

    @contextmanager
    def switch(house: House) -> Iterator[None]:
        made = "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
        asked = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"
        back: list[str] = []
        with house.engine.begin() as connection:
            for name in statements:
                table = connection.scalar(
                    sa.text("SELECT tablename FROM pg_indexes WHERE indexname = :name"),
                    {"name": name},
                )
                told = connection.scalar(sa.text(asked), {"name": name})
                if told:
                    back.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {told}")
                    connection.execute(sa.text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
                else:
                    back.append(str(connection.scalar(sa.text(made), {"name": name})))
                    connection.execute(sa.text(f"DROP INDEX {name}"))
        try:
            yield
        finally:
            house.conductor.kill_all()
            house.books.empty()
            with house.engine.begin() as connection:
                for statement in back:
                    connection.execute(sa.text(statement))

    return switch


no_live_index = without_index("uq_payout_attempts_live")
no_other_attempt_indexes = without_index(
    "uq_payout_attempts_item_id_number", "uq_payout_attempts_idempotency_key"
)
no_unique_period = without_index("uq_payout_periods_program_id_currency_rail_key")


@contextmanager
def no_fence(house: House) -> Iterator[None]:
    """Nobody compares the database with what this node has paid."""
    with (
        patch.object(execute, "check_fence", lambda *_args, **_values: True),
        patch.object(jobs, "check_fence", lambda *_args, **_values: True),
    ):
        yield


@contextmanager
def no_parking(house: House) -> Iterator[None]:
    """Nobody looks whether the payee changed since the approval."""
    with patch.object(intents, "not_payable", lambda *_args, **_values: None):
        yield


@contextmanager
def no_frozen_payee(house: House) -> Iterator[None]:
    """The attempt goes to the account that is the payee's now, not to the approved one."""
    real = intents._attempt

    def attempt(item: PayoutItem, *args: Any) -> PayoutAttempt:
        session = object_session(item)
        assert session is not None
        item.destination = session.scalars(
            sa.select(PayeeAccount.destination).where(PayeeAccount.replaced_at.is_(None))
            .order_by(PayeeAccount.id.desc())
        ).first() or ""  # fmt: skip
        return real(item, *args)

    with patch.object(intents, "_attempt", attempt):
        yield


@contextmanager
def no_hash(house: House) -> Iterator[None]:
    """The hash is compared with nothing that is in the tables now."""
    with patch.object(approve, "hash_of", lambda session, *, batch_id: session.scalar(
        sa.text("SELECT hash FROM payout_batches WHERE id = :id"), {"id": batch_id}
    )):  # fmt: skip
        yield


@contextmanager
def no_balance_lock(house: House) -> Iterator[None]:
    """A balance is read without its row's lock."""

    def read(session: Session, *, keys: Any) -> Any:
        ids = account_ids(session, keys)
        amounts = dict(
            session.execute(sa.select(LedgerBalance.account_id, LedgerBalance.amount_micros)).all()
        )
        return {key: Money(amounts.get(one, 0), key.currency) for key, one in ids.items()}

    unlocked = str(candidates._LOCK).replace("FOR UPDATE", "")

    def count(session: Session, values: Any) -> int:
        return int(session.scalars(sa.text(unlocked), dict(values)).one())

    with (
        patch.object(withdraw, "lock_available", read),
        patch.object(draft, "lock_due", count),
        patch.object(draft, "DUE", candidates.DUE.replace("FOR UPDATE SKIP LOCKED", "")),
    ):
        yield


@contextmanager
def no_program_lock(house: House) -> Iterator[None]:
    """A weekly batch takes a number of its own, whoever else is making a batch."""

    def new_batch(session: Session, **values: Any) -> PayoutBatch:
        program = values.pop("program")
        now = values.pop("now")
        batch = PayoutBatch(
            program_id=program.id, currency=program.currency, number=1_000 + next(_numbers),
            status="draft", created_at=now, **values,
        )  # fmt: skip
        session.add(batch)
        session.flush()
        return batch

    with patch.object(draft, "new_batch", new_batch):
        yield


@contextmanager
def keys_forgotten(house: House) -> Iterator[None]:
    """The provider remembers no key: whatever is sent is done."""
    house.provider.forgets_keys = True
    yield
    house.provider.forgets_keys = False


@contextmanager
def list_lags(house: House) -> Iterator[None]:
    """The provider's list is hours behind."""
    house.provider.list_lag = timedelta(hours=100)
    yield
    house.provider.list_lag = timedelta()
