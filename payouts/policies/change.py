"""Read the rules of approval in force, and change them: an owner alone, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Forbidden, Invalid
from affiliate.core.money import Money
from affiliate.people.models import Grant, User
from affiliate.programs.models import Program
from payouts.policies.models import PayoutPolicy
from payouts.policies.rules import Automatic, Policy, check

POLICY_LOCK = 0x6B70_706C
"""First number of the advisory lock that holds a program's rules still; the second is the
program. Approvals share it, so that rules do not change between their being read and the
approval's commit. A row's lock would not do: the first rules have no row before them."""
REASON_CHARS_MAX = 500


class NotOwner(Forbidden):
    code = "not_owner"
    title = "Only an owner changes the rules of approval."


def policy_of(session: Session, *, program_id: int) -> Policy:
    """The rules in force; see `hold_policy` for who acts upon them."""
    row = session.scalars(
        sa.select(PayoutPolicy)
        .where(PayoutPolicy.program_id == program_id)
        .order_by(PayoutPolicy.id.desc())
        .limit(1)
    ).one_or_none()
    return Policy() if row is None else read(row)


def hold_policy(session: Session, *, program_id: int, alone: bool = False) -> Policy:
    """The rules in force, which stay so until this transaction ends.

    `alone`: no other transaction holds them meanwhile, for what adds up over many batches.
    """
    lock = sa.func.pg_advisory_xact_lock if alone else sa.func.pg_advisory_xact_lock_shared
    session.execute(sa.select(lock(POLICY_LOCK, sa.cast(program_id, sa.Integer))))
    return policy_of(session, program_id=program_id)


def change_policy(
    session: Session,
    *,
    program_id: int,
    wanted: Policy,
    why: str,
    by_user_id: int,
    now: datetime,
) -> bool:
    """Put other rules in force. False where they are in force already.

    Raises NotOwner, or Invalid naming the field: rules that contradict each other, no reason.
    """
    why = " ".join(why.split())
    if not 1 <= len(why) <= REASON_CHARS_MAX:
        raise Invalid.field("reason", "length", "Say why, in a few words; it is kept.")
    check(wanted)
    before = hold_policy(session, program_id=program_id, alone=True)
    _require_owner(session, by_user_id)
    if _told(before) == _told(wanted):
        return False
    rule = wanted.automatic
    row = PayoutPolicy(
        program_id=program_id,
        currency=session.get_one(Program, program_id).currency,
        second_signature_micros=_micros(wanted.second_signature_above),
        automatic_item_micros=None if rule is None else rule.item.micros,
        automatic_day_micros=None if rule is None else rule.day.micros,
        automatic_account_days=None if rule is None else rule.account_days,
        one_person=wanted.one_person,
        reason=why,
        set_by=by_user_id,
        set_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(
        session, actor=f"user:{by_user_id}", action="policy.change",
        subject=f"policy:{row.id}", scope=program_id, old=_told(before), new=_told(wanted),
        reason=why, now=now,
    )  # fmt: skip
    return True


def policies_of(session: Session, *, program_id: int, rows_max: int) -> Sequence[PayoutPolicy]:
    """Every set of rules that the program had, the one in force first."""
    return session.scalars(
        sa.select(PayoutPolicy)
        .where(PayoutPolicy.program_id == program_id)
        .order_by(PayoutPolicy.id.desc())
        .limit(rows_max)
    ).all()


def read(row: PayoutPolicy) -> Policy:
    """A row as a value."""

    def money(micros: int | None) -> Money | None:
        return None if micros is None else Money(micros, row.currency)

    item, day, days = (
        money(row.automatic_item_micros),
        money(row.automatic_day_micros),
        row.automatic_account_days,
    )
    automatic = None
    if item is not None and day is not None and days is not None:
        automatic = Automatic(item, day, days)
    return Policy(row.id, money(row.second_signature_micros), automatic, row.one_person, row.set_at)


def _told(policy: Policy) -> dict[str, Any]:
    """As the audit log keeps it."""
    rule, above = policy.automatic, policy.second_signature_above
    return {
        "second_signature_above": None if above is None else str(above),
        "automatic_item": None if rule is None else str(rule.item),
        "automatic_day": None if rule is None else str(rule.day),
        "automatic_account_days": None if rule is None else rule.account_days,
        "one_person": policy.one_person,
    }


def _micros(amount: Money | None) -> int | None:
    return None if amount is None else amount.micros


def _require_owner(session: Session, user_id: int) -> None:
    """The grant's row is locked: it cannot be taken back before this is committed."""
    owns = session.scalar(
        sa.select(Grant.id)
        .join(User, User.id == Grant.user_id)
        .where(
            Grant.user_id == user_id,
            Grant.role == "owner",
            Grant.revoked_at.is_(None),
            User.active,
        )
        .limit(1)
        .with_for_update(read=True)
    )
    if owns is None:
        raise NotOwner
