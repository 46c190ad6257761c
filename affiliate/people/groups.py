"""Groups of a program's affiliates, and what staff note about each of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.people.models import AffiliateGroup, Enrollment, EnrollmentNote, User
from affiliate.programs.models import Program

NAME_CHARS_MAX: Final = 60
GROUPS_MAX: Final = 100
NOTE_CHARS_MAX: Final = 2_000
NOTES_SHOWN_MAX: Final = 50


class GroupTaken(Conflict):
    code = "group_taken"
    title = "The program has a group of this name already."


class TooManyGroups(Conflict):
    code = "too_many_groups"
    title = Phrase("A program has at most %(most)s groups.", most=GROUPS_MAX)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group and how many affiliates are in it."""

    id: int
    name: str
    members: int


@dataclass(frozen=True, slots=True)
class NoteView:
    """A note, and who wrote it."""

    id: int
    text: str
    at: datetime
    by: str


def create_group(
    session: Session,
    *,
    program_id: int,
    name: str,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> AffiliateGroup:
    """A new, empty group. Refuses with NotFound, Invalid (`name`), GroupTaken, TooManyGroups.

    Rules name groups (docs/rules.md), also those that are long in force, so a group keeps its
    name for ever.
    """
    name = _name(name)
    _lock_groups(session, program_id)
    count = sa.select(sa.func.count()).where(AffiliateGroup.program_id == program_id)
    if (session.scalar(count) or 0) >= GROUPS_MAX:
        raise TooManyGroups
    taken = sa.select(AffiliateGroup.id).where(
        AffiliateGroup.program_id == program_id,
        sa.func.lower(AffiliateGroup.name) == name.lower(),
    )
    if session.scalar(taken) is not None:
        raise GroupTaken
    group = AffiliateGroup(program_id=program_id, name=name)
    session.add(group)
    session.flush()
    audit.record(
        session,
        actor=actor or audit.by_user(by),
        action="group.create",
        subject=f"group:{group.id}",
        scope=program_id,
        new={"name": name},
        now=now,
    )
    return group


def put_in_group(
    session: Session,
    *,
    enrollment_id: int,
    group_id: int | None,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """Put an affiliate into a group of their program, or into none.

    Terms that are assigned to the group are theirs from the next order on (docs/rules.md, "Who
    is on which version"). Refuses with NotFound, also for another program's group.
    """
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment is None:
        raise NotFound
    group = None if group_id is None else _group(session, group_id)
    if group is not None and group.program_id != enrollment.program_id:
        raise NotFound
    if enrollment.group_id == group_id:
        return enrollment
    before = None if enrollment.group_id is None else _group(session, enrollment.group_id)
    enrollment.group_id = group_id
    session.flush()
    audit.record(
        session,
        actor=actor or audit.by_user(by),
        action="enrollment.set_group",
        subject=f"enrollment:{enrollment_id}",
        scope=enrollment.program_id,
        old={"group": before and before.name},
        new={"group": group and group.name},
        now=now,
    )
    return enrollment


def groups_of(session: Session, *, program_id: int) -> list[GroupView]:
    """By name, with the number of affiliates in each."""
    found = session.execute(
        sa.select(AffiliateGroup.id, AffiliateGroup.name, sa.func.count(Enrollment.id))
        .outerjoin(Enrollment, Enrollment.group_id == AffiliateGroup.id)
        .where(AffiliateGroup.program_id == program_id)
        .group_by(AffiliateGroup.id)
        .order_by(sa.func.lower(AffiliateGroup.name), AffiliateGroup.id)
    )
    return [GroupView(*row) for row in found]


def add_note(
    session: Session, *, enrollment_id: int, text: str, by: int, now: datetime
) -> EnrollmentNote:
    """Note something about an affiliate, for staff alone. Refuses with NotFound, Invalid (`text`).

    A note is never changed: a second one corrects the first.
    """
    text = text.replace("\r\n", "\n").strip()
    if not 1 <= len(text) <= NOTE_CHARS_MAX or "\0" in text:
        message = Phrase("A note has 1 to %(most)s characters.", most=NOTE_CHARS_MAX)
        raise Invalid.field("text", "length", message)
    if session.get(Enrollment, enrollment_id) is None:
        raise NotFound
    note = EnrollmentNote(enrollment_id=enrollment_id, text=text, written_by=by, written_at=now)
    session.add(note)
    session.flush()
    return note


def notes_on(session: Session, *, enrollment_id: int) -> list[NoteView]:
    """The latest first, at most NOTES_SHOWN_MAX."""
    found = session.execute(
        sa.select(
            EnrollmentNote.id,
            EnrollmentNote.text,
            EnrollmentNote.written_at,
            sa.func.coalesce(sa.func.nullif(User.name, ""), User.email),
        )
        .join(User, User.id == EnrollmentNote.written_by)
        .where(EnrollmentNote.enrollment_id == enrollment_id)
        .order_by(EnrollmentNote.id.desc())
        .limit(NOTES_SHOWN_MAX)
    )
    return [NoteView(*row) for row in found]


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        message = Phrase("A name has 1 to %(most)s characters.", most=NAME_CHARS_MAX)
        raise Invalid.field("name", "length", message)
    return name


def _group(session: Session, group_id: int) -> AffiliateGroup:
    group = session.get(AffiliateGroup, group_id)
    if group is None:
        raise NotFound
    return group


def _lock_groups(session: Session, program_id: int) -> None:
    """Names differ by more than case, and are counted: one change at a time per program."""
    program = sa.select(Program.id).where(Program.id == program_id)
    if session.scalar(program.with_for_update(key_share=True)) is None:
        raise NotFound
