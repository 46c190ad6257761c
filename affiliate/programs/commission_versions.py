"""Whose commission is reckoned by which version: the facts of `standing`, in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.programs.rule_versions import VERSION, RuleVersionInForce, version_of
from affiliate.programs.standing import Assigned, Edition, Member, Said, Standing, standing

# Editions come with their terms: there are a few of a program, and only who asks knows whose
# is whose. A row of before `approved_at` was let in when it was decided on.
_FACTS: Final = f"""
    WITH member AS (
        SELECT id, program_id, group_id, closes_at,
               coalesce(approved_at, decided_at, applied_at) AS joined_at
        FROM enrollments WHERE id = ANY(CAST(%(ids)s AS bigint[]))
    )
    SELECT 'edition', p.id, v.effective_at, v.grandfather_until, v.grandfathers::text, {VERSION}
    FROM programs p JOIN rule_versions v ON v.program_id = p.id
    WHERE p.id IN (SELECT program_id FROM member)
    UNION ALL
    SELECT 'member', m.id, m.joined_at, m.closes_at, NULL,
           m.program_id, NULL, NULL, NULL, NULL, NULL
    FROM member m
    UNION ALL
    SELECT 'answer', m.id, NULL, NULL, a.answer, a.rule_version_id, NULL, NULL, NULL, NULL, NULL
    FROM member m JOIN rule_answers a ON a.enrollment_id = m.id
    UNION ALL
    SELECT 'own', m.id, s.begins_at, s.ends_at, s.id::text,
           s.rule_version_id, NULL, NULL, NULL, NULL, NULL
    FROM member m JOIN rule_assignments s ON s.enrollment_id = m.id
    UNION ALL
    SELECT 'group', m.id, s.begins_at, s.ends_at, s.id::text,
           s.rule_version_id, NULL, NULL, NULL, NULL, NULL
    FROM member m JOIN rule_assignments s ON s.group_id = m.group_id
"""  # noqa: S608 -- the parts are constants, every value is bound


@dataclass(slots=True)
class Facts:
    """What decides the versions of some enrollments."""

    members: dict[int, Member] = field(default_factory=dict)
    programs: dict[int, int] = field(default_factory=dict)
    """The program of each enrollment."""
    editions: dict[int, list[Edition]] = field(default_factory=lambda: defaultdict(list))
    """By program."""
    documents: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """What `version_of` reads of each version: most are never asked for."""

    def standing_of(self, enrollment_id: int, at: datetime) -> Standing:
        """Which version is whose, and why."""
        editions = self.editions[self.programs[enrollment_id]]
        return standing(at, editions, self.members[enrollment_id])

    def version(self, version_id: int) -> RuleVersionInForce:
        """The version, read."""
        return version_of(*self.documents[version_id])


def commission_version(
    session: Session, *, enrollment_ids: Collection[int], at: datetime
) -> dict[int, RuleVersionInForce]:
    """The version by whose commission terms an order of each affiliate placed at `at` earns.

    One statement, whatever there is to read; where `versions_differ` is false of the
    program's version in force, that one is everybody's and this need not be asked.
    """
    facts = facts_of(session, enrollment_ids=enrollment_ids)
    return {
        enrollment_id: facts.version(facts.standing_of(enrollment_id, at).version_id)
        for enrollment_id in facts.members
    }


def standings(
    session: Session, *, enrollment_ids: Collection[int], at: datetime
) -> dict[int, Standing]:
    """Why it is that version, for pages."""
    facts = facts_of(session, enrollment_ids=enrollment_ids)
    return {id_: facts.standing_of(id_, at) for id_ in facts.members}


def facts_of(session: Session, *, enrollment_ids: Collection[int]) -> Facts:
    """Everything that decides the versions of these enrollments."""
    facts = Facts()
    answers: dict[int, dict[int, Said]] = defaultdict(dict)
    assigned: dict[int, list[Assigned]] = defaultdict(list)
    if not enrollment_ids:
        return facts
    found = rows(session, _FACTS, {"ids": sorted(enrollment_ids)})
    for kind, id_, begins, ends, said, version_id, *rest in found:
        if kind == "edition":
            grandfathers, number = said == "true", rest[0]
            facts.editions[id_].append(Edition(version_id, number, begins, grandfathers, ends))
            facts.documents[version_id] = (version_id, *rest)
        elif kind == "member":
            facts.members[id_] = Member(begins, ends)
            facts.programs[id_] = version_id
        elif kind == "answer":
            answers[id_][version_id] = Said(said)
        else:
            assigned[id_].append(Assigned(int(said), version_id, kind == "own", begins, ends))
    for id_, member in facts.members.items():
        facts.members[id_] = replace(member, answers=answers[id_], assigned=assigned[id_])
    return facts
