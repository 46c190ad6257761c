"""Balances of an enrollment: sums of entries, and the rows that are locked to authorise."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.ledger.accounts import AccountKey, AccountKind, account_ids
from payouts.ledger.models import LedgerAccount, LedgerBalance, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind

_IDS = sa.ARRAY(sa.BigInteger)


@dataclass(frozen=True, slots=True)
class Balances:
    """Where the money of one enrollment stands, in one currency."""

    pending: Money
    available: Money
    """May be negative: a refund of what was already paid, recovered by later earnings."""
    in_payout: Money
    paid: Money
    """What has left to the affiliate so far, less what came back."""

    @property
    def owed(self) -> Money:
        """All that is not paid yet."""
        return self.pending + self.available + self.in_payout


def balances(session: Session, *, enrollment_id: int, currency: str) -> Balances:
    """The sums of the entries themselves, not of cached rows."""
    return balances_of(session, enrollment_ids=[enrollment_id], currency=currency)[enrollment_id]


def balances_of(
    session: Session, *, enrollment_ids: Collection[int], currency: str
) -> dict[int, Balances]:
    """The same of many enrollments at once."""
    rows = session.execute(
        sa.select(
            LedgerAccount.enrollment_id,
            LedgerAccount.kind,
            sa.func.sum(LedgerEntry.amount_micros),
            sa.func.coalesce(
                sa.func.sum(LedgerEntry.amount_micros).filter(
                    LedgerTransaction.kind.in_((Kind.SETTLE.value, Kind.REVERSAL.value))
                ),
                0,
            ),
        )
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerAccount.enrollment_id.in_(enrollment_ids), LedgerAccount.currency == currency)
        .group_by(LedgerAccount.enrollment_id, LedgerAccount.kind)
    ).all()
    sums: dict[int, dict[str, int]] = {number: {} for number in enrollment_ids}
    settled = dict.fromkeys(enrollment_ids, 0)
    for number, kind, amount, of_payouts in rows:
        assert number is not None  # Accounts of the program itself are none of these.
        sums[number][kind] = int(amount)
        settled[number] += int(of_payouts)
    return {
        number: Balances(
            pending=Money(found.get(AccountKind.PENDING, 0), currency),
            available=Money(found.get(AccountKind.AVAILABLE, 0), currency),
            in_payout=Money(found.get(AccountKind.IN_PAYOUT, 0), currency),
            paid=Money(-settled[number], currency),
        )
        for number, found in sums.items()
    }


def lock_available(session: Session, *, keys: Iterable[AccountKey]) -> dict[AccountKey, Money]:
    """Lock the balance rows of these accounts, in account id order, and read them.

    Held to the end of the transaction: what is read here may be reserved. An account that
    has never had money gets its row, so that there is something to lock.
    """
    ids = account_ids(session, keys)
    if not ids:
        return {}
    session.execute(
        insert(LedgerBalance)
        .from_select(
            ["account_id", "amount_micros"],
            sa.select(LedgerAccount.id, sa.literal(0, sa.BigInteger))
            .where(LedgerAccount.id == sa.any_(sa.cast(list(ids.values()), _IDS)))
            .order_by(LedgerAccount.id),
        )
        .on_conflict_do_nothing()
    )
    rows = session.execute(
        sa.select(LedgerBalance.account_id, LedgerBalance.amount_micros)
        .where(LedgerBalance.account_id == sa.any_(sa.cast(list(ids.values()), _IDS)))
        .order_by(LedgerBalance.account_id)
        .with_for_update()
    )
    amounts = dict(rows.all())
    return {key: Money(amounts[account_id], key.currency) for key, account_id in ids.items()}
