"""New orders and what they earn are told of once a statement, no longer once a row.

Orders that come at once are written by one statement. Whether anybody listens was asked for each
of its rows.
"""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

LISTENED = """
    EXISTS (
        SELECT FROM webhook_endpoints e
        WHERE e.program_id IN (SELECT program_id FROM added)
          AND e.deleted_at IS NULL AND e.disabled_at IS NULL)
"""
ORDERS = """
    PERFORM announce(
            o.program_id, NULL, 'order.created', 'order:' || o.id,
            jsonb_build_object(
                'order_id', o.order_id, 'status', o.status, 'source', o.source,
                'placed_at', o.placed_at, 'currency', o.currency,
                'total_micros', o.total_micros, 'net_micros', o.net_micros),
            o.received_at)
        FROM added o ORDER BY o.id
"""
COMMISSIONS = """
    PERFORM announce(
            c.program_id, c.enrollment_id, 'commission.earned', c.reference,
            jsonb_build_object(
                'commission', c.id, 'affiliate', c.enrollment_id, 'via', c.via_enrollment_id,
                'level', c.level, 'kind', split_part(c.reference, ':', 1),
                'order_id', (SELECT o.order_id FROM orders o
                             WHERE c.reference ~ '^order:[0-9]+$'
                               AND o.id = CAST(substr(c.reference, 7) AS bigint)),
                'currency', c.currency, 'amount_micros', c.amount_micros,
                'left_micros', CASE WHEN c.voided_at IS NULL
                    THEN c.amount_micros - c.reversed_micros ELSE 0 END,
                'available_at', c.available_at, 'reason', c.void_reason),
            c.earned_at)
        FROM added c WHERE c.amount_micros > 0 ORDER BY c.id
"""
BY_SET = (("orders", ORDERS), ("commissions", COMMISSIONS))
BY_ROW = (
    ("orders", 1, "true", "tell_of_order", "order.created"),
    ("commissions", 7, "NEW.amount_micros > 0", "tell_of_commission", "commission.earned"),
)
"""As 0037 made them."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, number, *_ in BY_ROW:
        op.execute(f"DROP TRIGGER {table}_tell_{number} ON {table}")
    for table, told in BY_SET:
        op.execute(
            f"""
            CREATE FUNCTION tell_of_new_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {LISTENED} THEN
                    {told};
                END IF;
                RETURN NULL;
            END $$
            """
        )
        op.execute(
            f"CREATE TRIGGER {table}_tell_new AFTER INSERT ON {table} "
            f"REFERENCING NEW TABLE AS added "
            f"FOR EACH STATEMENT EXECUTE FUNCTION tell_of_new_{table}()"
        )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, _ in BY_SET:
        op.execute(f"DROP TRIGGER {table}_tell_new ON {table}")
        op.execute(f"DROP FUNCTION tell_of_new_{table}()")
    for table, number, rows, function, type_ in BY_ROW:
        op.execute(
            f"CREATE TRIGGER {table}_tell_{number} AFTER INSERT ON {table} FOR EACH ROW "
            f"WHEN ({rows}) EXECUTE FUNCTION {function}('{type_}')"
        )
