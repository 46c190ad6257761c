"""One account for several affiliates: a signal to finance, never a refusal.

A couple may have one bank account; one person with ten sign-ins has one too. The letters and
digits are compared, so that spaces and case hide nothing, and live accounts of every rail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.people.models import Affiliate, Enrollment
from payouts.batches.models import SAME_ACCOUNT, PayeeAccount

SHARED_ROWS_MAX = 200


@dataclass(frozen=True, slots=True)
class Shared:
    """Affiliates who are paid to one account."""

    destination: str
    rail: str
    """One of those on which it was named: how the account is to be read."""
    affiliates: tuple[tuple[int, str], ...]
    """An enrollment among the reader's programs and the name, each."""


def shared_by(session: Session, *, affiliate_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Who else is paid to the account of each of these affiliates; only those who share."""
    wanted = list(affiliate_ids)
    mine, others = aliased(PayeeAccount), aliased(PayeeAccount)
    rows = session.execute(
        sa.select(mine.affiliate_id, Affiliate.name)
        .join(others, _same(mine) == _same(others))
        .join(Affiliate, Affiliate.id == others.affiliate_id)
        .where(
            mine.affiliate_id.in_(wanted),
            mine.replaced_at.is_(None),
            others.replaced_at.is_(None),
            others.affiliate_id != mine.affiliate_id,
        )
        .distinct()
        .order_by(mine.affiliate_id, Affiliate.name)
    )
    found: dict[int, tuple[str, ...]] = {}
    for affiliate_id, name in rows:
        found[affiliate_id] = (*found.get(affiliate_id, ()), name)
    return found


def shared_accounts(session: Session, *, program_ids: list[int]) -> list[Shared]:
    """Live accounts to which several affiliates of these programs are paid."""
    same = sa.literal_column(SAME_ACCOUNT, sa.Text)
    rows = session.execute(
        sa.select(
            sa.func.min(PayeeAccount.destination),
            sa.func.min(PayeeAccount.rail),
            sa.func.array_agg(sa.distinct(PayeeAccount.affiliate_id)),
        )
        .join(Enrollment, Enrollment.affiliate_id == PayeeAccount.affiliate_id)
        .where(PayeeAccount.replaced_at.is_(None), Enrollment.program_id.in_(program_ids))
        .group_by(same)
        .having(sa.func.count(sa.distinct(PayeeAccount.affiliate_id)) > 1)
        .order_by(sa.func.max(PayeeAccount.id).desc())
        .limit(SHARED_ROWS_MAX)
    ).all()
    names = _names(session, program_ids, {each for _text, _rail, ids in rows for each in ids})
    return [
        Shared(text, rail, tuple(names[each] for each in sorted(ids))) for text, rail, ids in rows
    ]


def _same(account: type[PayeeAccount]) -> sa.ColumnElement[str]:
    """What the index `ix_payee_accounts_same` holds."""
    lowered = sa.func.lower(account.destination)
    return sa.func.regexp_replace(lowered, "[^[:alnum:]]", "", "g")


def _names(
    session: Session, program_ids: list[int], affiliate_ids: set[int]
) -> dict[int, tuple[int, str]]:
    rows = session.execute(
        sa.select(Affiliate.id, sa.func.min(Enrollment.id), Affiliate.name)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(Affiliate.id.in_(affiliate_ids), Enrollment.program_id.in_(program_ids))
        .group_by(Affiliate.id)
    )
    return {affiliate_id: (enrollment_id, name) for affiliate_id, enrollment_id, name in rows}
