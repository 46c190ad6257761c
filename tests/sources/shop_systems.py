"""Shop systems that send what they document, signed as they sign, to the real application."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
import secrets as random
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from affiliate.core import clock
from affiliate.core.db import db, session_for
from affiliate.people.models import Enrollment
from payouts.commissions.models import Commission
from tests.orders.shop_world import DAY, World
from tracker.clicks import tokens
from tracker.orders.models import Order
from tracker.sources import connect
from tracker.sources.follow import Following, follow_due
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import Kind
from tracker.sources.signatures import Scheme

PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SECRET = "a-secret-of-the-shop-0123456789abcdef"
STANDARD_SECRET = "whsec_" + b64encode(b"0123456789abcdef0123456789abcdef").decode()
_numbers = itertools.count(1)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


@dataclass
class Shop:
    """A source, its affiliate's click, and what the system sends."""

    world: World
    source: Source
    affiliate: Enrollment
    clicks: tuple[str, ...]
    secret: str = SECRET
    shifts: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return Kind(self.source.kind)

    @property
    def address(self) -> str:
        return f"/webhooks/shops/{connect.public(self.source.id)}"

    @property
    def click_id(self) -> str:
        """Of the click by which the buyer came."""
        keys = tokens.signing_keys(self.world.settings.keys("click-token"))
        read = tokens.read(self.clicks[-1], keys)
        assert isinstance(read, tokens.ClickToken)
        return str(read.click_id)

    def payload(self, name: str, **changes: Any) -> dict[str, Any]:
        """A recorded body, of yesterday; changes are of its top level, or of the event's object."""
        text = (PAYLOADS / self.kind.value / f"{name}.json").read_text(encoding="utf-8")
        moved = self.world.now - DAY - RECORDED
        text = _MOMENT.sub(lambda m: (datetime.fromisoformat(m[1]) + moved).isoformat(), text)
        text = re.sub(
            r"\b1[78]\d{8}\b", lambda m: str(int(m[0]) + int(moved.total_seconds())), text
        )
        text = text.replace("@CLICKS@", "|".join(self.clicks)).replace("@VISITOR@", "visitor-1")
        body: dict[str, Any] = json.loads(text.replace("@CLICK@", self.clicks[-1]))
        (body["data"]["object"] if self.kind is Kind.STRIPE else body).update(changes)
        return body

    def sends(self, body: Mapping[str, Any] | bytes | str, **more: Any) -> TestResponse:
        """The system's call; a text is a recorded body's name."""
        if isinstance(body, str):
            body = self.payload(body)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**signed(self.kind, raw, self.secret, self.source), **more.pop("headers", {})}
        client: FlaskClient = more.pop("client", self.world.client)
        return client.post(
            self.address, data=raw, content_type="application/json", headers=headers, **more
        )

    def tells(self, *bodies: Any, now: datetime | None = None) -> list[SourceDelivery]:
        """The calls one by one, each acted on; the deliveries as they stand."""
        for body in bodies:
            answer = self.sends(body)
            assert answer.status_code == 200, answer.text
            self.follow(now=now)
        return self.deliveries()

    def follow(self, *, now: datetime | None = None, real_now: datetime | None = None) -> int:
        with self.world.app.app_context():
            run = Following(
                session_for(db.engine),
                now=lambda _session: now or self.world.now,
                real_now=lambda: real_now or clock.real_now(),
            )
            return follow_due(run)

    def deliveries(self) -> list[SourceDelivery]:
        self.world.tick()
        return list(
            self.world.session.scalars(
                sa.select(SourceDelivery)
                .where(SourceDelivery.source_id == self.source.id)
                .order_by(SourceDelivery.id)
            )
        )

    def orders(self) -> list[Order]:
        self.world.tick()
        return list(self.world.session.scalars(sa.select(Order).order_by(Order.id)))

    @property
    def order(self) -> Order:
        [order] = self.orders()
        return order

    def earned(self) -> list[tuple[int, int, str | None]]:
        """(amount, taken back, waits for) of each live commission, in cents."""
        self.world.tick()
        rows = self.world.session.scalars(
            sa.select(Commission).where(Commission.voided_at.is_(None)).order_by(Commission.id)
        )
        return [
            (row.amount_micros // 10_000, row.reversed_micros // 10_000, row.waits_for)
            for row in rows
        ]


def signed(kind: Kind, raw: bytes, secret: str, source: Source) -> dict[str, str]:
    """The headers with which the system sends a body."""
    number = next(_numbers)
    plain = hmac.digest(secret.encode(), raw, "sha256")
    match kind:
        case Kind.SHOPIFY:
            return {
                "X-Shopify-Topic": "orders/updated",
                "X-Shopify-Hmac-SHA256": b64encode(plain).decode(),
                "X-Shopify-Shop-Domain": "lamps.myshopify.com",
                "X-Shopify-API-Version": "2025-10",
                "X-Shopify-Webhook-Id": f"b54557e4-bdd9-4b37-8a5f-{number:012}",
            }
        case Kind.WOOCOMMERCE:
            return {
                "X-WC-Webhook-Source": "https://shop.example/",
                "X-WC-Webhook-Topic": "order.updated",
                "X-WC-Webhook-Signature": b64encode(plain).decode(),
                "X-WC-Webhook-ID": "3",
                "X-WC-Webhook-Delivery-ID": hashlib.sha256(f"{number}".encode()).hexdigest()[:32],
            }
        case Kind.STRIPE:
            at = str(int(clock.real_now().timestamp()))
            mac = hmac.digest(secret.encode(), f"{at}.".encode() + raw, "sha256").hex()
            return {"Stripe-Signature": f"t={at},v0={'0' * 64},v1={mac}"}
        case Kind.GENERIC:
            return _generic(raw, secret, source, plain, number)


def _generic(raw: bytes, secret: str, source: Source, plain: bytes, number: int) -> dict[str, str]:
    if source.scheme == Scheme.STANDARD:
        at, id_ = str(int(clock.real_now().timestamp())), f"msg_{number}"
        key = b64decode(secret.removeprefix("whsec_"))
        mac = hmac.digest(key, f"{id_}.{at}.".encode() + raw, "sha256")
        return {
            "webhook-id": id_, "webhook-timestamp": at,
            "webhook-signature": f"v1,{b64encode(random.token_bytes(32)).decode()} "
            f"v1,{b64encode(mac).decode()}",
        }  # fmt: skip
    if source.scheme == Scheme.HMAC_HEX:
        return {source.header: f"sha256={plain.hex()}"}
    return {source.header: b64encode(plain).decode()}


def connect_shop(world: World, kind: Kind, **changes: Any) -> Shop:
    """A source of the world's program, whose buyer came by Anna's link two days ago."""
    anna = world.affiliate(f"anna-{kind.value}")
    token = world.click(world.link(anna), ago=timedelta(days=2))
    secret = changes.pop("secret", SECRET)
    with world.app.app_context():
        source, _ = connect.add_source(
            world.session, program_id=world.program.id, kind=kind, name="Shop", secret=secret,
            by="user:1", settings=world.settings, now=world.now,
            **({"header": "X-Signature"} if kind is Kind.GENERIC else {}) | changes,
        )  # fmt: skip
        world.session.commit()
    return Shop(world, source, anna, (token,), secret)
