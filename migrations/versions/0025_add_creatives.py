"""Promo materials and their pictures.

Pictures are rows, so that every node has them and a backup of the database is whole; a program
has some dozens of some ten kilobytes, which browsers keep for a year.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

KINDS = (
    "kind IN ('banner', 'logo', 'text', 'email', 'landing', 'video', 'keywords', 'article', "
    "'news', 'notes')"
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "creatives",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, server_default="", nullable=False)
            for name in ("language", "subject", "body", "alt", "destination", "video_url")
        ),
        sa.Column("starts_on", sa.Date),
        sa.Column("ends_on", sa.Date),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("retired_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(KINDS, name="kind_known"),
        sa.CheckConstraint("language ~ '^([a-z]{2})?$'", name="language_shape"),
        sa.CheckConstraint("ends_on >= starts_on", name="season_in_order"),
    )
    op.create_index("ix_creatives_program_id", "creatives", ["program_id"])
    op.create_table(
        "creative_pictures",
        sa.Column(
            "creative_id", sa.BigInteger, sa.ForeignKey("creatives.id"), autoincrement=False,
            primary_key=True,
        ),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("extension", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("byte_count", sa.Integer, nullable=False),
        sa.CheckConstraint(
            "extension IN ('png', 'jpg', 'gif', 'webp')", name="extension_known"
        ),
        sa.CheckConstraint("width > 0 AND height > 0", name="has_size"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("creative_pictures")
    op.drop_table("creatives")
