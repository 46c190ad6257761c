"""Whether money still stands between a person and their program: then they are not erased yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict, Phrase
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.adjustments.models import LedgerAdjustment
from payouts.batches.payee_guard import is_stopped
from payouts.ledger.accounts import AccountKey, AccountKind
from payouts.ledger.balances import balances, lock_available
from payouts.ledger.models import LedgerAccount
from payouts.rails.registry import Rails


class Owed(StrEnum):
    """What stands in the way of an erasure; each has its way out."""

    STOPPED = "payee_stopped"
    IN_PAYOUT = "in_payout"
    NEGATIVE = "negative"
    CORRECTION = "correction_open"
    AVAILABLE = "available"
    PENDING = "pending"


_SENTENCES: Final = {
    Owed.STOPPED: Phrase(
        "Somebody said that they had not named the account for payouts; a person of the program "
        "has to look at it first."
    ),
    Owed.IN_PAYOUT: Phrase(
        "A payout in %(program)s is under way (%(amount)s): it has to arrive or come back first."
    ),
    Owed.NEGATIVE: Phrase(
        "The balance in %(program)s is negative (%(amount)s): the program's finance can write it "
        "off."
    ),
    Owed.CORRECTION: Phrase(
        "A correction of the balance in %(program)s waits for its second person in finance."
    ),
    Owed.AVAILABLE: Phrase(
        "%(amount)s can be withdrawn in %(program)s: it has to be withdrawn first. To give it up, "
        "ask the program's finance, who can take it out of the balance."
    ),
    Owed.PENDING: Phrase(
        "%(amount)s in %(program)s is in its hold period: leave the programs, so that nothing is "
        "added, and withdraw it when it is available."
    ),
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why somebody cannot be erased now."""

    owed: Owed
    program: str = ""
    amount: Money | None = None

    @property
    def sentence(self) -> Phrase:
        return Phrase(_SENTENCES[self.owed], program=self.program, amount=self.amount)


class MoneyOpen(Conflict):
    code = "money_open"
    title = "There is money that has not come to its end."


def refuse_while_owed(
    session: Session, *, affiliate_id: int, enrollment_ids: Sequence[int], rails: Rails
) -> None:
    """Raise MoneyOpen with every obstacle, under the locks by which money is reserved.

    Whoever drafts a batch or withdraws at the same time has reserved before, and it is seen
    here, or waits and finds nobody to pay.
    """
    lock_available(session, keys=_keys(session, enrollment_ids))
    found = obstacles(
        session, affiliate_id=affiliate_id, enrollment_ids=enrollment_ids, rails=rails
    )
    if found:
        why = tuple(each.sentence for each in found)
        raise MoneyOpen(Phrase("Erasing has to wait. %(why)s", why=why))


def obstacles(
    session: Session, *, affiliate_id: int, enrollment_ids: Sequence[int], rails: Rails
) -> list[Obstacle]:
    """What stands in the way now, program by program; empty: nothing.

    A payout that is under way, in doubt or under review has its amount in the account in_payout.

    What is below the smallest amount that the program's rail pays stands in nobody's way: it
    could not be paid. It stays in the books.
    """
    found = []
    if is_stopped(session, affiliate_id=affiliate_id):
        found.append(Obstacle(Owed.STOPPED))
    programs = session.execute(
        sa.select(Enrollment.id, Program.name, Program.rail)
        .join(Program, Program.id == Enrollment.program_id)
        .where(Enrollment.id.in_(enrollment_ids))
        .order_by(Enrollment.id)
    ).all()
    for enrollment_id, name, rail in programs:
        for currency in _currencies(session, enrollment_id):
            granularity = rails[rail].granularity(currency) if rail in rails else 1
            found += _in(session, enrollment_id, name, currency, granularity)
    return found


def _in(
    session: Session, enrollment_id: int, program: str, currency: str, granularity: int
) -> list[Obstacle]:
    now = balances(session, enrollment_id=enrollment_id, currency=currency)
    zero = Money.zero(currency)
    checks = (
        (Owed.IN_PAYOUT, now.in_payout, now.in_payout != zero),
        (Owed.NEGATIVE, now.available, now.available < zero),
        (Owed.CORRECTION, zero, _correction_open(session, enrollment_id)),
        (Owed.AVAILABLE, now.available, now.available.whole_minor_units(granularity) > 0),
        (Owed.PENDING, now.pending, now.pending != zero),
    )
    return [Obstacle(owed, program, amount) for owed, amount, stands in checks if stands]


def _correction_open(session: Session, enrollment_id: int) -> bool:
    proposed = sa.select(LedgerAdjustment.id).where(
        LedgerAdjustment.enrollment_id == enrollment_id, LedgerAdjustment.status == "proposed"
    )
    return bool(session.scalar(sa.select(proposed.exists())))


def _currencies(session: Session, enrollment_id: int) -> Sequence[str]:
    """Of every account that the enrollment ever had."""
    return session.scalars(
        sa.select(LedgerAccount.currency)
        .where(LedgerAccount.enrollment_id == enrollment_id)
        .distinct()
        .order_by(LedgerAccount.currency)
    ).all()


def _keys(session: Session, enrollment_ids: Sequence[int]) -> list[AccountKey]:
    """The balances that withdrawals and drafts lock, in every currency and of every program."""
    rows = session.execute(
        sa.select(LedgerAccount.program_id, LedgerAccount.enrollment_id, LedgerAccount.currency)
        .where(LedgerAccount.enrollment_id.in_(enrollment_ids))
        .distinct()
    )
    return [
        AccountKey(AccountKind.AVAILABLE, program_id, enrollment_id, None, currency)
        for program_id, enrollment_id, currency in rows
    ]
