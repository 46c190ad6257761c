"""What stands before every change of an affiliate's account, and before every payout."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict
from affiliate.people.models import Affiliate
from payouts.batches.payee_models import PayeeStop


class PayeeStopped(Conflict):
    code = "payee_stopped"
    title = (
        "Somebody said by the link in our letter that they had not named this account. "
        "Payouts wait until a person of the program has looked at it."
    )


def is_stopped(session: Session, *, affiliate_id: int) -> bool:
    """Whether somebody said "this was not me" and no person has looked at it yet."""
    return session.scalar(sa.select(stopped(sa.literal(affiliate_id)))) or False


def stopped(affiliate_id: sa.SQLColumnExpression[int]) -> sa.Exists:
    """SQL: payouts to this affiliate are stopped."""
    return (
        sa.select(PayeeStop.id)
        .where(PayeeStop.affiliate_id == affiliate_id, PayeeStop.lifted_at.is_(None))
        .exists()
    )


def refuse_stopped(session: Session, *, affiliate_id: int) -> None:
    """Raise PayeeStopped while payouts to this affiliate are stopped."""
    if is_stopped(session, affiliate_id=affiliate_id):
        raise PayeeStopped


def lock_affiliate(session: Session, affiliate_id: int) -> None:
    """The affiliate's row serialises changes at once: one live account a rail, one stop.

    NO KEY, so that enrollments that refer to the affiliate do not wait.
    """
    session.execute(
        sa.select(Affiliate.id).where(Affiliate.id == affiliate_id).with_for_update(key_share=True)
    )
