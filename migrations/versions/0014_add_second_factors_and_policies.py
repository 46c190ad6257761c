"""Second factors of people, signatures under batches, and each program's rules of approval.

Policies are rows that are never changed: the one that a batch was approved under stays readable
as it was. Batches of before have neither signatures nor a number of signatures that they needed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def refers(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"{to}.id"), nullable=nullable)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _people()
    _policies()
    _batches()


def _people() -> None:
    op.create_table(
        "second_factors",
        sa.Column(
            "user_id",
            sa.BigInteger,
            sa.ForeignKey("users.id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("totp_secret", sa.Text),
        sa.Column("totp_since", MOMENT),
        sa.Column("totp_counter", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failing_since", MOMENT),
        sa.CheckConstraint(
            "totp_since IS NULL OR totp_secret IS NOT NULL", name="since_has_secret"
        ),
    )
    op.create_table(
        "passkeys",
        number(),
        refers("user_id", "users"),
        sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
    )
    op.create_index("ix_passkeys_user_id", "passkeys", ["user_id"])
    op.create_table(
        "recovery_codes",
        number(),
        refers("user_id", "users"),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
        sa.UniqueConstraint("user_id", "code_hash"),
    )
    op.add_column("user_sessions", sa.Column("factor_at", MOMENT))
    op.add_column(
        "user_sessions",
        sa.Column("awaits_factor", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("user_sessions", sa.Column("challenge", sa.LargeBinary))
    op.add_column("user_sessions", sa.Column("challenge_at", MOMENT))


def _policies() -> None:
    op.create_table(
        "payout_policies",
        number(),
        refers("program_id", "programs"),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("second_signature_micros", sa.BigInteger),
        sa.Column("automatic_item_micros", sa.BigInteger),
        sa.Column("automatic_day_micros", sa.BigInteger),
        sa.Column("automatic_account_days", sa.Integer),
        sa.Column("one_person", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        refers("set_by", "users", nullable=True),
        sa.Column("set_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "NOT one_person OR second_signature_micros IS NULL", name="one_person_has_no_second"
        ),
        sa.CheckConstraint(
            "(automatic_item_micros IS NULL) = (automatic_day_micros IS NULL) "
            "AND (automatic_item_micros IS NULL) = (automatic_account_days IS NULL)",
            name="automatic_complete",
        ),
    )
    op.create_index("ix_payout_policies_program_id", "payout_policies", ["program_id", "id"])


def _batches() -> None:
    op.add_column("payout_batches", sa.Column("signatures_needed", sa.Integer))
    op.add_column("payout_batches", refers("policy_id", "payout_policies", nullable=True))
    op.add_column("payout_batches", sa.Column("not_automatic", sa.Text))
    op.create_table(
        "batch_signatures",
        number(),
        refers("batch_id", "payout_batches"),
        refers("user_id", "users"),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("signed_at", MOMENT, nullable=False),
        sa.Column("factor_at", MOMENT),
        sa.Column("voided_at", MOMENT),
        sa.Column("void_reason", sa.Text),
    )
    op.create_index(
        "uq_batch_signatures_live",
        "batch_signatures",
        ["batch_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("voided_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("batch_signatures")
    for name in ("not_automatic", "policy_id", "signatures_needed"):
        op.drop_column("payout_batches", name)
    op.drop_table("payout_policies")
    for name in ("challenge_at", "challenge", "awaits_factor", "factor_at"):
        op.drop_column("user_sessions", name)
    for table in ("recovery_codes", "passkeys", "second_factors"):
        op.drop_table(table)
