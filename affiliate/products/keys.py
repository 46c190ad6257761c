"""Verbs of private feed addresses: make one, take it back, find whose it is.

Nothing of an address is stored but the number that it carries, signed: the table alone opens
nothing, and its owner can be shown the address again at any time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from flask import current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.errors import NotFound
from affiliate.core.ids import ROW_ID_MAX
from affiliate.links.links import NotEnrolled
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from affiliate.products.models import ProductFeedKey
from affiliate.programs.models import Program

USED_GRAIN: Final = timedelta(hours=1)
MAY_FETCH: Final = ("active",)


def make_key(
    session: Session, *, enrollment_id: int, link_id: int, now: datetime
) -> ProductFeedKey:
    """A private address of the feed with this link in it; an earlier one ends at once.

    Raises NotEnrolled, and NotFound for a link of anybody else's or one that is switched off.
    """
    # The lock makes it one live address, whoever asks twice at once.
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment is None:
        raise NotFound
    if enrollment.status not in MAY_FETCH:
        raise NotEnrolled
    link = session.get(Link, link_id)
    if link is None or link.enrollment_id != enrollment_id or link.disabled_at is not None:
        raise NotFound
    _revoke(session, enrollment_id, now)
    made = ProductFeedKey(enrollment_id=enrollment_id, link_id=link_id, created_at=now)
    session.add(made)
    session.flush()
    return made


def revoke_key(session: Session, *, enrollment_id: int, now: datetime) -> None:
    """The address answers as one that never was. Twice is once."""
    _revoke(session, enrollment_id, now)


def live_key(session: Session, *, enrollment_id: int) -> ProductFeedKey | None:
    """The address that answers, if there is one."""
    return session.scalar(
        sa.select(ProductFeedKey).where(
            ProductFeedKey.enrollment_id == enrollment_id, ProductFeedKey.revoked_at.is_(None)
        )
    )


def token_of(key: ProductFeedKey) -> str:
    """What stands in the address."""
    return str(_serializer().dumps(key.id))


def holder_of(session: Session, *, token: str) -> tuple[ProductFeedKey, Link, Program]:
    """Whose address it is. NotFound for one that is taken back or never was, for a link that is
    switched off, and for somebody who is no affiliate of the program any more."""
    try:
        number = _serializer().loads(token)
    except (BadData, ValueError):
        raise NotFound from None
    if not isinstance(number, int) or not 0 < number <= ROW_ID_MAX:
        raise NotFound
    found = session.execute(
        sa.select(ProductFeedKey, Link, Program)
        .join(Link, Link.id == ProductFeedKey.link_id)
        .join(Enrollment, Enrollment.id == ProductFeedKey.enrollment_id)
        .join(Program, Program.id == Enrollment.program_id)
        .where(
            ProductFeedKey.id == number,
            ProductFeedKey.revoked_at.is_(None),
            Link.disabled_at.is_(None),
            Enrollment.status.in_(MAY_FETCH),
            Program.status != "closed",
        )
    ).one_or_none()
    if found is None:
        raise NotFound
    return found[0], found[1], found[2]


def note_use(session: Session, *, key: ProductFeedKey, now: datetime) -> bool:
    """Write when it was asked for last, at most once an hour; whether it was written."""
    if key.used_at is not None and key.used_at > now - USED_GRAIN:
        return False
    key.used_at = now
    session.flush()
    return True


def _revoke(session: Session, enrollment_id: int, now: datetime) -> None:
    session.execute(
        sa.update(ProductFeedKey)
        .where(ProductFeedKey.enrollment_id == enrollment_id, ProductFeedKey.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def _serializer() -> URLSafeSerializer:
    settings: Settings = current_app.extensions["kopeck.settings"]
    keys = [key.hex() for key in reversed(settings.keys("product-feed"))]
    return URLSafeSerializer(keys, salt="kopeck:product-feed")
