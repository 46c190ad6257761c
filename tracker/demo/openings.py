"""What affiliates of the demo have to begin with, so that each rail has somebody to pay at once.

By hand one is paid to what a person reads; at Stripe accounts are the double's
(tracker.demo.payees), by bank file those of tracker.demo.bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from payouts.adjustments.adjust import confirm, propose
from payouts.adjustments.models import LedgerAdjustment
from payouts.adjustments.rules import AdjustmentKind, Reason
from payouts.batches.payees import payee_of, set_payee
from payouts.rails.manual import ManualRail
from tracker.demo.people import DEMO_BANK, DEMO_EUROPE, DEMO_MANUAL

BY_HAND: Final = ManualRail.name
READ_BY_A_PERSON: Final = "Петров Борис Ильич, ПАО Сбербанк, 40817810738000000002"


@dataclass(frozen=True, slots=True)
class Opening:
    """Somebody in a program, with a balance."""

    email: str
    program: str
    amount: Money


OPENINGS: Final = (
    Opening("anna@demo.example", DEMO_BANK, Money(1_234_560_000, "RUB")),
    Opening("boris@demo.example", DEMO_BANK, Money(1_234_560_000, "RUB")),
    Opening("anna@demo.example", DEMO_EUROPE, Money(61_500_000, "EUR")),
    Opening("boris@demo.example", DEMO_EUROPE, Money(14_200_000, "EUR")),
    Opening("boris@demo.example", DEMO_MANUAL, Money(870_000_000, "RUB")),
)


def give_balance(
    session: Session, *, enrollment: Enrollment, amount: Money, finance: tuple[int, int],
    now: datetime,
) -> None:  # fmt: skip
    """Something to withdraw: a correction that one of finance proposes and the other confirms."""
    known = sa.select(LedgerAdjustment.id).where(LedgerAdjustment.enrollment_id == enrollment.id)
    if session.scalar(known.limit(1)) is not None:
        return
    proposed_by, confirmed_by = finance
    made = propose(
        session, enrollment_id=enrollment.id, kind=AdjustmentKind.ADJUST, amount=amount,
        reason=Reason.AGREED_BONUS, note="A balance to begin the demo with.",
        by_user_id=proposed_by, now=now,
    )  # fmt: skip
    confirm(session, adjustment_id=made, by_user_id=confirmed_by, now=now)


def give_account_by_hand(session: Session, *, enrollment: Enrollment, now: datetime) -> None:
    """What a person reads and pays to; whoever has named something keeps it."""
    if payee_of(session, affiliate_id=enrollment.affiliate_id, rail=BY_HAND) is None:
        set_payee(
            session, affiliate_id=enrollment.affiliate_id, rail=BY_HAND,
            destination=READ_BY_A_PERSON, ready=True, by="system", now=now,
        )  # fmt: skip
