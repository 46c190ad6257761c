"""A large book, made inside PostgreSQL by a few statements: affiliates, commissions, payouts.

The rows are what the verbs would have written, so that `kopeck audit` finds nothing in them.
Triggers and foreign keys are off while they are written (session_replication_role), which is
what makes five million entries a matter of a minute; the audit then says whether they are good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.migrate import upgrade
from affiliate.people.models import Grant, User
from affiliate.programs.models import Program, RuleVersion
from bench.shop import terms_document
from tracker.clicks.database import libpq_url

CURRENCY = "EUR"


@dataclass(frozen=True)
class Book:
    """What was made."""

    database_url: str
    program_id: int
    finance_id: int
    entries: int


def make_book(
    database_url: str, *, affiliates: int, commissions: int, batches: int, rail: str
) -> Book:
    """A program with so many affiliates, commissions of each, and paid batches of them all.

    Each commission was earned and, but for each tenth, released; each batch took the same from
    everybody and was paid. What is left of the released stays available.
    """
    upgrade(database_url)
    now = datetime.now(UTC).replace(microsecond=0)
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program_id, version_id, finance_id = _program(session, now, rail)
    values = {
        "affiliates": affiliates,
        "commissions": commissions,
        "program": program_id,
        "version": version_id,
        "finance": finance_id,
        "rail": rail,
        "currency": CURRENCY,
        "before": now - timedelta(days=60),
        "now": now,
    }
    with psycopg.connect(libpq_url(database_url)) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("SET LOCAL statement_timeout = 0")
        for statement in (*PEOPLE, *EARNED):
            connection.execute(statement, values)
        for number in range(1, batches + 1):
            for statement in PAID:
                connection.execute(statement, {**values, "number": number})
        for statement in AT_LAST:
            connection.execute(statement)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) FROM ledger_entries").fetchone()
    assert row is not None
    return Book(database_url, program_id, finance_id, int(row[0]))


def _program(session: Session, now: datetime, rail: str) -> tuple[int, int, int]:
    program = Program(
        slug="bench",
        name="Bench",
        currency=CURRENCY,
        landing_url="https://shop.example/",
        allowed_sites=["shop.example"],
        rail=rail,
        created_at=now - timedelta(days=7),
    )
    user = User(email="finance@bench.example", fs_uniquifier="finance", created_at=now)
    session.add_all([program, user])
    session.flush()
    version = RuleVersion(
        program_id=program.id,
        number=1,
        terms=terms_document(),
        effective_at=program.created_at,
        announced_at=program.created_at,
        created_at=program.created_at,
    )
    grant = Grant(user_id=user.id, program_id=program.id, role="finance", granted_at=now)
    session.add_all([version, grant])
    session.commit()
    return program.id, version.id, user.id


# Everybody has number n as user, affiliate and enrollment, from 1001 on; the accounts of
# enrollment n are 10 n (pending), 10 n + 1 (available) and 10 n + 2 (in payout).
_ALL = "generate_series(1001, 1000 + %(affiliates)s) AS n"
PEOPLE = (
    f"""
    INSERT INTO users (id, email, fs_uniquifier, created_at) OVERRIDING SYSTEM VALUE
    SELECT n, 'a' || n || '@blog.example', 'a' || n, %(before)s FROM {_ALL}
    """,
    f"""
    INSERT INTO affiliates (id, user_id, name, created_at) OVERRIDING SYSTEM VALUE
    SELECT n, n, 'Affiliate ' || n, %(before)s FROM {_ALL}
    """,
    f"""
    INSERT INTO enrollments (id, program_id, affiliate_id, status, answers, applied_at)
        OVERRIDING SYSTEM VALUE
    SELECT n, %(program)s, n, 'active', '{{}}', %(before)s FROM {_ALL}
    """,
    f"""
    INSERT INTO payee_accounts (affiliate_id, rail, destination, ready_at, created_at)
    SELECT n, %(rail)s, 'acct_bench' || n, %(before)s, %(before)s FROM {_ALL}
    """,
    f"""
    INSERT INTO ledger_accounts (id, kind, program_id, enrollment_id, currency)
        OVERRIDING SYSTEM VALUE
    SELECT 10 * n + k.place, k.kind, %(program)s, n, %(currency)s
    FROM {_ALL}, (VALUES (0, 'pending'), (1, 'available'), (2, 'in_payout')) AS k(place, kind)
    """,
    """
    INSERT INTO ledger_accounts (id, kind, program_id, rail, currency) OVERRIDING SYSTEM VALUE
    VALUES (1, 'expense', %(program)s, NULL, %(currency)s),
           (2, 'cash', %(program)s, %(rail)s, %(currency)s)
    """,
)
# Commission c of affiliate n earned between 1.00 and 6.99; of ten, nine are released.
_COMMISSION = """
    SELECT c, 1001 + c %% %(affiliates)s AS n, 1000000 + (c * 7919 %% 600) * 10000 AS amount,
           c / %(affiliates)s %% 10 = 9 AS held
    FROM generate_series(0, CAST(%(affiliates)s AS bigint) * %(commissions)s - 1) AS c
"""
EARNED = (
    f"""
    INSERT INTO commissions (id, program_id, reference, decision, level, enrollment_id,
        rule_version_id, currency, base_micros, rate_ppm, amount_micros, rule, trace, placed_at,
        earned_at, available_at, released_at) OVERRIDING SYSTEM VALUE
    SELECT c + 1, %(program)s, 'sale:' || c, 1, 1, n, %(version)s, %(currency)s, amount * 10,
        100000, amount, 'default percent', '[]', %(before)s, %(before)s,
        CASE WHEN held THEN %(now)s + interval '9 days' ELSE %(before)s END,
        CASE WHEN held THEN NULL ELSE %(before)s END
    FROM ({_COMMISSION}) AS made
    """,
    f"""
    INSERT INTO ledger_transactions (id, kind, reference, reason, occurred_at)
        OVERRIDING SYSTEM VALUE
    SELECT 2 * c + k.place, k.kind, k.kind || ':commission:' || c + 1, k.reason, %(before)s
    FROM ({_COMMISSION}) AS made,
         (VALUES (1, 'earn', 'earned'), (2, 'release', 'hold_over')) AS k(place, kind, reason)
    WHERE k.place = 1 OR NOT held
    """,
    f"""
    INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
    SELECT 2 * c + k.place, CASE WHEN k.account < 0 THEN 1 ELSE 10 * n + k.account END,
        %(currency)s, k.sign * amount
    FROM ({_COMMISSION}) AS made,
         (VALUES (1, -1, -1), (1, 0, 1), (2, 0, -1), (2, 1, 1)) AS k(place, account, sign)
    WHERE k.place = 1 OR NOT held
    """,
)
# Batch b pays 1.00 to everybody; its items and transactions come after all before it.
PAID = (
    """
    INSERT INTO payout_periods (program_id, currency, rail, key, due_at, drafted_at)
    SELECT %(program)s, %(currency)s, %(rail)s, 'bench ' || %(number)s,
        %(before)s + %(number)s * interval '1 day', %(before)s
    """,
    """
    INSERT INTO payout_batches (id, program_id, number, kind, period_id, currency, rail, status,
        created_at, frozen_at, hash, approved_by, approved_at, approved_hash,
        approved_total_micros, approved_count, approval_policy, done_at) OVERRIDING SYSTEM VALUE
    SELECT %(number)s, %(program)s, %(number)s, 'weekly', max(id), %(currency)s, %(rail)s, 'done',
        %(before)s, %(before)s, '', %(finance)s, %(before)s, '',
        CAST(%(affiliates)s AS bigint) * 1000000, %(affiliates)s, 'four_eyes', %(before)s
    FROM payout_periods
    """,
    f"""
    INSERT INTO ledger_transactions (id, kind, reference, reason, occurred_at)
        OVERRIDING SYSTEM VALUE
    SELECT 1000000000 + 2 * i.id + k.place, k.kind, k.kind || ':item:' || i.id, k.reason,
        %(before)s
    FROM (SELECT %(number)s * 10000000 + n AS id FROM {_ALL}) AS i,
         (VALUES (0, 'reserve', 'frozen_in_batch'), (1, 'settle', 'paid')) AS k(place, kind, reason)
    """,
    f"""
    INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
    SELECT 1000000000 + 2 * (%(number)s * 10000000 + n) + k.place,
        CASE WHEN k.account < 0 THEN 2 ELSE 10 * n + k.account END, %(currency)s, k.micros
    FROM {_ALL}, (VALUES (0, 1, -1000000), (0, 2, 1000000), (1, 2, -1000000), (1, -1, 1000000))
        AS k(place, account, micros)
    """,
    f"""
    INSERT INTO payout_items (id, batch_id, enrollment_id, currency, amount_micros, destination,
        status, reserve_transaction_id, settle_transaction_id, paid_at, finished_at)
        OVERRIDING SYSTEM VALUE
    SELECT i.id, %(number)s, i.n, %(currency)s, 1000000, 'acct_bench' || i.n, 'paid',
        1000000000 + 2 * i.id, 1000000000 + 2 * i.id + 1, %(before)s, %(before)s
    FROM (SELECT n, %(number)s * 10000000 + n AS id FROM {_ALL}) AS i
    """,
    """
    INSERT INTO payout_attempts (item_id, number, idempotency_key, params, request_hash,
        amount_micros, currency, destination, status, first_sent_at, last_tried_at, transfer_id,
        finished_at)
    SELECT id, 1, 'po:bench:' || id || ':1', CAST(told AS jsonb),
        encode(sha256(convert_to(told, 'UTF8')), 'hex'), amount_micros, currency, destination,
        'succeeded', %(before)s, %(before)s, 'tr_bench' || id, %(before)s
    FROM payout_items, LATERAL (
        SELECT '{"amount_micros":' || amount_micros || ',"attempt":1,"currency":"' || currency
            || '","destination":"' || destination || '","group":"kopeck_bench_batch_' || batch_id
            || '","installation":"bench","item_id":' || id || '}' AS told) AS as_python_writes_it
    WHERE batch_id = %(number)s
    """,
    # As payouts.batches.rules.batch_hash has it; destinations here are plain ASCII.
    """
    UPDATE payout_batches SET hash = whole.hash, approved_hash = whole.hash
    FROM (SELECT encode(sha256(convert_to('[' || string_agg(
              '[' || id || ',' || enrollment_id || ',' || amount_micros || ',"' || currency
              || '","' || destination || '",' || reserve_transaction_id || ']', ',' ORDER BY id)
              || ']', 'UTF8')), 'hex') AS hash
          FROM payout_items WHERE batch_id = %(number)s) AS whole
    WHERE id = %(number)s
    """,
)
AT_LAST = (
    """
    INSERT INTO ledger_balances (account_id, amount_micros)
    SELECT a.id, sum(e.amount_micros) FROM ledger_entries e
    JOIN ledger_accounts a ON a.id = e.account_id
    WHERE a.kind IN ('available', 'in_payout') GROUP BY a.id
    """,
    *(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) + 1 FROM {table}))"
        for table in (
            "users", "affiliates", "enrollments", "ledger_accounts", "commissions",
            "ledger_transactions", "payout_batches", "payout_items",
        )
    ),
)  # fmt: skip
