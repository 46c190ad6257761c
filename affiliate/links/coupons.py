"""Verbs of coupons: give one to an affiliate, disable one, ask whose it is."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound
from affiliate.links import rules
from affiliate.links.links import NotEnrolled
from affiliate.links.models import Coupon
from affiliate.people.models import Enrollment


class CouponTaken(Conflict):
    code = "coupon_taken"
    title = "The program has this coupon already; choose another code."


def create_coupon(
    session: Session,
    *,
    enrollment_id: int,
    code: str,
    valid_until: datetime | None = None,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Coupon:
    """Give a coupon to an active affiliate; only a manager's edge calls this.

    A code is unique in its program for ever, so that an old order never changes its owner.
    `valid_until` is the first instant at which it no longer counts. Refuses with CouponTaken,
    NotEnrolled, NotFound or Invalid. Rule: docs/rules.md, "Links and coupons".
    """
    folded = rules.coupon_code(code)
    enrollment = session.get(Enrollment, enrollment_id, populate_existing=True)
    if enrollment is None:
        raise NotFound
    if enrollment.status != "active":
        raise NotEnrolled
    if valid_until is not None and valid_until <= now:
        raise Invalid.field("valid_until", "in_the_past", "The end must lie in the future.")
    made = (
        insert(Coupon)
        .values(
            program_id=enrollment.program_id,
            enrollment_id=enrollment_id,
            code=folded,
            created_at=now,
            valid_until=valid_until,
        )
        .on_conflict_do_nothing(index_elements=["program_id", "code"])
        .returning(Coupon)
    )
    coupon = session.scalar(made)
    if coupon is None:
        raise CouponTaken
    audit.record(
        session,
        actor=actor or audit.by_user(by),
        action="coupon.create",
        subject=f"coupon:{coupon.id}",
        scope=coupon.program_id,
        new={"code": folded, "enrollment": enrollment_id},
        now=now,
    )
    return coupon


def disable_coupon(
    session: Session, *, coupon_id: int, by: int | None, now: datetime, actor: str | None = None
) -> Coupon:
    """From `now` on the coupon credits nothing. Disabling twice changes nothing."""
    coupon = session.get(Coupon, coupon_id, with_for_update=True, populate_existing=True)
    if coupon is None:
        raise NotFound
    if coupon.disabled_at is None:
        coupon.disabled_at = now
        session.flush()
        audit.record(
            session,
            actor=actor or audit.by_user(by),
            action="coupon.disable",
            subject=f"coupon:{coupon.id}",
            scope=coupon.program_id,
            now=now,
        )
    return coupon


def owner_of(session: Session, *, program_id: int, code: str, at: datetime) -> int | None:
    """The active enrollment that a typed coupon credits for an order placed at `at`, if any.

    Spaces around and the case of letters do not matter. None for an unknown code, outside
    its time (`valid_until` and `disabled_at` are exclusive), or whose owner is not active.
    """
    found = (
        sa.select(Coupon.enrollment_id)
        .join(Enrollment, Enrollment.id == Coupon.enrollment_id)
        .where(
            Coupon.program_id == program_id,
            Coupon.code == rules.folded_coupon(code),
            Coupon.created_at <= at,
            sa.or_(Coupon.valid_until.is_(None), Coupon.valid_until > at),
            sa.or_(Coupon.disabled_at.is_(None), Coupon.disabled_at > at),
            Enrollment.status == "active",
        )
    )
    return session.scalar(found)
