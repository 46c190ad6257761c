"""When a commission's sale was placed, and how much of its base came back.

Tiers and caps count what an affiliate sold in a stretch of the calendar, less what was refunded.
Both were known to the order alone, which the commissions' package does not read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("commissions", sa.Column("placed_at", sa.DateTime(timezone=True)))
    op.add_column(
        "commissions",
        sa.Column("refunded_base_micros", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute(
        """
        UPDATE commissions c
           SET placed_at = o.placed_at,
               refunded_base_micros = CASE WHEN o.net_micros > 0 THEN
                   round(c.base_micros::numeric * o.refunded_net_micros / o.net_micros) ELSE 0 END
          FROM orders o WHERE 'order:' || o.id = c.reference
        """
    )
    op.execute("UPDATE commissions SET placed_at = earned_at WHERE placed_at IS NULL")
    op.create_check_constraint(
        "refunded_base_within",
        "commissions",
        "refunded_base_micros >= 0 AND refunded_base_micros <= greatest(base_micros, 0)",
    )
    op.create_index(
        "ix_commissions_sold",
        "commissions",
        ["enrollment_id", "placed_at"],
        postgresql_where=sa.text("level = 1 AND voided_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_commissions_sold", "commissions")
    op.drop_column("commissions", "refunded_base_micros")
    op.drop_column("commissions", "placed_at")
