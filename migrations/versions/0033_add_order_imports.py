"""Files of orders, with a report of every row.

What each row did is kept beside the orders, so that whoever sent a file that was cut in the middle
can read how far it came. Rows go with their import, which a job deletes after some weeks.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "order_imports",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("brought_by", sa.Text, nullable=False),
        sa.Column("state", sa.Text, server_default="running", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("format IN ('ndjson', 'csv')", name="format_known"),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'cut', 'too_long')", name="state_known"
        ),
        sa.CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended_with_its_time"),
    )
    op.create_index("ix_order_imports_program_id", "order_imports", ["program_id", "id"])
    op.create_index("ix_order_imports_started_at", "order_imports", ["started_at"])
    op.create_table(
        "order_import_rows",
        sa.Column(
            "import_id", sa.BigInteger, sa.ForeignKey("order_imports.id", ondelete="CASCADE"),
            primary_key=True, autoincrement=False,
        ),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("errors", JSONB),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'replayed', 'conflict', 'refused')", name="outcome_known"
        ),
        sa.CheckConstraint(
            "(outcome IN ('conflict', 'refused')) = (code IS NOT NULL)",
            name="refused_with_its_code",
        ),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("order_import_rows")
    op.drop_table("order_imports")
