"""What a rail says of a batch before it is approved: asked for by finance, kept with its time.

It is kept so that the second person who signs reads what the first one saw. Nothing depends on it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "batch_rehearsals",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("batch_id", sa.BigInteger, sa.ForeignKey("payout_batches.id"), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("asked_by", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("away", sa.Text, nullable=False),
        sa.Column("funds_micros", sa.BigInteger),
        sa.Column("promised_micros", sa.BigInteger, nullable=False),
        sa.Column("payouts", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("objections", JSONB, nullable=False),
        sa.Column("objections_in_all", sa.Integer, nullable=False),
    )
    op.create_index("ix_batch_rehearsals_batch_id", "batch_rehearsals", ["batch_id", "id"])


def downgrade() -> None:
    op.drop_table("batch_rehearsals")
