"""Erase what this package holds of a person: sign-in, names, addresses, answers, links, letters.

Rows that money and history refer to stay, under a pseudonym; numbers are what they refer by.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, outbox
from affiliate.core.errors import NotFound
from affiliate.imports.models import FormerMonth
from affiliate.links import coupons, links
from affiliate.links.models import Coupon, Link
from affiliate.people import account, enrollments, grants, recruiters, users
from affiliate.people.models import (
    Affiliate,
    ApiKey,
    Enrollment,
    EnrollmentNote,
    FormerAddress,
    Invitation,
    Passkey,
    RecoveryCode,
    SecondFactor,
    User,
    UserSession,
)
from affiliate.people.rules import Status
from affiliate.products.models import ProductFeedKey
from affiliate.programs.models import Program, RuleAssignment
from affiliate.promo.models import Creative, CreativePicture
from affiliate.webhooks.keeping import forget_postbacks
from affiliate.webhooks.models import WebhookEndpoint

KEPT_VALUES = (recruiters.CHANGED, "role.grant", "role.revoke")
"""Entries of the audit log whose values are numbers and roles: decisions read them."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever is to be erased, wholly: every program that they are in."""

    user_id: int
    affiliate_id: int | None
    enrollment_ids: tuple[int, ...]
    erased: bool


def find_person(session: Session, *, user_id: int, lock: bool = False) -> Person:
    """Who it is by user, affiliate and enrollments; NotFound.

    Locked in this order, then in that of ids: two erasures at once take turns, and so do a
    change of the account to pay to and a manager's decision.
    """
    if lock:
        grants.one_at_a_time(session)  # Before the row, as whoever takes roles does.
    user = session.scalar(_locked(sa.select(User).where(User.id == user_id), lock))
    if user is None:
        raise NotFound
    affiliate_id = session.scalar(
        _locked(sa.select(Affiliate.id).where(Affiliate.user_id == user_id), lock)
    )
    ids = session.scalars(
        _locked(
            sa.select(Enrollment.id)
            .where(Enrollment.affiliate_id == affiliate_id)
            .order_by(Enrollment.id),
            lock,
        )
    )
    return Person(user_id, affiliate_id, tuple(ids), user.erased_at is not None)


def pseudonym(person: Person) -> str:
    """What stands in the place of the name from then on."""
    if person.affiliate_id is not None:
        return f"Erased affiliate {person.affiliate_id}"
    return f"Erased user {person.user_id}"


def leave(session: Session, *, user_id: int, now: datetime) -> int:
    """The person ends all their enrollments: nothing more is credited, what was earned stays.

    Final, as closing is. Not where they are suspended: nothing is credited there as it is, and
    what is closed is paid again. Returns how many were ended.
    """
    person = find_person(session, user_id=user_id, lock=True)
    return _close(session, person, (Status.ACTIVE,), by=user_id, now=now)


def is_in_programs(session: Session, person: Person) -> bool:
    """Whether anything may still be credited to them somewhere."""
    still = sa.select(Enrollment.id).where(
        Enrollment.id.in_(person.enrollment_ids), Enrollment.status == Status.ACTIVE
    )
    return bool(session.scalar(sa.select(still.exists())))


def erase_identity(session: Session, person: Person, *, by: int | None, now: datetime) -> None:
    """Erase it all, in the caller's transaction; again changes nothing more.

    Raises LastOwner. Whether money stands in the way is not asked here: this package knows none.
    """
    grants.give_up_roles(session, user_id=person.user_id, by=by, now=now)
    _close(session, person, (Status.ACTIVE, Status.SUSPENDED), by=by, now=now)
    _end_links(session, person, by=by, now=now)
    _end_keys(session, person, now=now)
    _end_promo(session, person, now=now)
    _forget_letters(session, person)
    _forget_sign_in(session, person, now=now)
    _forget_affiliate(session, person)
    audit.empty(session, subjects=_subjects(session, person), keeping=KEPT_VALUES)
    forget_postbacks(session, enrollment_ids=person.enrollment_ids)


def _subjects(session: Session, person: Person) -> list[str]:
    """What the audit log calls the person and what is theirs."""
    found = [f"user:{person.user_id}", f"affiliate:{person.affiliate_id}"]
    found += [f"enrollment:{enrollment_id}" for enrollment_id in person.enrollment_ids]
    for name, model in (("coupon", Coupon), ("rule_assignment", RuleAssignment)):
        theirs = sa.select(model.id).where(model.enrollment_id.in_(person.enrollment_ids))
        found += [f"{name}:{row_id}" for row_id in session.scalars(theirs)]
    drawn = sa.select(Creative.id).where(Creative.enrollment_id.in_(person.enrollment_ids))
    found += [f"creative:{row_id}" for row_id in session.scalars(drawn)]
    keys = sa.select(ApiKey.prefix).where(ApiKey.enrollment_id.in_(person.enrollment_ids))
    found += [f"key:kpk_{prefix}" for prefix in session.scalars(keys)]
    postbacks = sa.select(WebhookEndpoint.id).where(
        WebhookEndpoint.enrollment_id.in_(person.enrollment_ids)
    )
    found += [f"webhook_endpoint:{row_id}" for row_id in session.scalars(postbacks)]
    return found


def _close(
    session: Session, person: Person, those: Sequence[Status], *, by: int | None, now: datetime
) -> int:
    open_ids = session.scalars(
        sa.select(Enrollment.id)
        .where(Enrollment.id.in_(person.enrollment_ids), Enrollment.status.in_(those))
        .order_by(Enrollment.id)
    ).all()
    for enrollment_id in open_ids:
        enrollments.close(session, enrollment_id=enrollment_id, by=by, now=now)
    return len(open_ids)


def _end_links(session: Session, person: Person, *, by: int | None, now: datetime) -> None:
    """Old addresses answer as disabled links do; what the person called them is gone."""
    theirs = Link.enrollment_id.in_(person.enrollment_ids)
    for link_id in session.scalars(
        sa.select(Link.id).where(theirs, Link.disabled_at.is_(None)).order_by(Link.id)
    ).all():
        links.disable_link(session, link_id=link_id, by=by, now=now)
    for coupon_id in session.scalars(
        sa.select(Coupon.id)
        .where(Coupon.enrollment_id.in_(person.enrollment_ids), Coupon.disabled_at.is_(None))
        .order_by(Coupon.id)
    ).all():
        coupons.disable_coupon(session, coupon_id=coupon_id, by=by, now=now)
    landing = sa.select(Program.landing_url).where(Program.id == Link.program_id).scalar_subquery()
    session.execute(
        sa.update(Link)
        .where(theirs)
        .values(name="", destination=landing, s1=None, s2=None, s3=None, s4=None, s5=None)
        .execution_options(synchronize_session=False)
    )


def _end_promo(session: Session, person: Person, *, now: datetime) -> None:
    """Banners that they drew are gone from every page; private addresses of feeds end."""
    theirs = Creative.enrollment_id.in_(person.enrollment_ids)
    drawn = sa.select(Creative.id).where(theirs)
    for statement in (
        sa.delete(CreativePicture).where(CreativePicture.creative_id.in_(drawn)),
        sa.update(Creative)
        .where(theirs)
        .values(name="", alt="", retired_at=sa.func.coalesce(Creative.retired_at, now)),
        sa.update(ProductFeedKey)
        .where(ProductFeedKey.enrollment_id.in_(person.enrollment_ids))
        .values(revoked_at=sa.func.coalesce(ProductFeedKey.revoked_at, now)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def _end_keys(session: Session, person: Person, *, now: datetime) -> None:
    """Their own keys to the API: refused from now on, and nameless."""
    session.execute(
        sa.update(ApiKey)
        .where(ApiKey.enrollment_id.in_(person.enrollment_ids))
        .values(name="", revoked_at=sa.func.coalesce(ApiKey.revoked_at, now))
        .execution_options(synchronize_session=False)
    )


def _forget_letters(session: Session, person: Person) -> None:
    """What waits is not sent any more, and what was sent is not kept.

    Of an address that was asked for and never shown to be theirs only the letter that asked: it
    may be anybody's. One that they gave up may be another person's by now.
    """
    others = sa.select(User.id).where(
        User.id != person.user_id, sa.func.lower(User.email) == sa.func.lower(FormerAddress.email)
    )
    theirs = sa.union_all(
        sa.select(sa.func.lower(User.email)).where(User.id == person.user_id),
        sa.select(sa.func.lower(FormerAddress.email)).where(
            FormerAddress.user_id == person.user_id, ~others.exists()
        ),
    )
    known = session.scalars(theirs).all()
    outbox.forget(session, addresses=known)
    session.execute(sa.delete(Invitation).where(sa.func.lower(Invitation.email).in_(known)))
    asked = session.scalar(sa.select(User.pending_email).where(User.id == person.user_id))
    if asked is not None:
        outbox.forget(session, addresses=[asked.lower()], template=account.CHANGE_ADDRESS)


def _forget_sign_in(session: Session, person: Person, *, now: datetime) -> None:
    for model in (SecondFactor, Passkey, RecoveryCode, UserSession, FormerAddress):
        session.execute(sa.delete(model).where(model.user_id == person.user_id))
    user = session.get_one(User, person.user_id, populate_existing=True)
    user.password = user.pending_email = user.confirmed_at = None
    user.name, user.locale, user.time_zone = pseudonym(person), "en", "UTC"
    user.active, user.fs_uniquifier = False, users.new_uniquifier()
    if user.erased_at is None:
        # Random, for a stranger could have registered an address that follows from the number.
        local_part = f"erased-{person.user_id}-{secrets.token_hex(8)}"
        user.email, user.erased_at = f"{local_part}{outbox.NOBODY}", now
    session.flush()


def _forget_affiliate(session: Session, person: Person) -> None:
    session.execute(
        sa.update(Affiliate)
        .where(Affiliate.id == person.affiliate_id)
        .values(name=pseudonym(person), website="")
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(Enrollment)
        .where(Enrollment.id.in_(person.enrollment_ids))
        .values(answers={}, decision_reason=None, shop_customer_id=None)
        .execution_options(synchronize_session=False)
    )
    for model in (EnrollmentNote, FormerMonth):
        theirs = model.enrollment_id.in_(person.enrollment_ids)
        session.execute(sa.delete(model).where(theirs).execution_options(synchronize_session=False))
    # Applications that nobody has answered are answered by this.
    session.execute(
        sa.update(Enrollment)
        .where(Enrollment.id.in_(person.enrollment_ids), Enrollment.status == Status.APPLIED)
        .values(status=Status.CLOSED.value)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(RuleAssignment)
        .where(RuleAssignment.enrollment_id.in_(person.enrollment_ids))
        .values(reason="")
        .execution_options(synchronize_session=False)
    )
    session.expire_all()


def _locked(query: sa.Select[Any], lock: bool) -> sa.Select[Any]:
    """NO KEY, so that orders and payouts that refer to the rows do not wait."""
    query = query.execution_options(populate_existing=True)
    return query.with_for_update(key_share=True) if lock else query
