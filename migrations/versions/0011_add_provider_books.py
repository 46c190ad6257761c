"""What the provider of a rail says happened: events, transfers, accounts, and the comparison.

New tables alone: the release before goes on beside them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def text(name: str, *, nullable: bool = False, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable, primary_key=key)


def whole(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, MOMENT, nullable=nullable)


def number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "provider_accounts", text("rail", key=True), text("account"), moment("seen_at")
    )
    op.create_table(
        "provider_events",
        text("rail", key=True),
        text("id", key=True),
        text("type"),
        text("account"),
        text("object_id"),
        text("idempotency_key"),
        text("came_by"),
        moment("created_at"),
        moment("received_at"),
        moment("next_try_at"),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        text("error", nullable=True),
        moment("processed_at", nullable=True),
        text("outcome", nullable=True),
    )
    op.create_index(
        "ix_provider_events_waiting",
        "provider_events",
        ["next_try_at"],
        postgresql_where=sa.text("processed_at IS NULL"),
    )
    op.create_table(
        "provider_event_cursors",
        text("rail", key=True),
        text("account", key=True),
        moment("listed_until"),
    )
    op.create_table(
        "provider_transfers",
        text("rail", key=True),
        text("id", key=True),
        whole("item_id", nullable=True),
        whole("attempt", nullable=True),
        whole("amount_micros"),
        whole("reversed_micros"),
        text("currency"),
        text("destination"),
        moment("created_at"),
        moment("seen_at"),
    )
    op.create_index("ix_provider_transfers_item_id", "provider_transfers", ["item_id"])
    op.create_table(
        "provider_payee_accounts",
        text("rail", key=True),
        text("id", key=True),
        sa.Column("ready", sa.Boolean, nullable=False),
        text("disabled_reason"),
        text("due"),
        moment("asked_at"),
    )
    op.create_table(
        "provider_bank_payouts",
        text("rail", key=True),
        text("id", key=True),
        text("account"),
        whole("amount_micros"),
        text("currency"),
        text("status"),
        text("failure"),
        moment("arrives_at"),
        moment("created_at"),
        moment("seen_at"),
    )
    op.create_index(
        "ix_provider_bank_payouts_account", "provider_bank_payouts", ["account", "created_at"]
    )
    op.create_table(
        "reconciliations",
        number(),
        text("rail"),
        text("status"),
        moment("covers_from"),
        moment("covers_until"),
        moment("ended_at"),
        whole("transfers"),
        whole("settled"),
        text("by"),
        text("error", nullable=True),
        sa.CheckConstraint("status IN ('clean', 'differs', 'failed')", name="status_known"),
    )
    op.create_index("ix_reconciliations_rail", "reconciliations", ["rail", "covers_until"])
    op.create_table(
        "provider_differences",
        number(),
        text("rail"),
        text("kind"),
        text("subject"),
        whole("item_id", nullable=True),
        text("detail"),
        moment("first_seen_at"),
        moment("last_seen_at"),
        moment("resolved_at", nullable=True),
        text("resolved_by", nullable=True),
        text("why", nullable=True),
        sa.UniqueConstraint("rail", "kind", "subject"),
    )
    op.create_index(
        "ix_provider_differences_open",
        "provider_differences",
        ["rail"],
        postgresql_where=sa.text("resolved_at IS NULL"),
    )


def downgrade() -> None:
    for table in (
        "provider_differences", "reconciliations", "provider_bank_payouts",
        "provider_payee_accounts", "provider_transfers",
        "provider_event_cursors", "provider_events", "provider_accounts",
    ):  # fmt: skip
        op.drop_table(table)
