"""Announce the next version of a program's rules, at least the notice period ahead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.people.models import Enrollment
from affiliate.people.rules import Status
from affiliate.programs import rule_versions
from affiliate.programs.jobs import tell_affiliates
from affiliate.programs.models import Program, RuleVersion

LATENESS_MAX: Final = timedelta(minutes=1)
"""How much too early a new version may take effect: the time between two clocks and a click."""
REASON_CHARS_MAX: Final = 1_000
BOUND: Final = (Status.ACTIVE, Status.SUSPENDED)
"""Whom rules bind: a change has to be announced to them."""


@dataclass(frozen=True, slots=True)
class Grandfather:
    """Whoever was let in before the version keeps the commission terms that were theirs."""

    until: datetime | None = None
    """None: for good."""


def announce(
    session: Session,
    *,
    program_id: int,
    document: dict[str, Any],
    effective_at: datetime,
    by: int | None,
    now: datetime,
    grandfather: Grandfather | None = None,
    urgent_reason: str | None = None,
) -> RuleVersion:
    """Make a document the next version, in force from `effective_at` on, and tell affiliates.

    While anybody is enrolled it takes effect no sooner than the program's notice period from
    now, unless `urgent_reason` says why, which affiliates are told and the audit log keeps.
    Where nobody is, it may take effect at once; in the past never: orders that were placed
    keep theirs. Refuses with Invalid (the path of each wrong field) or NotFound. Rule:
    docs/rules.md, "Versions of the rules".
    """
    program = rule_versions.lock_program(session, program_id)
    anybody = _anybody_enrolled(session, program_id)
    urgent_reason = _urgent(urgent_reason) if anybody else None
    _check_time(program, effective_at, now=now, notice=anybody and urgent_reason is None)
    if grandfather is not None and grandfather.until is not None:
        _check_until(grandfather.until, effective_at)
    version = rule_versions.add_version(
        session,
        program=program,
        document=document,
        effective_at=effective_at,
        by=by,
        now=now,
        action="rules.announce",
        grandfathers=grandfather is not None,
        grandfather_until=grandfather and grandfather.until,
        urgent_reason=urgent_reason,
    )
    if grandfather is not None:
        rule_versions.note_that_versions_differ(session, program_id=program_id)
    tell_affiliates.after_commit(session)
    return version


def earliest(session: Session, *, program: Program, now: datetime) -> datetime:
    """The first instant at which a version that is announced now may take effect."""
    if _anybody_enrolled(session, program.id):
        return now + timedelta(days=program.notice_days)
    return now


def _anybody_enrolled(session: Session, program_id: int) -> bool:
    query = sa.select(Enrollment.id).where(
        Enrollment.program_id == program_id, Enrollment.status.in_(BOUND)
    )
    return session.scalar(query.limit(1)) is not None


def _check_time(program: Program, effective_at: datetime, *, now: datetime, notice: bool) -> None:
    if effective_at < now - LATENESS_MAX:
        raise Invalid.field(
            "effective_at", "in_the_past", "New rules take effect now or later, never in the past."
        )
    days = program.notice_days if notice else 0
    if effective_at < now + timedelta(days=days) - LATENESS_MAX:
        raise Invalid.field(
            "effective_at",
            "inside_notice_period",
            Phrase(
                "Affiliates are told at least %(days)s days ahead; choose a later moment.",
                days=days,
            ),
        )


def _check_until(until: datetime, effective_at: datetime) -> None:
    if until <= effective_at:
        raise Invalid.field(
            "grandfather_until",
            "not_after_effective_at",
            "Whoever keeps their terms keeps them beyond the moment at which the new ones begin.",
        )


def _urgent(reason: str | None) -> str | None:
    if reason is None:
        return None
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_CHARS_MAX:
        raise Invalid(
            errors=[
                FieldError(
                    "urgent_reason",
                    "length",
                    Phrase(
                        "Say why it cannot wait, in at most %(most)s characters.",
                        most=REASON_CHARS_MAX,
                    ),
                )
            ]
        )
    return reason
