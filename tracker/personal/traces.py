"""Erase what this package holds of an affiliate: cases, sightings, marks on clicks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from tracker.attribution.models import AffiliateSighting
from tracker.claims.models import Claim, ClaimNote
from tracker.claims.rules import Status
from tracker.clicks.models import Click, LinkDayValue
from tracker.clicks.rules import CountedBy

CLICKS_AT_ONCE: Final = 5_000
SUB_IDS: Final = (CountedBy.S1, CountedBy.S2, CountedBy.S3, CountedBy.S4, CountedBy.S5)
_MARKED: Final = sa.or_(
    Click.referrer != "",
    *(getattr(Click, kind.value).is_not(None) for kind in SUB_IDS),
)


def erase_traces(
    session: Session, *, affiliate_id: int, enrollment_ids: Sequence[int], now: datetime
) -> None:
    """Erase all but the marks on clicks, which `unmark_clicks` takes; again changes nothing more.

    Open cases end as withdrawn. That there was one, about which order and how it ended stays.
    """
    session.execute(
        sa.delete(AffiliateSighting).where(AffiliateSighting.affiliate_id == affiliate_id)
    )
    theirs = Claim.enrollment_id.in_(enrollment_ids)
    claim_ids = session.scalars(sa.select(Claim.id).where(theirs)).all()
    session.execute(
        sa.update(Claim)
        .where(theirs, Claim.status == Status.OPEN)
        .values(status=Status.WITHDRAWN.value, decided_at=now)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(Claim)
        .where(theirs)
        .values(said="", reason=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(ClaimNote)
        .where(ClaimNote.claim_id.in_(claim_ids))
        .values(text="")
        .execution_options(synchronize_session=False)
    )
    audit.empty(session, subjects=[f"claim:{claim_id}" for claim_id in claim_ids])
    session.execute(
        sa.delete(LinkDayValue)
        .where(LinkDayValue.enrollment_id.in_(enrollment_ids), LinkDayValue.kind.in_(SUB_IDS))
        .execution_options(synchronize_session=False)
    )


def unmark_clicks(session: Session, *, enrollment_ids: Sequence[int]) -> int:
    """Take sub-ids and referring pages off a batch of clicks; how many. Their verdicts, times
    and counters stay."""
    marked = (
        sa.select(Click.click_id, Click.clicked_at)
        .where(Click.enrollment_id.in_(enrollment_ids), _MARKED)
        .limit(CLICKS_AT_ONCE)
        .cte("marked")
    )
    done = session.execute(
        sa.update(Click)
        .where(Click.click_id == marked.c.click_id, Click.clicked_at == marked.c.clicked_at)
        .values(referrer="", **dict.fromkeys(kind.value for kind in SUB_IDS))
        .returning(Click.click_id)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())
