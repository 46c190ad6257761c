"""Where an affiliate's money goes. A change makes a new row; approved items keep the old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid
from affiliate.people.models import Affiliate
from payouts.batches.models import PayeeAccount
from payouts.rails.bank_details import in_a_log

DESTINATION_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Payee:
    """The live account of one affiliate on one rail."""

    id: int
    destination: str
    ready: bool
    since: datetime


def set_payee(
    session: Session,
    *,
    affiliate_id: int,
    rail: str,
    destination: str,
    ready: bool,
    by: str,
    now: datetime,
) -> int:
    """Name the account that money of this rail goes to from now on; its id.

    The same destination again only renews whether it is ready. Items that are frozen keep
    the destination they were approved with. Raises Invalid for an empty or endless one.
    """
    destination = destination.strip()
    if not 0 < len(destination) <= DESTINATION_CHARS_MAX:
        raise Invalid.field("destination", "not_an_account", "Name the account to pay to.")
    # The affiliate's row serialises two changes at once: one live account a rail.
    session.execute(sa.select(Affiliate.id).where(Affiliate.id == affiliate_id).with_for_update())
    old = _live(session, affiliate_id, rail)
    if old is not None and old.destination == destination:
        old.ready_at = (old.ready_at or now) if ready else None
        session.flush()
        return old.id
    if old is not None:
        old.replaced_at = now
        session.flush()
    new = PayeeAccount(
        affiliate_id=affiliate_id,
        rail=rail,
        destination=destination,
        ready_at=now if ready else None,
        created_at=now,
    )
    session.add(new)
    session.flush()
    audit.record(
        session, actor=by, action="payee.change", subject=f"affiliate:{affiliate_id}", now=now,
        old={"destination": in_a_log(old.destination)} if old else None,
        new={"rail": rail, "destination": in_a_log(destination)},
    )  # fmt: skip
    return new.id


def payee_of(session: Session, *, affiliate_id: int, rail: str) -> Payee | None:
    """The live account, if one was named."""
    row = _live(session, affiliate_id, rail)
    if row is None:
        return None
    return Payee(row.id, row.destination, row.ready_at is not None, row.created_at)


def set_ready(session: Session, *, payee_id: int, ready: bool, now: datetime) -> None:
    """Note what the rail says of an account."""
    session.execute(
        sa.update(PayeeAccount)
        .where(PayeeAccount.id == payee_id, PayeeAccount.ready_at.is_(None) == ready)
        .values(ready_at=now if ready else None)
        .execution_options(synchronize_session=False)
    )


def _live(session: Session, affiliate_id: int, rail: str) -> PayeeAccount | None:
    return session.scalars(
        sa.select(PayeeAccount)
        .where(
            PayeeAccount.affiliate_id == affiliate_id,
            PayeeAccount.rail == rail,
            PayeeAccount.replaced_at.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one_or_none()
