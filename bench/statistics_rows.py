"""Millions of clicks with their counters, and orders, made inside PostgreSQL by a few statements.

The rows are those that the loader writes: `check_counters` loads some thousand clicks through
the loader itself and compares every counter with the statements that fill them here.
"""

from __future__ import annotations

import random
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.programs import create_program
from tracker.clicks import tokens
from tracker.clicks.database import libpq_url
from tracker.clicks.loading import load_records
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.records import encode, scan
from tracker.clicks.rules import DropReason
from tracker.demo.people import terms_document
from tracker.stats.order_sums import add_up

ZONE = "Europe/Moscow"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LINKS_EACH = 2
COUNTERS = (
    "link_days", "link_hours", "link_day_drops", "link_day_values",
    "program_days", "program_hours", "program_day_drops", "program_day_values",
)  # fmt: skip
CHECK_CLICKS = 4_000
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
)

PEOPLE = (
    "INSERT INTO users (email, fs_uniquifier, created_at) SELECT 'a' || n || '@blog.example', "
    "'bench-' || n, :now FROM generate_series(1, :affiliates) n",
    "INSERT INTO affiliates (user_id, name, created_at) "
    "SELECT id, 'Affiliate ' || id, created_at FROM users ORDER BY id",
    "INSERT INTO enrollments (program_id, affiliate_id, status, answers, applied_at) "
    "SELECT :program_id, id, 'active', '{}', created_at FROM affiliates ORDER BY id",
    "INSERT INTO links (program_id, enrollment_id, code, destination, created_at) "
    f"SELECT :program_id, e.id, 'b' || e.id || '-' || n, 'https://shop.example/', :now "
    f"FROM enrollments e CROSS JOIN generate_series(1, {LINKS_EACH}) n ORDER BY n, e.id",
)
# Affiliate n of N has a share of clicks like 1/n (Zipf): the exponent of an even random number
# between 0 and ln N. The id's first 48 bits are the millisecond, as in the journal.
CLICKS = f"""
    INSERT INTO clicks (click_id, clicked_at, link_id, program_id, enrollment_id, visitor_id,
        visitor_known, is_unique, reason, deep_link_refused, address_hash, agent, referrer,
        deep_link, s1, device, creative, country)
    SELECT CAST(lpad(to_hex(ms), 12, '0') || '7' || substr(noise, 2, 3)
                || '8' || substr(noise, 6, 15)
                AS uuid),
           to_timestamp(ms / 1000.0), link_id, :program_id, rank, visitor,
           false, reason IS NULL AND chance < 0.9, reason, false, CAST(noise AS uuid),
           CASE WHEN mobile THEN '{AGENTS[1]}' ELSE '{AGENTS[0]}' END,
           'https://lamps.example/blog/best-lamps', NULL,
           CASE WHEN chance < 0.2 THEN 'place-' || CAST(chance * 250 AS int) END,
           CASE WHEN mobile THEN 'mobile' WHEN chance < 0.05 THEN 'tablet' ELSE 'desktop' END,
           CASE WHEN chance > 0.9 THEN 'banner-' || CAST((chance - 0.9) * 200 AS int) END,
           (ARRAY['RU','KZ','BY','DE','US','FR','IT','ES','PL','TR'])[1 + CAST(chance * 9 AS int)]
    FROM (SELECT ms, noise, chance, rank, gen_random_uuid() AS visitor,
                 rank + :affiliates * CAST(chance < 0.3 AS int) AS link_id,
                 get_byte(decode(noise, 'hex'), 0) < 128 AS mobile,
                 CASE WHEN dropped < 0.02 THEN 'duplicate' WHEN dropped < 0.07 THEN 'bot'
                      WHEN dropped < 0.09 THEN 'link_preview' END AS reason
          FROM (SELECT CAST(extract(epoch FROM :since) * 1000
                            + random() * :days * 86400000 AS bigint) AS ms,
                       md5(CAST(random() AS text) || n) AS noise, random() AS chance,
                       random() AS dropped,
                       CAST(floor(exp(random() * ln(:affiliates))) AS bigint) AS rank
                FROM generate_series(1, :clicks) n) AS drawn) AS shaped
"""
DAY = f"CAST(clicked_at AT TIME ZONE '{ZONE}' AS date)"
HOUR = f"date_trunc('hour', clicked_at, '{ZONE}')"
COUNTED = """
    count(*) FILTER (WHERE reason IS NULL), count(*) FILTER (WHERE is_unique),
    count(*) FILTER (WHERE reason = 'duplicate'), count(*) FILTER (WHERE reason <> 'duplicate')
"""
DEVICES = ", ".join(
    f"count(*) FILTER (WHERE reason IS NULL AND device = '{device}')"
    for device in ("desktop", "mobile", "tablet", "other")
)
NAMES = "clicks, uniques, duplicates, dropped"
VALUES = """
    (VALUES ('s1', s1), ('s2', s2), ('s3', s3), ('s4', s4), ('s5', s5),
            ('creative', creative), ('country', country)) AS v(kind, value)
"""
FILL = (
    f"INSERT INTO link_days (enrollment_id, day, link_id, program_id, {NAMES}, desktop, mobile, "
    f"tablet, other) SELECT enrollment_id, {DAY}, link_id, program_id, {COUNTED}, {DEVICES} "
    "FROM clicks GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3",
    f"INSERT INTO link_hours (enrollment_id, hour, link_id, {NAMES}) SELECT enrollment_id, {HOUR}, "
    f"link_id, {COUNTED} FROM clicks GROUP BY 1, 2, 3 ORDER BY 2, 1, 3",
    "INSERT INTO link_day_drops (enrollment_id, day, link_id, reason, clicks) SELECT "
    f"enrollment_id, {DAY}, link_id, reason, count(*) FROM clicks WHERE reason <> 'duplicate' "
    "GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3",
    "INSERT INTO link_day_values (enrollment_id, day, link_id, kind, value, clicks, uniques) "
    f"SELECT enrollment_id, {DAY}, link_id, kind, value, count(*), "
    f"count(*) FILTER (WHERE is_unique) FROM clicks CROSS JOIN LATERAL {VALUES} "
    "WHERE reason IS NULL AND value IS NOT NULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 1, 3",
    f"INSERT INTO program_days (program_id, day, {NAMES}, desktop, mobile, tablet, other) SELECT "
    "program_id, day, sum(clicks), sum(uniques), sum(duplicates), sum(dropped), sum(desktop), "
    "sum(mobile), sum(tablet), sum(other) FROM link_days GROUP BY 1, 2",
    f"INSERT INTO program_hours (program_id, hour, {NAMES}) SELECT {{program_id}}, hour, "
    "sum(clicks), sum(uniques), sum(duplicates), sum(dropped) FROM link_hours GROUP BY 2",
    "INSERT INTO program_day_drops (program_id, day, reason, clicks) SELECT {program_id}, day, "
    "reason, sum(clicks) FROM link_day_drops GROUP BY 2, 3",
    "INSERT INTO program_day_values (program_id, day, kind, value, clicks, uniques) SELECT "
    "{program_id}, day, kind, value, sum(clicks), sum(uniques) FROM link_day_values "
    "WHERE kind IN ('creative', 'country') GROUP BY 2, 3, 4",
)
ORDERS = (
    """
    CREATE TEMP TABLE bought AS
    SELECT row_number() OVER (ORDER BY clicked_at) AS n, click_id, clicked_at, enrollment_id,
           clicked_at + random() * interval '2 days' AS placed_at,
           1000000 * CAST(500 + random() * 9500 AS bigint) AS net
    FROM (SELECT click_id, clicked_at, enrollment_id FROM clicks WHERE reason IS NULL
          ORDER BY substr(CAST(click_id AS text), 25, 12) LIMIT :orders) AS picked
    """,
    """
    INSERT INTO orders (program_id, order_id, source, status, placed_at, received_at, currency,
        total_micros, discount_micros, tax_micros, tax_included, shipping_micros, fees_micros,
        credits_micros, net_micros, items, details, content_hash, evidence)
    SELECT :program_id, 'B-' || n, 'api', 'confirmed', placed_at, placed_at, 'RUB', net, 0, 0,
           true, 0, 0, 0, net, '[]', '{}', sha256(CAST(CAST(n AS text) AS bytea)),
           jsonb_build_object('server', jsonb_build_object('clicks', jsonb_build_array(
               repeat('EA2BAaH-k1GweWaW', 5))))
    FROM bought ORDER BY placed_at
    """,
    """
    INSERT INTO decisions (order_id, number, rule_version_id, outcome, shares, trace, snapshot,
        decided_at)
    SELECT o.id, 1, :version_id, 'attributed',
           jsonb_build_array(jsonb_build_object('enrollment_id', b.enrollment_id, 'weight', '1',
               'evidence', 'click_token', 'click_id', b.click_id, 'clicked_at', b.clicked_at)),
           jsonb_build_array(jsonb_build_object('check', 'window', 'outcome', 'won',
               'candidate', 'click_token', 'enrollment_id', b.enrollment_id)),
           jsonb_build_object('order', jsonb_build_object('placed_at', o.placed_at)), o.placed_at
    FROM bought b JOIN orders o ON o.order_id = 'B-' || b.n
    """,
    """
    INSERT INTO commissions (program_id, reference, decision, level, enrollment_id,
        via_enrollment_id, rule_version_id, currency, base_micros, rate_ppm, amount_micros, rule,
        trace, earned_at, available_at, released_at)
    SELECT :program_id, 'order:' || o.id, 1, level, CASE level WHEN 1 THEN b.enrollment_id ELSE
           1 + (b.enrollment_id + 1) % 100 END, CASE level WHEN 2 THEN b.enrollment_id END,
           :version_id, 'RUB', o.net_micros, rate, o.net_micros * rate / 1000000,
           CASE level WHEN 1 THEN 'default percent' ELSE 'recruiter' END,
           '[{"step": "base", "weight": "1"}, {"step": "level_1", "kind": "percent"}]',
           o.placed_at, o.placed_at + interval '14 days',
           CASE WHEN o.placed_at < :now - interval '14 days' THEN o.placed_at END
    FROM bought b JOIN orders o ON o.order_id = 'B-' || b.n
    CROSS JOIN (VALUES (1, 100000), (2, 20000)) AS levels(level, rate)
    WHERE level = 1
       OR b.enrollment_id % 2 = 0 AND 1 + (b.enrollment_id + 1) % 100 <> b.enrollment_id
    ORDER BY o.id
    """,
    "UPDATE commissions SET reversed_micros = amount_micros / 2 WHERE id % 20 = 0",
)


def fill(url: str, *, clicks: int, affiliates: int, days: int, orders: int) -> None:
    """Everything into an empty, migrated database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        session.execute(sa.text("SET synchronous_commit = off"))
        session.execute(sa.text("SET maintenance_work_mem = '512MB'"))
        session.execute(sa.text("SET work_mem = '256MB'"))
        values = _begin(session, affiliates, days) | {"clicks": clicks, "orders": orders}
        _insert_clicks(session, values)
        _fill_counters(session, values["program_id"])
        for statement in ORDERS:
            _run(session, statement, values)
        session.commit()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
        connection.execute(sa.text("CHECKPOINT"))
    engine.dispose()


def check_counters(url: str) -> int:
    """Load clicks through the loader, count them by the statements here, and compare.

    Returns how many rows of counters were compared; SystemExit where one differs.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program_id = _begin(session, 40, 3)["program_id"]
        session.commit()
        with psycopg.connect(libpq_url(url)) as connection:
            load_records(connection, scan(_records(), ended=True).records, {})
        kept = {name: _rows(session, name) for name in COUNTERS}
        for name in COUNTERS:
            session.execute(sa.text(f"DELETE FROM {name}"))
        _fill_counters(session, program_id)
        for name in COUNTERS:
            if _rows(session, name) != kept[name]:
                raise SystemExit(f"{name} is not what the loader writes")
        session.rollback()
    engine.dispose()
    return sum(map(len, kept.values()))


def add_up_all(url: str) -> int:
    """Let the job add up every order; how many runs it took."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    query = "SELECT added_order_id = (SELECT max(id) FROM orders) FROM order_sums_marks"
    runs = 0
    with Session(engine) as session:
        while not session.scalar(sa.text(query)):
            add_up(session)
            session.commit()
            runs += 1
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("order_days", "program_order_days", "order_changes"):
            connection.execute(sa.text(f"VACUUM ANALYZE {table}"))
    engine.dispose()
    return runs


def _begin(session: Session, affiliates: int, days: int) -> dict[str, Any]:
    program = create_program(
        session, slug="bench", name="Bench", currency="RUB", rail="manual", time_zone=ZONE,
        landing_url="https://shop.example/", allowed_sites=["shop.example"], by=None,
        terms_document=terms_document(), now=NOW - timedelta(days=days + 40),
    )  # fmt: skip
    session.flush()
    version = session.scalar(sa.text("SELECT max(id) FROM rule_versions"))
    values = {
        "program_id": program.id, "version_id": version, "affiliates": affiliates, "days": days,
        "now": NOW, "since": NOW - timedelta(days=days),
    }  # fmt: skip
    for statement in PEOPLE:
        _run(session, statement, values)
    for back in range(days // 28 + 2):
        ensure_partitions(session, now=NOW - timedelta(days=28 * back))
    return values


def _insert_clicks(session: Session, values: dict[str, Any]) -> None:
    """Without the indexes, which are then built as they were."""
    query = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'clicks' "
        "AND indexname <> 'pk_clicks'"
    )
    indexes = session.execute(sa.text(query)).all()
    for name, _definition in indexes:
        session.execute(sa.text(f"DROP INDEX {name}"))
    session.execute(sa.text("ALTER TABLE clicks DROP CONSTRAINT pk_clicks"))
    _run(session, CLICKS, values)
    session.execute(
        sa.text("ALTER TABLE clicks ADD CONSTRAINT pk_clicks PRIMARY KEY (click_id, clicked_at)")
    )
    for _name, definition in indexes:
        session.execute(sa.text(definition.replace(" ON ONLY ", " ON ")))


def _fill_counters(session: Session, program_id: int) -> None:
    for statement in FILL:
        session.execute(sa.text(statement.format(program_id=program_id)))


def _run(session: Session, statement: str, values: dict[str, Any]) -> None:
    used = {name: value for name, value in values.items() if f":{name}" in statement}
    session.execute(sa.text(statement), used)


def _rows(session: Session, table: str) -> list[tuple[Any, ...]]:
    found = session.execute(sa.text(f"SELECT * FROM {table}")).mappings()
    return sorted((tuple(sorted(row.items())) for row in found), key=repr)


def _records() -> bytes:
    """Journal records of three days, with repeats, drops, values and two kinds of agents."""
    chance, raw = random.Random(11), b""
    reasons = (None, None, None, None, DropReason.BOT, DropReason.LINK_PREVIEW)
    visitors = [secrets.token_bytes(16) for _ in range(200)]
    for _ in range(CHECK_CLICKS):
        at = NOW - timedelta(days=3) + timedelta(seconds=chance.randrange(3 * 86_400))
        click_id = tokens.new_click_id(int(at.timestamp() * 1000), secrets.token_bytes(10))
        texts = [chance.choice(AGENTS), "", "", chance.choice(("", "a", "b")), "", "", "", ""]
        texts += [chance.choice(("", "banner-1", "banner-2")), chance.choice(("", "RU", "DE"))]
        raw += encode(
            click_id, chance.randrange(1, 80), chance.choice(visitors), secrets.token_bytes(16),
            chance.choice(reasons), 0, "\0".join(texts).encode(),
        )  # fmt: skip
    return raw
