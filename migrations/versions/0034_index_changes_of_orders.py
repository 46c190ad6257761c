"""What changed of orders since an instant, for shops that keep a copy of them.

Each change has an index of its own, of the few orders to which it happened; the one over all of
them is a BRIN, which an order does not feel. Built without blocking whoever writes; begun again, it
builds what is missing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_orders_received", "orders", "received_at", "brin", None),
    ("ix_orders_confirmed_later", "orders", "confirmed_at", "btree", "confirmed_at > received_at"),
    ("ix_orders_cancelled", "orders", "cancelled_at", "btree", "cancelled_at IS NOT NULL"),
    ("ix_orders_reviewed", "orders", "reviewed_at", "btree", "reviewed_at IS NOT NULL"),
    ("ix_refunds_received_at", "refunds", "received_at", "btree", None),
    ("ix_decisions_again", "decisions", "decided_at", "btree", "number > 1"),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        for name, table, column, using, where in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(
                name, table, [column], postgresql_using=using,
                postgresql_where=None if where is None else sa.text(where),
                postgresql_concurrently=True,
            )  # fmt: skip
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name, table, _column, _using, _where in INDEXES:
        op.drop_index(name, table)
