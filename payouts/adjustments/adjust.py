"""Propose, confirm and decline a correction of a balance: one person asks, another books it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Forbidden, Invalid, NotFound, Phrase
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.adjustments.models import LedgerAdjustment
from payouts.adjustments.rules import (
    NOTE_CHARS_MAX,
    REASONS,
    AdjustmentKind,
    Reason,
    Unfit,
    most,
    unfit,
)
from payouts.batches.approve import require_finance
from payouts.ledger.accounts import AccountKind, expense, of_enrollment
from payouts.ledger.balances import lock_available
from payouts.ledger.posting import Kind, Line, post


class AlreadyProposed(Conflict):
    code = "adjustment_open"
    title = "A correction of this balance waits for the second person already."


class AlreadyDecided(Conflict):
    code = "adjustment_decided"
    title = "This correction is decided already; reload the page."


class ProposerCannotConfirm(Forbidden):
    code = "proposer_cannot_confirm"
    title = "You proposed this correction: another person must confirm it."


class OwnBalance(Forbidden):
    code = "own_balance"
    title = "This is your own balance: somebody else must correct it."


class BalanceMoved(Conflict):
    """Between proposal and confirmation the balance has moved out of the rule's reach."""

    code = "balance_moved"
    title = "The balance has changed since, so this correction does not fit it any more."


def propose(
    session: Session,
    *,
    enrollment_id: int,
    kind: AdjustmentKind,
    amount: Money,
    reason: Reason,
    note: str,
    by_user_id: int,
    now: datetime,
) -> int:
    """Ask for a correction of what is available; its id. Nothing is booked yet.

    A positive amount is added. Raises NotFinance, OwnBalance, Invalid (amount, reason, note),
    AlreadyProposed, NotFound.
    """
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None:
        raise NotFound
    require_finance(session, program_id=enrollment.program_id, user_id=by_user_id)
    _refuse_own(session, enrollment, by_user_id)
    note = _checked(reason, kind, note)
    program = session.get_one(Program, enrollment.program_id)
    if amount.currency != program.currency:
        raise Invalid.field(
            "amount",
            "other_currency",
            Phrase("Balances of this program are in %(currency)s.", currency=program.currency),
        )
    available = _lock(session, enrollment, amount.currency)
    why = unfit(kind, amount, available=available)
    if why is not None:
        raise Invalid.field("amount", why.value, _says(why, available))
    made = session.scalar(
        insert(LedgerAdjustment)
        .values(
            program_id=enrollment.program_id,
            enrollment_id=enrollment.id,
            kind=kind.value,
            currency=amount.currency,
            amount_micros=amount.micros,
            reason=reason.value,
            note=note,
            status="proposed",
            proposed_by=by_user_id,
            proposed_at=now,
        )
        .on_conflict_do_nothing()
        .returning(LedgerAdjustment.id)
    )
    if made is None:
        raise AlreadyProposed
    audit.record(
        session, actor=f"user:{by_user_id}", action="adjustment.propose",
        subject=f"enrollment:{enrollment.id}", scope=enrollment.program_id, now=now,
        new={"kind": kind.value, "amount": str(amount), "reason": reason.value}, reason=note,
    )  # fmt: skip
    return int(made)


def confirm(session: Session, *, adjustment_id: int, by_user_id: int, now: datetime) -> None:
    """Book a proposed correction, exactly once.

    Raises NotFinance, ProposerCannotConfirm, OwnBalance, AlreadyDecided, BalanceMoved, NotFound.
    """
    row, enrollment = _open(session, adjustment_id, by_user_id)
    if row.proposed_by == by_user_id:
        raise ProposerCannotConfirm
    _refuse_own(session, enrollment, by_user_id)
    kind, amount = AdjustmentKind(row.kind), Money(row.amount_micros, row.currency)
    if unfit(kind, amount, available=_lock(session, enrollment, row.currency)) is not None:
        raise BalanceMoved
    own = of_enrollment(AccountKind.AVAILABLE, row.program_id, row.enrollment_id, row.currency)
    row.transaction_id = post(
        session,
        kind=Kind(row.kind),
        reference=f"{row.kind}:adjustment:{row.id}",
        reason=row.reason,
        lines=[Line(own, amount), Line(expense(row.program_id, row.currency), -amount)],
        now=now,
    )
    row.status, row.decided_by, row.decided_at = "confirmed", by_user_id, now
    session.flush()
    _record(session, row, "adjustment.confirm", by_user_id, now)


def decline(
    session: Session, *, adjustment_id: int, note: str, by_user_id: int, now: datetime
) -> None:
    """Turn a proposal down; its proposer may, too. Raises NotFinance, AlreadyDecided, Invalid."""
    row, _enrollment = _open(session, adjustment_id, by_user_id)
    row.decline_note = _note(note)
    row.status, row.decided_by, row.decided_at = "declined", by_user_id, now
    session.flush()
    _record(session, row, "adjustment.decline", by_user_id, now, reason=row.decline_note)


def _open(
    session: Session, adjustment_id: int, by_user_id: int
) -> tuple[LedgerAdjustment, Enrollment]:
    """The proposal under its lock, by which two decisions at once take turns."""
    row = session.scalars(
        sa.select(LedgerAdjustment)
        .where(LedgerAdjustment.id == adjustment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound
    require_finance(session, program_id=row.program_id, user_id=by_user_id)
    if row.status != "proposed":
        raise AlreadyDecided
    return row, session.get_one(Enrollment, row.enrollment_id)


def _lock(session: Session, enrollment: Enrollment, currency: str) -> Money:
    """What is available, under the lock that reserves and refunds take as well."""
    key = of_enrollment(AccountKind.AVAILABLE, enrollment.program_id, enrollment.id, currency)
    return lock_available(session, keys=[key])[key]


def _refuse_own(session: Session, enrollment: Enrollment, user_id: int) -> None:
    owner = session.scalar(
        sa.select(Affiliate.user_id).where(Affiliate.id == enrollment.affiliate_id)
    )
    if owner == user_id:
        raise OwnBalance


def _checked(reason: Reason, kind: AdjustmentKind, note: str) -> str:
    if reason not in REASONS[kind]:
        raise Invalid.field("reason", "other_kind", "Choose one of the reasons.")
    return _note(note)


def _note(text: str) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= NOTE_CHARS_MAX:
        raise Invalid.field("note", "length", "Say why, in a few words; it is kept.")
    return text


def _says(why: Unfit, available: Money) -> str:
    return {
        Unfit.NOTHING: Phrase("Write an amount other than zero."),
        Unfit.ABOVE_MOST: Phrase(
            "One correction adds at most %(most)s.", most=most(available.currency)
        ),
        Unfit.MORE_THAN_AVAILABLE: Phrase(
            "Only %(available)s is available; a correction cannot take more.", available=available
        ),
        Unfit.NOT_NEGATIVE: Phrase("The balance is not negative: there is nothing to write off."),
        Unfit.MORE_THAN_OWED: Phrase(
            "The balance is %(available)s: no more than it lacks can be written off.",
            available=available,
        ),
    }[why]


def _record(
    session: Session,
    row: LedgerAdjustment,
    action: str,
    by_user_id: int,
    now: datetime,
    reason: str | None = None,
) -> None:
    amount = Money(row.amount_micros, row.currency)
    audit.record(
        session, actor=f"user:{by_user_id}", action=action, scope=row.program_id,
        subject=f"enrollment:{row.enrollment_id}", now=now,
        new={"adjustment": row.id, "kind": row.kind, "amount": str(amount), "reason": row.reason,
             "proposed_by": row.proposed_by}, reason=reason or row.note,
    )  # fmt: skip
