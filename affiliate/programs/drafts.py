"""Drafts of the next version: begun from the rules in force, saved, announced or discarded."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.programs import announcements, rule_versions
from affiliate.programs import terms_document as terms_of
from affiliate.programs.announcements import Grandfather
from affiliate.programs.models import Program, RuleDraft, RuleVersion
from affiliate.programs.named_affiliates import refuse_strangers

DRAFTS_OPEN_MAX: Final = 5
"""Of one program: more than a few are no longer looked through."""
NAME_CHARS_MAX: Final = 80
NOTE_CHARS_MAX: Final = 2_000


class TooManyDrafts(Conflict):
    code = "too_many_drafts"
    title = Phrase(
        "A program has at most %(most)s open drafts; announce or discard one first.",
        most=DRAFTS_OPEN_MAX,
    )


class DraftClosed(Conflict):
    code = "draft_closed"
    title = "The draft was announced or discarded already."


class DraftChanged(Conflict):
    code = "draft_changed"
    title = "Somebody has saved the draft meanwhile; look at it again first."


def begin_draft(
    session: Session,
    *,
    program_id: int,
    name: str,
    by: int | None,
    now: datetime,
    document: dict[str, Any] | None = None,
    note: str = "",
) -> RuleDraft:
    """A new draft, by default of the rules in force. Refuses with TooManyDrafts or Invalid."""
    program = rule_versions.lock_program(session, program_id)
    if len(open_drafts(session, program_id=program_id)) >= DRAFTS_OPEN_MAX:
        raise TooManyDrafts
    if document is None:
        in_force = rule_versions.in_force(session, program_id=program_id, at=now)
        document = terms_of.dump(in_force.terms)
    draft = RuleDraft(
        program_id=program_id,
        **_checked(session, program, name, document, note),
        revision=1,
        created_by=by,
        created_at=now,
        saved_by=by,
        saved_at=now,
    )
    session.add(draft)
    session.flush()
    _record(session, draft, "rules.draft", by=by, now=now, new={"name": draft.name})
    return draft


def save_draft(
    session: Session,
    *,
    draft_id: int,
    name: str,
    document: dict[str, Any],
    note: str,
    revision: int,
    by: int | None,
    now: datetime,
) -> RuleDraft:
    """Write what `revision` of the draft became. Refuses with DraftChanged, DraftClosed,
    NotFound or Invalid (the path of each wrong field)."""
    draft = _lock(session, draft_id)
    if draft.revision != revision:
        raise DraftChanged
    program = session.get_one(Program, draft.program_id)
    for column, value in _checked(session, program, name, document, note).items():
        setattr(draft, column, value)
    draft.revision, draft.saved_by, draft.saved_at = revision + 1, by, now
    session.flush()
    _record(session, draft, "rules.save_draft", by=by, now=now, new={"revision": draft.revision})
    return draft


def discard_draft(session: Session, *, draft_id: int, by: int | None, now: datetime) -> RuleDraft:
    """Close a draft that is not wanted; it is kept."""
    draft = _lock(session, draft_id)
    draft.closed_at = now
    session.flush()
    _record(session, draft, "rules.discard_draft", by=by, now=now, new={"name": draft.name})
    return draft


def announce_draft(
    session: Session,
    *,
    draft_id: int,
    revision: int,
    effective_at: datetime,
    by: int | None,
    now: datetime,
    grandfather: Grandfather | None = None,
    urgent_reason: str | None = None,
) -> RuleVersion:
    """Make `revision` of a draft the next version, as `announcements.announce` does."""
    # The draft before the program, here as everywhere: two people wait in one order.
    draft = _lock(session, draft_id)
    if draft.revision != revision:
        raise DraftChanged
    version = announcements.announce(
        session,
        program_id=draft.program_id,
        document=draft.document,
        effective_at=effective_at,
        by=by,
        now=now,
        grandfather=grandfather,
        urgent_reason=urgent_reason,
    )
    draft.closed_at, draft.rule_version_id = now, version.id
    session.flush()
    return version


def open_drafts(session: Session, *, program_id: int) -> list[RuleDraft]:
    """What is being written, the draft that was saved last first."""
    query = sa.select(RuleDraft).where(
        RuleDraft.program_id == program_id, RuleDraft.closed_at.is_(None)
    )
    return list(session.scalars(query.order_by(RuleDraft.saved_at.desc(), RuleDraft.id.desc())))


def _lock(session: Session, draft_id: int) -> RuleDraft:
    """An open draft, locked: of two who save or announce it one comes second and is told."""
    draft = session.get(RuleDraft, draft_id, with_for_update=True, populate_existing=True)
    if draft is None:
        raise NotFound("There is no such draft.")
    if draft.closed_at is not None:
        raise DraftClosed
    return draft


def _checked(
    session: Session, program: Program, name: str, document: dict[str, Any], note: str
) -> dict[str, Any]:
    name, note = " ".join(name.split()), note.strip()
    errors = []
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        message = Phrase("1 to %(most)s characters.", most=NAME_CHARS_MAX)
        errors.append(FieldError("name", "length", message))
    if len(note) > NOTE_CHARS_MAX:
        message = Phrase("At most %(most)s characters.", most=NOTE_CHARS_MAX)
        errors.append(FieldError("note", "length", message))
    if errors:
        raise Invalid("The draft cannot be saved.", errors=errors)
    terms = terms_of.load(document, program.currency)
    refuse_strangers(session, program_id=program.id, document=document)
    return {"name": name, "note": note, "document": terms_of.dump(terms)}


def _record(
    session: Session,
    draft: RuleDraft,
    action: str,
    *,
    by: int | None,
    now: datetime,
    new: dict[str, Any],
) -> None:
    audit.record(
        session,
        actor=audit.by_user(by),
        action=action,
        subject=f"rule_draft:{draft.id}",
        scope=draft.program_id,
        new=new,
        now=now,
    )
