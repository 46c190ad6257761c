"""A manager's word whose order it is, as the order's evidence keeps it (pure).

It stands in the evidence under its own name, beside what servers and browsers brought, so
that every later decision of the order reads it again. Rule: docs/rules.md, "Claims and appeals".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from tracker.attribution.evidence import Gathered

EVIDENCE: Final = "assignment"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whom an order was given to, and on whose word."""

    enrollment_id: int
    recruiter_id: int | None
    """Who had recruited them when the order was placed: level 2 goes there."""
    reason: str
    by: str
    """`user:4`."""
    at: datetime

    def document(self) -> dict[str, Any]:
        """As the order's evidence keeps it."""
        return {
            "enrollment_id": self.enrollment_id,
            "recruiter_id": self.recruiter_id,
            "reason": self.reason,
            "by": self.by,
            "at": self.at.isoformat(),
        }


def assignment_in(evidence: Mapping[str, Any]) -> Assignment | None:
    """The manager's word in an order's evidence; None: nobody said anything."""
    found = evidence.get(EVIDENCE)
    if not found:
        return None
    return Assignment(
        enrollment_id=found["enrollment_id"],
        recruiter_id=found["recruiter_id"],
        reason=found["reason"],
        by=found["by"],
        at=datetime.fromisoformat(found["at"]),
    )


def as_assigned(gathered: Gathered, evidence: Mapping[str, Any]) -> Gathered:
    """What attribution reads, with the manager's word in it where there is one."""
    found = assignment_in(evidence)
    if found is None:
        return gathered
    return replace(
        gathered,
        facts=replace(gathered.facts, assigned_to=found.enrollment_id),
        recruiters={**gathered.recruiters, found.enrollment_id: found.recruiter_id},
    )
