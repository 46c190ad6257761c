"""API keys of affiliates: each reaches its own affiliate alone.

Keys that are there already have no affiliate and are shops', as before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("api_keys", sa.Column("enrollment_id", sa.BigInteger))
    op.create_foreign_key(
        "fk_api_keys_program_id_enrollments",
        "api_keys",
        "enrollments",
        ["program_id", "enrollment_id"],
        ["program_id", "id"],
    )
    op.create_index(
        "ix_api_keys_enrollment_id",
        "api_keys",
        ["enrollment_id"],
        postgresql_where=sa.text("enrollment_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("DELETE FROM api_keys WHERE enrollment_id IS NOT NULL")
    op.drop_column("api_keys", "enrollment_id")
