"""Drafts of the rules tried on history, once or every day in the shadow of what is in force."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def refers(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"{to}.id"), nullable=nullable)


def number() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "rule_shadows",
        number(),
        refers("program_id", "programs"),
        refers("draft_id", "rule_drafts"),
        sa.Column("begins", MOMENT, nullable=False),
        refers("started_by", "users", nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
    )
    op.create_index(
        "uq_rule_shadows_live",
        "rule_shadows",
        ["draft_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "rule_replays",
        number(),
        refers("program_id", "programs"),
        refers("draft_id", "rule_drafts"),
        sa.Column("draft_revision", sa.BigInteger, nullable=False),
        refers("shadow_id", "rule_shadows", nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("begins", MOMENT, nullable=False),
        sa.Column("ends", MOMENT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("orders_done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("orders_total", sa.BigInteger),
        sa.Column("result", JSONB),
        refers("asked_by", "users", nullable=True),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("beat_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.CheckConstraint(
            "status IN ('waiting', 'running', 'done', 'failed')", name="status_known"
        ),
        sa.CheckConstraint("(status = 'done') = (result IS NOT NULL)", name="done_has_result"),
        sa.CheckConstraint("begins < ends", name="ends_after_it_begins"),
        sa.UniqueConstraint("shadow_id", "draft_revision", "ends"),
    )
    op.create_index("ix_rule_replays_draft_id", "rule_replays", ["draft_id"])
    op.create_index(
        "ix_rule_replays_open",
        "rule_replays",
        ["asked_at"],
        postgresql_where=sa.text("status IN ('waiting', 'running')"),
    )


def downgrade() -> None:
    op.drop_table("rule_replays")
    op.drop_table("rule_shadows")
