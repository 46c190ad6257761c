"""What other servers are told: endpoints, events, deliveries, attempts, and who writes events.

Events are written by triggers, so that no way to a fact can forget them and none costs a round
trip: the intake writes an order with its commissions in one statement, from two places. Where
nobody listens, a trigger looks into one partial index and ends.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)
LIVE = "deleted_at IS NULL AND disabled_at IS NULL"
WAITING = "delivered_at IS NULL AND given_up_at IS NULL"
WANTS = f"""
    e.program_id = of_program AND e.{LIVE.replace("AND ", "AND e.")} AND kind = ANY (e.types)
    AND (e.enrollment_id IS NULL OR e.enrollment_id = of_enrollment)
"""
ANNOUNCE = f"""
    CREATE FUNCTION announce(
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
            SELECT e.id, made, about, clock_timestamp() FROM webhook_endpoints e WHERE {WANTS};
        END IF;
    END $$
"""
LISTENED = f"""
    CREATE FUNCTION somebody_listens(of_program bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT EXISTS (SELECT FROM webhook_endpoints WHERE program_id = of_program AND {LIVE})
    $$
"""


def teller(name: str, program: str, told: str) -> str:
    """A trigger's function that tells of its row, where somebody listens to that program."""
    return f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF somebody_listens({program}) THEN
                {told};
            END IF;
            RETURN NULL;
        END $$
    """


OF_ORDER = "(SELECT program_id FROM orders WHERE id = NEW.order_id)"
OF_ENROLLMENT = "(SELECT program_id FROM enrollments WHERE id = NEW.enrollment_id)"
OF_BATCH = "(SELECT program_id FROM payout_batches WHERE id = NEW.batch_id)"
OF_ITEM = """(SELECT b.program_id FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
              WHERE i.id = NEW.item_id)"""
ORDER = """jsonb_build_object(
    'order_id', o.order_id, 'status', o.status, 'source', o.source, 'placed_at', o.placed_at,
    'currency', o.currency, 'total_micros', o.total_micros, 'net_micros', o.net_micros)"""
ITEM = """jsonb_build_object(
    'payout', i.id, 'batch', i.batch_id, 'affiliate', i.enrollment_id, 'currency', i.currency,
    'amount_micros', i.amount_micros, 'status', i.status, 'reason', i.reason)"""
TELLERS = (
    teller(
        "tell_of_order", "NEW.program_id",
        f"""PERFORM announce(
                o.program_id, NULL, TG_ARGV[0], 'order:' || o.id, {ORDER},
                CASE TG_ARGV[0] WHEN 'order.created' THEN o.received_at
                    WHEN 'order.confirmed' THEN o.confirmed_at ELSE o.cancelled_at END)
            FROM (SELECT NEW.*) AS o""",
    ),
    teller(
        "tell_of_order_report", OF_ORDER,
        f"""PERFORM announce(
                o.program_id, NULL, TG_ARGV[0], 'order:' || o.id, {ORDER}, NEW.received_at)
            FROM orders o WHERE o.id = NEW.order_id""",
    ),
    teller(
        "tell_of_refund", OF_ORDER,
        """PERFORM announce(
                o.program_id, NULL, TG_ARGV[0], 'order:' || o.id,
                jsonb_build_object(
                    'order_id', o.order_id, 'refund_id', NEW.refund_id, 'currency', o.currency,
                    'amount_micros', NEW.amount_micros, 'net_micros', NEW.net_micros),
                NEW.received_at)
            FROM orders o WHERE o.id = NEW.order_id""",
    ),
    teller(
        "tell_of_decision", OF_ORDER,
        """PERFORM announce(
                o.program_id, NULL, TG_ARGV[0], 'order:' || o.id,
                jsonb_build_object(
                    'order_id', o.order_id, 'outcome', NEW.outcome, 'reason', NEW.reason,
                    'shares', NEW.shares),
                NEW.decided_at)
            FROM orders o WHERE o.id = NEW.order_id""",
    ),
    teller(
        "tell_of_commission", "NEW.program_id",
        """PERFORM announce(
                NEW.program_id, NEW.enrollment_id, TG_ARGV[0], NEW.reference,
                jsonb_build_object(
                    'commission', NEW.id, 'affiliate', NEW.enrollment_id,
                    'via', NEW.via_enrollment_id, 'level', NEW.level,
                    'kind', split_part(NEW.reference, ':', 1),
                    'order_id', (SELECT o.order_id FROM orders o
                                 WHERE NEW.reference ~ '^order:[0-9]+$'
                                   AND o.id = CAST(substr(NEW.reference, 7) AS bigint)),
                    'currency', NEW.currency, 'amount_micros', NEW.amount_micros,
                    'left_micros', CASE WHEN NEW.voided_at IS NULL
                        THEN NEW.amount_micros - NEW.reversed_micros ELSE 0 END,
                    'available_at', NEW.available_at, 'reason', NEW.void_reason),
                CASE TG_ARGV[0] WHEN 'commission.earned' THEN NEW.earned_at
                    WHEN 'commission.released' THEN NEW.released_at
                    WHEN 'commission.voided' THEN NEW.voided_at
                    ELSE coalesce((SELECT max(r.reversed_at) FROM commission_reversals r
                                   WHERE r.commission_id = NEW.id), NEW.earned_at) END)""",
    ),
    teller(
        "tell_of_affiliate", "NEW.program_id",
        """PERFORM announce(
                NEW.program_id, NEW.id,
                CASE NEW.status
                    WHEN 'applied' THEN 'affiliate.applied'
                    WHEN 'rejected' THEN 'affiliate.rejected'
                    WHEN 'suspended' THEN 'affiliate.suspended'
                    WHEN 'closed' THEN 'affiliate.closed'
                    ELSE CASE WHEN TG_ARGV[0] = 'suspended' THEN 'affiliate.reinstated'
                              ELSE 'affiliate.approved' END END,
                'enrollment:' || NEW.id,
                jsonb_build_object(
                    'affiliate', NEW.id, 'status', NEW.status, 'recruiter', NEW.recruiter_id),
                coalesce(NEW.decided_at, NEW.applied_at))""",
    ),
    teller(
        "tell_of_withdrawal", OF_ENROLLMENT,
        f"""PERFORM announce(
                {OF_ENROLLMENT}, NEW.enrollment_id, TG_ARGV[0], 'withdrawal:' || NEW.id,
                jsonb_build_object(
                    'withdrawal', NEW.id, 'affiliate', NEW.enrollment_id,
                    'currency', NEW.currency, 'amount_micros', NEW.amount_micros,
                    'deadline_at', NEW.deadline_at),
                NEW.requested_at)""",
    ),
    teller(
        "tell_of_batch", "NEW.program_id",
        """PERFORM announce(
                NEW.program_id, NULL, TG_ARGV[0], 'batch:' || NEW.id,
                jsonb_build_object(
                    'batch', NEW.id, 'number', NEW.number, 'kind', NEW.kind, 'rail', NEW.rail,
                    'currency', NEW.currency, 'total_micros', NEW.approved_total_micros,
                    'count', NEW.approved_count),
                NEW.approved_at)""",
    ),
    teller(
        "tell_of_payout", OF_BATCH,
        f"""PERFORM announce(
                b.program_id, i.enrollment_id, TG_ARGV[0], 'payout:' || i.id, {ITEM},
                coalesce(i.paid_at, i.finished_at, b.approved_at))
            FROM (SELECT NEW.*) AS i JOIN payout_batches b ON b.id = i.batch_id""",
    ),
    teller(
        "tell_of_return", OF_ITEM,
        f"""PERFORM announce(
                b.program_id, i.enrollment_id, TG_ARGV[0], 'payout:' || i.id,
                {ITEM} || jsonb_build_object(
                    'amount_micros', NEW.amount_micros, 'status', 'returned',
                    'reason', NEW.reason),
                NEW.at)
            FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
            WHERE i.id = NEW.item_id""",
    ),
)  # fmt: skip
TRIGGERS = (
    ("orders", "INSERT", "true", "tell_of_order", "order.created"),
    ("orders", "UPDATE", "OLD.status = 'unconfirmed' AND NEW.status = 'confirmed'",
     "tell_of_order", "order.confirmed"),
    ("orders", "UPDATE", "OLD.cancelled_at IS NULL AND NEW.cancelled_at IS NOT NULL",
     "tell_of_order", "order.cancelled"),
    ("order_reports", "INSERT", "NEW.outcome = 'superseded_browser'",
     "tell_of_order_report", "order.changed"),
    ("refunds", "INSERT", "true", "tell_of_refund", "order.refunded"),
    ("decisions", "INSERT", "NEW.number > 1", "tell_of_decision", "attribution.changed"),
    ("commissions", "INSERT", "NEW.amount_micros > 0", "tell_of_commission", "commission.earned"),
    ("commissions", "UPDATE", "OLD.released_at IS NULL AND NEW.released_at IS NOT NULL "
     "AND NEW.amount_micros > NEW.reversed_micros", "tell_of_commission", "commission.released"),
    ("commissions", "UPDATE", "NEW.reversed_micros > OLD.reversed_micros",
     "tell_of_commission", "commission.reduced"),
    ("commissions", "UPDATE", "OLD.voided_at IS NULL AND NEW.voided_at IS NOT NULL "
     "AND NEW.amount_micros > NEW.reversed_micros", "tell_of_commission", "commission.voided"),
    ("enrollments", "INSERT", "true", "tell_of_affiliate", ""),
    ("enrollments", "UPDATE", "OLD.status <> NEW.status AND OLD.status <> 'suspended'",
     "tell_of_affiliate", ""),
    ("enrollments", "UPDATE", "OLD.status <> NEW.status AND OLD.status = 'suspended'",
     "tell_of_affiliate", "suspended"),
    ("withdrawals", "INSERT", "true", "tell_of_withdrawal", "withdrawal.requested"),
    ("payout_batches", "UPDATE", "OLD.approved_at IS NULL AND NEW.approved_at IS NOT NULL",
     "tell_of_batch", "batch.approved"),
    ("payout_items", "UPDATE", "OLD.status <> 'paid' AND NEW.status = 'paid'",
     "tell_of_payout", "payout.paid"),
    ("payout_items", "UPDATE", "OLD.status <> 'failed' AND NEW.status = 'failed'",
     "tell_of_payout", "payout.failed"),
    ("payout_reversals", "INSERT", "true", "tell_of_return", "payout.returned"),
)  # fmt: skip
"""Table, what is done to it, which rows, who tells of them, and as what."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _endpoints()
    _events()
    _deliveries()
    for statement in (ANNOUNCE, LISTENED, *TELLERS):
        op.execute(statement)
    for number, (table, change, rows, function, type_) in enumerate(TRIGGERS, 1):
        op.execute(
            f"CREATE TRIGGER {table}_tell_{number} AFTER {change} ON {table} FOR EACH ROW "
            f"WHEN ({rows}) EXECUTE FUNCTION {function}('{type_}')"
        )


def downgrade() -> None:
    for number, (table, *_) in enumerate(TRIGGERS, 1):
        op.execute(f"DROP TRIGGER {table}_tell_{number} ON {table}")
    for name in dict.fromkeys(function for *_, function, _ in TRIGGERS):
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP FUNCTION announce(bigint, bigint, text, text, jsonb, timestamptz)")
    op.execute("DROP FUNCTION somebody_listens(bigint)")
    for table in ("attempts", "deliveries", "events", "endpoints"):
        op.drop_table(f"webhook_{table}")


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("enrollment_id", sa.BigInteger),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("types", ARRAY(sa.Text), nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("previous_secret", sa.Text),
        sa.Column("previous_until", AT),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("created_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("failures", sa.Integer, server_default="0", nullable=False),
        sa.Column("failing_since", AT),
        sa.Column("rests_until", AT),
        sa.Column("disabled_at", AT),
        sa.Column("disabled_for", sa.Text),
        sa.Column("deleted_at", AT),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.CheckConstraint("method IN ('GET', 'POST')", name="method_known"),
        sa.CheckConstraint(
            "enrollment_id IS NOT NULL OR deleted_at IS NOT NULL OR secret IS NOT NULL",
            name="endpoint_signs",
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_has_end"
        ),
    )
    op.create_index(
        "ix_webhook_endpoints_live", "webhook_endpoints", ["program_id"],
        postgresql_where=sa.text(LIVE),
    )  # fmt: skip
    op.create_index("ix_webhook_endpoints_program_id", "webhook_endpoints", ["program_id", "id"])


def _events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("at", AT, nullable=False),
        sa.Column("written_at", AT, nullable=False),
        sa.Column("message_id", sa.Text, unique=True),
        sa.Column("body", sa.Text),
    )
    op.create_index("ix_webhook_events_written_at", "webhook_events", ["written_at"])


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "endpoint_id", sa.BigInteger, sa.ForeignKey("webhook_endpoints.id"), nullable=False
        ),
        sa.Column("event_id", sa.BigInteger, sa.ForeignKey("webhook_events.id"), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("next_try_at", AT, nullable=False),
        sa.Column("leased_until", AT),
        sa.Column("attempts", sa.Integer, server_default="0", nullable=False),
        sa.Column("delivered_at", AT),
        sa.Column("given_up_at", AT),
        sa.UniqueConstraint("endpoint_id", "event_id"),
        sa.CheckConstraint("num_nonnulls(delivered_at, given_up_at) <= 1", name="one_end"),
    )
    deliveries = "webhook_deliveries"
    waiting = sa.text(WAITING)
    op.create_index("ix_webhook_deliveries_due", deliveries, ["endpoint_id", "next_try_at"],
                    postgresql_where=waiting)  # fmt: skip
    op.create_index("ix_webhook_deliveries_order", deliveries, ["endpoint_id", "subject", "id"],
                    postgresql_where=waiting)  # fmt: skip
    op.create_index("ix_webhook_deliveries_listed", deliveries, ["endpoint_id", "id"])
    op.create_index("ix_webhook_deliveries_event_id", deliveries, ["event_id"])
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "delivery_id", sa.BigInteger,
            sa.ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), nullable=False,
        ),
        sa.Column("at", AT, nullable=False),
        sa.Column("took_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("trouble", sa.Text),
        sa.Column("answer", sa.Text, nullable=False),
    )  # fmt: skip
    op.create_index("ix_webhook_attempts_delivery_id", "webhook_attempts", ["delivery_id", "id"])
