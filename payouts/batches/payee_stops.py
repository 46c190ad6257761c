"""Somebody says "this was not me": stop payouts to an affiliate until a person has looked.

Rule: docs/security.md, A29. Until then nothing of theirs is drafted, requested, approved or
sent, no other account can be named, and the clocks of their withdrawals stand still.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import audit, clock
from affiliate.core.errors import Conflict, Invalid
from affiliate.people import sessions, users
from affiliate.people.models import Affiliate, Enrollment, User
from payouts.batches.clocks import note_pauses
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutItem
from payouts.batches.payee_banks import changed_bank_alone, former_of
from payouts.batches.payee_guard import lock_affiliate
from payouts.batches.payee_models import PayeeStop
from payouts.batches.payees import ring
from payouts.batches.rules import ItemReason
from payouts.rails.bank_details import in_a_log

WHY_CHARS_MAX = 500

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    KEPT = "kept"
    """The affiliate had named it after all: it stays."""
    PUT_BACK = "put_back"
    """They had not: the account before is theirs again, or none where it was the first."""


class NotStopped(Conflict):
    code = "payee_not_stopped"
    title = "Payouts to this affiliate are not stopped any more; reload the page."


class BankIsTheProviders(Conflict):
    code = "bank_is_the_providers"
    title = (
        "Only the affiliate can put the bank account back, at the provider. "
        "When they have, keep the account."
    )


class LookedAt(Conflict):
    code = "payee_looked_at"
    title = "A person of the program has looked at this account already; write to them."


def stop(session: Session, *, payee_id: int, now: datetime) -> bool:
    """Stop payouts to whoever this account was named for; end all their sign-ins.

    False when they are stopped already. Raises LookedAt when a person has already decided
    about this very account. Payouts that are on the wire cannot be called back.
    """
    payee = session.get_one(PayeeAccount, payee_id)
    affiliate_id = payee.affiliate_id
    lock_affiliate(session, affiliate_id)
    found = session.scalars(
        sa.select(PayeeStop.lifted_at).where(
            PayeeStop.affiliate_id == affiliate_id,
            sa.or_(PayeeStop.payee_id == payee_id, PayeeStop.lifted_at.is_(None)),
        )
    ).all()
    if None in found:
        return False
    if found:
        raise LookedAt
    session.add(PayeeStop(affiliate_id=affiliate_id, payee_id=payee_id, stopped_at=now))
    _end_sign_ins(session, affiliate_id)
    _mark_items(session, affiliate_id)
    audit.record(
        session, actor="letter", action="payee.stop", subject=f"affiliate:{affiliate_id}", now=now,
        new={"rail": payee.rail, "destination": in_a_log(payee.destination)},
    )  # fmt: skip
    session.flush()
    note_pauses(session, now=now)
    log.warning("payee.stopped", affiliate=affiliate_id, payee=payee_id)
    return True


def lift(
    session: Session, *, affiliate_id: int, outcome: Outcome, by: str, why: str, now: datetime
) -> None:
    """A person has looked: the account stays, or the one before is theirs again.

    Raises NotStopped, Invalid without a reason, or BankIsTheProviders where the one before is
    the same account and another bank behind it was disowned. Put back, the account before needs
    no new cooling-off: it was paid to until the change. What was approved for it moves on.
    """
    why = why.strip()
    if not 0 < len(why) <= WHY_CHARS_MAX:
        raise Invalid.field("reason", "empty", "Say why, in a sentence.")
    lock_affiliate(session, affiliate_id)
    found = session.scalars(
        sa.select(PayeeStop)
        .where(PayeeStop.affiliate_id == affiliate_id, PayeeStop.lifted_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotStopped
    disowned = session.get_one(PayeeAccount, found.payee_id, populate_existing=True)
    if outcome is Outcome.PUT_BACK and changed_bank_alone(disowned):
        raise BankIsTheProviders
    found.lifted_at, found.lifted_by, found.outcome, found.why = now, by, outcome.value, why
    session.flush()
    live = _put_back(session, disowned, by, now) if outcome is Outcome.PUT_BACK else None
    # Items before withdrawals, in the order in which an answer of the rail locks them.
    ring(session, affiliate_id=affiliate_id, reason=ItemReason.PAYEE_STOPPED, rail=None)
    note_pauses(session, now=now)
    audit.record(
        session, actor=by, action="payee.lift_stop", subject=f"affiliate:{affiliate_id}", now=now,
        reason=why, old={"destination": in_a_log(disowned.destination)},
        new={"outcome": outcome.value, "destination": live and in_a_log(live.destination)},
    )  # fmt: skip


def open_stop(session: Session, *, affiliate_id: int) -> PayeeStop | None:
    """The stop that waits for a person."""
    return session.scalars(
        sa.select(PayeeStop)
        .where(PayeeStop.affiliate_id == affiliate_id, PayeeStop.lifted_at.is_(None))
        .execution_options(populate_existing=True)
    ).one_or_none()


def is_of_bank(session: Session, found: PayeeStop) -> bool:
    """Whether another bank behind the same account was disowned, which only they put back."""
    return changed_bank_alone(session.get_one(PayeeAccount, found.payee_id))


def _end_sign_ins(session: Session, affiliate_id: int) -> None:
    """Sessions, and every link that was mailed for signing in, a new password or an address."""
    user = session.scalars(
        sa.select(User)
        .join(Affiliate, Affiliate.user_id == User.id)
        .where(Affiliate.id == affiliate_id)
        .with_for_update(of=User)
        .execution_options(populate_existing=True)
    ).one()
    user.fs_uniquifier, user.pending_email = users.new_uniquifier(), None
    session.flush()
    sessions.revoke_all(session, user_id=user.id, now=clock.real_now())


def _mark_items(session: Session, affiliate_id: int) -> None:
    """Say so on each payout that has not been sent, also where no worker would."""
    sent = sa.select(PayoutAttempt.id).where(
        PayoutAttempt.item_id == PayoutItem.id, PayoutAttempt.status != "failed"
    )
    waiting = (
        sa.select(PayoutItem.id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .where(
            Enrollment.affiliate_id == affiliate_id,
            PayoutItem.status == "queued",
            ~sent.exists(),
        )
        .order_by(PayoutItem.id)
        .with_for_update(of=PayoutItem)
    )
    session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id.in_(session.scalars(waiting).all()))
        .values(reason=ItemReason.PAYEE_STOPPED.value)
        .execution_options(synchronize_session=False)
    )


def _put_back(
    session: Session, disowned: PayeeAccount, by: str, now: datetime
) -> PayeeAccount | None:
    """The account before the disowned one is live again; whatever came after it is not."""
    session.execute(
        sa.update(PayeeAccount)
        .where(
            PayeeAccount.affiliate_id == disowned.affiliate_id,
            PayeeAccount.rail == disowned.rail,
            PayeeAccount.replaced_at.is_(None),
        )
        .values(replaced_at=now)
        .execution_options(synchronize_session=False)
    )
    former = former_of(session, payee=disowned)
    if former is None:
        return None
    again = PayeeAccount(
        affiliate_id=former.affiliate_id,
        rail=former.rail,
        destination=former.destination,
        ready_at=now if former.ready_at is not None else None,
        created_at=now,
        pays_from=former.pays_from,
        named_by=by,
        state=former.state,
    )
    session.add(again)
    session.flush()
    return again


def open_stops(session: Session, *, program_ids: list[int]) -> list[tuple[PayeeStop, int, str]]:
    """Stops of affiliates of these programs: the stop, an enrollment there, the name."""
    rows = session.execute(
        sa.select(PayeeStop, sa.func.min(Enrollment.id), Affiliate.name)
        .join(Affiliate, Affiliate.id == PayeeStop.affiliate_id)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(PayeeStop.lifted_at.is_(None), Enrollment.program_id.in_(program_ids))
        .group_by(PayeeStop.id, Affiliate.name)
        .order_by(PayeeStop.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]
