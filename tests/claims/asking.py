"""Claims as tests make them: each call in a unit of work of its own, as an edge would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session
from world import DAY, World

from affiliate.core.db import db
from affiliate.core.outbox import Mail
from tests.desks.staff import Staff, hire
from tracker.attribution.models import Decision
from tracker.claims import decide, notes, upkeep
from tracker.claims.ask import Asked, ask_about_order
from tracker.claims.models import Claim
from tracker.claims.object import object_to_click, object_to_order
from tracker.claims.rules import Remedy, day_of
from tracker.orders.models import Order

R = TypeVar("R")


@dataclass
class Cases:
    """The world and who decides in it."""

    world: World
    manager: Staff
    second: Staff

    @classmethod
    def build(cls, world: World) -> Cases:
        world.affiliate("Anna")
        world.affiliate("Boris")
        return cls(world, hire(world, "manager"), hire(world, "manager", name="second"))

    @contextmanager
    def work(self) -> Iterator[Session]:
        """A transaction of its own, committed unless something was refused."""
        with self.world.app.app_context():
            session: Session = db.session()
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise
            finally:
                db.session.remove()

    def do(self, verb: Callable[..., R], **values: Any) -> R:
        with self.work() as session:
            return verb(session, **{"now": self.world.now, **values})

    def ask(
        self,
        name: str,
        order_id: str,
        *,
        days_ago: float = 1,
        said: str = "",
        now: datetime | None = None,
    ) -> Asked:
        person, now = self.world.people[name], now or self.world.now
        day = day_of(self.world.now - timedelta(days=days_ago), self.world.program.time_zone)
        return self.do(
            ask_about_order, enrollment_id=person.enrollment.id, order_id=order_id, day=day,
            said=said, by=person.user_id, now=now,
        )  # fmt: skip

    def object(
        self, name: str, about: Order | UUID, *, said: str = "It was mine.", after: timedelta = DAY
    ) -> int:
        person = self.world.people[name]
        values = {"enrollment_id": person.enrollment.id, "said": said, "by": person.user_id,
                  "now": self.world.now + after}  # fmt: skip
        if isinstance(about, UUID):
            return self.do(object_to_click, click_id=about, **values)
        return self.do(object_to_order, order_row_id=about.id, **values)

    def accept(self, claim_id: int, remedy: Remedy, *, by: Staff | None = None) -> None:
        self.do(decide.accept, claim_id=claim_id, remedy=remedy, reason="You are right.",
                by=(by or self.manager).user_id)  # fmt: skip

    def decline(self, claim_id: int, *, by: Staff | None = None) -> None:
        self.do(decide.decline, claim_id=claim_id, reason="A later click won.",
                by=(by or self.manager).user_id)  # fmt: skip

    def explain(self, claim_id: int, *, by: Staff | None = None) -> None:
        self.do(decide.explain, claim_id=claim_id, reason="The shop sends it again.",
                by=(by or self.manager).user_id)  # fmt: skip

    def note(self, name: str, claim_id: int, text: str = "Here is the receipt.") -> None:
        person = self.world.people[name]
        self.do(notes.add_own_note, claim_id=claim_id, enrollment_id=person.enrollment.id,
                text=text, by=person.user_id)  # fmt: skip

    def upkeep(self, *, after: timedelta = timedelta()) -> tuple[int, int]:
        now = self.world.now + after
        return self.do(upkeep.answer_solved, now=now), self.do(upkeep.remind_of_due, now=now)

    def get(self, claim_id: int | None) -> Claim:
        assert claim_id is not None
        self.world.session.rollback()
        self.world.session.expire_all()
        return self.world.session.get_one(Claim, claim_id)

    def mails(self, template: str) -> list[Mail]:
        self.world.session.rollback()
        query = sa.select(Mail).where(Mail.template == template).order_by(Mail.id)
        return list(self.world.session.scalars(query))

    def credited(self, order: Order) -> list[int]:
        """Enrollments that the live decision credits."""
        self.world.session.rollback()
        shares = self.world.session.scalars(
            sa.select(Decision.shares).where(
                Decision.order_id == order.id, Decision.voided_at.is_(None)
            )
        ).one()
        return [share["enrollment_id"] for share in shares]

    def enrollment(self, name: str) -> int:
        return self.world.people[name].enrollment.id
