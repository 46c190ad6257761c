"""Verbs of newsletters: write one, change it, plan it for a day, take it back, delete a draft.

Words are fixed from the moment it is planned until it is taken back, so that everybody gets
the letter that was looked at; once it has gone to anybody nothing can be changed any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.core.ids import public_id, row_id
from affiliate.letters.models import Letter
from affiliate.letters.rules import Kind
from affiliate.programs.models import Program
from affiliate.promo.lookup import Material, offered
from tracker.letters.models import Newsletter
from tracker.letters.rules import (
    CREATIVES_MAX,
    NewsText,
    Stage,
    day_problem,
    stage_of,
    text_problems,
)

PREFIX: Final = "nws"
PER_PROGRAM_MAX: Final = 500


class TooManyNewsletters(Conflict):
    code = "too_many_newsletters"
    title = Phrase(
        "A program keeps at most %(most)s newsletters; delete drafts.", most=PER_PROGRAM_MAX
    )


class NewsletterPlanned(Conflict):
    code = "newsletter_planned"
    title = "This newsletter is planned: take it back to change it."


class NewsletterBegun(Conflict):
    code = "newsletter_begun"
    title = "This newsletter has been sent to somebody already and cannot be changed."


class NotPlanned(Conflict):
    code = "newsletter_not_planned"
    title = "This newsletter is not planned; reload the page."


class MonthTaken(Conflict):
    code = "newsletter_month_taken"
    title = (
        "Another newsletter is planned or sent in this month. Affiliates get one a month; choose "
        "a day of another month."
    )


@dataclass(frozen=True, slots=True)
class Content:
    """What a manager writes and chooses."""

    texts: Mapping[str, NewsText]
    """By language; what is empty is not kept."""
    creative_ids: Sequence[int] = ()
    shows_best: bool = False
    send_on: date | None = None


def write_newsletter(
    session: Session, *, program_id: int, content: Content, by: int | None, now: datetime
) -> Newsletter:
    """A new draft. Raises NotFound, TooManyNewsletters, or Invalid with every field."""
    # NO KEY UPDATE makes the count true; orders, which refer to the program, do not wait.
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound
    count = sa.select(sa.func.count()).where(Newsletter.program_id == program_id)
    if (session.scalar(count) or 0) >= PER_PROGRAM_MAX:
        raise TooManyNewsletters
    _require(session, program, content, now)
    made = Newsletter(program_id=program_id, created_at=now, created_by=by, **_columns(content))
    session.add(made)
    session.flush()
    _record(session, made, "write", by=by, now=now)
    return made


def change_newsletter(
    session: Session, *, newsletter_id: int, content: Content, by: int | None, now: datetime
) -> Newsletter:
    """Say it anew while it is a draft. Raises NotFound, NewsletterPlanned, Invalid."""
    row = _locked(session, newsletter_id)
    if row.planned_at is not None:
        raise NewsletterPlanned
    _require(session, session.get_one(Program, row.program_id), content, now)
    for name, value in _columns(content).items():
        setattr(row, name, value)
    session.flush()
    _record(session, row, "change", by=by, now=now)
    return row


def plan(session: Session, *, newsletter_id: int, by: int | None, now: datetime) -> None:
    """Let it go out on its day. Planning it twice is once.

    Raises NotFound, Invalid for a day that is missing, over or too far, MonthTaken.
    """
    row = _locked(session, newsletter_id)
    if row.planned_at is not None:
        return
    program = session.get_one(
        # Two newsletters of one month at once: the program's row lets one by one.
        Program, row.program_id, with_for_update={"key_share": True}, populate_existing=True
    )  # fmt: skip
    if row.send_on is None:
        raise _invalid([FieldError("send_on", "required", "Choose the day on which it goes out.")])
    problem = day_problem(row.send_on, now, program.time_zone)
    if problem is not None:
        raise _invalid([problem])
    month = row.send_on.replace(day=1)
    taken = sa.select(Newsletter.id).where(
        Newsletter.program_id == program.id, Newsletter.month == month
    )
    if session.scalar(taken) is not None:
        raise MonthTaken
    row.planned_at, row.planned_by, row.month = now, by, month
    session.flush()
    _record(session, row, "plan", by=by, now=now)


def take_back(session: Session, *, newsletter_id: int, by: int | None, now: datetime) -> None:
    """Make it a draft again. Raises NotFound, NotPlanned, and NewsletterBegun once it has been
    written to anybody."""
    row = _locked(session, newsletter_id)
    if row.planned_at is None:
        raise NotPlanned
    if row.ended_at is not None or _begun(session, row):
        raise NewsletterBegun
    row.planned_at = row.planned_by = row.month = None
    session.flush()
    _record(session, row, "take_back", by=by, now=now)


def delete_newsletter(
    session: Session, *, newsletter_id: int, by: int | None, now: datetime
) -> None:
    """Throw a draft away. Raises NotFound, NewsletterPlanned."""
    row = _locked(session, newsletter_id)
    if row.planned_at is not None:
        raise NewsletterPlanned
    _record(session, row, "delete", by=by, now=now)
    session.delete(row)
    session.flush()


def newsletter_code(newsletter_id: int) -> str:
    """Its public id, in addresses."""
    return public_id(PREFIX, newsletter_id)


def newsletter_row(code: str) -> int:
    """The number behind it; NotFound when it is none."""
    return row_id(PREFIX, code)


def newsletters_of(session: Session, *, program_id: int) -> list[Newsletter]:
    """All of a program's, the newest first."""
    query = sa.select(Newsletter).where(Newsletter.program_id == program_id)
    return list(session.scalars(query.order_by(Newsletter.id.desc()).limit(PER_PROGRAM_MAX)))


def texts_of(row: Newsletter) -> dict[str, NewsText]:
    """What it says, by language."""
    return {language: NewsText(**text) for language, text in row.texts.items()}


def stage(row: Newsletter, program: Program, now: datetime) -> Stage:
    """Where it is now."""
    return stage_of(
        send_on=row.send_on, planned=row.planned_at is not None, ended=row.ended_at is not None,
        now=now, time_zone=program.time_zone,
    )  # fmt: skip


def shown_materials(session: Session, row: Newsletter, *, today: date) -> list[Material]:
    """The promo materials that it shows, in its order; those that are offered no more are left
    out."""
    known = {one.row.id: one for one in offered(session, program_id=row.program_id, today=today)}
    return [known[number] for number in row.creative_ids if number in known]


def _require(session: Session, program: Program, content: Content, now: datetime) -> None:
    errors = text_problems(content.texts)
    if content.send_on is not None:
        problem = day_problem(content.send_on, now, program.time_zone)
        errors += [problem] if problem else []
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    known = {one.row.id for one in offered(session, program_id=program.id, today=today)}
    if len(set(content.creative_ids)) > CREATIVES_MAX:
        message = Phrase("At most %(most)s materials.", most=CREATIVES_MAX)
        errors.append(FieldError("creatives", "too_many", message))
    if not set(content.creative_ids) <= known:
        errors.append(FieldError("creatives", "not_offered", "One of them is not offered today."))
    if errors:
        raise _invalid(errors)


def _columns(content: Content) -> dict[str, object]:
    return {
        "texts": {code: asdict(text) for code, text in content.texts.items() if not text.empty},
        "creative_ids": list(dict.fromkeys(content.creative_ids)),
        "shows_best": content.shows_best,
        "send_on": content.send_on,
    }


def _begun(session: Session, row: Newsletter) -> bool:
    written = sa.select(Letter.id).where(
        Letter.kind == Kind.NEWSLETTER.value, Letter.about == f"newsletter:{row.id}"
    )
    return session.scalar(written.limit(1)) is not None


def _locked(session: Session, newsletter_id: int) -> Newsletter:
    """Locked against the sweep that sends it and against another manager."""
    row = session.get(Newsletter, newsletter_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound
    return row


def _invalid(errors: list[FieldError]) -> Invalid:
    return Invalid(Phrase("The newsletter cannot go out like this."), errors=errors)


def _record(session: Session, row: Newsletter, what: str, *, by: int | None, now: datetime) -> None:
    titles = {code: text["title"] for code, text in row.texts.items()}
    audit.record(
        session, actor=audit.by_user(by), action=f"newsletter.{what}",
        subject=f"newsletter:{row.id}", scope=row.program_id, now=now,
        new={"title": titles, "send_on": row.send_on and row.send_on.isoformat()},
    )  # fmt: skip
