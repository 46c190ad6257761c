"""A program, its affiliates and a shop with an API key, over the real application."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.links.models import Coupon, Link
from affiliate.people import api_keys, sent_keys
from affiliate.people.ids import public
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from tests.builders import make_affiliate, make_program, terms_document
from tracker.clicks import tokens
from tracker.clicks.models import Click
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.rules import DropReason
from tracker.orders import plain

DAY = timedelta(days=1)
VISITOR = bytes(range(16))


def rub(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "RUB"}


def email_sha256(email: str) -> str:
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


@dataclass
class World:
    """What a test of orders needs to exist, and the calls that it makes."""

    app: Flask
    settings: Settings
    client: FlaskClient
    session: Session
    now: datetime
    program: Program
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls, app: Flask, settings: Settings, client: FlaskClient, session: Session, **terms: Any
    ) -> World:
        now = datetime.now(UTC).replace(microsecond=0)
        program = make_program(session, now=now - 90 * DAY, terms_document=terms_document(**terms))
        session.commit()
        world = cls(app, settings, client, session, now, program)
        ensure_partitions(session, now=now)
        world.headers = world.key("orders:write", "orders:read")
        world.use(world.headers)
        return world

    def use(self, headers: dict[str, str]) -> None:
        """Let the key have reported an order just now: then plain orders are taken as such."""
        with self.app.app_context():
            sent = headers["Authorization"]
            now = clock.real_now()
            key = sent_keys.authenticate(self.session, authorization=sent, now=now)
            sent_keys.note_use(self.session, key_id=key.id, now=now + timedelta(minutes=1))
            self.session.commit()
            self.app.extensions[plain.EXTENSION].remember(sent, key)

    def key(self, *scopes: str, program: Program | None = None) -> dict[str, str]:
        _, key = api_keys.create_key(
            self.session,
            program_id=(program or self.program).id,
            scopes=scopes,
            name="shop",
            by=None,
            now=self.now,
        )
        self.session.commit()
        return {"Authorization": f"Bearer {key}"}

    def affiliate(self, name: str, *, recruiter: Enrollment | None = None) -> Enrollment:
        with self.app.app_context():
            made = make_affiliate(
                self.session,
                self.program,
                f"{name}@blog.example",
                now=self.now - 80 * DAY,
                recruiter_id=recruiter.id if recruiter else None,
            )
            self.session.commit()
        return made

    def link(self, enrollment: Enrollment, **columns: Any) -> Link:
        values = {
            "program_id": enrollment.program_id,
            "enrollment_id": enrollment.id,
            "code": secrets.token_hex(6),
            "destination": "https://shop.example/",
            "created_at": self.now - 70 * DAY,
            **columns,
        }
        link = Link(**values)
        self.session.add(link)
        self.session.commit()
        return link

    def coupon(self, enrollment: Enrollment, code: str, **columns: Any) -> Coupon:
        coupon = Coupon(
            program_id=enrollment.program_id,
            enrollment_id=enrollment.id,
            code=code,
            created_at=self.now - 70 * DAY,
            **columns,
        )
        self.session.add(coupon)
        self.session.commit()
        return coupon

    def click(
        self,
        link: Link,
        *,
        ago: timedelta = DAY,
        loaded: bool = True,
        reason: DropReason | None = None,
        visitor: bytes = VISITOR,
        unrecorded: bool = False,
    ) -> str:
        """A click; the token that its buyer carries to the shop."""
        at_ms = int((self.now - ago).timestamp() * 1000)
        click_id = tokens.new_click_id(at_ms, secrets.token_bytes(10))
        key = tokens.signing_keys(self.settings.keys("click-token"))[0]
        token = tokens.mint(key, click_id, link.id, visitor, unrecorded=unrecorded)
        if loaded:
            self.load(token, link, reason=reason)
        return token

    def load(self, token: str, link: Link, *, reason: DropReason | None = None) -> None:
        """The loader brings the row of a click."""
        keys = tokens.signing_keys(self.settings.keys("click-token"))
        read = tokens.read(token, keys)
        assert isinstance(read, tokens.ClickToken)
        self.session.execute(
            sa.insert(Click).values(
                click_id=read.click_id,
                clicked_at=read.clicked_at,
                link_id=link.id,
                program_id=link.program_id,
                enrollment_id=link.enrollment_id,
                visitor_id=read.visitor_id,
                visitor_known=False,
                is_unique=False,
                reason=reason and reason.value,
                deep_link_refused=False,
                address_hash=read.click_id,
                agent="Firefox",
                referrer="",
            )
        )
        self.session.commit()

    def order(self, order_id: str = "A-10042", **changes: Any) -> dict[str, Any]:
        """The contract's example: net 4490 - 290 - 700 = 3500."""
        body = {
            "order_id": order_id,
            "placed_at": self.now.isoformat(),
            "total": rub("4490.00"),
            "discount": rub("500.00"),
            "tax": rub("700.00"),
            "tax_included": True,
            "shipping": rub("290.00"),
            "items": [
                {
                    "sku": "LAMP-1",
                    "name": "Desk lamp",
                    "category": "lighting",
                    "quantity": 1,
                    "price": rub("4700.00"),
                }
            ],
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def post(self, body: Any, path: str = "", **kwargs: Any) -> TestResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(
            f"/api/v1/orders{path}",
            data=data,
            content_type="application/json",
            headers=kwargs.pop("headers", self.headers),
            **kwargs,
        )

    def get(self, order_id: str = "A-10042") -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/orders/{order_id}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def event(self, order: dict[str, Any], **envelope: Any) -> TestResponse:
        """What the pixel sends."""
        body = {"program": self.program.slug, "type": "order", "order": order, **envelope}
        return self.client.post("/v1/events", data=json.dumps(body), content_type="text/plain")

    def tick(self) -> None:
        """Let a job's session see what was committed."""
        self.session.expire_all()
        self.session.rollback()


def affiliates_of(order: dict[str, Any]) -> list[str]:
    return [commission["affiliate"] for commission in order["commissions"]]


def earned(order: dict[str, Any]) -> list[tuple[str, int, str, str, Any]]:
    """(affiliate, level, amount, status, waits_for) of each commission."""
    return [
        (c["affiliate"], c["level"], c["amount"]["amount"], c["status"], c["waits_for"])
        for c in order["commissions"]
    ]


def of(enrollment: Enrollment) -> str:
    return public(enrollment.id)
