"""What is known of a shop's integration: facts by site, refused calls, test orders, the canary.

Five tables of their own, all bounded: nothing that money, credit or statistics read is touched.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
FACTS = (
    "fact IN ('pixel', 'old_pixel', 'reported', 'landed', 'bad_click_token', 'order_token', "
    "'bad_order_token')"
)


def program(**options: object) -> sa.Column:
    return sa.Column(
        "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False, **options
    )


def number() -> sa.Column:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "integration_facts",
        program(primary_key=True, autoincrement=False),
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("fact", sa.Text, primary_key=True),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint(FACTS, name="fact_known"),
    )
    op.create_table(
        "refused_calls",
        number(),
        program(),
        sa.Column("minute", MOMENT, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("status", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text),
        sa.UniqueConstraint("program_id", "minute", "route", "caller", "status", "code", "fields"),
        sa.CheckConstraint("calls > 0", name="calls_positive"),
    )
    op.create_table(
        "test_orders",
        number(),
        program(),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reported_by", sa.Text, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("answer", JSONB, nullable=False),
        sa.CheckConstraint("source IN ('api', 'browser')", name="source_known"),
    )
    op.create_index("ix_test_orders_program_id", "test_orders", ["program_id", "id"])
    op.create_table(
        "canaries",
        program(primary_key=True, autoincrement=False),
        sa.Column("api_key_id", sa.BigInteger, sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("on_since", MOMENT, nullable=False),
        sa.Column("off_since", MOMENT),
        sa.Column("switched_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("next_run_at", MOMENT, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("broken_since", MOMENT),
        sa.Column("last_well_at", MOMENT),
    )
    op.create_table(
        "canary_runs",
        number(),
        program(),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.Column("millis", JSONB, nullable=False),
        sa.Column("step", sa.Text),
        sa.Column("problem", sa.Text),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint("(step IS NULL) = (problem IS NULL)", name="broken_at_a_step"),
    )
    op.create_index("ix_canary_runs_program_id", "canary_runs", ["program_id", "id"])


def downgrade() -> None:
    for table in (
        "canary_runs", "canaries", "test_orders", "refused_calls", "integration_facts",
    ):  # fmt: skip
        op.drop_table(table)
