"""Finance approves a frozen batch: four eyes, bound to the hash that was seen.

Rules of approval: payouts.policies; docs/decisions/0018-approval.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Forbidden, Phrase
from affiliate.core.money import Money, minor_unit_micros
from affiliate.people.models import Grant, User
from payouts.batches.freeze import hash_of, lock_batch
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.outcomes import last_change, outcome_of
from payouts.batches.own_accounts import refuse_without_own_account
from payouts.batches.payee_waits import refuse_safety_waits
from payouts.batches.signatures import is_maker, sign, signatures_of, void_signatures
from payouts.policies.change import hold_policy
from payouts.policies.rules import ApprovedBy, Policy, signatures_needed
from payouts.rails.protocol import Rail
from payouts.rails.registry import Rails, rail_named

APPROVING_ROLES = ("finance", "owner")


class NotApprovable(Conflict):
    code = "batch_not_frozen"
    title = "This batch is not waiting for approval any more; reload the page."


class BatchChanged(Conflict):
    code = "batch_changed"
    title = "The batch is not the one that you looked at; reload it and check what changed."


class MakerCannotApprove(Forbidden):
    code = "maker_cannot_approve"
    title = "You changed this batch or asked for its withdrawal: another person must approve it."


class SignedAlready(Conflict):
    code = "signed_already"
    title = "You have signed this batch; the second signature is another person's."


class NotFinance(Forbidden):
    code = "not_finance"
    title = "Only finance of this program can do this."


class RailNotConfigured(Conflict):
    code = "rail_not_configured"
    title = "The rail of this batch is not configured, so it could not be paid."


class RailWouldRefuse(Conflict):
    code = "rail_would_refuse"
    title = "The rail of this batch is certain to refuse it; cancel it and draft it anew."


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature came to."""

    signatures: int
    needed: int

    @property
    def approved(self) -> bool:
        return self.signatures >= self.needed


def approve(
    session: Session,
    *,
    batch_id: int,
    by_user_id: int,
    seen_hash: str,
    rails: Rails,
    now: datetime,
    factor_at: datetime | None = None,
) -> Signed:
    """Sign exactly what was seen; with the last signature that it needs it is approved, once.

    Sending begins after the commit. `factor_at` is when the person gave their second factor,
    which the edge has made sure of. Raises NotFinance, NotApprovable (with who was first),
    PayoutsLocked, MakerCannotApprove, BatchChanged, SafetyWait, SignedAlready,
    RailNotConfigured, RailWouldRefuse or NoOwnAccount. Of two people who approve at once one
    succeeds.
    """
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    if batch.status != "frozen":
        raise NotApprovable(outcome_of(session, batch))
    refuse_while_locked(session)
    policy = hold_policy(session, program_id=batch.program_id)
    maker = is_maker(session, batch=batch, user_id=by_user_id)
    if maker and not policy.one_person:
        raise MakerCannotApprove
    if seen_hash != batch.hash:
        raise BatchChanged(last_change(session, batch))
    refuse_safety_waits(session, batch=batch, now=now)
    refuse_unpayable(session, batch, rails)
    total, count = sums_of(session, batch)
    needed = signatures_needed(policy, total)
    signers = _signers(session, batch, now)
    if by_user_id in signers and len(signers) < needed:
        raise SignedAlready
    if by_user_id not in signers:
        sign(session, batch=batch, user_id=by_user_id, factor_at=factor_at, now=now)
        signers.add(by_user_id)
    if len(signers) < needed:
        _record(session, "batch.sign", batch, by_user_id, count, now)
        return Signed(len(signers), needed)
    by = ApprovedBy.ONE_PERSON if maker else ApprovedBy.FOUR_EYES
    set_approved(
        session, batch=batch, by_user_id=by_user_id, approved_by=by, policy=policy,
        needed=needed, total=total, count=count, now=now,
    )  # fmt: skip
    _record(session, "batch.approve", batch, by_user_id, count, now, policy=by)
    return Signed(len(signers), needed)


def set_approved(
    session: Session,
    *,
    batch: PayoutBatch,
    by_user_id: int | None,
    approved_by: ApprovedBy,
    policy: Policy,
    needed: int,
    total: Money,
    count: int,
    now: datetime,
) -> None:
    """Note what was approved and under which rules, and send it after the commit."""
    from payouts.batches.jobs import execute_batch

    batch.status = "approved"
    batch.approved_by = by_user_id
    batch.approved_at = now
    batch.approved_hash = batch.hash
    batch.approved_total_micros = total.micros
    batch.approved_count = count
    batch.approval_policy = approved_by.value
    batch.policy_id = policy.id
    batch.signatures_needed = needed
    session.flush()
    execute_batch.after_commit(session, batch.id)


def sums_of(session: Session, batch: PayoutBatch) -> tuple[Money, int]:
    """Total and number of what would be paid."""
    total, count = session.execute(
        sa.select(sa.func.sum(PayoutItem.amount_micros), sa.func.count()).where(
            PayoutItem.batch_id == batch.id, PayoutItem.status == "queued"
        )
    ).one()
    return Money(int(total or 0), batch.currency), count


def refuse_unpayable(session: Session, batch: PayoutBatch, rails: Rails) -> None:
    """Raise for items that are not what the hash says, loudly, or a rail without its key."""
    if hash_of(session, batch_id=batch.id) != batch.hash:
        raise RuntimeError(f"batch {batch.id}: the items are not what its hash says")
    rail = rail_named(rails, batch.rail)
    if not rail.configured():
        raise RailNotConfigured
    if not rail.pays(batch.currency):
        raise RailWouldRefuse(
            Phrase("The rail does not pay %(currency)s.", currency=batch.currency)
        )
    odd = odd_amounts(session, batch=batch, rail=rail)
    if odd:
        raise RailWouldRefuse(
            Phrase("The rail cannot pay %(count)s of its amounts; hold those payouts.", count=odd)
        )
    refuse_without_own_account(session, program_id=batch.program_id, rail=rail)


def odd_amounts(session: Session, *, batch: PayoutBatch, rail: Rail) -> int:
    """How many payouts of the batch have an amount that is no multiple of what the rail pays.

    A batch is frozen in whole minor units, so there can be none where the rail pays each.
    """
    granularity = rail.granularity(batch.currency)
    if granularity == 1:
        return 0
    unit = minor_unit_micros(batch.currency) * granularity
    odd = sa.select(sa.func.count()).where(
        PayoutItem.batch_id == batch.id,
        PayoutItem.status == "queued",
        PayoutItem.amount_micros % unit != 0,
    )
    return session.scalar(odd) or 0


def require_finance(session: Session, *, program_id: int, user_id: int) -> None:
    """Raise NotFinance unless the person has a live finance or owner grant and may sign in.

    Both rows are locked: neither role nor person goes before what they do is committed.
    """
    granted = session.scalar(
        sa.select(Grant.id)
        .join(User, User.id == Grant.user_id)
        .where(*_may_approve(program_id), Grant.user_id == user_id)
        .order_by(Grant.id)
        .limit(1)
        .with_for_update(read=True)
    )
    if granted is None:
        raise NotFinance


def _may_approve(program_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        Grant.role.in_(APPROVING_ROLES),
        Grant.revoked_at.is_(None),
        sa.or_(Grant.program_id == program_id, Grant.program_id.is_(None)),
        User.active.is_(True),
    )


def _signers(session: Session, batch: PayoutBatch, now: datetime) -> set[int]:
    """Whose signatures count: those under this hash, of people who still may approve.

    A signature of somebody who lost the role, was disabled or changed the batch is void.
    """
    signed = {each.user_id: each for each in signatures_of(session, batch_id=batch.id)}
    still = set(
        session.scalars(
            sa.select(Grant.user_id)
            .join(User, User.id == Grant.user_id)
            .where(*_may_approve(batch.program_id), Grant.user_id.in_(signed))
            .order_by(Grant.id)
            .with_for_update(read=True)
        )
    )
    good = set()
    for user_id, signature in signed.items():
        changed = signature.hash != batch.hash
        if changed or user_id not in still or is_maker(session, batch=batch, user_id=user_id):
            reason = "hold_item" if changed else "signer_left"
            void_signatures(session, batch_id=batch.id, user_id=user_id, reason=reason, now=now)
        else:
            good.add(user_id)
    return good


def _record(
    session: Session,
    action: str,
    batch: PayoutBatch,
    user_id: int,
    count: int,
    now: datetime,
    **more: str,
) -> None:
    audit.record(
        session, actor=f"user:{user_id}", action=action, subject=f"batch:{batch.id}",
        scope=batch.program_id, now=now, new={"hash": batch.hash, "count": count, **more},
    )  # fmt: skip
