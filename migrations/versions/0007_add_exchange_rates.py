"""Orders in other currencies than the program's, converted by a rate of their day.

Until now such an order was refused. A program keeps dated rates, in rows that nobody changes; an
order keeps its own amounts, the rate that held for it and its net in the program's currency. An
order whose rate is not known yet is kept and waits for it.

The release before reads and writes orders of the program's currency alone; it leaves the new
columns empty, which says just that. Rates are entered once every node runs this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

APPEND_ONLY = (
    """
    CREATE TRIGGER exchange_rates_append_only BEFORE UPDATE OR DELETE ON exchange_rates
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER exchange_rates_no_truncate BEFORE TRUNCATE ON exchange_rates
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)
ORDER_COLUMNS = ("converted_to", "exchange_rate_id", "rate_scaled", "converted_net_micros")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "exchange_rates",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("valid_from", sa.Date, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("rate_scaled", sa.BigInteger, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("entered_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("program_id", "source", "valid_from", "revision"),
        sa.CheckConstraint("source ~ '^[A-Z]{3}$'", name="source_shape"),
        sa.CheckConstraint("target ~ '^[A-Z]{3}$' AND target <> source", name="target_shape"),
        sa.CheckConstraint("revision >= 1", name="revision_counts"),
        sa.CheckConstraint(
            "rate_scaled > 0 AND rate_scaled <= 1000000000000000000", name="rate_in_range"
        ),
        sa.CheckConstraint("origin IN ('typed', 'csv', 'ecb', 'cbr')", name="origin_known"),
    )
    for statement in APPEND_ONLY:
        op.execute(statement)
    op.add_column(
        "programs",
        sa.Column("rate_days_max", sa.SmallInteger, nullable=False, server_default="14"),
    )
    op.create_check_constraint(
        "rate_days_in_range", "programs", "rate_days_max BETWEEN 1 AND 366"
    )
    add_to_orders()


def add_to_orders() -> None:
    op.add_column("orders", sa.Column("converted_to", sa.Text))
    for name in ORDER_COLUMNS[1:]:
        op.add_column("orders", sa.Column(name, sa.BigInteger))
    op.create_foreign_key(
        "fk_orders_exchange_rate_id_exchange_rates",
        "orders",
        "exchange_rates",
        ["exchange_rate_id"],
        ["id"],
    )
    op.create_check_constraint(
        "converted_whole",
        "orders",
        "num_nonnulls(exchange_rate_id, rate_scaled, converted_net_micros) IN (0, 3) "
        "AND (converted_to IS NOT NULL OR rate_scaled IS NULL)",
    )
    op.create_check_constraint(
        "converted_in_range",
        "orders",
        "converted_net_micros BETWEEN 0 AND 1000000000000000000 AND converted_to <> currency",
    )
    op.create_index(
        "ix_orders_awaits_rate",
        "orders",
        ["id"],
        postgresql_where=sa.text("converted_to IS NOT NULL AND rate_scaled IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_orders_awaits_rate", "orders")
    for name in reversed(ORDER_COLUMNS):
        op.drop_column("orders", name)
    op.drop_column("programs", "rate_days_max")
    op.drop_table("exchange_rates")
