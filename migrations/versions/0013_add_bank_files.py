"""Payments by bank file: accounts to pay from, files, statements; and what came back of payouts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def refers(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"{to}.id"), nullable=nullable)


def number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "own_accounts",
        number(),
        refers("program_id", "programs"),
        text("rail"),
        text("details"),
        sa.Column("options", JSONB, nullable=False),
        refers("created_by", "users", nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("replaced_at", MOMENT),
    )
    op.create_index(
        "uq_own_accounts_live", "own_accounts", ["program_id", "rail"], unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )  # fmt: skip
    op.create_table(
        "rail_costs",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("fee_micros", sa.BigInteger, nullable=False),
        sa.CheckConstraint("fee_micros >= 0", name="fee_not_negative"),
    )  # fmt: skip
    op.create_table(
        "payout_files",
        number(),
        refers("program_id", "programs"),
        refers("batch_id", "payout_batches"),
        text("rail"),
        sa.Column("number", sa.Integer, nullable=False),
        text("name"),
        text("format"),
        text("message_id"),
        sa.Column("content", sa.LargeBinary, nullable=False),
        text("sha256"),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("total_micros", sa.BigInteger, nullable=False),
        text("currency"),
        refers("own_account_id", "own_accounts"),
        sa.Column("made_on", sa.Date, nullable=False),
        sa.Column("first_document", sa.BigInteger, nullable=False),
        refers("made_by", "users"),
        sa.Column("made_at", MOMENT, nullable=False),
        refers("not_sent_by", "users", nullable=True),
        sa.Column("not_sent_at", MOMENT),
        text("not_sent_reason", nullable=True),
        sa.UniqueConstraint("program_id", "number"),
        sa.UniqueConstraint("message_id"),
        sa.CheckConstraint("items > 0", name="not_empty"),
        sa.CheckConstraint(
            "(not_sent_at IS NULL) = (not_sent_reason IS NULL)", name="not_sent_has_reason"
        ),
    )
    op.create_index("ix_payout_files_batch_id", "payout_files", ["batch_id"])
    op.create_table(
        "payout_file_lines",
        sa.Column(
            "attempt_id", sa.BigInteger, sa.ForeignKey("payout_attempts.id"), primary_key=True,
            autoincrement=False,
        ),
        refers("file_id", "payout_files"),
        sa.Column("end_to_end_id", sa.Text, nullable=False, unique=True),
        sa.Column("document", sa.BigInteger, nullable=False),
    )  # fmt: skip
    op.create_index("ix_payout_file_lines_file_id", "payout_file_lines", ["file_id"])
    op.create_table(
        "bank_statements",
        number(),
        refers("program_id", "programs"),
        text("rail"),
        text("name"),
        text("format"),
        sa.Column("content", sa.LargeBinary, nullable=False),
        text("sha256"),
        sa.Column("rows", sa.Integer, nullable=False),
        refers("brought_by", "users"),
        sa.Column("brought_at", MOMENT, nullable=False),
        refers("applied_by", "users", nullable=True),
        sa.Column("applied_at", MOMENT),
        sa.UniqueConstraint("program_id", "rail", "sha256"),
    )
    op.create_table(
        "payout_reversals",
        number(),
        refers("item_id", "payout_items"),
        text("reference"),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        text("reason"),
        sa.Column(
            "transaction_id", sa.BigInteger, sa.ForeignKey("ledger_transactions.id"),
            nullable=False, unique=True,
        ),
        sa.Column("at", MOMENT, nullable=False),
        sa.UniqueConstraint("item_id", "reference"),
        sa.CheckConstraint("amount_micros > 0", name="amount_positive"),
    )  # fmt: skip


def downgrade() -> None:
    for table in ("payout_reversals", "bank_statements", "payout_file_lines", "payout_files",
                  "rail_costs", "own_accounts"):  # fmt: skip
        op.drop_table(table)
