"""Affiliates ask about orders that they miss, and object to what was decided.

Until now a dispute was a letter to somebody: nobody saw how many were open, since when, and
what came of them. A case has its deadline, its decision and its reason in a row, and what was
said about it stands in rows that nobody changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
APPEND_ONLY = (
    """
    CREATE TRIGGER claim_notes_append_only BEFORE UPDATE OR DELETE ON claim_notes
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER claim_notes_no_truncate BEFORE TRUNCATE ON claim_notes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def refers(
    table: str, column: str, to: str, *, nullable: bool = False
) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column(column, sa.BigInteger(), nullable=nullable),
        sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}_{to}"),
    ]


def upgrade() -> None:
    add_claims()
    add_notes()
    for statement in APPEND_ONLY:
        op.execute(statement)


def add_claims() -> None:
    table = "claims"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *refers(table, "program_id", "programs"),
        sa.Column("enrollment_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ground", sa.Text()),
        sa.Column("order_id", sa.Text()),
        sa.Column("day", sa.Date()),
        *refers(table, "order_row_id", "orders", nullable=True),
        sa.Column("click_id", sa.Uuid()),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        *refers(table, "opened_by", "users"),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("reminded_at", MOMENT),
        *refers(table, "first_decided_by", "users", nullable=True),
        sa.Column("decided_at", MOMENT),
        *refers(table, "decided_by", "users", nullable=True),
        sa.Column("remedy", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.CheckConstraint("kind IN ('missing_order', 'appeal')", name="ck_claims_kind_known"),
        sa.CheckConstraint(
            "status IN ('open', 'answered', 'accepted', 'declined', 'withdrawn')",
            name="ck_claims_status_known",
        ),
        sa.CheckConstraint(
            "ground IN ('held', 'taken_back', 'not_credited', 'earned_nothing', 'refunded', "
            "'click_not_counted')",
            name="ck_claims_ground_known",
        ),
        sa.CheckConstraint(
            "remedy IN ('release', 'overturn', 'assign', 'clear_click')",
            name="ck_claims_remedy_known",
        ),
        sa.CheckConstraint(
            "(status = 'open') = (decided_at IS NULL)", name="ck_claims_decided_is_closed"
        ),
        sa.CheckConstraint(
            "(status = 'accepted') = (remedy IS NOT NULL)", name="ck_claims_accepted_changes"
        ),
        sa.CheckConstraint("decided_by <> opened_by", name="ck_claims_not_decided_by_claimant"),
        sa.CheckConstraint(
            "CASE kind WHEN 'missing_order' THEN order_id IS NOT NULL AND day IS NOT NULL "
            "AND ground IS NULL AND click_id IS NULL "
            "ELSE ground IS NOT NULL AND num_nonnulls(order_row_id, click_id) = 1 END",
            name="ck_claims_about_one_thing",
        ),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"],
            ["enrollments.program_id", "enrollments.id"],
            name="fk_claims_enrollment_in_program",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_claims"),
    )
    for name, column, kind in (
        ("number", "order_id", "missing_order"),
        ("order", "order_row_id", "appeal"),
        ("click", "click_id", "appeal"),
    ):
        op.create_index(
            f"uq_claims_open_{name}",
            table,
            ["enrollment_id", column],
            unique=True,
            postgresql_where=sa.text(f"kind = '{kind}' AND status = 'open'"),
        )
    op.create_index("ix_claims_enrollment_id", table, ["enrollment_id", "id"])
    op.create_index(
        "ix_claims_due",
        table,
        ["program_id", "due_at"],
        postgresql_where=sa.text("status = 'open'"),
    )


def add_notes() -> None:
    table = "claim_notes"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *refers(table, "claim_id", "claims"),
        sa.Column("at", MOMENT, nullable=False),
        *refers(table, "by", "users"),
        sa.Column("from_staff", sa.Boolean(), nullable=False),
        sa.Column("for_affiliate", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.CheckConstraint("from_staff OR for_affiliate", name="ck_claim_notes_own_words_are_seen"),
        sa.PrimaryKeyConstraint("id", name="pk_claim_notes"),
    )
    op.create_index("ix_claim_notes_claim_id", table, ["claim_id", "id"])
