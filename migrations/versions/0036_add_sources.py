"""Shop systems that report orders by webhooks, what they sent, and disputes that are open.

A delivery is stored before it is answered; states and references of what it is about make copies
and changed orders of deliveries harmless.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "orders", sa.Column("open_disputes", JSONB, server_default="[]", nullable=False)
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_on", sa.Boolean, server_default=sa.true(), nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("previous_secret", sa.Text),
        sa.Column("previous_until", AT),
        sa.Column("scheme", sa.Text, server_default="", nullable=False),
        sa.Column("header", sa.Text, server_default="", nullable=False),
        sa.Column("mapping", JSONB, server_default="{}", nullable=False),
        sa.Column("options", JSONB, server_default="{}", nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.CheckConstraint(
            "kind IN ('shopify', 'woocommerce', 'stripe', 'generic')", name="kind_known"
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_ends"
        ),
    )
    op.create_index("ix_sources_program", "sources", ["program_id"])
    _deliveries()
    op.create_table(
        "source_subjects",
        sa.Column("source_id", sa.BigInteger, sa.ForeignKey("sources.id"), primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("as_of", AT, nullable=False),
    )
    op.create_table(
        "source_references",
        sa.Column("source_id", sa.BigInteger, sa.ForeignKey("sources.id"), primary_key=True),
        sa.Column("reference", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Text, nullable=False),
    )


def _deliveries() -> None:
    op.create_table(
        "source_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("source_id", sa.BigInteger, sa.ForeignKey("sources.id"), nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("body", JSONB),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("received_at", AT, nullable=False),
        sa.Column("state", sa.Text, server_default="waiting", nullable=False),
        sa.Column("next_try_at", AT, nullable=False),
        sa.Column("tries", sa.Integer, server_default="0", nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("waits_for", sa.Text),
        sa.Column("processed_at", AT),
        sa.Column("because", sa.Text),
        sa.Column("errors", JSONB, server_default="[]", nullable=False),
        sa.Column("results", JSONB, server_default="[]", nullable=False),
        sa.Column("order_id", sa.Text),
        sa.Column("accepted_by", sa.Text),
        sa.UniqueConstraint("source_id", "delivery_id"),
        sa.UniqueConstraint("source_id", "body_hash"),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'ignored', 'held', 'refused')", name="state_known"
        ),
        sa.CheckConstraint("(state = 'waiting') = (processed_at IS NULL)", name="waits_or_ended"),
    )
    op.create_index(
        "ix_source_deliveries_waiting", "source_deliveries", ["next_try_at"],
        postgresql_where=sa.text("processed_at IS NULL"),
    )  # fmt: skip
    op.create_index("ix_source_deliveries_newest", "source_deliveries", ["source_id", "id"])
    op.create_index("ix_source_deliveries_order", "source_deliveries", ["source_id", "order_id"])
    op.create_index(
        "ix_source_deliveries_held", "source_deliveries", ["source_id"],
        postgresql_where=sa.text("state = 'held'"),
    )  # fmt: skip
    op.create_index(
        "ix_source_deliveries_bodies", "source_deliveries", ["received_at"],
        postgresql_where=sa.text("body IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    for table in ("source_references", "source_subjects", "source_deliveries", "sources"):
        op.drop_table(table)
    op.drop_column("orders", "open_disputes")
