"""By what a buyer is known to be an affiliate: shop's customer, devices, networks, payments.

An affiliate's customer id at the shop is a fact of the enrollment. In which browsers and networks
their account was open is kept as keyed hashes that cannot be joined with clicks, for some weeks.
Orders that say what paid for them are found by it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
PAYMENT = "(evidence -> 'server' -> 'customer' ->> 'payment')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("enrollments", sa.Column("shop_customer_id", sa.Text))
    op.create_index(
        "uq_enrollments_shop_customer",
        "enrollments",
        ["program_id", "shop_customer_id"],
        unique=True,
        postgresql_where=sa.text("shop_customer_id IS NOT NULL"),
    )
    op.create_table(
        "affiliate_sightings",
        sa.Column("mark", sa.Uuid, primary_key=True),
        sa.Column(
            "affiliate_id", sa.BigInteger, sa.ForeignKey("affiliates.id"), primary_key=True
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('device', 'address')", name="kind_known"),
    )
    op.create_index(
        "ix_orders_payment",
        "orders",
        ["program_id", sa.text(PAYMENT), "id"],
        postgresql_where=sa.text(f"{PAYMENT} IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_orders_payment", "orders")
    op.drop_table("affiliate_sightings")
    op.drop_index("uq_enrollments_shop_customer", "enrollments")
    op.drop_column("enrollments", "shop_customer_id")
