"""A receiver of webhooks: a real HTTP server that keeps what it was told and answers at will."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import sqlalchemy as sa
from served import replying, serving
from world import World

from affiliate.core import clock
from affiliate.webhooks import deliver
from affiliate.webhooks.endpoints import Owner, Wanted, create_endpoint
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookEvent
from affiliate.webhooks.rules import CHOSEN, OF_POSTBACKS


@dataclass
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Told:
    """Every helper commits what it did."""

    world: World
    url: str = ""
    status: int = 200
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b"thanks"
    requests: list[Request] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def serving(cls, world: World) -> Iterator[Told]:
        told = cls(world)
        with serving(told._take) as url:
            told.url = url
            yield told

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(length).decode()
        self.requests.append(Request(handler.command, handler.path, headers, body))
        replying(self.answer, self.status, **self.answer_headers)(handler)

    @property
    def owner(self) -> Owner:
        return Owner(self.world.program.id)

    def endpoint(
        self, *types: str, path: str = "/hook", url: str | None = None
    ) -> tuple[WebhookEndpoint, str]:
        """An endpoint of the ruble program; all types unless some are named."""
        made, secret = create_endpoint(
            self.world.session, owner=self.owner,
            wanted=Wanted(url or self.url + path, types or [each.value for each in CHOSEN]),
            settings=self.world.settings, actor="test", by=None, now=self.world.now,
        )  # fmt: skip
        self.world.session.commit()
        assert secret is not None
        return made, secret

    def postback(self, name: str, query: str, *types: str, method: str = "GET") -> WebhookEndpoint:
        """A postback of somebody to this server."""
        made, secret = create_endpoint(
            self.world.session,
            owner=Owner(self.world.program.id, self.world.people[name].enrollment.id),
            wanted=Wanted(
                f"{self.url}/postback?{query}", types or [each.value for each in OF_POSTBACKS],
                method=method,
            ),
            settings=self.world.settings, actor="test", by=None, now=self.world.now,
        )  # fmt: skip
        self.world.session.commit()
        assert secret is None
        return made

    def deliver(self) -> int:
        """Send what is due; how many attempts."""
        with self.world.app.app_context():
            return deliver.deliver_due(self.world.settings)

    def types(self) -> list[str]:
        """Of the messages that came, in their order."""
        return [request.message["type"] for request in self.requests]

    def later(self, **ago: float) -> None:
        """Let time go by for what waits: deliveries become due, endpoints have rested."""
        by = sa.literal(timedelta(**ago), sa.Interval)
        session = self.world.session
        session.execute(
            sa.update(WebhookDelivery).values(next_try_at=WebhookDelivery.next_try_at - by)
        )
        session.execute(
            sa.update(WebhookEndpoint).values(
                rests_until=WebhookEndpoint.rests_until - by,
                failing_since=WebhookEndpoint.failing_since - by,
                previous_until=WebhookEndpoint.previous_until - by,
            )
        )
        session.commit()

    def deliveries(self) -> Sequence[WebhookDelivery]:
        self.world.session.expire_all()
        return self.world.session.scalars(
            sa.select(WebhookDelivery).order_by(WebhookDelivery.id)
        ).all()

    def events(self) -> list[str]:
        self.world.session.expire_all()
        return list(
            self.world.session.scalars(sa.select(WebhookEvent.type).order_by(WebhookEvent.id))
        )


def real_now() -> datetime:
    return clock.real_now()
