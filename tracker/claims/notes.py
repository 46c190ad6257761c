"""What is said about a case while it is open."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid, Phrase
from tracker.claims.decide import lock_open
from tracker.claims.mails import tell_claimant
from tracker.claims.models import Claim, ClaimNote
from tracker.claims.refusals import OwnClaim, TooManyNotes
from tracker.claims.rules import NOTES_MAX, TEXT_CHARS_MAX, clean_text


def add_own_note(
    session: Session, *, claim_id: int, enrollment_id: int, text: str, by: int, now: datetime
) -> None:
    """The affiliate adds what they know.

    Raises NotFound (not theirs), ClaimClosed, Invalid (text) and TooManyNotes.
    """
    claim = lock_open(session, claim_id, enrollment_id=enrollment_id)
    count = session.scalar(
        sa.select(sa.func.count()).where(
            ClaimNote.claim_id == claim.id, sa.not_(ClaimNote.from_staff)
        )
    )
    if (count or 0) >= NOTES_MAX:
        raise TooManyNotes
    _add(session, claim, _text(text), by, now, from_staff=False, for_affiliate=True)


def add_staff_note(
    session: Session, *, claim_id: int, text: str, for_affiliate: bool, by: int, now: datetime
) -> None:
    """Somebody of the program asks the affiliate (who is told by mail), or notes for colleagues.

    Raises NotFound, ClaimClosed, OwnClaim and Invalid (text).
    """
    claim = lock_open(session, claim_id)
    if claim.opened_by == by:
        raise OwnClaim
    text = _text(text)
    _add(session, claim, text, by, now, from_staff=True, for_affiliate=for_affiliate)
    if for_affiliate:
        tell_claimant(session, claim, "asked", now=now, text=text)


def _text(text: str) -> str:
    text = clean_text(text)
    if not 1 <= len(text) <= TEXT_CHARS_MAX:
        message = Phrase("Write 1 to %(most)s characters.", most=TEXT_CHARS_MAX)
        raise Invalid.field("text", "length", message)
    return text


def _add(
    session: Session,
    claim: Claim,
    text: str,
    by: int,
    now: datetime,
    *,
    from_staff: bool,
    for_affiliate: bool,
) -> None:
    session.add(
        ClaimNote(
            claim_id=claim.id, at=now, by=by, from_staff=from_staff,
            for_affiliate=for_affiliate, text=text,
        )
    )  # fmt: skip
    session.flush()
