"""Orders while PostgreSQL or Valkey is away: servers of their own, stopped for real."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.embedded import servers as embedded
from affiliate.core.embedded.folders import make_private
from affiliate.core.migrate import upgrade
from tests.conftest import SECRET
from tests.faults.stage import Server
from tests.orders.shop_world import World, rub
from tracker.orders.models import Order, Refund


@dataclass
class Installation:
    """The application on servers that can be stopped."""

    postgres: Server
    valkey: Server
    world: World

    def count(self, model: type[Order] | type[Refund]) -> int:
        self.world.session.rollback()
        return self.world.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


@pytest.fixture
def installation() -> Iterator[Installation]:
    from wsgi import create_app

    with tempfile.TemporaryDirectory(prefix="kpk-outage-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        layout = embedded.prepare(make_private(folder / "data"), keep=False, base=folder)
        logs = make_private(folder / "logs")
        postgres, valkey = (Server(layout, each, logs) for each in ("postgres", "valkey"))
        postgres.start()
        valkey.start()
        try:
            upgrade(layout.database_url)
            settings = Settings.from_environ(
                {
                    "KOPECK_MODE": "test",
                    "DATABASE_URL": layout.database_url,
                    "REDIS_URL": layout.redis_url,
                    "KOPECK_SECRET": SECRET,
                    "KOPECK_TRUSTED_HOSTS": "127.0.0.1,localhost",
                    "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
                    "KOPECK_DATA_DIR": str(folder / "kopeck"),
                    "KOPECK_LOG_LEVEL": "CRITICAL",
                }
            )
            app = create_app(settings)
            client = app.test_client()
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            engine = sa.create_engine(layout.database_url, poolclass=sa.NullPool)
            with Session(engine) as session:
                yield Installation(postgres, valkey, World.build(app, settings, client, session))
            with app.app_context():
                db.engine.dispose()
        finally:
            postgres.stop(signal.SIGQUIT)
            valkey.stop(signal.SIGKILL)
            embedded.discard(layout, logs)


@pytest.mark.slow
def test_orders_are_taken_without_valkey_and_refused_cleanly_without_postgresql(
    installation: Installation,
) -> None:
    world = installation.world
    once = {"Idempotency-Key": "A-3"}
    installation.valkey.stop(signal.SIGKILL)
    for order_id in ("A-1", "A-2"):  # By the view, and plainly.
        answer = world.post(world.order(order_id))
        assert answer.status_code == 201, answer.text
    installation.postgres.stop(signal.SIGQUIT)
    refund = {"refund_id": "R-1", "amount": rub("90.00")}
    for refused in (
        world.post(world.order("A-3")),
        world.post(world.order("A-3"), headers=world.headers | once),
        world.post(refund, "/A-1/refunds"),
        world.client.get("/api/v1/orders/A-1", headers=world.headers),
    ):
        assert (refused.status_code, refused.get_json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.content_type == "application/problem+json"
    installation.postgres.start()
    answers = [world.post(world.order("A-3"), headers=world.headers | once) for _ in "12"]
    assert [each.status_code for each in answers] == [201, 201]
    assert world.post(world.order("A-3")).status_code == 200
    assert [world.post(refund, "/A-1/refunds").status_code for _ in "12"] == [201, 200]
    installation.valkey.start()
    assert world.post(world.order("A-4")).status_code == 201
    assert (installation.count(Order), installation.count(Refund)) == (4, 1)
