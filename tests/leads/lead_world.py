"""A program that pays for leads, and the calls of its shop."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core.config import Settings
from payouts.audit import run as audit
from tests.orders.shop_world import World

PER_LEAD = "150.00"
PERCENT = {"kind": "percent", "rate_ppm": 100_000}
ATTRIBUTION = {
    "model": "last_click",
    "window_days": 30,
    "coupon": "loses",
    "existing_customer": "pays",
    "self_purchase": "refuses",
}
Make = Callable[..., "Leads"]


class Leads(World):
    """`world.report(world.lead(clicks=[…]))` and what comes of it."""

    @classmethod
    def paying(
        cls,
        app: Flask,
        settings: Settings,
        client: FlaskClient,
        session: Session,
        *,
        commission: dict[str, Any] | None = None,
        attribution: dict[str, Any] | None = None,
    ) -> Leads:
        terms = {"level_1": PERCENT, "level_2": {"of": "sale", "rate_ppm": 20_000}}
        made = cls.build(
            app, settings, client, session,
            commission={**terms, "per_lead": PER_LEAD, **(commission or {})},
            attribution={**ATTRIBUTION, **(attribution or {})},
        )  # fmt: skip
        assert isinstance(made, Leads)
        made.lead_headers = made.key("leads:write", "leads:read")
        return made

    lead_headers: dict[str, str]

    def lead(self, lead_id: str = "L-1", **changes: Any) -> dict[str, Any]:
        body = {"lead_id": lead_id, "placed_at": self.now.isoformat(), **changes}
        return {name: value for name, value in body.items() if value is not None}

    def report(self, body: Any, path: str = "", **kwargs: Any) -> TestResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(
            f"/api/v1/leads{path}",
            data=data,
            content_type="application/json",
            headers=kwargs.pop("headers", self.lead_headers),
            **kwargs,
        )

    def reported(self, **changes: Any) -> dict[str, Any]:
        """A new lead; the answer."""
        answer = self.report(self.lead(**changes))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def show(self, lead_id: str = "L-1") -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/leads/{lead_id}", headers=self.lead_headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def sound(self) -> None:
        """Every check of the audit is silent."""
        self.tick()
        found = audit.run(self.session, audit.registered(self.app), real_now=self.now)
        assert found == []
