"""Verbs of rule versions: which one is in force, publish the next one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import rows
from affiliate.core.errors import Invalid, NotFound
from affiliate.programs import terms_document as terms_of
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.named_affiliates import refuse_strangers
from affiliate.programs.terms import Terms

PUBLISH_LATENESS_MAX: Final = timedelta(minutes=1)
"""How far back a new version may take effect: the time between two clocks and a click."""


@dataclass(frozen=True, slots=True)
class RuleVersionInForce:
    """A version of the rules, read."""

    id: int
    number: int
    """1, 2, 3 … within the program."""
    terms: Terms
    effective_at: datetime


# Joined as `v` to a program `p`: the version in force at %(at)s.
VERSION_AT: Final = """
    LEFT JOIN rule_versions v ON v.id = coalesce(
        (SELECT id FROM rule_versions WHERE program_id = p.id AND effective_at <= %(at)s
         ORDER BY effective_at DESC, number DESC LIMIT 1),
        (SELECT id FROM rule_versions WHERE program_id = p.id ORDER BY number LIMIT 1))
"""
VERSION: Final = "v.id, v.number, v.terms::text, v.effective_at, p.currency"
"""What `version_of` makes a version of."""
_IN_FORCE: Final = f"""
    SELECT {VERSION} FROM programs p {VERSION_AT} WHERE p.id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- the parts are constants, every value is bound


def in_force(session: Session, *, program_id: int, at: datetime) -> RuleVersionInForce:
    """The version that rules an order placed at `at`.

    The one that took effect last; of two at the same instant, the higher number. Before the
    first version took effect, the first: a program is never without rules. NotFound when
    there is no such program. Rule: docs/rules.md, "Versions of the rules".
    """
    found = rows(session, _IN_FORCE, {"program_id": program_id, "at": at})
    if not found or found[0][0] is None:
        raise NotFound("There is no such program.")
    return version_of(*found[0])


def version_of(
    id_: int, number: int, terms: str, effective_at: datetime, currency: str
) -> RuleVersionInForce:
    """The version of a row that selects VERSION."""
    return RuleVersionInForce(
        id_, number, read_terms(terms, currency), effective_at.astimezone(UTC)
    )


def versions(session: Session, *, program_id: int) -> list[RuleVersion]:
    """Every version of a program, the newest number first."""
    query = sa.select(RuleVersion).where(RuleVersion.program_id == program_id)
    return list(session.scalars(query.order_by(RuleVersion.number.desc())))


def publish(
    session: Session,
    *,
    program_id: int,
    document: dict[str, Any],
    effective_at: datetime,
    by: int | None,
    now: datetime,
) -> RuleVersion:
    """Add the next version. It is never changed afterwards; the database refuses to.

    Rules cannot take effect in the past: orders that were placed keep theirs. Refuses with
    Invalid (the path of each wrong field) or NotFound.
    """
    # The program's row is locked so that numbers have no gap and no version overtakes one
    # that was published meanwhile. NO KEY UPDATE, as rows that refer to the program go on.
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound("There is no such program.")
    if effective_at < now - PUBLISH_LATENESS_MAX:
        raise Invalid.field(
            "effective_at", "in_the_past", "New rules take effect now or later, never in the past."
        )
    return add_version(
        session,
        program=program,
        document=document,
        effective_at=effective_at,
        by=by,
        now=now,
    )


def add_version(
    session: Session,
    *,
    program: Program,
    document: dict[str, Any],
    effective_at: datetime,
    by: int | None,
    now: datetime,
) -> RuleVersion:
    """Write a version of a program whose row the caller holds (new, or locked)."""
    read = terms_of.load(document, program.currency)
    refuse_strangers(session, program_id=program.id, document=document)
    highest = sa.select(sa.func.max(RuleVersion.number)).where(RuleVersion.program_id == program.id)
    version = RuleVersion(
        program_id=program.id,
        number=(session.scalar(highest) or 0) + 1,
        terms=terms_of.dump(read),
        effective_at=effective_at,
        announced_at=now,
        created_by=by,
        created_at=now,
    )
    session.add(version)
    session.flush()
    audit.record(
        session,
        actor=audit.by_user(by),
        action="rules.publish",
        subject=f"rule_version:{version.id}",
        scope=program.id,
        new={"number": version.number, "effective_at": effective_at.isoformat()},
        now=now,
    )
    return version


@lru_cache(maxsize=256)
def read_terms(document: str, currency: str) -> Terms:
    """The terms of a stored document's text.

    They are read once per text, not once per order; the text is the key, so a changed
    document could never be served from memory.
    """
    return terms_of.load(json.loads(document), currency)
