"""Add up what orders earned, some seconds after them, exactly once.

An order's number comes from a sequence, so a lower one may be committed later. A run
therefore notes the highest number it sees, the next run which transactions have begun by
then, and a later one goes that far once all of those have ended: whoever had taken a lower
number has then written it or given up. Between the first two lies a run, so that a writer
who had a number and no transaction yet has one.

What changed since is a difference in `order_changes`. A difference of an order that is added
in the same statement is in what that statement reads, and is left out.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tracker.stats.models import SUMS, OrderSumsMark

ORDERS_PER_RUN_MAX: Final = 20_000
RESET: Final = (
    "DELETE FROM order_days",
    "DELETE FROM program_order_days",
    "DELETE FROM order_changes",
    "UPDATE order_sums_marks SET added_order_id = 0, next_order_id = NULL, next_xid = NULL",
)

LEFT: Final = "(c.amount_micros - c.reversed_micros)"
FIRST: Final = "c.level = 1 AND c.voided_at IS NULL"
SECOND: Final = "c.level = 2 AND c.voided_at IS NULL"
SUMMED: Final = f"""
    count(*) FILTER (WHERE {FIRST}) AS orders,
    count(*) FILTER (WHERE {FIRST} AND c.released_at IS NOT NULL) AS released_orders,
    count(*) FILTER (WHERE c.level = 1 AND c.void_reason IN
        ('order_cancelled', 'click_invalid', 'review_rejected')) AS refused_orders,
    coalesce(sum(c.base_micros) FILTER (WHERE {FIRST}), 0) AS value_micros,
    coalesce(sum(c.amount_micros) FILTER (WHERE {FIRST}), 0) AS earned_micros,
    coalesce(sum(c.reversed_micros) FILTER (WHERE {FIRST}), 0) AS reversed_micros,
    coalesce(sum({LEFT}) FILTER (WHERE {FIRST} AND c.released_at IS NOT NULL), 0)
        AS released_micros,
    coalesce(sum(c.amount_micros) FILTER (WHERE {SECOND}), 0) AS earned_2_micros,
    coalesce(sum(c.reversed_micros) FILTER (WHERE {SECOND}), 0) AS reversed_2_micros,
    coalesce(sum({LEFT}) FILTER (WHERE {SECOND} AND c.released_at IS NOT NULL), 0)
        AS released_2_micros
"""
"""The sums of commissions `c`. The triggers of migration 0002 have the same for one change."""
COLUMNS: Final = ", ".join(SUMS)
ADDED: Final = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_SURPLUS: Final = ", ".join(f"{name} = {{table}}.{name} + excluded.{name}" for name in SUMS)

_ADD: Final = sa.text(
    f"""
    WITH come AS (
        SELECT c.enrollment_id, o.program_id,
               CAST(o.placed_at AT TIME ZONE p.time_zone AS date) AS day, {SUMMED}
        FROM orders o
        JOIN programs p ON p.id = o.program_id
        JOIN commissions c ON c.reference = 'order:' || o.id
        WHERE o.id > :added AND o.id <= :until
        GROUP BY 1, 2, 3
    ), changed AS (
        DELETE FROM order_changes WHERE order_id <= :until RETURNING *
    ), found AS (
        SELECT enrollment_id, program_id, day, {COLUMNS} FROM come
        UNION ALL
        SELECT enrollment_id, program_id, day, {COLUMNS} FROM changed WHERE order_id <= :added
    ), of_affiliates AS (
        INSERT INTO order_days (enrollment_id, program_id, day, {COLUMNS})
        SELECT enrollment_id, program_id, day, {ADDED} FROM found GROUP BY 1, 2, 3
        ON CONFLICT (enrollment_id, day) DO UPDATE SET {_SURPLUS.format(table="order_days")}
    ), of_programs AS (
        INSERT INTO program_order_days (program_id, day, {COLUMNS})
        SELECT program_id, day, {ADDED} FROM found GROUP BY 1, 2
        ON CONFLICT (program_id, day) DO UPDATE SET {_SURPLUS.format(table="program_order_days")}
    )
    UPDATE order_sums_marks SET added_order_id = :until
    """  # noqa: S608 -- the parts are constants, every value is bound
)
_SNAPSHOT: Final = sa.text(
    "SELECT CAST(CAST(pg_snapshot_xmin(s) AS text) AS bigint) AS oldest, "
    "CAST(CAST(pg_snapshot_xmax(s) AS text) AS bigint) AS next, "
    "(SELECT max(id) FROM orders) AS order_id FROM pg_current_snapshot() AS s"
)


_DIFFER: Final = sa.text(
    f"""
    WITH mark AS (SELECT added_order_id AS added FROM order_sums_marks),
    counted AS (
        SELECT c.enrollment_id, CAST(o.placed_at AT TIME ZONE p.time_zone AS date) AS day, {SUMMED}
        FROM mark CROSS JOIN orders o
        JOIN programs p ON p.id = o.program_id
        JOIN commissions c ON c.reference = 'order:' || o.id
        WHERE o.id <= added GROUP BY 1, 2
    ), kept AS (
        SELECT enrollment_id, day, {ADDED}
        FROM (SELECT enrollment_id, day, {COLUMNS} FROM order_days
              UNION ALL
              SELECT enrollment_id, day, {COLUMNS} FROM mark CROSS JOIN order_changes
              WHERE order_id <= added) AS each
        GROUP BY 1, 2
    ), of_programs AS (
        SELECT program_id, day, {COLUMNS} FROM program_order_days
        EXCEPT
        SELECT program_id, day, {ADDED} FROM order_days GROUP BY 1, 2
    )
    SELECT enrollment_id, day, to_jsonb(kept) - CAST('{{enrollment_id,day}}' AS text[]) AS kept,
           to_jsonb(counted) - CAST('{{enrollment_id,day}}' AS text[]) AS counted
    FROM kept FULL JOIN counted USING (enrollment_id, day)
    WHERE ROW({", ".join(f"coalesce(kept.{name}, 0)" for name in SUMS)})
          IS DISTINCT FROM ROW({", ".join(f"coalesce(counted.{name}, 0)" for name in SUMS)})
    UNION ALL
    SELECT NULL, day, to_jsonb(of_programs), NULL FROM of_programs
    ORDER BY 2, 1
    """  # noqa: S608
)


def add_up(session: Session, *, orders_max: int = ORDERS_PER_RUN_MAX) -> bool:
    """One run, in one transaction: add what is ripe, look how far the next may go.

    True when there is more to do at once. The row is locked, and a second worker that comes
    meanwhile leaves: orders must be added once.
    """
    mark = session.scalar(sa.select(OrderSumsMark).with_for_update(skip_locked=True))
    if mark is None:
        return False
    seen = session.execute(_SNAPSHOT).one()
    ripe = _ripe(mark, seen)
    until = min(ripe, mark.added_order_id + orders_max)
    added, next_order_id, next_xid = mark.added_order_id, mark.next_order_id, mark.next_xid
    session.execute(_ADD, {"added": added, "until": until})
    if until == next_order_id or next_order_id is None:
        next_order_id, next_xid = _beyond(until, seen.order_id), None
    elif next_xid is None or next_xid > seen.next:
        # A transaction yet to come: the mark is another server's, out of a backup.
        next_xid = seen.next
    session.execute(sa.update(OrderSumsMark).values(next_order_id=next_order_id, next_xid=next_xid))
    session.expire(mark)
    return until < ripe


def rebuild(session: Session) -> None:
    """Forget all sums and begin anew; whoever asks meanwhile reads the orders themselves."""
    session.execute(sa.select(OrderSumsMark).with_for_update())
    for statement in RESET:
        session.execute(sa.text(statement))
    session.expire_all()


def differences(session: Session) -> list[Any]:
    """Days of affiliates (of a program: none) whose kept sums are not those of their orders."""
    return list(session.execute(_DIFFER))


def _ripe(mark: OrderSumsMark, seen: Any) -> int:
    """How far everything that will ever be written is visible."""
    if mark.next_order_id is None or mark.next_xid is None or seen.oldest < mark.next_xid:
        return mark.added_order_id
    return mark.next_order_id


def _beyond(added: int, highest: int | None) -> int | None:
    return highest if highest is not None and highest > added else None
