"""Put an affiliate or a group on another version for commission, from-until."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound
from affiliate.people.models import AffiliateGroup, Enrollment
from affiliate.programs import rule_versions
from affiliate.programs.announcements import LATENESS_MAX
from affiliate.programs.models import RuleAssignment, RuleVersion

REASON_CHARS_MAX: Final = 1_000
ORDERS_AHEAD_MAX: Final = timedelta(minutes=5)
"""How far ahead of us a shop's clock may be, and with it an order (docs/api.md)."""


class AssignmentOver(Conflict):
    code = "assignment_over"
    title = "The assignment is over already; what was earned by it stays."


def assign(
    session: Session,
    *,
    program_id: int,
    version_id: int,
    begins_at: datetime,
    ends_at: datetime | None,
    reason: str,
    by: int | None,
    now: datetime,
    enrollment_id: int | None = None,
    group_id: int | None = None,
) -> RuleAssignment:
    """Reckon the commission of one affiliate, or of one group, by another version.

    From `begins_at` on, which is never in the past, until before `ends_at`. Refuses with
    Invalid (the path of each wrong field). Rule: docs/rules.md, "Versions of the rules".
    """
    errors = [
        *_times(begins_at, ends_at, now),
        *_reason(reason),
        *_whom(session, program_id, enrollment_id, group_id),
    ]
    version = session.get(RuleVersion, version_id)
    if version is None or version.program_id != program_id:
        message = "There is no such version of this program's rules."
        errors.append(FieldError("version", "unknown", message))
    if errors:
        raise Invalid("The version cannot be assigned.", errors=errors)
    made = RuleAssignment(
        program_id=program_id,
        enrollment_id=enrollment_id,
        group_id=group_id,
        rule_version_id=version_id,
        begins_at=begins_at,
        ends_at=ends_at,
        reason=reason.strip(),
        created_by=by,
        created_at=now,
    )
    session.add(made)
    session.flush()
    rule_versions.note_that_versions_differ(session, program_id=program_id)
    new = {
        "rule_version": version_id,
        "enrollment": enrollment_id,
        "group": group_id,
        "begins_at": begins_at.isoformat(),
        "ends_at": ends_at and ends_at.isoformat(),
    }
    _record(session, made, "rules.assign", by=by, now=now, new=new, reason=made.reason)
    return made


def end_assignment(
    session: Session,
    *,
    assignment_id: int,
    ends_at: datetime,
    reason: str,
    by: int | None,
    now: datetime,
) -> RuleAssignment:
    """Let an assignment end, now or later, never earlier: orders keep what they were
    reckoned by. One that has not begun is taken back. Refuses with AssignmentOver, Invalid
    or NotFound."""
    # Of two who end it at once the second sees what the first one wrote.
    made = session.get(RuleAssignment, assignment_id, with_for_update=True, populate_existing=True)
    if made is None:
        raise NotFound("There is no such assignment.")
    if made.ends_at is not None and made.ends_at <= now:
        raise AssignmentOver
    errors = _reason(reason)
    if ends_at < now - LATENESS_MAX:
        errors.append(FieldError("ends_at", "in_the_past", "It ends now or later."))
    never = ends_at <= made.begins_at
    if never and now > made.begins_at - ORDERS_AHEAD_MAX:
        message = "It has begun, or is about to: let it end after it begins."
        errors.append(FieldError("ends_at", "not_after_begins_at", message))
    if errors:
        raise Invalid("The assignment cannot end like this.", errors=errors)
    old = {"ends_at": made.ends_at and made.ends_at.isoformat()}
    if never:
        session.delete(made)
        session.flush()
        _record(session, made, "rules.unassign", by=by, now=now, old=old, reason=reason.strip())
        return made
    made.ends_at = max(ends_at, now)
    session.flush()
    new = {"ends_at": made.ends_at.isoformat()}
    _record(
        session, made, "rules.end_assignment", by=by, now=now, old=old, new=new,
        reason=reason.strip(),
    )  # fmt: skip
    return made


def assignments(session: Session, *, program_id: int) -> list[RuleAssignment]:
    """Every assignment of a program, the latest first."""
    query = sa.select(RuleAssignment).where(RuleAssignment.program_id == program_id)
    return list(session.scalars(query.order_by(RuleAssignment.id.desc())))


def _times(begins_at: datetime, ends_at: datetime | None, now: datetime) -> list[FieldError]:
    errors = []
    if begins_at < now - LATENESS_MAX:
        message = "It begins now or later: orders keep the version that they were decided by."
        errors.append(FieldError("begins_at", "in_the_past", message))
    if ends_at is not None and ends_at <= begins_at:
        errors.append(FieldError("ends_at", "not_after_begins_at", "It ends after it begins."))
    return errors


def _reason(reason: str) -> list[FieldError]:
    if 1 <= len(reason.strip()) <= REASON_CHARS_MAX:
        return []
    message = f"Give the reason, in at most {REASON_CHARS_MAX} characters."
    return [FieldError("reason", "length", message)]


def _whom(
    session: Session, program_id: int, enrollment_id: int | None, group_id: int | None
) -> list[FieldError]:
    if (enrollment_id is None) == (group_id is None):
        return [FieldError("who", "one_of_two", "Name one affiliate or one group.")]
    found: Enrollment | AffiliateGroup | None = (
        session.get(AffiliateGroup, group_id)
        if enrollment_id is None
        else session.get(Enrollment, enrollment_id)
    )
    if found is None or found.program_id != program_id:
        return [FieldError("who", "unknown", "There is nobody of that name in this program.")]
    return []


def _record(
    session: Session,
    made: RuleAssignment,
    action: str,
    *,
    by: int | None,
    now: datetime,
    reason: str,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session,
        actor=audit.by_user(by),
        action=action,
        subject=f"rule_assignment:{made.id}",
        scope=made.program_id,
        old=old,
        new=new,
        reason=reason,
        now=now,
    )
