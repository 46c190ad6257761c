"""An affiliate objects to what was decided about an order or a click of theirs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import FieldError, Invalid, NotFound
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from tracker.claims import reading
from tracker.claims.ask import lock_claimant, refuse_too_many_open, text_error
from tracker.claims.mails import tell_claimant
from tracker.claims.models import Claim
from tracker.claims.refusals import AppealTooLate, Final, NothingToAppeal, OpenAlready
from tracker.claims.rules import (
    Ground,
    Kind,
    Objection,
    Status,
    clean_text,
    due_at,
    is_final,
    objection,
)
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason, credits
from tracker.orders.models import Order


def object_to_order(
    session: Session, *, enrollment_id: int, order_row_id: int, said: str, by: int, now: datetime
) -> int:
    """Open an appeal about an order that the affiliate has a part in. Returns its row's id.

    Raises NotFound (no part in it), NotAMember, Invalid (said), NothingToAppeal, AppealTooLate,
    OpenAlready, Final and TooManyOpen.
    """
    enrollment, program = lock_claimant(session, enrollment_id=enrollment_id)
    order = session.get(Order, order_row_id)
    if order is None or order.program_id != program.id:
        raise NotFound
    side = reading.own_side(session, enrollment_id=enrollment.id, order=order)
    if not side.has_part:
        raise NotFound
    return _open(
        session, enrollment, program, objection(side), said, by, now,
        first_decided_by=reading.decided_first_by(session, order), order_row_id=order.id,
    )  # fmt: skip


def object_to_click(
    session: Session, *, enrollment_id: int, click_id: UUID, said: str, by: int, now: datetime
) -> int:
    """Open an appeal about a click that was left out. Returns its row's id.

    Raises NotFound (no click of theirs) and what `object_to_order` raises.
    """
    enrollment, program = lock_claimant(session, enrollment_id=enrollment_id)
    click = reading.own_click(session, enrollment_id=enrollment.id, click_id=click_id)
    if click is None:
        raise NotFound
    return _open(
        session, enrollment, program, click_objection(click), said, by, now,
        first_decided_by=None, click_id=click.click_id,
    )  # fmt: skip


def click_objection(click: Click) -> Objection | None:
    """What there is to object to in a click; None: it counts, or credits as its original."""
    reason = None if click.reason is None else DropReason(click.reason)
    return None if credits(reason) else Objection(Ground.CLICK_NOT_COUNTED, click.clicked_at)


def _open(
    session: Session,
    enrollment: Enrollment,
    program: Program,
    found: Objection | None,
    said: str,
    by: int,
    now: datetime,
    *,
    first_decided_by: int | None,
    **subject: Any,
) -> int:
    said = clean_text(said)
    errors = text_error(said)
    if not said:
        errors.append(FieldError("said", "required", "Say what is wrong with the decision."))
    if errors:
        raise Invalid(errors=errors)
    if found is None:
        raise NothingToAppeal
    if not found.in_time(now):
        raise AppealTooLate
    conditions = [getattr(Claim, name) == value for name, value in subject.items()]
    mine = (Claim.enrollment_id == enrollment.id, Claim.kind == Kind.APPEAL, *conditions)
    if session.scalar(sa.select(Claim.id).where(*mine, Claim.status == Status.OPEN)) is not None:
        raise OpenAlready
    before = reading.earlier(
        session, enrollment_id=enrollment.id, kind=Kind.APPEAL.value, **subject
    )
    # Where a person decided first, the appeal is the second reading already.
    if is_final(closed_before=len(before), decided_first=first_decided_by is not None):
        raise Final
    refuse_too_many_open(session, enrollment)
    claim = Claim(
        program_id=program.id,
        enrollment_id=enrollment.id,
        kind=Kind.APPEAL.value,
        ground=found.ground.value,
        said=said,
        status=Status.OPEN.value,
        opened_at=now,
        opened_by=by,
        due_at=due_at(now, program.time_zone),
        first_decided_by=before[0].decided_by if before else first_decided_by,
        **subject,
    )
    session.add(claim)
    session.flush()
    tell_claimant(session, claim, "opened", now=now)
    return claim.id
