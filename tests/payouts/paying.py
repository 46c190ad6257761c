"""Drive a payout from a balance to the wire, as finance and workers would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from money_world import NOW, World
from sqlalchemy.orm import Session
from stripe_double import Double

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import session_for
from affiliate.core.money import Money
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.approve import approve
from payouts.batches.execute import run_batch
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.payees import set_payee
from payouts.batches.sending import Sending
from payouts.batches.withdraw import Requested, withdraw
from payouts.ledger.balances import Balances, balances
from payouts.rails.registry import rails


class Pay:
    """One program, its finance user, and the worker's run with a clock to move."""

    def __init__(
        self, world: World, settings: Settings, engine: sa.Engine, double: Double | None
    ) -> None:
        self.world, self.settings, self.engine, self.double = world, settings, engine, double
        self.session: Session = world.session
        self.rails = rails(settings)
        self.finance = world.user("finance", role="finance")
        self.later = timedelta()
        self.sending = Sending(
            sessions=session_for(engine),
            rails=self.rails,
            data_dir=settings.data_dir,
            now=lambda _session: NOW,
            real_now=lambda: clock.real_now() + self.later,
        )

    def affiliate(self, name: str, available: str, *, ready: bool = True, **states: Any) -> int:
        enrollment_id = self.world.affiliate(name)
        destination = self.double.account(**states) if self.double else f"IBAN of {name}"
        set_payee(
            self.session,
            affiliate_id=self.world.affiliate_id(name),
            rail=self.world.rail,
            destination=destination,
            ready=ready,
            by="test",
            now=NOW,
        )
        self.session.commit()
        self.world.available(name, available)
        return enrollment_id

    def withdraw(
        self, name: str, amount: str | None = None, *, session: Session | None = None
    ) -> Requested:
        own = session or self.session
        made = withdraw(
            own,
            enrollment_id=self.world.enrollments[name],
            amount=None if amount is None else self.world.money(amount),
            requested_by=self.world.users[name],
            by=f"user:{self.world.users[name]}",
            rails=self.rails,
            now=NOW,
        )
        own.commit()
        return made

    def approve(self, batch_id: int, *, by: int | None = None) -> None:
        approve(
            self.session,
            batch_id=batch_id,
            by_user_id=by or self.finance,
            seen_hash=self.batch(batch_id).hash or "",
            rails=self.rails,
            now=NOW,
        )
        self.session.commit()

    def approved(self, name: str, amount: str) -> Requested:
        """A withdrawal that finance has approved."""
        made = self.withdraw(name, amount)
        self.approve(made.batch_id)
        return made

    def run(self, batch_id: int, at: Callable[[str], None] | None = None) -> bool:
        sending = self.sending if at is None else replace(self.sending, at=at)
        return run_batch(sending, batch_id=batch_id)

    def wait(self, **delta: float) -> None:
        """Let real time pass for the sender (not for the provider)."""
        self.later += timedelta(**delta)

    def batch(self, batch_id: int) -> PayoutBatch:
        self.session.rollback()
        return self.session.get_one(PayoutBatch, batch_id, populate_existing=True)

    def item(self, item_id: int) -> PayoutItem:
        self.session.rollback()
        return self.session.get_one(PayoutItem, item_id, populate_existing=True)

    def attempts(self, item_id: int) -> list[PayoutAttempt]:
        self.session.rollback()
        return list(
            self.session.scalars(
                sa.select(PayoutAttempt)
                .where(PayoutAttempt.item_id == item_id)
                .order_by(PayoutAttempt.number)
                .execution_options(populate_existing=True)
            )
        )

    def balances(self, name: str) -> Balances:
        self.session.rollback()
        return balances(
            self.session, enrollment_id=self.world.enrollments[name], currency=self.world.currency
        )

    def transfers(self, item_id: int) -> list[dict[str, Any]]:
        """What the double has accepted for an item of this very installation."""
        assert self.double is not None
        env = self.attempts(item_id)[0].params["installation"]
        return [
            transfer
            for transfer in self.double.control("GET", "/transfers")["transfers"]
            if transfer["metadata"] == transfer["metadata"] | {"item_id": str(item_id), "env": env}
        ]

    def paid_once(self, made: Requested) -> None:
        """The oracle of every fault: one transfer, paid once, the books agree."""
        item = self.item(made.item_id)
        (transfer,) = self.transfers(made.item_id)
        assert item.status == "paid"
        (attempt,) = [a for a in self.attempts(item.id) if a.status == "succeeded"]
        assert attempt.transfer_id == transfer["id"]
        assert Money.of_minor_units(transfer["amount"], "EUR") == made.amount
        self.sound()

    def sound(self) -> None:
        """Every check of the audit finds nothing."""
        self.session.rollback()
        # Nobody seals while a test moves the clock, so what was booked then is unsealed for long.
        checks = [each for each in CHECKS if each.name != "L12" or not self.later]
        found = run(self.session, checks, real_now=clock.real_now() + self.later)
        assert not found, [str(each) for each in found]


def moment(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


def at_once(pay: Pay, *verbs: Callable[[Session], object]) -> list[object]:
    """Each in a session and thread of its own, begun together; results or errors, in order."""
    gate = threading.Barrier(len(verbs))
    found: list[object] = [None] * len(verbs)

    def run(place: int, verb: Callable[[Session], object]) -> None:
        with session_for(pay.engine)() as session:
            gate.wait()
            try:
                found[place] = verb(session)
                session.commit()
            except Exception as error:  # noqa: BLE001 -- the caller looks at what it was
                session.rollback()
                found[place] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
