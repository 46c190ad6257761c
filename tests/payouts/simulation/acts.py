"""What people and processes do: each act is one unit of work, in a process of its own.

Every act reads what it decides from in one transaction and acts in the next, as a page does.
The verbs are called here and nowhere else in the simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.errors import Refusal
from affiliate.core.money import Money
from payouts.batches.approve import approve
from payouts.batches.cancel import cancel_batch, hold_item
from payouts.batches.fence import lower_fence
from payouts.batches.locks import unlock
from payouts.batches.review import mark_paid, try_again
from payouts.batches.withdraw import withdraw
from tests.payouts.simulation.town import CURRENCY, Sold

if TYPE_CHECKING:
    from random import Random

    from tests.payouts.simulation.house import House
    from tests.payouts.simulation.town import Town


class Stage(Protocol):
    """What acts are played on: a simulation, or a scene told by hand."""

    house: House
    town: Town
    promised: list[int]

    @property
    def luck(self) -> Random: ...


class Acts:
    """The acts of one simulation; each answers what came of it, in words."""

    def __init__(self, stage: Stage) -> None:
        self._of = stage
        self._town = stage.town
        self._house = stage.house
        self._rails = stage.house.rails()

    def withdraw(self, name: str) -> str:
        """An affiliate asks for all of their balance, or for a part."""
        part = self._of.luck.random() < 0.3
        amount = Money(self._of.luck.randrange(1, 500) * 10_000, CURRENCY) if part else None

        def act(session: Session) -> str:
            made = withdraw(
                session, enrollment_id=self._town.enrollments[name], amount=amount,
                requested_by=self._town.users[name], by=name, rails=self._rails,
                now=clock.now(session),
            )  # fmt: skip
            session.commit()
            self._of.promised.append(made.withdrawal_id)
            return f"withdrawal {made.withdrawal_id} of {made.amount}, item {made.item_id}"

        return self._in_a_session(act)

    def change_payee(self, name: str) -> str:
        """Another account of theirs; what is approved keeps the old one."""

        def act(session: Session) -> str:
            destination = self._town.name_payee(session, name, now=clock.now(session))
            session.commit()
            return f"{name} is paid to {destination} from now on"

        return self._in_a_session(act)

    def stand(self, name: str, status: str) -> str:
        """A manager suspends an affiliate, or lets them in again."""

        def act(session: Session) -> str:
            session.execute(
                sa.text("UPDATE enrollments SET status = :status WHERE id = :id"),
                {"status": status, "id": self._town.enrollments[name]},
            )
            session.commit()
            return f"{name} is {status}"

        return self._in_a_session(act)

    def report(self, sold: Sold) -> str:
        def act(session: Session) -> str:
            self._town.report(session, sold, now=clock.now(session))
            session.commit()
            sold.heard = not sold.taken_back
            return f"{sold.reference} of {sold.name} is in the books"

        return self._in_a_session(act)

    def take_back(self, sold: Sold) -> str:
        def act(session: Session) -> str:
            self._town.report(session, sold, now=clock.now(session))
            self._town.take_back(session, sold, now=clock.now(session))
            session.commit()
            sold.heard = True
            return f"{sold.reference} of {sold.name} is refunded"

        return self._in_a_session(act)

    def approve(self, by: int) -> str:
        """Finance looks at a frozen batch, and approves what it saw."""

        def act(session: Session) -> str:
            batch = self._one(session, "SELECT id, hash FROM payout_batches WHERE status='frozen'")
            if batch is None:
                return "nothing to approve"
            approve(
                session, batch_id=batch.id, by_user_id=by, seen_hash=batch.hash,
                rails=self._rails, now=clock.now(session),
            )  # fmt: skip
            session.commit()
            return f"batch {batch.id} is approved"

        return self._in_a_session(act)

    def cancel(self, by: int) -> str:
        def act(session: Session) -> str:
            query = "SELECT id FROM payout_batches WHERE status IN ('draft', 'frozen')"
            batch = self._one(session, query)
            if batch is None:
                return "nothing to cancel"
            cancel_batch(
                session, batch_id=batch.id, by_user_id=by, why="seed", now=clock.now(session)
            )
            session.commit()
            return f"batch {batch.id} is cancelled"

        return self._in_a_session(act)

    def hold(self, by: int, *, parked_alone: bool = False) -> str:
        """Take an item out; `parked_alone`: one that waits for a person already."""
        parked = "AND reason IN ('payee_changed', 'not_active')" if parked_alone else ""

        def act(session: Session) -> str:
            query = f"SELECT id FROM payout_items WHERE status = 'queued' {parked}"
            item = self._one(session, query)
            if item is None:
                return "nothing to hold"
            hold_item(session, item_id=item.id, by_user_id=by, why="seed", now=clock.now(session))
            session.commit()
            return f"item {item.id} is held"

        return self._in_a_session(act)

    def review(self, by: int) -> str:
        """Whoever reviews looks the payment up at the provider, and decides by what is there."""

        def act(session: Session) -> str:
            query = "SELECT id FROM payout_items WHERE status = 'needs_review'"
            item = self._one(session, query)
            if item is None:
                return "nothing to review"
            made = self._house.provider.by_item().get(item.id, [])
            if made:
                mark_paid(
                    session, item_id=item.id, reference=made[0].id, by_user_id=by,
                    rails=self._rails, now=clock.now(session),
                )  # fmt: skip
            else:
                try_again(
                    session, item_id=item.id, by_user_id=by, why="not there",
                    now=clock.now(session),
                )  # fmt: skip
            session.commit()
            return f"item {item.id} " + ("was paid" if made else "is tried anew")

        return self._in_a_session(act)

    def unlock(self) -> str:
        """A person has compared books and provider after a restore."""

        def act(session: Session) -> str:
            lifted = unlock(session, by="simulation", why="compared", now=clock.now(session))
            session.commit()
            lower_fence(session, self._house.data_dir)
            return f"{lifted} locks are lifted"

        return self._in_a_session(act)

    def work(self, job: Any, args: tuple[Any, ...]) -> str:
        """A worker runs a job."""
        with self._house.app.app_context():
            job(*args)
        return "job done"

    def _in_a_session(self, act: Callable[[Session], str]) -> str:
        """One unit of work in the application; an expected refusal is an answer."""
        with self._house.app.app_context(), self._town.sessions() as session:
            try:
                return act(session)
            except Refusal as refusal:
                session.rollback()
                return f"refused: {refusal.code}"

    def _one(self, session: Session, query: str) -> Any:
        """Any row of an answer, chosen by the seed."""
        rows = session.execute(sa.text(f"{query} ORDER BY id")).all()
        session.rollback()
        return self._of.luck.choice(rows) if rows else None
