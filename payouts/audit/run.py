"""Run checks: each is a question that has no row for an answer while its invariant holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.db import be_patient

EXTENSION = "kopeck.audit_checks"
ROWS_MAX = 5
"""Rows shown of a broken check: enough to begin to look."""

STATEMENT_S = 500
"""A check of a large book may take so long: less than a job may."""

WORK_MEM_MB = 64
"""Memory for each sort and hash of a check: few run at once, over all rows there are."""

Finder = Callable[[Session, datetime], Iterator[dict[str, Any]]]
"""What breaks an invariant, found one by one; given are the session and the machine's clock."""


class Severity(StrEnum):
    INTEGRITY = "integrity"
    """Money or books contradict each other: one row locks payouts."""
    LIVENESS = "liveness"
    """Something stands still that should move: one row alerts."""


@dataclass(frozen=True, slots=True)
class Common:
    """What several checks ask about: worked out once for all of them."""

    name: str
    """Of the table, as their queries call it."""
    query: str


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant."""

    name: str
    severity: Severity
    says: str
    """What holds, as a sentence."""
    query: str | Finder
    """SQL, which may use `:real_now`, the machine's clock; or a function, where an invariant is
    no matter of SQL."""
    over: Common | None = None
    """The table that the query reads beside those of the database."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that does not hold, with the first rows that break it."""

    check: Check
    rows: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        rows = "; ".join(
            ", ".join(f"{name}={value}" for name, value in row.items()) for row in self.rows
        )
        return f"{self.check.name} ({self.check.severity}): not so: {self.check.says} [{rows}]"


def run(session: Session, checks: Sequence[Check], *, real_now: datetime) -> list[Finding]:
    """Every check that does not hold, in order. Reads alone."""
    be_patient(session, statement_s=STATEMENT_S)
    session.execute(sa.text(f"SET LOCAL work_mem = '{WORK_MEM_MB}MB'"))
    found = {}
    for group in passes(checks):
        found.update(_asked_together(session, group, real_now))
    return [Finding(check, found[check.name]) for check in checks if found.get(check.name)]


def passes(checks: Sequence[Check]) -> list[list[Check]]:
    """The checks as they are asked: those over one common table in one statement."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.over.name if check.over else check.name, []).append(check)
    return list(groups.values())


def _asked_together(
    session: Session, checks: Sequence[Check], real_now: datetime
) -> dict[str, tuple[dict[str, Any], ...]]:
    """The first rows that break each of the checks, which are one pass."""
    first = checks[0]
    if not isinstance(first.query, str):
        return {first.name: tuple(islice(first.query(session, real_now), ROWS_MAX))}
    # Materialised, so that each is planned for the answer "no row": a limit that the planner can
    # see makes it look for the first row the cheapest way, by as many index reads as there are
    # rows.
    tables = [f'"{check.name}" AS MATERIALIZED ({check.query})' for check in checks]
    if first.over:
        tables.insert(0, f"{first.over.name} AS MATERIALIZED ({first.over.query})")
    answers = [
        f"(SELECT '{check.name}', to_jsonb(broken) FROM \"{check.name}\" AS broken"  # noqa: S608
        f" LIMIT {ROWS_MAX})"
        for check in checks
    ]
    asked = f"WITH {', '.join(tables)} {' UNION ALL '.join(answers)}"
    given = {"real_now": real_now} if ":real_now" in asked else {}
    found: dict[str, tuple[dict[str, Any], ...]] = {}
    for name, row in session.execute(sa.text(asked), given):
        found[name] = (*found.get(name, ()), row)
    return found


def register(app: Flask, checks: Sequence[Check]) -> None:
    """Add a package's checks to those of the application."""
    known = app.extensions.setdefault(EXTENSION, [])
    known.extend(checks)
    assert len({check.name for check in known}) == len(known), "two checks of one name"


def registered(app: Flask) -> list[Check]:
    """Every check that `kopeck audit` runs."""
    return list(app.extensions.get(EXTENSION, []))
