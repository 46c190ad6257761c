"""The two peers as Django projects on PostgreSQL: their databases, links, servers and rows.

Each has a database of its own on the same PostgreSQL as Kopeck, made by its own `migrate`,
and is served by granian as Kopeck is. The projects stand in bench/peers/projects; what had
to be decided about a peer is written in its settings and urls.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from affiliate.core.embedded.servers import Servers, create_database
from bench.fixtures import AGENT, CODE, DESTINATION
from bench.load import Request, wait_for
from bench.measuring import free_port, granian
from tracker.clicks.database import libpq_url

PROJECTS = Path(__file__).with_name("projects")
PINAX, AFFILIATE_SYSTEM = "pinax-referrals", "django-affiliate-system"
AFFILIATES = 200
"""As many as there are behind Kopeck's orders."""
CLICK = Request(f"/r/{CODE}/", {"User-Agent": AGENT})
_PURCHASE_BODY = json.dumps(
    {
        "referral_code": "%s",
        "event_type": "purchase",
        "is_conversion": True,
        "conversion_value": 4490.00,
        "metadata": {"order_id": "%s"},
    }
)
PURCHASE = Request(
    "/affiliates/referral-actions/track/",
    {"Content-Type": "application/json"},
    body=lambda number: _PURCHASE_BODY % (f"A{number % AFFILIATES + 1}", number),
    script=Path(__file__).with_name("purchases.lua"),
    environment={"BENCH_BODY": _PURCHASE_BODY, "BENCH_AFFILIATES": str(AFFILIATES)},
)
"""An affiliate's code and the value, the shortest form of the README's "Track a conversion"."""


@dataclass(frozen=True)
class Peer:
    """A Django project with a database, ready to be served."""

    name: str
    python: str
    environment: Mapping[str, str]
    database_url: str

    @contextmanager
    def served(
        self, *, threads: int, asked: Request, workers: int = 1
    ) -> Iterator[tuple[int, int]]:
        """Its granian: port and pid, once it answers."""
        port = free_port()
        with granian(
            "django.core.wsgi:get_wsgi_application",
            "--factory",
            port=port,
            workers=workers,
            threads=threads,
            environment=self.environment,
            python=self.python,
            folder=PROJECTS,
        ) as pid:
            wait_for(port, asked)
            yield port, pid

    def count(self, query: str) -> int:
        """One number out of its database."""
        with psycopg.connect(libpq_url(self.database_url)) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def analyze(self) -> None:
        """As autovacuum does it in a database in use."""
        with psycopg.connect(libpq_url(self.database_url), autocommit=True) as connection:
            connection.execute("ANALYZE")


def pinax_referrals(python: str, servers: Servers) -> Peer:
    """pinax-referrals with one link."""
    return _peer(PINAX, "pinax_project", python, servers, CODE, DESTINATION)


def affiliate_system(python: str, servers: Servers) -> Peer:
    """django-affiliate-system with one link, its affiliates and a rule for purchases."""
    seed = (CODE, DESTINATION, str(AFFILIATES))
    return _peer(AFFILIATE_SYSTEM, "affiliate_project", python, servers, *seed)


def _peer(name: str, project: str, python: str, servers: Servers, *seed: str) -> Peer:
    url = create_database(servers.database_url, f"bench_{project}")
    parts = make_url(url)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PYTHONPATH": str(PROJECTS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DJANGO_SETTINGS_MODULE": f"{project}.settings",
        "PEER_DATABASE_HOST": str(parts.query["host"]),
        "PEER_DATABASE_USER": str(parts.username),
        "PEER_DATABASE_NAME": str(parts.database),
    }
    for arguments in (("django", "migrate", "--verbosity", "0"), (f"{project}.seed", *seed)):
        done = subprocess.run(
            [python, "-m", *arguments],
            env=environment, cwd=PROJECTS, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"{name}: {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return Peer(name, python, environment, url)
