"""The weekly digest: what last week brought, against the week before.

Written on Monday by the program's clock, to whoever has something to read in it. Whoever was
not written to within two days is told next Monday. Rule: docs/mails.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.letters.choices import wants
from affiliate.letters.rules import Choice, Kind
from affiliate.letters.write import READER, Reader, about_row, unwritten, write
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs.models import Program, RuleVersion
from affiliate.promo.models import Creative
from payouts.ledger.balances import balances
from tracker.letters.rules import Told, Week, week_to_tell, worth_telling
from tracker.stats.questions import Figures, Period, Scope, by_affiliate

LETTERS_MAX: Final = 500
"""Of one transaction, for which a program's figures of both weeks are asked once."""


@dataclass(frozen=True, slots=True)
class News:
    """What changed in a program in a week."""

    materials: int
    """Promo materials that are new and still offered."""
    rules_from: datetime | None
    """When rules that were announced in it take effect; none: there were none."""


def tell_weeks(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write digests of every program whose Monday morning it is; how many letters."""
    written = 0
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        week = week_to_tell(now, program.time_zone)
        if week is not None:
            written += _tell_week(session, program, week, settings, now)
    return written


def _tell_week(
    session: Session, program: Program, week: Week, settings: Settings, now: datetime
) -> int:
    readers = session.execute(_readers(program, week)).all()
    if not readers:
        return 0
    period = Period(week.monday, week.sunday)
    scope = Scope.of(program)
    this = by_affiliate(session, scope=scope, period=period)
    before = by_affiliate(session, scope=scope, period=period.before)
    none, news = Figures.none(program.currency), news_of(session, program, period)
    written = 0
    for enrollment_id, *reader in readers:
        told = told_of(this.get(enrollment_id, none))
        told_before = told_of(before.get(enrollment_id, none))
        if not worth_telling(told, told_before):
            continue
        held = balances(session, enrollment_id=enrollment_id, currency=program.currency)
        written += write(
            session, kind=Kind.DIGEST, about=about(enrollment_id, week), reader=Reader.of(reader),
            program=program, settings=settings, now=now, week=week, told=told, before=told_before,
            available=held.available, pending=held.pending, news=news,
            url=f"{settings.public_url}/account/statistics?program={program.slug}"
            f"&from={week.monday}&to={week.sunday}",
        )  # fmt: skip
        if written >= LETTERS_MAX:
            break
    return written


def news_of(session: Session, program: Program, period: Period) -> News:
    """What the week brought to everybody in the program."""
    since, until = period.instants(program.time_zone)
    materials = sa.select(sa.func.count()).where(
        Creative.program_id == program.id,
        Creative.enrollment_id.is_(None),  # What somebody made for themselves is theirs alone.
        Creative.retired_at.is_(None),
        sa.or_(Creative.ends_on.is_(None), Creative.ends_on > period.last),
        Creative.created_at >= since,
        Creative.created_at < until,
    )
    rules = sa.select(sa.func.min(RuleVersion.effective_at)).where(
        RuleVersion.program_id == program.id,
        RuleVersion.number > 1,
        RuleVersion.announced_at >= since,
        RuleVersion.announced_at < until,
    )
    return News(session.scalar(materials) or 0, session.scalar(rules))


def told_of(figures: Figures) -> Told:
    """What a digest tells out of a week's figures; both levels together."""
    return Told(figures.clicks, figures.orders, figures.earned_together)


def about(enrollment_id: int, week: Week) -> str:
    """What the letter's row names."""
    return f"enrollment:{enrollment_id}:{week.monday.isoformat()}"


def _readers(program: Program, week: Week) -> sa.Select[int, int, str, str, str]:
    """Whom a digest of this week is still open for."""
    named = about_row("enrollment", Enrollment.id) + sa.literal(f":{week.monday}", sa.Text)
    return (
        sa.select(Enrollment.id, *READER)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            Enrollment.program_id == program.id,
            Enrollment.status == Status.ACTIVE.value,
            User.active,
            unwritten(Kind.DIGEST, named, User.id),
            wants(Choice.DIGEST, User.id, program.id),
        )
        .order_by(Enrollment.id)
    )
