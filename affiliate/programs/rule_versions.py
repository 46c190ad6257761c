"""Versions of a program's rules: which one is in force, and writing the next one."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import rows
from affiliate.core.errors import NotFound
from affiliate.programs import terms_document as terms_of
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.named_affiliates import refuse_strangers
from affiliate.programs.terms import Terms


class State(StrEnum):
    """Where a version stands."""

    ANNOUNCED = "announced"
    IN_FORCE = "in_force"
    PAST = "past"


@dataclass(frozen=True, slots=True)
class RuleVersionInForce:
    """A version of the rules, read."""

    id: int
    number: int
    """1, 2, 3 … within the program."""
    terms: Terms
    effective_at: datetime
    versions_differ: bool = False
    """Whether affiliates of the program may be on another version (`Program.versions_differ`)."""


# Joined as `v` to a program `p`: the version in force at %(at)s.
VERSION_AT: Final = """
    LEFT JOIN rule_versions v ON v.id = coalesce(
        (SELECT id FROM rule_versions WHERE program_id = p.id AND effective_at <= %(at)s
         ORDER BY effective_at DESC, number DESC LIMIT 1),
        (SELECT id FROM rule_versions WHERE program_id = p.id ORDER BY number LIMIT 1))
"""
VERSION: Final = "v.id, v.number, v.terms::text, v.effective_at, p.currency, p.versions_differ"
"""What `version_of` makes a version of."""
_IN_FORCE: Final = f"""
    SELECT {VERSION} FROM programs p {VERSION_AT} WHERE p.id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- the parts are constants, every value is bound


_BY_IDS: Final = f"""
    SELECT {VERSION} FROM rule_versions v JOIN programs p ON p.id = v.program_id
    WHERE v.id = ANY(CAST(%(ids)s AS bigint[]))
"""  # noqa: S608 -- as above


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
    id_: int,
    number: int,
    terms: str,
    effective_at: datetime,
    currency: str,
    versions_differ: bool,
) -> RuleVersionInForce:
    """The version of a row that selects VERSION."""
    return RuleVersionInForce(
        id_, number, read_terms(terms, currency), effective_at.astimezone(UTC), versions_differ
    )


def versions(session: Session, *, program_id: int) -> list[RuleVersion]:
    """Every version of a program, the newest number first."""
    query = sa.select(RuleVersion).where(RuleVersion.program_id == program_id)
    return list(session.scalars(query.order_by(RuleVersion.number.desc())))


def with_states(
    session: Session, *, program: Program, now: datetime
) -> list[tuple[RuleVersion, State]]:
    """Every version with its state, the newest number first."""
    current = in_force(session, program_id=program.id, at=now).id
    return [
        (one, state_of(one, in_force_id=current, now=now))
        for one in versions(session, program_id=program.id)
    ]


def state_of(version: RuleVersion, *, in_force_id: int, now: datetime) -> State:
    """Where a version stands beside the one in force."""
    if version.id == in_force_id:
        return State.IN_FORCE
    return State.ANNOUNCED if version.effective_at > now else State.PAST


def numbered(session: Session, *, program_id: int, number: int) -> RuleVersion:
    """Version `number` of a program; NotFound when there is none."""
    query = sa.select(RuleVersion).where(
        RuleVersion.program_id == program_id, RuleVersion.number == number
    )
    version = session.scalar(query)
    if version is None:
        raise NotFound("There is no such version of the rules.")
    return version


def before(session: Session, *, version: RuleVersion) -> RuleVersion | None:
    """The version that another one takes the place of; None for the first."""
    query = (
        sa.select(RuleVersion)
        .where(
            RuleVersion.program_id == version.program_id,
            sa.tuple_(RuleVersion.effective_at, RuleVersion.number)
            < sa.tuple_(sa.literal(version.effective_at), sa.literal(version.number)),
        )
        .order_by(RuleVersion.effective_at.desc(), RuleVersion.number.desc())
    )
    return session.scalars(query).first()


def by_ids(session: Session, version_ids: Collection[int]) -> dict[int, RuleVersionInForce]:
    """Versions of any programs, read."""
    found = rows(session, _BY_IDS, {"ids": sorted(version_ids)}) if version_ids else []
    return {row[0]: version_of(*row) for row in found}


def add_version(
    session: Session,
    *,
    program: Program,
    document: dict[str, Any],
    effective_at: datetime,
    by: int | None,
    now: datetime,
    action: str = "rules.publish",
    **promises: Any,
) -> RuleVersion:
    """Write a version of a program whose row the caller holds (new, or locked).

    It is never changed afterwards; the database refuses to. `promises` are the columns
    `grandfathers`, `grandfather_until` and `urgent_reason`.
    """
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
        **promises,
    )
    session.add(version)
    session.flush()
    new = {"number": version.number, "effective_at": effective_at.isoformat()}
    if version.grandfathers:
        until = version.grandfather_until
        new["grandfathers"] = "for good" if until is None else until.isoformat()
    audit.record(
        session,
        actor=audit.by_user(by),
        action=action,
        subject=f"rule_version:{version.id}",
        scope=program.id,
        new=new,
        reason=version.urgent_reason,
        now=now,
    )
    return version


def lock_program(session: Session, program_id: int) -> Program:
    """The program's row, locked so that numbers have no gap and no version overtakes one that
    was announced meanwhile. NO KEY UPDATE, as rows that refer to the program go on."""
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound("There is no such program.")
    return program


def note_that_versions_differ(session: Session, *, program_id: int) -> None:
    """From now on an order of this program asks whose version is whose."""
    session.execute(
        sa.update(Program)
        .where(Program.id == program_id, Program.versions_differ.is_(False))
        .values(versions_differ=True)
    )


def terms_in(version: RuleVersion, currency: str) -> Terms:
    """The terms of a version's row."""
    return terms_of.load(version.terms, currency)


@lru_cache(maxsize=256)
def read_terms(document: str, currency: str) -> Terms:
    """The terms of a stored document's text.

    They are read once per text, not once per order; the text is the key, so a changed
    document could never be served from memory.
    """
    return terms_of.load(json.loads(document), currency)
