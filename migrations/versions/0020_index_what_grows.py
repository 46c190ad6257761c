"""Indexes for questions that read a whole table which grows with every payout.

Which payees have an account (each webhook about one, each refusal of one), an affiliate's own
withdrawals and invoices (each look at their money), and the payouts that wait for a person (each
scrape of /metrics). Built without blocking whoever writes; begun again, it builds what is missing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_payee_accounts_destination", "payee_accounts", ["destination"], None),
    ("ix_withdrawals_enrollment_id", "withdrawals", ["enrollment_id", "id"], None),
    ("ix_invoices_enrollment_id", "invoices", ["enrollment_id", "id"], None),
    ("ix_payout_items_in_doubt", "payout_items", ["id"], "status IN ('unknown', 'needs_review')"),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        for name, table, columns, where in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(
                name,
                table,
                columns,
                postgresql_where=None if where is None else sa.text(where),
                postgresql_concurrently=True,
            )
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    for name, table, _columns, _where in INDEXES:
        op.drop_index(name, table)
