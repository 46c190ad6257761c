"""A counter for each question that statistics ask, and what clicks say about themselves.

The counters of the first release answered by link and day alone. They are counted anew here
from the clicks themselves, in which the device, not stored before, is `other`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REASONS = (
    "reason IN ('link_disabled', 'affiliate_inactive', 'program_closed', 'head_request', "
    "'prefetch', 'framed', 'subresource', 'empty_agent', 'link_preview', 'bot', 'duplicate', "
    "'flood')"
)
DEVICES = "device IN ('desktop', 'mobile', 'tablet', 'other')"
KINDS = "kind IN ('s1', 's2', 's3', 's4', 's5', 'creative', 'country')"

ROOM = {"fillfactor": "70"}
"""Room in each page for the next version of its rows: an update then touches no index."""

DAY = "CAST(c.clicked_at AT TIME ZONE p.time_zone AS date)"
HOUR = "date_trunc('hour', c.clicked_at, p.time_zone)"
COUNTED = """
    count(*) FILTER (WHERE c.reason IS NULL),
    count(*) FILTER (WHERE c.is_unique),
    count(*) FILTER (WHERE c.reason = 'duplicate'),
    count(*) FILTER (WHERE c.reason <> 'duplicate')
"""
COLUMNS = "clicks, uniques, duplicates, dropped"
DEVICE_COUNTED = "0, 0, 0, count(*) FILTER (WHERE c.reason IS NULL)"
DEVICE_COLUMNS = "desktop, mobile, tablet, other"
SOURCE = "FROM clicks c JOIN programs p ON p.id = c.program_id"
BACKFILL = (
    f"INSERT INTO link_days (enrollment_id, day, link_id, program_id, {COLUMNS}, {DEVICE_COLUMNS}) "
    f"SELECT c.enrollment_id, {DAY}, c.link_id, c.program_id, {COUNTED}, {DEVICE_COUNTED} "
    f"{SOURCE} GROUP BY 1, 2, 3, 4",
    f"INSERT INTO link_hours (enrollment_id, hour, link_id, {COLUMNS}) "
    f"SELECT c.enrollment_id, {HOUR}, c.link_id, {COUNTED} {SOURCE} GROUP BY 1, 2, 3",
    "INSERT INTO link_day_drops (enrollment_id, day, link_id, reason, clicks) "
    f"SELECT c.enrollment_id, {DAY}, c.link_id, c.reason, count(*) {SOURCE} "
    "WHERE c.reason <> 'duplicate' GROUP BY 1, 2, 3, 4",
    f"INSERT INTO program_days (program_id, day, {COLUMNS}, {DEVICE_COLUMNS}) "
    f"SELECT c.program_id, {DAY}, {COUNTED}, {DEVICE_COUNTED} {SOURCE} GROUP BY 1, 2",
    f"INSERT INTO program_hours (program_id, hour, {COLUMNS}) "
    f"SELECT c.program_id, {HOUR}, {COUNTED} {SOURCE} GROUP BY 1, 2",
    "INSERT INTO program_day_drops (program_id, day, reason, clicks) "
    f"SELECT c.program_id, {DAY}, c.reason, count(*) {SOURCE} "
    "WHERE c.reason <> 'duplicate' GROUP BY 1, 2, 3",
    # The cap of a thousand values is the loader's; what lies beyond it here is counted by
    # the oldest thousand as well.
    """
    INSERT INTO link_day_values (enrollment_id, day, link_id, kind, value, clicks, uniques)
    SELECT enrollment_id, day, link_id, kind,
           CASE WHEN place > 1000 THEN '(other)' ELSE value END, sum(clicks), sum(uniques)
      FROM (
        SELECT *, row_number() OVER (
                    PARTITION BY enrollment_id, day, link_id, kind ORDER BY first_at, value) place
          FROM (
            SELECT c.enrollment_id, CAST(c.clicked_at AT TIME ZONE p.time_zone AS date) AS day,
                   c.link_id, v.kind, v.value, count(*) AS clicks,
                   count(*) FILTER (WHERE c.is_unique) AS uniques, min(c.clicked_at) AS first_at
              FROM clicks c JOIN programs p ON p.id = c.program_id
             CROSS JOIN LATERAL (VALUES ('s1', c.s1), ('s2', c.s2), ('s3', c.s3), ('s4', c.s4),
                                        ('s5', c.s5)) AS v(kind, value)
             WHERE c.reason IS NULL AND v.value IS NOT NULL
             GROUP BY 1, 2, 3, 4, 5) AS counted) AS placed
     GROUP BY 1, 2, 3, 4, 5
    """,
)

# Orders by day. What happens to a commission after its order was written is noted by triggers
# as a difference, for a decision is voided, released and refunded in many places.
SUMS = (
    "orders, released_orders, refused_orders, value_micros, earned_micros, reversed_micros, "
    "released_micros, earned_2_micros, reversed_2_micros, released_2_micros"
)
LIVE = "c.voided_at IS NULL"
REFUSED = "c.void_reason IN ('order_cancelled', 'click_invalid', 'review_rejected')"
LEFT = "c.amount_micros - c.reversed_micros"
DIFFERENCES = f"""
    coalesce(sum(c.sign) FILTER (WHERE c.level = 1 AND {LIVE}), 0),
    coalesce(sum(c.sign) FILTER (WHERE c.level = 1 AND {LIVE} AND c.released_at IS NOT NULL), 0),
    coalesce(sum(c.sign) FILTER (WHERE c.level = 1 AND {REFUSED}), 0),
    coalesce(sum(c.sign * c.base_micros) FILTER (WHERE c.level = 1 AND {LIVE}), 0),
    coalesce(sum(c.sign * c.amount_micros) FILTER (WHERE c.level = 1 AND {LIVE}), 0),
    coalesce(sum(c.sign * c.reversed_micros) FILTER (WHERE c.level = 1 AND {LIVE}), 0),
    coalesce(sum(c.sign * ({LEFT})) FILTER (
        WHERE c.level = 1 AND {LIVE} AND c.released_at IS NOT NULL), 0),
    coalesce(sum(c.sign * c.amount_micros) FILTER (WHERE c.level = 2 AND {LIVE}), 0),
    coalesce(sum(c.sign * c.reversed_micros) FILTER (WHERE c.level = 2 AND {LIVE}), 0),
    coalesce(sum(c.sign * ({LEFT})) FILTER (
        WHERE c.level = 2 AND {LIVE} AND c.released_at IS NOT NULL), 0)
"""
ORDER_CHANGES = (
    f"""
    CREATE FUNCTION note_commission_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.reference !~ '^order:[0-9]+$' THEN
            RETURN NULL;
        END IF;
        INSERT INTO order_changes (order_id, program_id, enrollment_id, day, {SUMS})
        SELECT o.id, o.program_id, NEW.enrollment_id,
               CAST(o.placed_at AT TIME ZONE p.time_zone AS date), {DIFFERENCES}
        FROM (SELECT 1 AS sign, NEW.* UNION ALL SELECT -1, OLD.* WHERE tg_op = 'UPDATE') AS c
        CROSS JOIN orders o
        JOIN programs p ON p.id = o.program_id
        WHERE o.id = CAST(substr(NEW.reference, 7) AS bigint)
        GROUP BY 1, 2, 3, 4;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER commissions_note_change AFTER UPDATE ON commissions FOR EACH ROW
    WHEN (OLD.voided_at IS DISTINCT FROM NEW.voided_at
          OR OLD.released_at IS DISTINCT FROM NEW.released_at
          OR OLD.reversed_micros IS DISTINCT FROM NEW.reversed_micros)
    EXECUTE FUNCTION note_commission_change()
    """,
    # The first decision is written with its order and read with it.
    """
    CREATE TRIGGER commissions_note_later AFTER INSERT ON commissions FOR EACH ROW
    WHEN (NEW.decision > 1) EXECUTE FUNCTION note_commission_change()
    """,
    f"""
    CREATE FUNCTION note_order_moved() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO order_changes (order_id, program_id, enrollment_id, day, {SUMS})
        SELECT NEW.id, NEW.program_id, c.enrollment_id, c.day, {DIFFERENCES}
        FROM (SELECT d.sign, CAST(d.placed_at AT TIME ZONE p.time_zone AS date) AS day, e.*
              FROM (VALUES (-1, OLD.placed_at), (1, NEW.placed_at)) AS d(sign, placed_at)
              CROSS JOIN commissions e
              JOIN programs p ON p.id = e.program_id
              WHERE e.reference = 'order:' || NEW.id) AS c
        GROUP BY 1, 2, 3, 4;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER orders_note_moved AFTER UPDATE OF placed_at ON orders FOR EACH ROW
    WHEN (OLD.placed_at IS DISTINCT FROM NEW.placed_at) EXECUTE FUNCTION note_order_moved()
    """,
    "INSERT INTO order_sums_marks (id) VALUES (1)",
)


def counted() -> list[sa.Column]:
    return [
        sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        for name in ("clicks", "uniques", "duplicates", "dropped")
    ]


def devices() -> list[sa.Column]:
    return [
        sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        for name in ("desktop", "mobile", "tablet", "other")
    ]


def big(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def day() -> sa.Column:
    return sa.Column("day", sa.Date(), nullable=False)


def hour() -> sa.Column:
    return sa.Column("hour", sa.DateTime(timezone=True), nullable=False)


def text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=False)


def number(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def table(name: str, *parts: sa.Column, key: tuple[str, ...], check: tuple[str, str]) -> None:
    op.create_table(
        name,
        *parts,
        sa.CheckConstraint(check[1], name=f"ck_{name}_{check[0]}"),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        postgresql_with=ROOM,
    )


def sums() -> list[sa.Column]:
    return [
        sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        for name in SUMS.split(", ")
    ]


def add_order_days() -> None:
    program = "program_id"
    op.create_table(
        "order_days",
        *(big("enrollment_id"), day(), number(program), *sums()),
        sa.PrimaryKeyConstraint("enrollment_id", "day", name="pk_order_days"),
    )
    op.create_index("ix_order_days_program_id_day", "order_days", [program, "day"])
    op.create_table(
        "program_order_days",
        *(big(program), day(), *sums()),
        sa.PrimaryKeyConstraint(program, "day", name="pk_program_order_days"),
    )
    op.create_table(
        "order_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *(number("order_id"), number(program), number("enrollment_id"), day(), *sums()),
        sa.PrimaryKeyConstraint("id", name="pk_order_changes"),
    )
    op.create_table(
        "order_sums_marks",
        big("id"),
        sa.Column("added_order_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_order_id", sa.BigInteger()),
        sa.Column("next_xid", sa.BigInteger()),
        sa.CheckConstraint("id = 1", name="ck_order_sums_marks_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_order_sums_marks"),
    )
    for statement in ORDER_CHANGES:
        op.execute(statement)


def upgrade() -> None:
    op.add_column("clicks", sa.Column("device", sa.Text(), server_default="other", nullable=False))
    op.add_column("clicks", sa.Column("creative", sa.Text()))
    op.add_column("clicks", sa.Column("country", sa.Text()))
    op.create_check_constraint("ck_clicks_device_known", "clicks", DEVICES)
    op.drop_constraint("ck_clicks_reason_known", "clicks")
    op.create_check_constraint("ck_clicks_reason_known", "clicks", REASONS)

    op.drop_table("link_days")
    op.drop_table("link_day_drops")
    # Marks lie in a table for each day now; the loader makes them, out of the rows where
    # there are some already.
    op.drop_table("link_day_visitors")
    op.create_table(
        "detached_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("detached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("month", name="pk_detached_months"),
    )
    counts = ("uniques_within_clicks", "uniques <= clicks AND uniques >= 0")
    reason, kind = ("reason_known", REASONS), ("kind_known", KINDS)
    program = "program_id"
    table(
        "link_days",
        *(big("enrollment_id"), day(), big("link_id"), number(program), *counted(), *devices()),
        key=("enrollment_id", "day", "link_id"),
        check=counts,
    )
    op.create_index("ix_link_days_program_id_day", "link_days", [program, "day"])
    table(
        "link_hours",
        *(big("enrollment_id"), hour(), big("link_id"), *counted()),
        key=("enrollment_id", "hour", "link_id"),
        check=counts,
    )
    table(
        "link_day_drops",
        *(big("enrollment_id"), day(), big("link_id"), text("reason"), number("clicks")),
        key=("enrollment_id", "day", "link_id", "reason"),
        check=reason,
    )
    table(
        "link_day_values",
        *(big("enrollment_id"), day(), big("link_id"), text("kind"), text("value")),
        *(number("clicks"), number("uniques")),
        key=("enrollment_id", "day", "link_id", "kind", "value"),
        check=kind,
    )
    table(
        "program_days",
        *(big(program), day(), *counted(), *devices()),
        key=(program, "day"),
        check=counts,
    )
    table(
        "program_hours",
        *(big(program), hour(), *counted()),
        key=(program, "hour"),
        check=counts,
    )
    table(
        "program_day_drops",
        *(big(program), day(), text("reason"), number("clicks")),
        key=(program, "day", "reason"),
        check=reason,
    )
    table(
        "program_day_values",
        *(big(program), day(), text("kind"), text("value"), number("clicks"), number("uniques")),
        key=(program, "day", "kind", "value"),
        check=kind,
    )
    for statement in BACKFILL:
        op.execute(statement)
    add_order_days()
    add_reviews()


def add_reviews() -> None:
    """An order whose click came in a flood waits for a person; what they said is the order's."""
    op.add_column("decisions", sa.Column("review_reason", sa.Text()))
    op.create_index(
        "ix_decisions_review",
        "decisions",
        ["order_id"],
        postgresql_where=sa.text("review_reason IS NOT NULL AND voided_at IS NULL"),
    )
    op.add_column("orders", sa.Column("review_outcome", sa.Text()))
    op.add_column("orders", sa.Column("reviewed_at", sa.DateTime(timezone=True)))
    op.add_column("orders", sa.Column("reviewed_by", sa.Text()))
    op.create_check_constraint(
        "ck_orders_review_outcome_known", "orders", "review_outcome IN ('released', 'declined')"
    )
