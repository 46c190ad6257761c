"""What payees' accounts sent on to their banks: kept and shown, and nothing is paid for it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from payouts.provider.models import SeenBankPayout
from payouts.provider.rules import BANK_RANKS
from payouts.provider.transfers import Outcome
from payouts.rails.protocol import BankPayout

SHOWN_MAX = 10


def see_bank_payout(
    session: Session, *, rail: str, seen: BankPayout, real_now: datetime
) -> Outcome:
    """Take in a bank payout. It moves up alone (`BANK_RANKS`), whoever asked last."""
    row = insert(SeenBankPayout).values(
        rail=rail,
        id=seen.id,
        account=seen.account,
        amount_micros=seen.amount.micros,
        currency=seen.amount.currency,
        status=seen.status,
        failure=seen.failure,
        arrives_at=seen.arrives_at,
        created_at=seen.created_at,
        seen_at=real_now,
    )
    old = sa.case(BANK_RANKS, value=SeenBankPayout.status, else_=1)
    new = sa.case(BANK_RANKS, value=row.excluded.status, else_=1)
    changed = session.scalar(
        row.on_conflict_do_update(
            index_elements=["rail", "id"],
            set_={
                "status": row.excluded.status,
                "failure": row.excluded.failure,
                "arrives_at": row.excluded.arrives_at,
                "seen_at": real_now,
            },
            where=new > old,
        ).returning(SeenBankPayout.id)
    )
    return Outcome.NOTED if changed is not None else Outcome.NOTHING_NEW


def bank_payouts_of(
    session: Session, *, accounts: Collection[str], since: datetime | None = None
) -> list[SeenBankPayout]:
    """The newest bank payouts of these accounts, of `since` or later; newest first."""
    query = (
        sa.select(SeenBankPayout)
        .where(SeenBankPayout.account.in_(list(accounts)))
        .order_by(SeenBankPayout.created_at.desc(), SeenBankPayout.id)
        .limit(SHOWN_MAX)
    )
    if since is not None:
        query = query.where(SeenBankPayout.created_at >= since)
    return list(session.scalars(query.execution_options(populate_existing=True)))
