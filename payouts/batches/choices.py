"""How an affiliate wants to be paid: weekly, on request, or from an amount of their own.

Kopeck has no minimum; whoever would rather have fewer and larger payments sets one for
themselves (docs/rules.md, "Payouts").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.money import MICROS, Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.models import PayoutChoice

MINIMUM_UNITS_MAX = 1_000_000
"""Of the currency's major unit. A wish above it would only be money that is forgotten."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What an affiliate chose for a program."""

    on_request: bool
    minimum: Money


def choice_of(session: Session, *, enrollment_id: int, currency: str) -> Choice:
    """The choice in force; weekly and without a minimum where none was made."""
    row = session.get(PayoutChoice, enrollment_id, populate_existing=True)
    if row is None:
        return Choice(on_request=False, minimum=Money.zero(currency))
    return Choice(row.on_request, Money(row.minimum_micros, currency))


def choose(
    session: Session,
    *,
    enrollment_id: int,
    on_request: bool,
    minimum: Money,
    by: str,
    now: datetime,
) -> None:
    """Set how this enrollment is paid from now on; batches that are drafted stay as they are.

    Raises Invalid for a minimum that is negative, in another currency, finer than the
    currency's minor unit, or endless.
    """
    program = session.scalars(
        sa.select(Program)
        .join(Enrollment, Enrollment.program_id == Program.id)
        .where(Enrollment.id == enrollment_id)
    ).one_or_none()
    if program is None:
        raise NotFound
    _refuse_minimum(minimum, program.currency)
    before = choice_of(session, enrollment_id=enrollment_id, currency=program.currency)
    row = {"on_request": on_request, "minimum_micros": minimum.micros, "chosen_at": now}
    session.execute(
        insert(PayoutChoice)
        .values(enrollment_id=enrollment_id, **row)
        .on_conflict_do_update(index_elements=["enrollment_id"], set_=row)
    )
    audit.record(
        session, actor=by, action="payouts.choose", subject=f"enrollment:{enrollment_id}",
        scope=program.id, now=now,
        old={"on_request": before.on_request, "minimum": str(before.minimum)},
        new={"on_request": on_request, "minimum": str(minimum)},
    )  # fmt: skip


def _refuse_minimum(minimum: Money, currency: str) -> None:
    if minimum.currency != currency:
        raise Invalid.field(
            "minimum",
            "wrong_currency",
            Phrase("The balance is in %(currency)s.", currency=currency),
        )
    if minimum.micros < 0:
        raise Invalid.field("minimum", "negative", "A minimum is zero or more.")
    most = Money(MINIMUM_UNITS_MAX * MICROS, currency)
    if minimum > most:
        raise Invalid.field("minimum", "too_much", Phrase("At most %(most)s.", most=most))
    if Money.of_minor_units(minimum.whole_minor_units(1), currency) != minimum:
        raise Invalid.field("minimum", "too_fine", "Smaller than the currency's smallest coin.")
