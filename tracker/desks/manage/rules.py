"""Rules: what is in force in words, every version with its state, what is being written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs import drafts, rule_versions, telling, terms_document, words
from affiliate.programs.models import Program, RuleAnswer, RuleDraft, RuleNotice, RuleVersion
from affiliate.programs.standing import Said
from tracker.desks.manage import people, replay_lists
from tracker.desks.manage.blueprint import manage, page, place, readers

ANSWERS_SHOWN_MAX = 200


@manage.get("/rules")
@readers
def rules() -> str:
    """The rules in force, those that come, those that were, and the drafts."""
    here = place()
    session, program = db.session(), here.required
    now = clock.now(session)
    current = rule_versions.in_force(session, program_id=program.id, at=now)
    return page(
        "rules",
        here,
        program=program,
        current=current,
        headline=words.headline(current.terms.commission),
        sentences=words.rules_in_words(current.terms, program),
        versions=_versions(session, program, current.id, now),
        drafts=_drafts(session, program),
        tried=replay_lists.any_of(session, program),
    )


@manage.get("/rules/versions/<int:number>")
@readers
def rule_version(number: int) -> str:
    """One version: what it changed, and who said what to it."""
    here = place()
    session, program = db.session(), here.required
    now = clock.now(session)
    version = rule_versions.numbered(session, program_id=program.id, number=number)
    current = rule_versions.in_force(session, program_id=program.id, at=now)
    read = rule_versions.terms_in(version, program.currency)
    said = _counts(session, [version.id]).get(version.id, {})
    return page(
        "rule_version",
        here,
        program=program,
        version=version,
        state=rule_versions.state_of(version, in_force_id=current.id, now=now),
        headline=words.headline(read.commission),
        sentences=words.rules_in_words(read, program),
        changes=telling.changes_of(session, version=version, program=program),
        told=_told(session, version),
        said=said,
        answers=_answers(session, version),
    )


def _versions(
    session: Session, program: Program, current_id: int, now: datetime
) -> list[dict[str, Any]]:
    found = rule_versions.versions(session, program_id=program.id)
    names = people.user_names(session, {f"user:{row.created_by}" for row in found})
    said = _counts(session, [row.id for row in found])
    return [_version(row, program, names, current_id, now, said) for row in found]


def _version(
    row: RuleVersion,
    program: Program,
    names: dict[str, str],
    current_id: int,
    now: datetime,
    said: dict[int, dict[str, int]],
) -> dict[str, Any]:
    read = terms_document.load(row.terms, program.currency)
    return {
        "row": row,
        "state": rule_versions.state_of(row, in_force_id=current_id, now=now),
        "headline": words.headline(read.commission),
        "level_2": words.level_2_short(read.commission),
        "window_days": read.attribution.window.days,
        "hold_days": read.payout.hold.days,
        "by": names.get(f"user:{row.created_by}"),
        "said": said.get(row.id, {}),
    }


def _counts(session: Session, version_ids: list[int]) -> dict[int, dict[str, int]]:
    """How many accepted and declined each version."""
    query = (
        sa.select(RuleAnswer.rule_version_id, RuleAnswer.answer, sa.func.count())
        .where(RuleAnswer.rule_version_id.in_(version_ids))
        .group_by(RuleAnswer.rule_version_id, RuleAnswer.answer)
    )
    counts: dict[int, dict[str, int]] = {}
    for version_id, answer, count in session.execute(query):
        counts.setdefault(version_id, {})[answer] = count
    return counts


def _told(session: Session, version: RuleVersion) -> int:
    """To how many it was announced by mail."""
    query = sa.select(sa.func.count()).where(
        RuleNotice.rule_version_id == version.id, RuleNotice.kind == telling.ANNOUNCED
    )
    return session.scalar(query) or 0


def _answers(session: Session, version: RuleVersion) -> list[dict[str, Any]]:
    """Who said what, those who declined first."""
    query = (
        sa.select(Enrollment.id, Enrollment.closes_at, Affiliate.name, RuleAnswer)
        .join(RuleAnswer, RuleAnswer.enrollment_id == Enrollment.id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(RuleAnswer.rule_version_id == version.id)
        .order_by(RuleAnswer.answer == Said.ACCEPTED, RuleAnswer.id.desc())
        .limit(ANSWERS_SHOWN_MAX)
    )
    return [
        {
            "id": people_ids.public(row.id),
            "name": row.name,
            "answer": row.RuleAnswer.answer,
            "at": row.RuleAnswer.answered_at,
            "closes_at": row.closes_at if row.RuleAnswer.answer == Said.DECLINED else None,
        }
        for row in session.execute(query)
    ]


def _drafts(session: Session, program: Program) -> list[dict[str, Any]]:
    found = drafts.open_drafts(session, program_id=program.id)
    names = people.user_names(session, {f"user:{row.saved_by}" for row in found})
    return [
        {"row": row, "by": names.get(f"user:{row.saved_by}"), "headline": _headline(row, program)}
        for row in found
    ]


def _headline(row: RuleDraft, program: Program) -> str:
    return words.headline(terms_document.load(row.document, program.currency).commission)
