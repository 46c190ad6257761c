"""Small withdrawals that a program's rule approves by itself, each decided once.

What the rule does not take waits for a person, with the reason on the batch's page.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.approve import (
    RailNotConfigured,
    RailWouldRefuse,
    refuse_unpayable,
    set_approved,
    sums_of,
)
from payouts.batches.freeze import lock_batch
from payouts.batches.holds import is_held
from payouts.batches.locks import open_locks
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.batches.own_accounts import NoOwnAccount
from payouts.batches.payee_waits import safety_waits
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind
from payouts.policies.change import hold_policy
from payouts.policies.models import PayoutPolicy
from payouts.policies.rules import ApprovedBy, Asked, NotAutomatic, why_not_automatic
from payouts.rails.registry import Rails

UNDECIDED_MAX = 500
TROUBLE_DAYS = 90
"""For how long a payout that failed, came back or was held keeps later ones with a person."""
ENDED_BADLY = ("failed", "reversed")
HELD = ("held_before_approval", "held_after_approval")


def approve_small(session: Session, *, batch_id: int, rails: Rails, now: datetime) -> bool:
    """Approve a withdrawal by the program's rule; True when it was. Else the reason is noted.

    Nothing is decided while payouts are locked: the next sweep asks again. The policy is held
    alone, so that the day's limit is never passed by two at once.
    """
    batch = lock_batch(session, batch_id=batch_id)
    if batch.status != "frozen" or batch.kind != "on_demand" or batch.not_automatic:
        return False
    policy = hold_policy(session, program_id=batch.program_id, alone=True)
    rule = policy.automatic
    if rule is None or open_locks(session) or not _asked_since(batch, policy.set_at):
        return False
    why = why_not_automatic(_asked(session, batch, now), rule, now=now)
    if why is None:
        try:
            refuse_unpayable(session, batch, rails)
        except (RailNotConfigured, RailWouldRefuse, NoOwnAccount):
            why = NotAutomatic.RAIL_NOT_CONFIGURED
    if why is not None:
        batch.not_automatic = why.value
        session.flush()
        return False
    total, count = sums_of(session, batch)
    set_approved(
        session, batch=batch, by_user_id=None, approved_by=ApprovedBy.AUTOMATIC, policy=policy,
        needed=0, total=total, count=count, now=now,
    )  # fmt: skip
    audit.record(
        session, actor="system:payouts", action="batch.approve_by_rule",
        subject=f"batch:{batch.id}", scope=batch.program_id, now=now,
        new={"hash": batch.hash, "count": count, "policy": ApprovedBy.AUTOMATIC.value,
             "policy_id": policy.id},
    )  # fmt: skip
    return True


def undecided(session: Session) -> list[int]:
    """Withdrawals that were asked for under a rule in force and not looked at yet.

    What waited before the rule was made is left to the person who may be looking at it.
    """
    last = (
        sa.select(sa.func.max(PayoutPolicy.id))
        .where(PayoutPolicy.program_id == PayoutBatch.program_id)
        .correlate(PayoutBatch)
        .scalar_subquery()
    )
    return list(
        session.scalars(
            sa.select(PayoutBatch.id)
            .join(PayoutPolicy, PayoutPolicy.id == last)
            .where(
                PayoutBatch.status == "frozen",
                PayoutBatch.kind == "on_demand",
                PayoutBatch.not_automatic.is_(None),
                PayoutBatch.frozen_at >= PayoutPolicy.set_at,
                PayoutPolicy.automatic_item_micros.is_not(None),
            )
            .order_by(PayoutBatch.id)
            .limit(UNDECIDED_MAX)
        )
    )


def _asked_since(batch: PayoutBatch, set_at: datetime | None) -> bool:
    return batch.frozen_at is not None and set_at is not None and batch.frozen_at >= set_at


def _asked(session: Session, batch: PayoutBatch, now: datetime) -> Asked:
    item, enrollment = session.execute(
        sa.select(PayoutItem, Enrollment)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .where(PayoutItem.batch_id == batch.id, PayoutItem.status == "queued")
        .execution_options(populate_existing=True)
    ).one()
    last = session.execute(
        sa.select(PayoutItem.amount_micros, PayoutItem.destination, PayoutItem.paid_at)
        .where(
            PayoutItem.enrollment_id == item.enrollment_id,
            PayoutItem.currency == item.currency,
            PayoutItem.status == "paid",
        )
        .order_by(PayoutItem.id.desc())
        .limit(1)
    ).one_or_none()
    return Asked(
        amount=Money(item.amount_micros, item.currency),
        active=enrollment.status == "active",
        account_since=_account_since(session, enrollment.affiliate_id, batch.rail, item),
        last_amount=None if last is None else Money(last.amount_micros, item.currency),
        same_destination=last is not None and last.destination == item.destination,
        troubled=_troubled(session, item, now)
        or is_held(session, enrollment_id=item.enrollment_id)
        or bool(safety_waits(session, batch_id=batch.id, now=now)),
        taken_back=_taken_back(session, item, None if last is None else last.paid_at),
        approved_today=_approved_today(session, batch, now),
    )


def _account_since(
    session: Session, affiliate_id: int, rail: str, item: PayoutItem
) -> datetime | None:
    return session.scalar(
        sa.select(PayeeAccount.created_at).where(
            PayeeAccount.affiliate_id == affiliate_id,
            PayeeAccount.rail == rail,
            PayeeAccount.replaced_at.is_(None),
            PayeeAccount.destination == item.destination,
        )
    )


def _troubled(session: Session, item: PayoutItem, now: datetime) -> bool:
    """Whether any of their earlier payouts ended, or stands, as a person should know."""
    ended_badly = sa.or_(PayoutItem.status.in_(ENDED_BADLY), PayoutItem.reason.in_(HELD))
    found = session.scalar(
        sa.select(PayoutItem.id)
        .where(
            PayoutItem.enrollment_id == item.enrollment_id,
            PayoutItem.id != item.id,
            sa.or_(
                PayoutItem.status == "needs_review",
                sa.and_(ended_badly, PayoutItem.finished_at > now - timedelta(days=TROUBLE_DAYS)),
            ),
        )
        .limit(1)
    )
    return found is not None


def _taken_back(session: Session, item: PayoutItem, since: datetime | None) -> bool:
    query = (
        sa.select(LedgerTransaction.id)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(
            LedgerAccount.enrollment_id == item.enrollment_id,
            LedgerAccount.currency == item.currency,
            LedgerTransaction.kind == Kind.CLAW_BACK.value,
        )
        .limit(1)
    )
    if since is not None:
        query = query.where(LedgerTransaction.occurred_at > since)
    return session.scalar(query) is not None


def _approved_today(session: Session, batch: PayoutBatch, now: datetime) -> Money:
    zone = ZoneInfo(session.get_one(Program, batch.program_id).time_zone)
    midnight = datetime.combine(now.astimezone(zone).date(), time(), tzinfo=zone)
    micros = session.scalar(
        sa.select(sa.func.sum(PayoutBatch.approved_total_micros)).where(
            PayoutBatch.program_id == batch.program_id,
            PayoutBatch.approval_policy == ApprovedBy.AUTOMATIC.value,
            PayoutBatch.approved_at >= midnight,
        )
    )
    return Money(int(micros or 0), batch.currency)
