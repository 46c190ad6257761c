"""An endpoint that is deleted at the moment is told nothing, instead of refusing the fact itself.

Postbacks are deleted with an erased affiliate. An order that earned them something meanwhile saw
the postback, waited for the deletion by the foreign key, and failed with it.
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

WANTS = """
    e.program_id = of_program AND e.deleted_at IS NULL AND e.disabled_at IS NULL
    AND kind = ANY (e.types) AND (e.enrollment_id IS NULL OR e.enrollment_id = of_enrollment)
"""


def announce(lock: str) -> str:
    """The function; `lock` is what the foreign key locks anyway, only before it and in order."""
    return f"""
        CREATE OR REPLACE FUNCTION announce(
            of_program bigint, of_enrollment bigint, kind text, about text, known jsonb,
            happened timestamptz
        ) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE made bigint;
        BEGIN
            INSERT INTO webhook_events (program_id, type, subject, facts, at, written_at)
            SELECT of_program, kind, about, jsonb_strip_nulls(known), happened, clock_timestamp()
            WHERE EXISTS (SELECT FROM webhook_endpoints e WHERE {WANTS})
            RETURNING id INTO made;
            IF made IS NOT NULL THEN
                INSERT INTO webhook_deliveries (endpoint_id, event_id, subject, next_try_at)
                SELECT e.id, made, about, clock_timestamp() FROM webhook_endpoints e
                WHERE {WANTS} {lock};
            END IF;
        END $$
    """


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(announce("ORDER BY e.id FOR KEY SHARE OF e"))


def downgrade() -> None:
    op.execute(announce(""))
