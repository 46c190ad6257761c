"""A person's word about a day on which clicks of a flood came on a link."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from payouts.commissions.counted import clicks_reference
from payouts.commissions.earn import lock_live, wait_for
from payouts.commissions.rules import VoidReason
from payouts.commissions.void import void
from tracker.attribution.subject import ReviewOutcome
from tracker.paid_clicks.models import PaidClickDay


class NoClicksToReview(Conflict):
    code = "nothing_to_review"
    title = "Nobody has to look at the clicks of this day, or somebody has already."


def review_clicks(
    session: Session,
    *,
    paid_day_id: int,
    outcome: ReviewOutcome,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Let what the day's counted clicks earned go, or take all of it back for good.

    Declined, no later click of the link and day is booked either. The clicks of the flood
    themselves are never counted. Who said so and why stands in the audit log. Raises NotFound
    and NoClicksToReview: also for a second word, the first one stands.
    """
    row = session.get(PaidClickDay, paid_day_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound
    if not row.flooded or row.review_outcome is not None:
        raise NoClicksToReview
    row.review_outcome, row.reviewed_at, row.reviewed_by = outcome.value, now, by
    session.flush()
    reference = clicks_reference(row.link_id, row.day)
    audit.record(
        session, actor=by, action=f"clicks.review_{outcome.value}", subject=reference,
        scope=row.program_id, reason=reason, now=now,
    )  # fmt: skip
    if outcome is ReviewOutcome.RELEASED:
        wait_for(session, reference=reference, waits_for=None, now=now)
        return
    for number in sorted({live.decision for live in lock_live(session, reference=reference)}):
        void(
            session, reference=reference, decision=number, reason=VoidReason.REVIEW_REJECTED,
            now=now,
        )  # fmt: skip
