"""Leads with their decisions, and the days of clicks that are paid for.

A lead is decided as an order is and has decisions of its own: workers of the release before
take every row of `decisions` for an order's. Pay per click needs to know how many clicks of a
link and day are booked, and how far each node's journal has been loaded.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
REVIEWED = "review_outcome IN ('released', 'declined')"


def number() -> sa.Column:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def refers(column: str, to: str) -> sa.Column:
    return sa.Column(column, sa.BigInteger, sa.ForeignKey(f"{to}.id"), nullable=False)


def required(*names: str, kind: sa.types.TypeEngine) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def optional(*names: str, kind: sa.types.TypeEngine) -> list[sa.Column]:
    return [sa.Column(name, kind) for name in names]


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "leads",
        number(),
        refers("program_id", "programs"),
        *required("lead_id", "status", "reported_by", kind=sa.Text()),
        *optional("kind", "cancelled_by", "cancel_reason", kind=sa.Text()),
        *optional("review_outcome", "reviewed_by", kind=sa.Text()),
        *required("placed_at", "received_at", kind=MOMENT),
        *optional("cancelled_at", "reviewed_at", kind=MOMENT),
        *required("details", "evidence", kind=JSONB()),
        *required("content_hash", kind=sa.LargeBinary()),
        sa.UniqueConstraint("program_id", "lead_id"),
        sa.CheckConstraint("status IN ('confirmed', 'cancelled')", name="status_known"),
        sa.CheckConstraint(REVIEWED, name="review_outcome_known"),
        sa.CheckConstraint(
            "(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_with_its_time"
        ),
    )
    op.create_table(
        "lead_decisions",
        number(),
        refers("lead_id", "leads"),
        sa.Column("number", sa.Integer, nullable=False),
        refers("rule_version_id", "rule_versions"),
        *required("outcome", kind=sa.Text()),
        *optional("reason", "review_reason", "void_reason", kind=sa.Text()),
        *required("shares", "trace", "snapshot", kind=JSONB()),
        *required("decided_at", kind=MOMENT),
        *optional("click_check_due_at", "voided_at", kind=MOMENT),
        sa.UniqueConstraint("lead_id", "number"),
        sa.CheckConstraint("outcome IN ('attributed', 'unattributed')", name="outcome_known"),
    )
    for name, column, where, unique in (
        ("uq_lead_decisions_live", "lead_id", "voided_at IS NULL", True),
        (
            "ix_lead_decisions_click_check",
            "decided_at",
            "click_check_due_at IS NOT NULL AND voided_at IS NULL",
            False,
        ),
        (
            "ix_lead_decisions_review",
            "lead_id",
            "review_reason IS NOT NULL AND voided_at IS NULL",
            False,
        ),
    ):
        op.create_index(
            name, "lead_decisions", [column], unique=unique, postgresql_where=sa.text(where)
        )
    op.create_table(
        "paid_click_days",
        number(),
        refers("program_id", "programs"),
        refers("enrollment_id", "enrollments"),
        refers("link_id", "links"),
        *required("day", kind=sa.Date()),
        sa.Column("clicks", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bookings", sa.Integer, nullable=False, server_default="0"),
        sa.Column("flooded", sa.Boolean, nullable=False, server_default=sa.false()),
        *optional("review_outcome", "reviewed_by", kind=sa.Text()),
        *optional("reviewed_at", "booked_at", kind=MOMENT),
        sa.UniqueConstraint("link_id", "day"),
        sa.CheckConstraint("clicks >= 0 AND bookings >= 0", name="not_negative"),
        sa.CheckConstraint(REVIEWED, name="review_outcome_known"),
    )
    op.create_index("ix_paid_click_days_program_id_day", "paid_click_days", ["program_id", "day"])
    op.create_index(
        "ix_paid_click_days_review",
        "paid_click_days",
        ["program_id"],
        postgresql_where=sa.text("flooded AND review_outcome IS NULL"),
    )
    op.create_table(
        "click_nodes",
        sa.Column("node", sa.Text, primary_key=True),
        *required("loaded_until", "reported_at", kind=MOMENT),
    )


def downgrade() -> None:
    for table in ("click_nodes", "paid_click_days", "lead_decisions", "leads"):
        op.drop_table(table)
