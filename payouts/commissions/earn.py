"""Write down what a sale earns, and book it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.commissions.booking import EARN_REFERENCE, earned_lines
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, as_row, commissions_for
from payouts.commissions.rules import Earned, NotEarned, Sale, commissions_of
from payouts.ledger.accounts import account_ids
from payouts.ledger.posting import BOOKED, LINES, Kind, lines_json

_COLUMNS: Final = (
    "program_id, reference, decision, level, enrollment_id, via_enrollment_id, rule_version_id, "
    "currency, base_micros, rate_ppm, amount_micros, rule, trace, earned_at, available_at, "
    "waits_for"
)
# One round trip for all that an order earns. Values come as JSON documents, because then the
# types of the parameters never vary and PostgreSQL plans the statement once a connection.
_EARN: Final = sa.text(
    f"""
    WITH {LINES}, found AS (
        SELECT e.position, c.*
        FROM jsonb_array_elements(CAST(:found AS jsonb)) WITH ORDINALITY AS e(document, position)
        CROSS JOIN LATERAL jsonb_populate_record(NULL::commissions, e.document) c
        WHERE NOT EXISTS (SELECT FROM line WHERE account_id IS NULL)
    ), earned AS (
        INSERT INTO commissions ({_COLUMNS})
        SELECT {_COLUMNS} FROM found ORDER BY position
        ON CONFLICT ON CONSTRAINT uq_commissions_once DO NOTHING
        RETURNING id, level, enrollment_id, via_enrollment_id
    ), fresh AS (
        SELECT f.position, e.id, f.rule, f.amount_micros
        FROM earned e JOIN found f
          ON f.level = e.level AND f.enrollment_id = e.enrollment_id
         AND f.via_enrollment_id IS NOT DISTINCT FROM e.via_enrollment_id
    ), fact AS (
        SELECT position, '{Kind.EARN}' AS kind, '{EARN_REFERENCE}' || id AS reference,
               rule AS reason
        FROM fresh WHERE amount_micros > 0
    ), {BOOKED}
    SELECT EXISTS (SELECT FROM line WHERE account_id IS NULL) AS accounts_missing,
           (SELECT array_agg(id ORDER BY position) FROM fresh) AS ids
    """  # noqa: S608 -- the parts are constants, every value is bound
).columns(sa.column("accounts_missing", sa.Boolean), sa.column("ids", sa.ARRAY(sa.BigInteger)))


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
    lines = {
        position: earned_lines(sale.program_id, each.enrollment_id, each.amount)
        for position, each in enumerate(found, 1)
        if isinstance(each, Earned)
    }
    rows = [_values(sale, each, waits_for, now) for each in found]
    values = {
        "found": json.dumps(rows, default=datetime.isoformat),
        "lines": lines_json(lines),
        "now": now,
    }
    connection = session.connection()
    row = connection.execute(_EARN, values).one()
    if row.accounts_missing:
        account_ids(session, (line.account for pair in lines.values() for line in pair))
        row = connection.execute(_EARN, values).one()
    if row.ids is None or len(row.ids) < len(found):
        return tuple(
            each
            for each in commissions_for(session, reference=sale.reference)
            if each.decision == sale.decision
        )
    return tuple(
        _written(sale, each, id_, waits_for, now) for each, id_ in zip(found, row.ids, strict=True)
    )


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


def _written(
    sale: Sale, found: Earned | NotEarned, row_id: int, waits_for: str | None, now: datetime
) -> CommissionRow:
    """The row that has just been written, without reading it back."""
    zero = Money.zero(found.base.currency)
    return CommissionRow(
        id=row_id,
        program_id=sale.program_id,
        reference=sale.reference,
        decision=sale.decision,
        level=found.level,
        enrollment_id=found.enrollment_id,
        via_enrollment_id=found.via_enrollment_id,
        rule_version_id=found.rule_version_id,
        base=found.base,
        rate_ppm=found.rate_ppm,
        amount=found.amount if isinstance(found, Earned) else zero,
        reversed=zero,
        rule=found.rule,
        trace=found.trace,
        earned_at=now,
        available_at=sale.placed_at + sale.hold,
        waits_for=waits_for,
        released_at=None,
        voided_at=None,
        void_reason=None,
    )
