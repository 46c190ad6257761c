"""A payee's account as the provider shows it: ready or not, and what is missing."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.batches.payees import refresh_payee
from payouts.batches.rules import ItemReason
from payouts.provider.models import SeenAccount
from payouts.provider.transfers import Outcome
from payouts.rails.protocol import Account, AccountState, Standing

GONE = "gone"


def is_payee(session: Session, *, rail: str, account: str) -> bool:
    """Whether the account is, or ever was, one that an affiliate is paid to."""
    found = session.scalar(
        sa.select(PayeeAccount.id)
        .where(PayeeAccount.rail == rail, PayeeAccount.destination == account)
        .limit(1)
    )
    return found is not None


def see_account(
    session: Session,
    *,
    rail: str,
    account_id: str,
    seen: Account | None,
    asked_at: datetime,
    now: datetime,
) -> Outcome:
    """Take in what the provider says of an account; None: it is gone.

    `asked_at` is when the question began. Of two answers the one to the later question counts,
    whichever came first: it cannot be older than the event that made somebody ask.
    """
    ready = seen is not None and seen.ready
    row = insert(SeenAccount).values(
        rail=rail,
        id=account_id,
        ready=ready,
        disabled_reason=GONE if seen is None else seen.disabled_reason,
        due=",".join(() if seen is None else seen.due),
        asked_at=asked_at,
    )
    names = ("ready", "disabled_reason", "due", "asked_at")
    newest = session.scalar(
        row.on_conflict_do_update(
            index_elements=["rail", "id"],
            set_={name: getattr(row.excluded, name) for name in names},
            where=SeenAccount.asked_at < row.excluded.asked_at,
        ).returning(SeenAccount.id)
    )
    if newest is None:
        return Outcome.NOTHING_NEW
    state = AccountState(False, Standing.CLOSED) if seen is None else seen.state
    changed = refresh_payee(session, account=account_id, state=state, asked_at=asked_at, now=now)
    if seen is None:
        return Outcome.GONE
    return Outcome.NOTED if changed else Outcome.NOTHING_NEW


def release_for_funds(session: Session, *, rail: str) -> Outcome:
    """The merchant's balance was topped up: what waits for funds is tried now.

    Items that somebody moves right now are left alone.
    """
    waiting = (
        sa.select(PayoutItem.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(
            PayoutBatch.rail == rail,
            PayoutBatch.status.in_(("approved", "paying")),
            PayoutItem.status == "queued",
            PayoutItem.reason == ItemReason.NO_FUNDS.value,
        )
        .with_for_update(of=PayoutItem, skip_locked=True)
    )
    moved = session.scalars(
        sa.update(PayoutItem)
        .where(PayoutItem.id.in_(waiting))
        .values(next_try_at=None)
        .returning(PayoutItem.id)
        .execution_options(synchronize_session=False)
    ).all()
    return Outcome.NOTED if moved else Outcome.NOTHING_NEW
