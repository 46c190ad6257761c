"""Rules are drafted, announced, answered, kept and assigned.

Until now a version took effect when it was published, for everybody, and an affiliate's word
on it was a number in the application form. Changing what people are paid without telling
them, or telling them and having no record of it, is what affiliates and merchants dispute
most; so drafts, answers, letters and assignments get tables of their own.

Code of before this migration goes on: every new column has a default or may be empty, and it
reads none of the new tables. Agreements of application forms are copied as the first
acceptances; those that the old code takes meanwhile stand in `enrollments.answers` alone, and
whoever it lets in meanwhile was let in at `decided_at`, which readers fall back on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NOW_KNOWN = """
    UPDATE enrollments e SET approved_at = coalesce(
        (SELECT min(a.at) FROM audit_log a
         WHERE a.subject = 'enrollment:' || e.id AND a.action = 'enrollment.approve'),
        e.decided_at, e.applied_at)
    WHERE e.status IN ('active', 'suspended', 'closed')
"""
FIRST_ACCEPTANCES = """
    INSERT INTO rule_answers (enrollment_id, rule_version_id, answer, answered_at, answered_by)
    SELECT e.id, v.id, 'accepted', e.applied_at, a.user_id
    FROM enrollments e
    JOIN affiliates a ON a.id = e.affiliate_id
    JOIN rule_versions v ON v.program_id = e.program_id
     AND CAST(v.number AS text) = e.answers ->> 'rule_version'
"""
APPEND_ONLY = (
    """
    CREATE TRIGGER rule_answers_append_only BEFORE UPDATE OR DELETE ON rule_answers
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER rule_answers_no_truncate BEFORE TRUNCATE ON rule_answers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def key(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    ]


def refers(table: str, column: str, to: str, *, nullable: bool = False) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column(column, sa.BigInteger(), nullable=nullable),
        sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}_{to}"),
    ]


def upgrade() -> None:
    add_columns()
    add_drafts()
    add_answers()
    add_assignments()
    op.execute(NOW_KNOWN)
    op.execute(FIRST_ACCEPTANCES)
    for statement in APPEND_ONLY:
        op.execute(statement)


def add_columns() -> None:
    op.add_column(
        "programs", sa.Column("notice_days", sa.SmallInteger(), server_default="7", nullable=False)
    )
    op.create_check_constraint(
        "ck_programs_notice_in_days", "programs", "notice_days BETWEEN 1 AND 90"
    )
    op.add_column(
        "programs",
        sa.Column("versions_differ", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column(
        "rule_versions",
        sa.Column("grandfathers", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("rule_versions", sa.Column("grandfather_until", MOMENT))
    op.add_column("rule_versions", sa.Column("urgent_reason", sa.Text()))
    op.create_check_constraint(
        "ck_rule_versions_kept_for_a_while", "rule_versions", "grandfather_until > effective_at"
    )
    op.add_column("enrollments", sa.Column("approved_at", MOMENT))
    op.add_column("enrollments", sa.Column("closes_at", MOMENT))
    op.create_index(
        "ix_enrollments_closes_at",
        "enrollments",
        ["closes_at"],
        postgresql_where=sa.text("closes_at IS NOT NULL AND status <> 'closed'"),
    )


def add_drafts() -> None:
    table = "rule_drafts"
    op.create_table(
        table,
        *key(table),
        *refers(table, "program_id", "programs"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", sa.dialects.postgresql.JSONB(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        *refers(table, "created_by", "users", nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        *refers(table, "saved_by", "users", nullable=True),
        sa.Column("saved_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT),
        *refers(table, "rule_version_id", "rule_versions", nullable=True),
        sa.CheckConstraint(
            "rule_version_id IS NULL OR closed_at IS NOT NULL",
            name="ck_rule_drafts_announced_is_closed",
        ),
    )
    op.create_index(
        "ix_rule_drafts_open", table, ["program_id"], postgresql_where=sa.text("closed_at IS NULL")
    )


def add_answers() -> None:
    table = "rule_answers"
    op.create_table(
        table,
        *key(table),
        *refers(table, "enrollment_id", "enrollments"),
        *refers(table, "rule_version_id", "rule_versions"),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("answered_at", MOMENT, nullable=False),
        *refers(table, "answered_by", "users"),
        sa.CheckConstraint("answer IN ('accepted', 'declined')", name=f"ck_{table}_answer_known"),
        sa.UniqueConstraint(
            "enrollment_id", "rule_version_id", name=f"uq_{table}_enrollment_id_rule_version_id"
        ),
    )
    op.create_index(f"ix_{table}_rule_version_id", table, ["rule_version_id"])
    table = "rule_notices"
    op.create_table(
        table,
        *key(table),
        *refers(table, "rule_version_id", "rule_versions"),
        *refers(table, "enrollment_id", "enrollments"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('announced', 'reminder')", name=f"ck_{table}_kind_known"),
        sa.UniqueConstraint(
            "rule_version_id",
            "enrollment_id",
            "kind",
            name=f"uq_{table}_rule_version_id_enrollment_id_kind",
        ),
    )


def add_assignments() -> None:
    table = "rule_assignments"
    op.create_table(
        table,
        *key(table),
        *refers(table, "program_id", "programs"),
        sa.Column("enrollment_id", sa.BigInteger()),
        *refers(table, "group_id", "affiliate_groups", nullable=True),
        *refers(table, "rule_version_id", "rule_versions"),
        sa.Column("begins_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT),
        sa.Column("reason", sa.Text(), nullable=False),
        *refers(table, "created_by", "users", nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(enrollment_id, group_id) = 1", name=f"ck_{table}_one_of_two"
        ),
        sa.CheckConstraint("ends_at > begins_at", name=f"ck_{table}_lasts"),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"],
            ["enrollments.program_id", "enrollments.id"],
            name=f"fk_{table}_enrollment_in_program",
        ),
    )
    for column in ("enrollment_id", "group_id", "program_id"):
        op.create_index(f"ix_{table}_{column}", table, [column])
