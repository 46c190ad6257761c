"""Tell affiliates by mail what new rules change, and remind those who have not answered.

Whom a letter is still owed is asked of the rows, so a job that ran twice, or not at all for
a while, writes each letter once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
from flask_babel import force_locale
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs import rule_versions, words
from affiliate.programs.answers import closes_at
from affiliate.programs.changes import Change, changes
from affiliate.programs.commission_versions import facts_of
from affiliate.programs.models import Program, RuleAnswer, RuleNotice, RuleVersion
from affiliate.programs.standing import Because
from affiliate.programs.terms import Terms

REMIND_BEFORE: Final = timedelta(days=3)
"""A letter that told of new rules sooner than this is repeated to whoever has not answered."""
LETTERS_MAX: Final = 500
"""Of one run: the next one, a minute later, goes on."""
ANNOUNCED, REMINDER = "announced", "reminder"
_TOLD: Final = (Status.ACTIVE, Status.SUSPENDED)


class _Owed(NamedTuple):
    enrollment_id: int
    version_id: int
    email: str
    name: str
    locale: str


def tell(session: Session, *, now: datetime) -> int:
    """Write the letters about rules that are announced and not yet in force; how many.

    Whoever is let in after the announcement gets it as well. The reminder goes to those who
    were told earlier than `REMIND_BEFORE` and said nothing.
    """
    written = 0
    for kind, owed in ((ANNOUNCED, _announcements(now)), (REMINDER, _reminders(now))):
        for row in session.execute(owed.limit(LETTERS_MAX - written)).all():
            written += _write(session, kind, _Owed(*row), now=now)
    return written


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a version means to one affiliate."""

    changes: tuple[Change, ...]
    keeps: bool = False
    """Silence keeps the commission terms that are theirs."""
    agreed: bool = False
    """Their commission terms are assigned to them or their group, whatever they answer."""
    until: datetime | None = None
    """Until when either; none: for good."""


def ahead_of(
    session: Session, *, version: RuleVersion, program: Program, enrollment_id: int
) -> Ahead:
    """What a version changes for somebody, against what holds for them just before it."""
    if not program.versions_differ:
        return Ahead(changes_of(session, version=version, program=program))
    facts = facts_of(session, enrollment_ids=[enrollment_id])
    just_before = version.effective_at - timedelta(microseconds=1)
    then = facts.standing_of(enrollment_id, version.effective_at)
    agreed = then.because in (Because.ASSIGNED, Because.GROUP)
    changed = changes_of(
        session,
        version=version,
        program=program,
        own=facts.version(facts.standing_of(enrollment_id, just_before).version_id).terms,
        own_then=facts.version(then.version_id).terms if agreed else None,
    )
    keeps = then.because is Because.GRANDFATHERED
    return Ahead(changed, keeps, agreed, then.until if keeps or agreed else None)


def changes_of(
    session: Session,
    *,
    version: RuleVersion,
    program: Program,
    own: Terms | None = None,
    own_then: Terms | None = None,
) -> tuple[Change, ...]:
    """What a version changes against the one before it, in the words of the reader's language.

    `own` and `own_then` have the commission and hold of somebody whose terms are others,
    before and from then on.
    """
    replaced = rule_versions.before(session, version=version)
    if replaced is None:
        return ()
    before, after = (rule_versions.terms_in(one, program.currency) for one in (replaced, version))
    return changes(
        words.rules_in_words(_personal(before, own), program),
        words.rules_in_words(_personal(after, own_then), program),
    )


def _personal(terms: Terms, own: Terms | None) -> Terms:
    if own is None:
        return terms
    return replace(terms, commission=own.commission, payout=own.payout)


def _announcements(now: datetime) -> sa.Select[int, int, str, str, str]:
    return _whom(now).where(~_noted(ANNOUNCED).exists())


def _reminders(now: datetime) -> sa.Select[int, int, str, str, str]:
    told_early = _noted(ANNOUNCED).where(
        RuleNotice.written_at <= RuleVersion.effective_at - sa.literal(REMIND_BEFORE, sa.Interval)
    )
    answered = sa.select(RuleAnswer.id).where(
        RuleAnswer.enrollment_id == Enrollment.id, RuleAnswer.rule_version_id == RuleVersion.id
    )
    return _whom(now).where(
        RuleVersion.effective_at <= now + REMIND_BEFORE,
        told_early.exists(),
        ~_noted(REMINDER).exists(),
        ~answered.exists(),
    )


def _whom(now: datetime) -> sa.Select[int, int, str, str, str]:
    """Everybody whom a version that is to come will bind, with where they are written to."""
    return (
        sa.select(Enrollment.id, RuleVersion.id, User.email, User.name, User.locale)
        .join(RuleVersion, RuleVersion.program_id == Enrollment.program_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            RuleVersion.effective_at > now,
            Enrollment.status.in_(_TOLD),
            Enrollment.closes_at.is_(None),
        )
        .order_by(RuleVersion.id, Enrollment.id)
    )


def _noted(kind: str) -> sa.Select[int]:
    return sa.select(RuleNotice.id).where(
        RuleNotice.rule_version_id == RuleVersion.id,
        RuleNotice.enrollment_id == Enrollment.id,
        RuleNotice.kind == kind,
    )


def _write(session: Session, kind: str, owed: _Owed, *, now: datetime) -> int:
    """The note and the letter in one transaction; nothing where another run was quicker."""
    noted = (
        insert(RuleNotice)
        .values(
            rule_version_id=owed.version_id,
            enrollment_id=owed.enrollment_id,
            kind=kind,
            written_at=now,
        )
        .on_conflict_do_nothing()
        .returning(RuleNotice.id)
    )
    if session.scalar(noted) is None:
        return 0
    version = session.get_one(RuleVersion, owed.version_id)
    program = session.get_one(Program, version.program_id)
    with force_locale(owed.locale):
        ahead = ahead_of(
            session, version=version, program=program, enrollment_id=owed.enrollment_id
        )
    outbox.send(
        session,
        to=owed.email,
        template=f"rules_{kind}",
        locale=owed.locale,
        now=now,
        scope=program.id,
        name=owed.name,
        program=program,
        version=version,
        ahead=ahead,
        closes_at=closes_at(version, program),
    )
    return 1
