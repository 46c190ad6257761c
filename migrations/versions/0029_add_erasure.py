"""Erased people, and what of the audit log and of claims' notes may be emptied for them.

Both tables stay append-only: a row may lose the named values, all of one at once, and nothing
else of it may change. Who did what to whom and when is still there, what it said is not.
The release before neither reads nor writes the new columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
REFUSE = """
    CREATE FUNCTION refuse_change_but_emptying() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        wanted jsonb := to_jsonb(OLD);
        given jsonb;
        name text;
    BEGIN
        IF tg_op = 'UPDATE' THEN
            given := to_jsonb(NEW);
            FOREACH name IN ARRAY tg_argv LOOP
                IF given -> name IN ('null'::jsonb, '""'::jsonb) THEN
                    wanted := wanted || jsonb_build_object(name, given -> name);
                END IF;
            END LOOP;
            IF given = wanted THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'table % is append-only', tg_table_name USING errcode = '23514';
    END $$
"""
EMPTIED = {"audit_log": "'old', 'new', 'reason'", "claim_notes": "'text'"}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("users", sa.Column("erased_at", MOMENT))
    op.add_column("users", sa.Column("swept_at", MOMENT))
    op.create_index(
        "ix_users_to_sweep",
        "users",
        ["erased_at"],
        postgresql_where=sa.text("erased_at IS NOT NULL AND swept_at IS NULL"),
    )
    op.execute(REFUSE)
    for table, columns in EMPTIED.items():
        replace(table, f"refuse_change_but_emptying({columns})")


def downgrade() -> None:
    for table in EMPTIED:
        replace(table, "refuse_change()")
    op.execute("DROP FUNCTION refuse_change_but_emptying()")
    op.drop_index("ix_users_to_sweep", "users")
    op.drop_column("users", "swept_at")
    op.drop_column("users", "erased_at")


def replace(table: str, function: str) -> None:
    op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}"
    )
