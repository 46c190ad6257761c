"""Accounts of affiliates: onboarding at the provider, cooling-off, stops, and how each was named.

The release before writes none of the new columns: an account without `pays_from` is paid to at
once, as it was. Addresses that a person gave up are kept for some weeks, so that a notice about
money can reach who was there before a take-over.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
SAME = r"regexp_replace(lower(destination), '[^[:alnum:]]', '', 'g')"


def refers(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"{to}.id"), nullable=nullable)


def number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column in (
        sa.Column("pays_from", MOMENT),
        sa.Column("named_by", sa.Text),
        sa.Column("named_network", sa.Text),
        sa.Column("named_browser", sa.Text),
        sa.Column("state", JSONB),
        sa.Column("asked_at", MOMENT),
    ):
        op.add_column("payee_accounts", column)
    op.create_index("ix_payee_accounts_affiliate_id", "payee_accounts", ["affiliate_id", "rail"])
    op.create_index("ix_payee_accounts_same", "payee_accounts", [sa.text(f"({SAME})")])
    op.create_table(
        "payee_onboardings",
        number(),
        refers("affiliate_id", "affiliates"),
        sa.Column("rail", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
        sa.Column("params", JSONB, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("account", sa.Text, unique=True),
        sa.Column("refusal", sa.Text),
        sa.Column("ended_at", MOMENT),
        sa.UniqueConstraint("affiliate_id", "rail", "number"),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (account IS NULL AND refusal IS NULL)", name="ended_has_outcome"
        ),
    )
    op.create_index(
        "uq_payee_onboardings_open",
        "payee_onboardings",
        ["affiliate_id", "rail"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "payee_stops",
        number(),
        refers("affiliate_id", "affiliates"),
        refers("payee_id", "payee_accounts"),
        sa.Column("stopped_at", MOMENT, nullable=False),
        sa.Column("lifted_at", MOMENT),
        sa.Column("lifted_by", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("why", sa.Text),
        sa.CheckConstraint("outcome IN ('kept', 'put_back')", name="outcome_known"),
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (outcome IS NULL)",
            name="lifted_has_outcome",
        ),
    )
    op.create_index(
        "uq_payee_stops_open",
        "payee_stops",
        ["affiliate_id"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "former_addresses",
        number(),
        refers("user_id", "users"),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("replaced_at", MOMENT, nullable=False),
    )
    op.create_index("ix_former_addresses_user_id", "former_addresses", ["user_id", "replaced_at"])
    op.create_index("ix_former_addresses_replaced_at", "former_addresses", ["replaced_at"])
    op.add_column("payout_items", refers("released_by", "users", nullable=True))
    op.add_column("payout_items", sa.Column("released_at", MOMENT))


def downgrade() -> None:
    op.drop_column("payout_items", "released_at")
    op.drop_column("payout_items", "released_by")
    op.drop_table("former_addresses")
    op.drop_table("payee_stops")
    op.drop_table("payee_onboardings")
    op.drop_index("ix_payee_accounts_same", "payee_accounts")
    op.drop_index("ix_payee_accounts_affiliate_id", "payee_accounts")
    for name in ("asked_at", "state", "named_browser", "named_network", "named_by", "pays_from"):
        op.drop_column("payee_accounts", name)
