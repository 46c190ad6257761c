"""Stop a batch and resume it; set aside an item that raises; find what moves next by an index.

Expands only: a release that does not know the columns leaves them at their defaults.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
MOVING = "status IN ('queued', 'sending', 'unknown')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("payout_batches", sa.Column("paused_at", MOMENT))
    op.add_column(
        "payout_batches", sa.Column("paused_by", sa.BigInteger, sa.ForeignKey("users.id"))
    )
    op.add_column("payout_batches", sa.Column("pause_reason", sa.Text))
    op.create_check_constraint(
        "pause_complete",
        "payout_batches",
        "num_nonnulls(paused_at, paused_by, pause_reason) IN (0, 3)",
    )
    op.add_column(
        "payout_items", sa.Column("raised", sa.Integer, nullable=False, server_default="0")
    )
    # Of the items of all time only those that still move are in it: built in a moment.
    op.create_index(
        "ix_payout_items_moving",
        "payout_items",
        ["batch_id", "id"],
        postgresql_where=sa.text(MOVING),
    )


def downgrade() -> None:
    op.drop_index("ix_payout_items_moving", "payout_items")
    op.drop_column("payout_items", "raised")
    op.drop_constraint("pause_complete", "payout_batches", type_="check")
    for column in ("pause_reason", "paused_by", "paused_at"):
        op.drop_column("payout_batches", column)
