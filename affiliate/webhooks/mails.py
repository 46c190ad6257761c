"""The letter that an endpoint is asked no more: to the program's keepers, or to its affiliate."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.programs.models import Program
from affiliate.webhooks.models import WebhookEndpoint

KEEPERS = ("manager", "owner")


def tell_of_end(
    session: Session, *, endpoint: WebhookEndpoint, settings: Settings, now: datetime
) -> int:
    """Write to whoever can mend it; how many letters."""
    program = session.get_one(Program, endpoint.program_id)
    own = endpoint.enrollment_id is not None
    path = "/account/postbacks" if own else "/manage/webhooks"
    readers = session.scalars(_affiliate(endpoint) if own else _keepers(endpoint)).all()
    for user in readers:
        outbox.send(
            session,
            to=user.email,
            template="webhook_disabled",
            locale=user.locale,
            now=now,
            scope=program.id,
            name=user.name,
            program=program,
            address=endpoint.url,
            gone=endpoint.disabled_for == "gone",
            url=f"{settings.public_url}{path}?program={program.slug}",
        )
    return len(readers)


def _keepers(endpoint: WebhookEndpoint) -> sa.Select[User]:
    """Owners, and managers of the program."""
    held = sa.exists().where(
        Grant.user_id == User.id,
        Grant.revoked_at.is_(None),
        Grant.role.in_(KEEPERS),
        sa.or_(Grant.program_id == endpoint.program_id, Grant.program_id.is_(None)),
    )
    return sa.select(User).where(User.active, held).order_by(User.id)


def _affiliate(endpoint: WebhookEndpoint) -> sa.Select[User]:
    return (
        sa.select(User)
        .join(Affiliate, Affiliate.user_id == User.id)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(Enrollment.id == endpoint.enrollment_id, User.active)
    )
