"""Run checks: each is a query that returns no row while its invariant holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

EXTENSION = "kopeck.audit_checks"
ROWS_MAX = 5
"""Rows shown of a broken check: enough to begin to look."""


class Severity(StrEnum):
    INTEGRITY = "integrity"
    """Money or books contradict each other: one row locks payouts."""
    LIVENESS = "liveness"
    """Something stands still that should move: one row alerts."""


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant. The query may use `:real_now`, the machine's clock."""

    name: str
    severity: Severity
    says: str
    """What holds, as a sentence."""
    query: str


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
    found = []
    for check in checks:
        query = sa.text(f"SELECT * FROM ({check.query}) AS broken LIMIT {ROWS_MAX}")  # noqa: S608
        given = {"real_now": real_now} if ":real_now" in check.query else {}
        rows = [dict(row) for row in session.execute(query, given).mappings()]
        if rows:
            found.append(Finding(check, tuple(rows)))
    return found


def register(app: Flask, checks: Sequence[Check]) -> None:
    """Add a package's checks to those of the application."""
    app.extensions.setdefault(EXTENSION, []).extend(checks)


def registered(app: Flask) -> list[Check]:
    """Every check that `kopeck audit` runs."""
    return list(app.extensions.get(EXTENSION, []))
