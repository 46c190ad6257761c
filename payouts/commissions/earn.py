"""Write down what a sale earns, and book it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from payouts.commissions import booking
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, as_row, commissions_for
from payouts.commissions.rules import Earned, NotEarned, Sale, commissions_of
from payouts.ledger.posting import post_many


def earn(
    session: Session, *, sale: Sale, waits_for: str | None, now: datetime
) -> tuple[CommissionRow, ...]:
    """Store every level's commission, also those of nothing with their reason, and book them.

    expense → pending. `waits_for` is a code of the caller: nothing is released while it is
    set. The same sale and decision a second time changes nothing and answers the same rows.
    """
    found = commissions_of(sale)
    if not found:
        return ()
    inserted = session.scalars(
        insert(Commission)
        .values([_values(sale, each, waits_for, now) for each in found])
        .on_conflict_do_nothing(constraint="uq_commissions_once")
        .returning(Commission.id)
    ).all()
    rows = [row for row in commissions_for(session, reference=sale.reference)
            if row.decision == sale.decision]  # fmt: skip
    new = [row for row in rows if row.id in set(inserted) and row.amount]
    post_many(session, postings=[booking.earned(row) for row in new], now=now)
    return tuple(rows)


def wait_for(
    session: Session,
    *,
    reference: str,
    waits_for: str | None,
    now: datetime,  # noqa: ARG001 -- verbs have one shape
) -> None:
    """Say what the unreleased commissions of a sale wait for besides their hold period."""
    session.execute(
        sa.update(Commission)
        .where(
            Commission.reference == reference,
            Commission.released_at.is_(None),
            Commission.voided_at.is_(None),
        )
        .values(waits_for=waits_for)
        .execution_options(synchronize_session=False)
    )


def lock_live(
    session: Session, *, reference: str, decision: int | None = None
) -> list[CommissionRow]:
    """The commissions of a sale that are not voided, locked in id order."""
    query = (
        sa.select(Commission)
        .where(Commission.reference == reference, Commission.voided_at.is_(None))
        .order_by(Commission.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if decision is not None:
        query = query.where(Commission.decision == decision)
    return [as_row(commission) for commission in session.scalars(query)]


def _values(
    sale: Sale, found: Earned | NotEarned, waits_for: str | None, now: datetime
) -> dict[str, Any]:
    return {
        "program_id": sale.program_id,
        "reference": sale.reference,
        "decision": sale.decision,
        "level": found.level,
        "enrollment_id": found.enrollment_id,
        "via_enrollment_id": found.via_enrollment_id,
        "rule_version_id": found.rule_version_id,
        "currency": found.base.currency,
        "base_micros": found.base.micros,
        "rate_ppm": found.rate_ppm,
        "amount_micros": found.amount.micros if isinstance(found, Earned) else 0,
        "rule": found.rule,
        "trace": list(found.trace),
        "earned_at": now,
        "available_at": sale.placed_at + sale.hold,
        "waits_for": waits_for,
    }
