"""Letters about cases, in the transaction of what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.core.ids import public_id
from affiliate.people.models import User
from affiliate.programs.models import Program
from tracker.claims.models import Claim
from tracker.claims.reading import user_of

PREFIX = "clm"


def tell_claimant(
    session: Session, claim: Claim, template: str, *, now: datetime, text: str = ""
) -> None:
    """Write to whose case it is: `opened`, `asked` or `decided`."""
    program = session.get_one(Program, claim.program_id)
    path = f"/account/orders/claims/{public_id(PREFIX, claim.id)}?program={program.slug}"
    _send(session, user_of(session, enrollment_id=claim.enrollment_id), template, program, path,
          now=now, claim=claim, text=text)  # fmt: skip


def remind(
    session: Session, user: User, program: Program, claims: Sequence[Claim], *, now: datetime
) -> None:
    """Write to somebody who can decide what is due soon."""
    first = min(claim.due_at for claim in claims)
    path = f"/manage/claims?program={program.slug}"
    _send(session, user, "due_soon", program, path, now=now, count=len(claims), first_due_at=first)


def _send(
    session: Session,
    user: User,
    template: str,
    program: Program,
    path: str,
    *,
    now: datetime,
    **context: Any,
) -> None:
    settings: Settings = current_app.extensions["kopeck.settings"]
    outbox.send(
        session,
        to=user.email,
        template=f"claims/{template}",
        locale=user.locale,
        now=now,
        scope=program.id,
        name=user.name,
        program=program,
        url=settings.public_url + path,
        **context,
    )
