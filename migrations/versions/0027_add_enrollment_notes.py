"""What staff write down about an affiliate, for staff alone."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "enrollment_notes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), nullable=False
        ),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("written_by", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_enrollment_notes_enrollment_id", "enrollment_notes", ["enrollment_id"])
    # A group's members are counted and listed.
    op.create_index("ix_enrollments_group_id", "enrollments", ["group_id"])


def downgrade() -> None:
    op.drop_index("ix_enrollments_group_id", "enrollments")
    op.drop_table("enrollment_notes")
