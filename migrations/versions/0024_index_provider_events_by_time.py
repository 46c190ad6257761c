"""Events by when they came: the desk of differences says when the last one did.

They are kept for ninety days, hundreds of thousands of them, and were read whole on each view.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

INDEX = "ix_provider_events_received_at"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.create_index(INDEX, "provider_events", ["received_at"], postgresql_concurrently=True)
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.drop_index(INDEX, "provider_events")
