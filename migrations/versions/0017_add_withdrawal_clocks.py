"""The clock of a withdrawal can pause, and how punctual a program pays is measured.

A withdrawal's 24 hours do not run while only its affiliate, or a named safety wait, can move it;
each pause is kept with its reason. The figures of the finance desk read months of payouts: they are
computed once an hour and kept.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("withdrawals", sa.Column("paused_at", MOMENT))
    op.add_column("withdrawals", sa.Column("paused_for", sa.Text))
    op.create_table(
        "withdrawal_pauses",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "withdrawal_id", sa.BigInteger, sa.ForeignKey("withdrawals.id"), nullable=False
        ),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.CheckConstraint("ended_at >= began_at", name="ends_after_begin"),
    )
    op.create_index("ix_withdrawal_pauses_withdrawal_id", "withdrawal_pauses", ["withdrawal_id"])
    op.create_index(
        "ix_payout_items_paid",
        "payout_items",
        ["paid_at"],
        postgresql_where=sa.text("status = 'paid'"),
    )
    op.create_table(
        "payout_punctuality",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("on_time", sa.BigInteger),
        sa.Column("median_s", sa.BigInteger),
        sa.Column("worst_s", sa.BigInteger),
        sa.CheckConstraint("kind IN ('withdrawal', 'weekly', 'order')", name="kind_known"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("payout_punctuality")
    op.drop_index("ix_payout_items_paid", "payout_items")
    op.drop_table("withdrawal_pauses")
    op.drop_column("withdrawals", "paused_for")
    op.drop_column("withdrawals", "paused_at")
