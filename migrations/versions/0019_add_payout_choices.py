"""An affiliate chooses how they are paid, finance holds payouts back, a batch says who is not in it.

No row of a choice means: weekly, whatever is available. A hold is lifted, never deleted. Who was not
in a weekly batch is written down when it is drafted, since balances move on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "payout_choices",
        sa.Column(
            "enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("on_request", sa.Boolean, nullable=False),
        sa.Column("minimum_micros", sa.BigInteger, nullable=False),
        sa.Column("chosen_at", MOMENT, nullable=False),
        sa.CheckConstraint("minimum_micros >= 0", name="minimum_not_negative"),
    )  # fmt: skip
    op.create_table(
        "payout_holds",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), nullable=False
        ),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("held_by", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("held_at", MOMENT, nullable=False),
        sa.Column("lifted_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("lifted_at", MOMENT),
        sa.Column("lift_reason", sa.Text),
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_by IS NULL AND lift_reason IS NULL)",
            name="lift_complete",
        ),
    )
    op.create_index(
        "uq_payout_holds_open",
        "payout_holds",
        ["enrollment_id"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "batch_absences",
        sa.Column(
            "batch_id", sa.BigInteger, sa.ForeignKey("payout_batches.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column(
            "enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("available_micros", sa.BigInteger, nullable=False),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("batch_absences")
    op.drop_table("payout_holds")
    op.drop_table("payout_choices")
