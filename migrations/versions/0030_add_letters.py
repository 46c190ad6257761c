"""Letters that are written once, what people chose of them, and newsletters.

A row for each letter makes it once, whichever process finds that it is owed. A mail knows its
program, so that managers can be told how many went out, and where its reader ends letters of its
kind. The indexes are built without blocking whoever writes; begun again, it builds what is missing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

KINDS = (
    "kind IN ('first_click', 'first_sale', 'money_sent', 'payout_failed', 'money_back', "
    "'account_needed', 'digest', 'newsletter', 'batch_waiting', 'batch_still_waiting', "
    "'withdrawals_waiting', 'withdrawals_due')"
)
CHOICES = (
    "choice IN ('first_click', 'first_sale', 'digest', 'newsletter', 'named', 'batches', "
    "'withdrawals')"
)
INDEXES = (
    ("ix_outbox_mails_scope", "outbox_mails", ["scope", "created_at"], "scope IS NOT NULL"),
    ("ix_payout_items_failed", "payout_items", ["finished_at"], "status = 'failed'"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "ALTER TABLE outbox_mails ADD COLUMN IF NOT EXISTS scope bigint, "
        "ADD COLUMN IF NOT EXISTS unsubscribe_url text"
    )
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        for name, table, columns, where in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(
                name, table, columns, postgresql_where=sa.text(where),
                postgresql_concurrently=True,
            )  # fmt: skip
        op.execute("SET lock_timeout = '5s'")
    op.create_table(
        "letters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(KINDS, name="kind_known"),
        sa.UniqueConstraint("kind", "about", "user_id"),
    )
    op.create_table(
        "letter_choices",
        *(
            sa.Column(
                f"{noun}_id", sa.BigInteger, sa.ForeignKey(f"{noun}s.id"), autoincrement=False,
                primary_key=True,
            )
            for noun in ("user", "program")
        ),
        sa.Column("choice", sa.Text, primary_key=True),
        sa.Column("wanted", sa.Boolean, nullable=False),
        sa.Column("chosen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("chosen_by", sa.Text, nullable=False),
        sa.CheckConstraint(CHOICES, name="choice_known"),
        sa.CheckConstraint("chosen_by IN ('page', 'letter')", name="chosen_by_known"),
    )  # fmt: skip
    op.create_table(
        "newsletters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("texts", JSONB, nullable=False),
        sa.Column("creative_ids", ARRAY(sa.BigInteger), nullable=False),
        sa.Column("shows_best", sa.Boolean, nullable=False),
        sa.Column("send_on", sa.Date),
        sa.Column("month", sa.Date),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("planned_at", sa.DateTime(timezone=True)),
        sa.Column("planned_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("letters", sa.BigInteger, server_default="0", nullable=False),
        sa.CheckConstraint(
            "(planned_at IS NULL) = (month IS NULL) AND (month IS NULL OR send_on IS NOT NULL)",
            name="planned_has_day",
        ),
        sa.CheckConstraint("ended_at IS NULL OR planned_at IS NOT NULL", name="ended_was_planned"),
        sa.UniqueConstraint("program_id", "month"),
    )
    op.create_index("ix_newsletters_program_id", "newsletters", ["program_id", "id"])


def downgrade() -> None:
    op.drop_table("newsletters")
    op.drop_table("letter_choices")
    op.drop_table("letters")
    for name, table, _columns, _where in INDEXES:
        op.drop_index(name, table)
    op.drop_column("outbox_mails", "unsubscribe_url")
    op.drop_column("outbox_mails", "scope")
