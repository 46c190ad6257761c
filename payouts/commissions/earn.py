"""Write down what a sale earns, and book it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.money import Money
from affiliate.core.strict_json import dumps
from payouts.commissions.booking import EARN_REFERENCE, earned_lines
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, as_row, commissions_for
from payouts.commissions.rules import Earned, NotEarned, Sale, commissions_of
from payouts.ledger.accounts import account_ids
from payouts.ledger.posting import BOOKED, LINES, Kind, Line, lines_of

_COLUMNS: Final = {
    "program_id": "bigint", "decision": "integer", "level": "integer",
    "enrollment_id": "bigint", "via_enrollment_id": "bigint", "rule_version_id": "bigint",
    "currency": "text", "base_micros": "bigint", "rate_ppm": "bigint", "amount_micros": "bigint",
    "rule": "text", "trace": "jsonb", "placed_at": "timestamptz", "earned_at": "timestamptz",
    "available_at": "timestamptz", "waits_for": "text",
}  # fmt: skip
# All that sales earn, as named steps of whoever writes the sales themselves: behind the ledger's
# LINES, a step `told(n, document)` with what an `Earning.document` says, and a step
# `sale(n, reference)`, of which there is none for a sale that was there already. Values come as
# JSON documents, because then the types of the parameters never vary and PostgreSQL plans the
# statement once a connection.
EARNED: Final = f"""
    found AS (
        SELECT f.*, sale.n, sale.reference
        FROM sale JOIN told USING (n)
        CROSS JOIN LATERAL jsonb_to_recordset(told.document -> 'found') AS f (
            position bigint, {", ".join(f"{name} {type_}" for name, type_ in _COLUMNS.items())})
        WHERE NOT EXISTS (SELECT FROM line WHERE line.n = sale.n AND account_id IS NULL)
    ), earned AS (
        INSERT INTO commissions (reference, {", ".join(_COLUMNS)})
        SELECT reference, {", ".join(_COLUMNS)} FROM found ORDER BY n, position
        ON CONFLICT ON CONSTRAINT uq_commissions_once DO NOTHING
        RETURNING id, reference, level, enrollment_id, via_enrollment_id
    ), fresh AS (
        SELECT f.n, f.position, e.id, f.rule, f.amount_micros, f.earned_at
        FROM earned e JOIN found f
          ON f.reference = e.reference AND f.level = e.level
         AND f.enrollment_id = e.enrollment_id
         AND f.via_enrollment_id IS NOT DISTINCT FROM e.via_enrollment_id
    ), fact AS (
        SELECT n, position, '{Kind.EARN}' AS kind, '{EARN_REFERENCE}' || id AS reference,
               rule AS reason, earned_at AS occurred_at
        FROM fresh WHERE amount_micros > 0
    ), {BOOKED}"""  # noqa: S608 -- the parts are constants, every value is bound
ACCOUNTS_MISSING: Final = "EXISTS (SELECT FROM line WHERE line.n = {n} AND account_id IS NULL)"
"""Then nothing was earned by that sale: `earn` makes the accounts first."""
EARNED_IDS: Final = "(SELECT array_agg(id ORDER BY position) FROM fresh WHERE fresh.n = {n})"
_EARN: Final = f"""
    WITH told AS (SELECT 1 AS n, CAST(%(document)s AS jsonb) AS document),
    sale AS (SELECT 1 AS n, CAST(%(reference)s AS text) AS reference), {LINES}, {EARNED}
    SELECT {ACCOUNTS_MISSING.format(n=1)}, {EARNED_IDS.format(n=1)}
"""


@dataclass(frozen=True, slots=True)
class Earning:
    """What a sale earns, decided and not written yet."""

    sale: Sale
    found: tuple[Earned | NotEarned, ...]
    waits_for: str | None
    now: datetime

    def lines(self) -> dict[int, tuple[Line, ...]]:
        """How it stands in the ledger: the lines of each commission by its position."""
        return {
            position: earned_lines(self.sale.program_id, each.enrollment_id, each.amount)
            for position, each in enumerate(self.found, 1)
            if isinstance(each, Earned)
        }

    def document(self) -> dict[str, Any]:
        """What `EARNED` and `LINES` read of it."""
        found = [
            {"position": position, **_values(self.sale, each, self.waits_for, self.now)}
            for position, each in enumerate(self.found, 1)
        ]
        return {"found": found, "lines": lines_of(self.lines())}

    def written(self, ids: Sequence[int], *, reference: str) -> tuple[CommissionRow, ...]:
        """The rows that have just been written under these ids, without reading them back."""
        pairs = zip(self.found, ids, strict=True)
        return tuple(_written(self, each, id_, reference) for each, id_ in pairs)


def earning_of(sale: Sale, *, waits_for: str | None, now: datetime) -> Earning:
    """Decide what a sale earns; `waits_for` is a code of the caller."""
    return Earning(sale, commissions_of(sale), waits_for, now)


def earn(
    session: Session, *, sale: Sale, waits_for: str | None, now: datetime
) -> tuple[CommissionRow, ...]:
    """Store every level's commission, also those of nothing with their reason, and book them.

    expense → pending. `waits_for` is a code of the caller: nothing is released while it is
    set. The same sale and decision a second time changes nothing and answers the same rows.
    """
    return earn_decided(session, earning=earning_of(sale, waits_for=waits_for, now=now))


def earn_decided(session: Session, *, earning: Earning) -> tuple[CommissionRow, ...]:
    """The same of what is decided already."""
    if not earning.found:
        return ()
    sale = earning.sale
    values = {"document": dumps(earning.document()), "reference": sale.reference}
    [(accounts_missing, ids)] = rows(session, _EARN, values)
    if accounts_missing:
        account_ids(session, (line.account for pair in earning.lines().values() for line in pair))
        [(_, ids)] = rows(session, _EARN, values)
    if ids is None or len(ids) < len(earning.found):
        return tuple(
            each
            for each in commissions_for(session, reference=sale.reference)
            if each.decision == sale.decision
        )
    return earning.written(ids, reference=sale.reference)


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
        "placed_at": sale.placed_at,
        "earned_at": now,
        "available_at": sale.available_at(found),
        "waits_for": waits_for,
    }


def _written(
    earning: Earning, found: Earned | NotEarned, row_id: int, reference: str
) -> CommissionRow:
    sale, zero = earning.sale, Money.zero(found.base.currency)
    return CommissionRow(
        id=row_id,
        program_id=sale.program_id,
        reference=reference,
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
        earned_at=earning.now,
        available_at=sale.available_at(found),
        waits_for=earning.waits_for,
        released_at=None,
        voided_at=None,
        void_reason=None,
    )
