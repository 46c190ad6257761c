"""What the pages of orders and of leads share: how they are searched, and how it was decided."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.errors import NotFound
from affiliate.people import ids as people_ids
from payouts.commissions.rows import CommissionRow, when_available
from tracker.attribution.models import Decided
from tracker.desks.manage import people, sentences

ROWS_MAX = 50
TO_REVIEW = "review"
CREDITS = ("attributed", "unattributed", TO_REVIEW)
SEARCH_CHARS_MAX = 200


@dataclass(frozen=True)
class Search:
    """What the list is narrowed to; empty words narrow nothing."""

    text: str
    status: str
    credit: str
    before_id: int | None

    def told(self, endpoint: str, last: str | None) -> dict[str, Any]:
        """As the list's template reads it; `last` is the id behind which there is more."""
        filters: dict[str, Any] = {
            "q": self.text or None,
            "status": self.status or None,
            "credit": self.credit or None,
        }
        return {
            "q": self.text,
            "status": self.status,
            "credit": self.credit,
            "next_url": last and url_for(endpoint, before=last, **filters),
            "previous_url": url_for(endpoint, **filters) if self.before_id else None,
        }


def search_asked(statuses: Collection[str], row_of: Callable[[str], int]) -> Search:
    """What the address asks for; NotFound for a status, a credit or an id that is none."""
    text = request.args.get("q", "").replace("\0", "").strip()[:SEARCH_CHARS_MAX]
    status, credit = request.args.get("status", ""), request.args.get("credit", "")
    if status not in ("", *statuses) or credit not in ("", *CREDITS):
        raise NotFound
    return Search(text, status, credit, request.args.get("before", type=row_of))


def credited(decision: Decided | None, names: dict[int, str]) -> list[tuple[str, str]]:
    """To whom a decision gave it: id and name of each."""
    return [
        (people_ids.public(share["enrollment_id"]), names.get(share["enrollment_id"], "—"))
        for share in (decision.shares if decision else [])
    ]


def waits_for_review(outcome: str | None, decisions: Sequence[Decided]) -> bool:
    """Whether a person still has to say if it stands."""
    return outcome is None and any(one.review_reason and one.voided_at is None for one in decisions)


def everybody(decisions: Sequence[Decided], earned: Sequence[CommissionRow]) -> set[int]:
    """Whom the page names: enrollments of decisions and commissions."""
    found = {share["enrollment_id"] for decision in decisions for share in decision.shares}
    # A line of a forged token or of another program's click names nobody.
    found |= {who for d in decisions for line in d.trace if (who := line.get("enrollment_id"))}
    found |= {row.enrollment_id for row in earned}
    return found | {row.via_enrollment_id for row in earned if row.via_enrollment_id}


def decision_told(decision: Decided, names: dict[int, str]) -> dict[str, Any]:
    """A decision as the page tells it, of an order or of a lead."""
    return {
        "row": decision,
        "live": decision.voided_at is None,
        "why": sentences.reason(decision.reason),
        "void": sentences.void_reason(decision.void_reason),
        "shares": [
            {
                "public": people_ids.public(share["enrollment_id"]),
                "name": names.get(share["enrollment_id"], "—"),
                "weight": share["weight"],
            }
            for share in decision.shares
        ],
        "trace": sentences.trace(decision.trace, names),
    }


def commission_told(session: Session, row: CommissionRow, names: dict[int, str]) -> dict[str, Any]:
    """A commission as the page tells it."""
    when = when_available(row, clock.now(session))
    return {
        "row": row,
        "public": people_ids.public(row.enrollment_id),
        "name": names.get(row.enrollment_id, "—"),
        "via": names.get(row.via_enrollment_id or 0),
        "steps": sentences.commission_steps(list(row.trace), row.amount.currency),
        "available_at": when.at,
        "waits_for": sentences.waits_for(when.waits_for),
        "void": sentences.void_reason(row.void_reason),
    }


def person(session: Session, actor: str | None) -> str | None:
    """Who did it, by the actor of the audit log."""
    return None if actor is None else people.user_names(session, {actor}).get(actor, actor)
