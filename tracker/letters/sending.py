"""Newsletters on their day: to every active affiliate of the program who wants them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.letters.choices import wants
from affiliate.letters.rules import Choice, Kind
from affiliate.letters.write import READER, Reader, unwritten, write
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs.models import Program
from tracker.letters.models import Newsletter
from tracker.letters.newsletters import shown_materials, stage, texts_of
from tracker.letters.rules import Best, Stage, as_html, best_results, text_for
from tracker.stats.questions import Period, Scope, by_affiliate

LETTERS_MAX: Final = 200
"""Of one transaction."""


def send_newsletters(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write some letters of the newsletters whose day it is; how many.

    The newsletter's row is locked: nobody takes it back meanwhile, and another process that
    sends newsletters goes on to the next one.
    """
    rows = session.scalars(
        sa.select(Newsletter)
        .where(Newsletter.planned_at.is_not(None), Newsletter.ended_at.is_(None))
        .order_by(Newsletter.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    written = 0
    for row in rows:
        program = session.get_one(Program, row.program_id)
        if stage(row, program, now) is Stage.DUE:
            written += _send(session, row, program, settings, now)
    return written


def content_of(
    session: Session, row: Newsletter, program: Program, *, settings: Settings, language: str,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """What the letter's template reads, but for who reads it."""
    text = text_for(texts_of(row), language)
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    month = month_before(row.send_on or today)
    return {
        "title": text.title,
        "body": text.body,
        "body_html": as_html(text.body),
        "materials": shown_materials(session, row, today=today),
        "best": best_of(session, program, month) if row.shows_best else (),
        "month": month.first,
        "promo_url": f"{settings.public_url}/account/promo?program={program.slug}",
    }


def best_of(session: Session, program: Program, month: Period) -> tuple[Best, ...]:
    """The best results of a month, by name where that was agreed to, by whoever is still there."""
    found = by_affiliate(session, scope=Scope.of(program), period=month)
    earned = [(number, figures.earned) for number, figures in found.items()]
    agreed = (
        sa.select(Enrollment.id, Affiliate.name)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            Enrollment.program_id == program.id,
            Enrollment.status == Status.ACTIVE.value,
            wants(Choice.NAMED, Affiliate.user_id, Enrollment.program_id),
        )
    )
    return best_results(earned, dict(session.execute(agreed).all()))


def month_before(day: date) -> Period:
    """The whole calendar month before a day's."""
    last = day.replace(day=1) - timedelta(days=1)
    return Period(last.replace(day=1), last)


def _send(
    session: Session, row: Newsletter, program: Program, settings: Settings, now: datetime
) -> int:
    about = f"newsletter:{row.id}"
    readers = [
        Reader.of(each)
        for each in session.execute(
            sa.select(*READER)
            .join(Affiliate, Affiliate.user_id == User.id)
            .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
            .where(
                Enrollment.program_id == program.id,
                Enrollment.status == Status.ACTIVE.value,
                User.active,
                unwritten(Kind.NEWSLETTER, about, User.id),
                wants(Choice.NEWSLETTER, User.id, program.id),
            )
            .order_by(User.id)
            .limit(LETTERS_MAX)
        )
    ]
    by_language = {
        language: content_of(session, row, program, settings=settings, language=language, now=now)
        for language in {reader.locale for reader in readers}
    }
    written = sum(
        write(
            session, kind=Kind.NEWSLETTER, about=about, reader=reader, program=program,
            settings=settings, now=now, **by_language[reader.locale],
        )
        for reader in readers
    )  # fmt: skip
    row.letters += written
    if len(readers) < LETTERS_MAX:
        row.ended_at = now
    session.flush()
    return written
