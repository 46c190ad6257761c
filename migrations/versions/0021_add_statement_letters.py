"""Statements go out by mail, once a month and affiliate, with the newest head of the seals."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "statement_months",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("month", sa.Date, primary_key=True),
        sa.Column("listed_at", MOMENT, nullable=False),
    )  # fmt: skip
    op.create_table(
        "statement_letters",
        sa.Column(
            "enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("month", sa.Date, primary_key=True),
        sa.Column("written_at", MOMENT),
    )  # fmt: skip
    op.create_index(
        "ix_statement_letters_owed",
        "statement_letters",
        ["month", "enrollment_id"],
        postgresql_where=sa.text("written_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("statement_letters")
    op.drop_table("statement_months")
