"""Ask for a trial of a draft, run it beside everything else, and keep what came out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.programs import terms_document as terms_of
from affiliate.programs.models import Program, RuleDraft
from tracker.replay.history import Span
from tracker.replay.models import RuleReplay, RuleShadow
from tracker.replay.trial import Progress, trial

ATTEMPTS_MAX: Final = 3
SILENT_MAX: Final = timedelta(minutes=5)
"""A worker that said nothing for longer is believed to be dead, and another takes its run."""
BEAT: Final = timedelta(seconds=1)
OPEN_MAX: Final = 3
"""So many trials of a program may wait or run at a time."""
YEAR_MIN: Final = 2000
KEPT: Final = timedelta(days=14)
"""Days of a shadow whose trials are kept; each holds all days since the shadow began."""


class Status(StrEnum):
    """Of a trial."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN: Final = (Status.WAITING.value, Status.RUNNING.value)


class TooManyReplays(Conflict):
    code = "too_many_replays"
    title = Phrase(
        "A program has at most %(most)s trials under way; wait for one of them to end.",
        most=OPEN_MAX,
    )


class AlreadyShadowing(Conflict):
    code = "already_shadowing"
    title = "The draft runs in the shadow already."


class NotShadowing(Conflict):
    code = "not_shadowing"
    title = "The draft does not run in the shadow."


def begin_replay(
    session: Session,
    *,
    draft_id: int,
    first: date | None,
    last: date | None,
    by: int | None,
    now: datetime,
) -> RuleReplay:
    """Ask for a trial over the orders of whole days, first and last included.

    Days are the program's. Refuses with NotFound, TooManyReplays, or Invalid that names
    `first` or `last`.
    """
    draft = _open_draft(session, draft_id)
    program = session.get_one(Program, draft.program_id, with_for_update={"key_share": True})
    begins, ends = _days(program, first, last, now)
    under_way = session.scalar(
        sa.select(sa.func.count())
        .select_from(RuleReplay)
        .where(
            RuleReplay.program_id == program.id,
            RuleReplay.status.in_(OPEN),
            RuleReplay.shadow_id.is_(None),
        )
    )
    if (under_way or 0) >= OPEN_MAX:
        raise TooManyReplays
    replay = _replay(draft, begins, ends, now, by=by)
    session.add(replay)
    session.flush()
    return replay


def begin_shadow(session: Session, *, draft_id: int, by: int | None, now: datetime) -> RuleShadow:
    """Try the draft every day from today on. Refuses with NotFound or AlreadyShadowing."""
    draft = _open_draft(session, draft_id, lock=True)
    if shadow_of(session, draft_id=draft_id) is not None:
        raise AlreadyShadowing
    program = session.get_one(Program, draft.program_id)
    shadow = RuleShadow(
        program_id=program.id,
        draft_id=draft.id,
        begins=_midnight(_today(program, now), program.time_zone),
        started_by=by,
        started_at=now,
    )
    session.add(shadow)
    session.flush()
    return shadow


def end_shadow(session: Session, *, draft_id: int, now: datetime) -> RuleShadow:
    """Stop it; what it found is kept. Refuses with NotShadowing."""
    shadow = shadow_of(session, draft_id=draft_id)
    if shadow is None:
        raise NotShadowing
    shadow.ended_at = now
    session.flush()
    return shadow


def shadow_of(session: Session, *, draft_id: int) -> RuleShadow | None:
    """The live shadow of a draft."""
    return session.scalar(
        sa.select(RuleShadow).where(RuleShadow.draft_id == draft_id, RuleShadow.ended_at.is_(None))
    )


def replays_of(session: Session, *, draft_id: int) -> list[RuleReplay]:
    """The trials of a draft, the newest first."""
    query = sa.select(RuleReplay).where(RuleReplay.draft_id == draft_id)
    return list(session.scalars(query.order_by(RuleReplay.id.desc()).limit(50)))


def ask_for_shadows(session: Session, *, now: datetime) -> int:
    """Ask for yesterday's comparison of every shadow that lacks it; returns how many.

    Safe to run twice and by several: a shadow, revision and day has one trial. A shadow ends
    with its draft.
    """
    asked = 0
    found = session.execute(
        sa.select(RuleShadow, RuleDraft, Program)
        .join(RuleDraft, RuleDraft.id == RuleShadow.draft_id)
        .join(Program, Program.id == RuleShadow.program_id)
        .where(RuleShadow.ended_at.is_(None))
        .order_by(RuleShadow.id)
        .with_for_update(of=RuleShadow, skip_locked=True)
    )
    for shadow, draft, program in found.all():
        if draft.closed_at is not None:
            shadow.ended_at = now
            continue
        ends = _midnight(_today(program, now), program.time_zone)
        if ends <= shadow.begins or _has(session, shadow, draft, ends):
            continue
        session.execute(
            sa.delete(RuleReplay).where(
                RuleReplay.shadow_id == shadow.id, RuleReplay.ends < ends - KEPT
            )
        )
        replay = _replay(draft, shadow.begins, ends, now, by=shadow.started_by)
        replay.shadow_id = shadow.id
        session.add(replay)
        asked += 1
    session.flush()
    return asked


Sessions = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What a run needs: a snapshot to read, sessions of its own to say how far it is, clocks."""

    read: Sessions
    write: Sessions
    """Commits when it is left."""
    real_now: Callable[[], datetime]
    now: Callable[[Session], datetime]
    """Business time."""


def run_next(desk: Desk) -> int | None:
    """Run the trial that waits longest, or one that its worker left; its id, None: none waits.

    Whatever goes wrong in it is raised, and after some attempts it has failed.
    """
    taken = _take(desk)
    if taken is None:
        return None
    replay_id, span, document = taken
    said_at = desk.real_now()

    def tell(progress: Progress) -> None:
        nonlocal said_at
        now = desk.real_now()
        if progress.done in (0, progress.total) or now - said_at >= BEAT:
            said_at = now
            values = {"orders_done": progress.done, "orders_total": progress.total, "beat_at": now}
            _write(desk, replay_id, **values)

    try:
        with desk.read() as session:
            terms = terms_of.load(document, span.currency)
            found = trial(session, span, terms, now=desk.now(session), tell=tell)
    except Exception:
        _give_back(desk, replay_id)
        raise
    _write(
        desk,
        replay_id,
        status=Status.DONE.value,
        result=found.document(),
        ended_at=desk.real_now(),
    )
    return replay_id


def _take(desk: Desk) -> tuple[int, Span, dict[str, Any]] | None:
    """Claim a trial: of two workers each takes another one."""
    now = desk.real_now()
    with desk.write() as session:
        waiting = RuleReplay.status == Status.WAITING.value
        left = sa.and_(
            RuleReplay.status == Status.RUNNING.value, RuleReplay.beat_at < now - SILENT_MAX
        )
        session.execute(
            sa.update(RuleReplay)
            .where(left, RuleReplay.attempts >= ATTEMPTS_MAX)
            .values(status=Status.FAILED.value, ended_at=now)
        )
        replay = session.scalar(
            sa.select(RuleReplay)
            .where(sa.or_(waiting, left))
            .order_by(RuleReplay.asked_at, RuleReplay.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if replay is None:
            return None
        replay.status, replay.beat_at = Status.RUNNING.value, now
        replay.attempts += 1
        program = session.get_one(Program, replay.program_id)
        span = Span(program.id, program.currency, program.time_zone, replay.begins, replay.ends)
        return replay.id, span, replay.document


def _give_back(desk: Desk, replay_id: int) -> None:
    """A run that failed is tried again, some times."""
    again = sa.case(
        (RuleReplay.attempts < ATTEMPTS_MAX, Status.WAITING.value), else_=Status.FAILED.value
    )
    _write(desk, replay_id, status=again, ended_at=desk.real_now())


def _write(desk: Desk, replay_id: int, **values: Any) -> None:
    with desk.write() as session:
        session.execute(
            sa.update(RuleReplay)
            .where(RuleReplay.id == replay_id, RuleReplay.status == Status.RUNNING.value)
            .values(**values)
        )


def _replay(
    draft: RuleDraft, begins: datetime, ends: datetime, now: datetime, *, by: int | None
) -> RuleReplay:
    return RuleReplay(
        program_id=draft.program_id,
        draft_id=draft.id,
        draft_revision=draft.revision,
        name=draft.name,
        document=draft.document,
        begins=begins,
        ends=ends,
        status=Status.WAITING.value,
        asked_by=by,
        asked_at=now,
    )


def _has(session: Session, shadow: RuleShadow, draft: RuleDraft, ends: datetime) -> bool:
    return bool(
        session.scalar(
            sa.select(sa.literal(1)).where(
                RuleReplay.shadow_id == shadow.id,
                RuleReplay.draft_revision == draft.revision,
                RuleReplay.ends == ends,
            )
        )
    )


def _open_draft(session: Session, draft_id: int, *, lock: bool = False) -> RuleDraft:
    draft = session.get(RuleDraft, draft_id, with_for_update=lock or None, populate_existing=lock)
    if draft is None or draft.closed_at is not None:
        raise NotFound("There is no such draft.")
    return draft


def _days(
    program: Program, first: date | None, last: date | None, now: datetime
) -> tuple[datetime, datetime]:
    errors = [
        FieldError(name, "missing", Phrase("Choose a day."))
        for name, day in (("first", first), ("last", last))
        if day is None
    ]
    if first is not None and first.year < YEAR_MIN:
        errors.append(FieldError("first", "too_early", Phrase("No order is as old as that.")))
    if first is not None and last is not None:
        if last > _today(program, now):
            errors.append(FieldError("last", "in_the_future", Phrase("This day is yet to come.")))
        if last < first:
            errors.append(
                FieldError("last", "before_first", Phrase("The last day lies before the first."))
            )
    if errors or first is None or last is None:
        raise Invalid("The trial cannot begin.", errors=errors)
    zone = program.time_zone
    return _midnight(first, zone), _midnight(last + timedelta(days=1), zone)


def _today(program: Program, now: datetime) -> date:
    return now.astimezone(ZoneInfo(program.time_zone)).date()


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))
