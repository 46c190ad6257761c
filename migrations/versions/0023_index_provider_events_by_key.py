"""Events by the key of the request that caused them: what is known of a payout in question.

The desk asks for the events of a payout's attempts. They are kept for ninety days, hundreds of
thousands of them, and had to be read whole.
"""

from alembic import op
from sqlalchemy import text

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

INDEX = "ix_provider_events_idempotency_key"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.create_index(
            INDEX,
            "provider_events",
            ["idempotency_key"],
            postgresql_where=text("idempotency_key <> ''"),
            postgresql_concurrently=True,
        )
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.drop_index(INDEX, "provider_events")
