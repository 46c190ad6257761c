"""An affiliate misses an order: the answer at once where they have a part in it, else a case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.people.models import Enrollment
from affiliate.people.rules import Status as Membership
from affiliate.programs.models import Program
from tracker.claims import reading
from tracker.claims.mails import tell_claimant
from tracker.claims.models import Claim
from tracker.claims.refusals import Final, NotAMember, OpenAlready, TooManyClaims, TooManyOpen
from tracker.claims.rules import (
    CASES_OPEN_MAX,
    CASES_PER_DAY_MAX,
    MISSING_DAYS_BACK_MAX,
    READINGS_MAX,
    TEXT_CHARS_MAX,
    Kind,
    Status,
    clean_text,
    day_begins,
    day_ends,
    day_fits,
    due_at,
    is_order_id,
)
from tracker.orders.models import Order


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a question: an order of one's own, or a case, open or answered at once."""

    order_row_id: int | None = None
    claim_id: int | None = None


def ask_about_order(
    session: Session,
    *,
    enrollment_id: int,
    order_id: str,
    day: date | None,
    said: str,
    by: int,
    now: datetime,
) -> Asked:
    """Answer for an order that the affiliate misses, or open a case with a deadline.

    Who earned of it, or had a click or coupon that was looked at and names the day, is answered
    at once. Everything else is one answer: an order of others and a number that nobody knows
    are told apart nowhere, neither in words nor in work. Raises NotAMember, Invalid (order_id,
    day, said), OpenAlready, Final, TooManyClaims and TooManyOpen.
    """
    enrollment, program = lock_claimant(session, enrollment_id=enrollment_id)
    order_id, said = order_id.strip(), clean_text(said)
    _check(order_id, day, said, program, now)
    assert day is not None, "it was checked"
    order = reading.own_order(
        session, program_id=program.id, enrollment_id=enrollment.id, order_id=order_id, day=day,
        zone=program.time_zone,
    )  # fmt: skip
    if order is not None:
        return _answer(session, enrollment, program, order, day, said, by, now)
    _refuse_fishing(session, enrollment, program, order_id, now)
    before = reading.earlier(session, enrollment_id=enrollment.id, order_id=order_id)
    if len(before) >= READINGS_MAX:
        raise Final
    claim = Claim(
        program_id=program.id,
        enrollment_id=enrollment.id,
        kind=Kind.MISSING_ORDER.value,
        order_id=order_id,
        day=day,
        said=said,
        status=Status.OPEN.value,
        opened_at=now,
        opened_by=by,
        due_at=due_at(now, program.time_zone),
        first_decided_by=before[0].decided_by if before else None,
    )
    session.add(claim)
    session.flush()
    tell_claimant(session, claim, "opened", now=now)
    return Asked(claim_id=claim.id)


def lock_claimant(session: Session, *, enrollment_id: int) -> tuple[Enrollment, Program]:
    """The affiliate and their program, or NotAMember.

    The row is locked so that two questions at once are counted one after the other: the limit
    is a limit. NO KEY UPDATE, as commissions that refer to it go on.
    """
    enrollment = session.get_one(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment.status in (Membership.APPLIED, Membership.REJECTED):
        raise NotAMember
    return enrollment, session.get_one(Program, enrollment.program_id)


def refuse_too_many_open(session: Session, enrollment: Enrollment) -> None:
    """Raise TooManyOpen when the affiliate has as many open cases as they may have."""
    count = session.scalar(
        sa.select(sa.func.count()).where(
            Claim.enrollment_id == enrollment.id, Claim.status == Status.OPEN
        )
    )
    if (count or 0) >= CASES_OPEN_MAX:
        raise TooManyOpen


def text_error(said: str, field: str = "said") -> list[FieldError]:
    """What is wrong with a text of an affiliate's."""
    if len(said) <= TEXT_CHARS_MAX:
        return []
    message = Phrase("At most %(most)s characters.", most=TEXT_CHARS_MAX)
    return [FieldError(field, "too_long", message)]


def _check(order_id: str, day: date | None, said: str, program: Program, now: datetime) -> None:
    errors = text_error(said)
    if not is_order_id(order_id):
        message = Phrase(
            "Write the order number as the shop gave it: letters, digits and . _ : @ # ~ -"
        )
        errors.append(FieldError("order_id", "not_an_id", message))
    if day is None or not day_fits(day, now, program.time_zone):
        message = Phrase(
            "Name the day of the order, at most %(days)s days back.", days=MISSING_DAYS_BACK_MAX
        )
        errors.append(FieldError("day", "out_of_range", message))
    if errors:
        raise Invalid(errors=errors)


def _answer(
    session: Session,
    enrollment: Enrollment,
    program: Program,
    order: Order,
    day: date,
    said: str,
    by: int,
    now: datetime,
) -> Asked:
    """The order's own page where something was earned; else its trace, kept as a case."""
    side = reading.own_side(session, enrollment_id=enrollment.id, order=order)
    if side.commissions:
        return Asked(order_row_id=order.id)
    known = session.scalar(
        sa.select(Claim.id)
        .where(
            Claim.enrollment_id == enrollment.id,
            Claim.kind == Kind.MISSING_ORDER,
            Claim.order_row_id == order.id,
        )
        .order_by(Claim.id.desc())
        .limit(1)
    )
    if known is not None:
        return Asked(claim_id=known)
    open_case = session.scalar(_open_about(enrollment, order.order_id).with_for_update())
    if open_case is not None:
        # Asked before the order came: now it can be answered.
        open_case.status, open_case.decided_at = Status.ANSWERED.value, now
        open_case.order_row_id = order.id
        session.flush()
        return Asked(claim_id=open_case.id)
    claim = Claim(
        program_id=program.id,
        enrollment_id=enrollment.id,
        kind=Kind.MISSING_ORDER.value,
        order_id=order.order_id,
        day=day,
        order_row_id=order.id,
        said=said,
        status=Status.ANSWERED.value,
        opened_at=now,
        opened_by=by,
        due_at=now,
        decided_at=now,
    )
    session.add(claim)
    session.flush()
    return Asked(claim_id=claim.id)


def _open_about(enrollment: Enrollment, order_id: str) -> sa.Select[Claim]:
    return sa.select(Claim).where(
        Claim.enrollment_id == enrollment.id,
        Claim.kind == Kind.MISSING_ORDER,
        Claim.order_id == order_id,
        Claim.status == Status.OPEN,
    )


def _refuse_fishing(
    session: Session, enrollment: Enrollment, program: Program, order_id: str, now: datetime
) -> None:
    """Count what could not be answered at once: whoever guesses numbers is soon at the limit."""
    if session.scalar(_open_about(enrollment, order_id)) is not None:
        raise OpenAlready
    asked = session.scalar(
        sa.select(sa.func.count()).where(
            Claim.enrollment_id == enrollment.id,
            Claim.kind == Kind.MISSING_ORDER,
            Claim.opened_at >= day_begins(now, program.time_zone),
            Claim.due_at > Claim.opened_at,
        )
    )
    if (asked or 0) >= CASES_PER_DAY_MAX:
        left = day_ends(now, program.time_zone) - now
        raise TooManyClaims(retry_after_s=int(left.total_seconds()) + 1)
    refuse_too_many_open(session, enrollment)
