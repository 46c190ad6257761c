"""Buyers who stay with an affiliate, and the payments of one subscription found quickly.

A program may bind a buyer to whom their first order is credited; a binding is a fact with a
beginning, an end and the order that made it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "customer_bindings",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        *(
            sa.Column(f"{name}_id", sa.BigInteger, sa.ForeignKey(f"{name}s.id"), nullable=False)
            for name in ("program", "customer", "enrollment", "order")
        ),
        sa.Column("bound_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("voided_at", MOMENT),
        sa.CheckConstraint("ends_at > bound_at", name="ends_after_it_begins"),
    )
    op.create_index(
        "uq_customer_bindings_live",
        "customer_bindings",
        ["customer_id"],
        unique=True,
        postgresql_where=sa.text("voided_at IS NULL"),
    )
    op.create_index("ix_customer_bindings_order_id", "customer_bindings", ["order_id"])
    op.create_index(
        "ix_orders_subscription",
        "orders",
        ["program_id", sa.text("(subscription ->> 'id')")],
        postgresql_where=sa.text("subscription IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_orders_subscription", "orders")
    op.drop_table("customer_bindings")
