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
    keeps: bool
    """Silence keeps the commission terms that are theirs."""
    keeps_until: datetime | None
    """None: for good, where they keep them at all."""


def ahead_of(
    session: Session, *, version: RuleVersion, program: Program, enrollment_id: int
) -> Ahead:
    """What a version changes for somebody, against what holds for them just before it."""
    if not program.versions_differ:
        return Ahead(changes_of(session, version=version, program=program), False, None)
    facts = facts_of(session, enrollment_ids=[enrollment_id])
    just_before = version.effective_at - timedelta(microseconds=1)
    own = facts.version(facts.standing_of(enrollment_id, just_before).version_id)
    then = facts.standing_of(enrollment_id, version.effective_at)
    keeps = then.because is Because.GRANDFATHERED
    changed = changes_of(session, version=version, program=program, own=own.terms)
    return Ahead(changed, keeps, then.until if keeps else None)


def changes_of(
    session: Session, *, version: RuleVersion, program: Program, own: Terms | None = None
) -> tuple[Change, ...]:
    """What a version changes, in the words of the reader's language.

    Against the version before it, or the commission and hold of `own` where somebody's are
    others.
    """
    replaced = rule_versions.before(session, version=version)
    if replaced is None:
        return ()
    before, after = (rule_versions.terms_in(one, program.currency) for one in (replaced, version))
    if own is not None:
        before = replace(before, commission=own.commission, payout=own.payout)
    return changes(words.rules_in_words(before, program), words.rules_in_words(after, program))


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
        name=owed.name,
        program=program,
        version=version,
        ahead=ahead,
        closes_at=closes_at(version, program),
    )
    return 1
