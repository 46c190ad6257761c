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
class Check:
    """One invariant."""

    name: str
    severity: Severity
    says: str
    """What holds, as a sentence."""
    query: str | Finder
    """SQL, which may use `:real_now`, the machine's clock; or a function, where an invariant is
    no matter of SQL."""


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
    found = []
    for check in checks:
        rows = _broken(session, check.query, real_now)
        if rows:
            found.append(Finding(check, rows))
    return found


def _broken(
    session: Session, query: str | Finder, real_now: datetime
) -> tuple[dict[str, Any], ...]:
    if not isinstance(query, str):
        return tuple(islice(query(session, real_now), ROWS_MAX))
    # Materialised, so that it is planned for the answer "no row": a limit that the planner can
    # see makes it look for the first row the cheapest way, by as many index reads as there are
    # rows.
    limited = sa.text(
        f"WITH broken AS MATERIALIZED ({query}) SELECT * FROM broken LIMIT {ROWS_MAX}"  # noqa: S608
    )
    given = {"real_now": real_now} if ":real_now" in query else {}
    return tuple(dict(row) for row in session.execute(limited, given).mappings())


def register(app: Flask, checks: Sequence[Check]) -> None:
    """Add a package's checks to those of the application."""
    app.extensions.setdefault(EXTENSION, []).extend(checks)


def registered(app: Flask) -> list[Check]:
    """Every check that `kopeck audit` runs."""
    return list(app.extensions.get(EXTENSION, []))
