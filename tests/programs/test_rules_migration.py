"""Migration 0003 finds when people were let in and what they agreed to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from moments import NOW

from affiliate.core.embedded.servers import Servers, create_database, drop_database
from affiliate.core.migrate import alembic_config

ROWS = (
    "INSERT INTO users (email, fs_uniquifier, created_at) "
    "SELECT n || '@x.example', n, :now FROM generate_series(1, 4) n",
    "INSERT INTO affiliates (user_id, name, created_at) SELECT id, 'N', :now FROM users",
    "INSERT INTO programs (slug, name, currency, landing_url, allowed_sites, created_at) "
    "VALUES ('lamps', 'Lamps', 'RUB', 'https://x.example/', '{x.example}', :now)",
    "INSERT INTO rule_versions (program_id, number, terms, effective_at, announced_at, created_at) "
    "VALUES (1, 1, '{}', :now, :now, :now)",
    "INSERT INTO enrollments (program_id, affiliate_id, status, answers, applied_at, decided_at) "
    "SELECT 1, id, (ARRAY['active', 'suspended', 'applied', 'active'])[id], "
    "       CAST((ARRAY['{\"rule_version\": 1}', '{\"rule_version\": 7}', '{}', "
    "                   '{\"rule_version\": \"x\"}'])[id] AS jsonb), "
    "       :now, CAST(:now AS timestamptz) + interval '9 days' FROM affiliates",
    "INSERT INTO audit_log (at, actor, action, subject) VALUES "
    "(CAST(:now AS timestamptz) + interval '1 day', 'x', 'enrollment.approve', 'enrollment:2'), "
    "(CAST(:now AS timestamptz) + interval '5 days', 'x', 'enrollment.approve', 'enrollment:2')",
)  # fmt: skip


@pytest.fixture
def engine_of_before(servers: Servers) -> Iterator[sa.Engine]:
    """A database of the migration before, with people in it."""
    url = create_database(servers.database_url, "kopeck_before_0003")
    engine = sa.create_engine(url)
    command.upgrade(alembic_config(engine), "0002")
    with engine.begin() as connection:
        for row in ROWS:
            connection.execute(sa.text(row), {"now": NOW})
    yield engine
    engine.dispose()
    drop_database(url)


def test_what_is_known_of_people_becomes_facts(engine_of_before: sa.Engine) -> None:
    command.upgrade(alembic_config(engine_of_before), "0003")
    with engine_of_before.connect() as connection:
        let_in = connection.execute(
            sa.text("SELECT id, EXTRACT(day FROM approved_at - applied_at)::int FROM enrollments")
        ).all()
        answers = connection.execute(
            sa.text("SELECT enrollment_id, rule_version_id, answer, answered_by FROM rule_answers")
        ).all()
        differ = connection.execute(sa.text("SELECT versions_differ, notice_days FROM programs"))
        assert differ.one() == (False, 7)
    assert sorted(let_in) == [(1, 9), (2, 1), (3, None), (4, 9)]
    assert answers == [(1, 1, "accepted", 1)]
