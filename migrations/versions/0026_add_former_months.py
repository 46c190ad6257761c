"""What the program before Kopeck said of its affiliates, by month.

A merchant who moves in brings it along as a file; it is shown as such and is part of no figure
of ours.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

VALUES = ("clicks", "orders", "sales_micros", "earned_micros", "paid_micros")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "former_months",
        sa.Column("enrollment_id", sa.BigInteger, autoincrement=False, primary_key=True),
        sa.Column("month", sa.Date, primary_key=True),
        sa.Column("program_id", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in VALUES),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.CheckConstraint("extract(day FROM month) = 1", name="month_begins"),
        sa.CheckConstraint(
            "clicks >= 0 AND orders >= 0 AND sales_micros >= 0 AND earned_micros >= 0 "
            "AND paid_micros >= 0",
            name="not_negative",
        ),
    )


def downgrade() -> None:
    op.drop_table("former_months")
