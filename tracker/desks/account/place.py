"""Where the reader is: one of the programs they are enrolled in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import request
from flask import session as cookie

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import access
from affiliate.people.access import Actor
from affiliate.people.models import Affiliate, Enrollment
from affiliate.people.rules import Status
from affiliate.programs.models import Program
from tracker.stats.questions import Scope

COOKIE_KEY = "account_program"
"""Where the session remembers the program that was looked at last."""


@dataclass(frozen=True)
class Place:
    """One enrollment of the reader, and the programs they may switch to."""

    actor: Actor
    name: str
    """The affiliate's name as the program knows it."""
    affiliate_id: int
    enrollment: Enrollment
    program: Program
    others: tuple[Program, ...]
    """Every program of the reader, this one included."""
    now: datetime

    @property
    def status(self) -> Status:
        return Status(self.enrollment.status)

    @property
    def active(self) -> bool:
        return self.status is Status.ACTIVE

    @property
    def currency(self) -> str:
        return self.program.currency

    @property
    def scope(self) -> Scope:
        return Scope.of(self.program, self.enrollment.id)

    def money(self, micros: Any) -> Money:
        """Micros of the program's currency as they come out of SQL."""
        return Money(int(micros or 0), self.currency)


def find_place() -> Place | None:
    """The enrollment that `?program=` names, else the last one looked at, else the best.

    NotFound for a program that the reader is not enrolled in; none for a reader who is
    enrolled in none at all.
    """
    actor = access.actor()
    rows = db.session.execute(
        sa.select(Enrollment, Program, Affiliate.name)
        .join(Program, Program.id == Enrollment.program_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Enrollment.affiliate_id == actor.affiliate_id)
        .order_by(Program.name, Program.id)
    ).all()
    if not rows or actor.affiliate_id is None:
        return None
    enrollment, program, name = _choose(rows, request.args.get("program"))
    return Place(
        actor=actor,
        name=name,
        affiliate_id=actor.affiliate_id,
        enrollment=enrollment,
        program=program,
        others=tuple(row[1] for row in rows),
        now=clock.now(db.session()),
    )


def remember(place: Place | None) -> None:
    """Keep the program for the next page."""
    if place is not None and cookie.get(COOKIE_KEY) != place.program.slug:
        cookie[COOKIE_KEY] = place.program.slug


def _choose(rows: Any, wanted: str | None) -> Any:
    by_slug = {row[1].slug: row for row in rows}
    if wanted is not None:
        if wanted not in by_slug:
            raise NotFound
        return by_slug[wanted]
    remembered = cookie.get(COOKIE_KEY)
    if isinstance(remembered, str) and remembered in by_slug:
        return by_slug[remembered]
    # The one in which there is something to see goes first.
    return min(rows, key=lambda row: row[0].status not in (Status.ACTIVE, Status.SUSPENDED))
