"""Calls of a key, and a program that has one more of everything that lists show."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from affiliate.people import api_keys
from affiliate.people.ids import public
from affiliate.programs.models import Program
from affiliate.promo import creatives
from affiliate.promo.rules import Kind, Wording
from payouts.batches.models import Withdrawal
from tests.world import DAY, Person, World


class Caller:
    """A key and the calls that are made with it."""

    def __init__(self, world: World, secret: str) -> None:
        self.world, self.headers = world, {"Authorization": f"Bearer {secret}"}

    def __call__(self, path: str, method: str = "GET", **more: Any) -> TestResponse:
        """A call whose answer is read to its end, in a transaction that sees what was written."""
        self.world.session.rollback()
        client = self.world.app.test_client()
        return client.open(f"/api/v1{path}", method=method, headers=self.headers, **more)

    def get(self, path: str) -> Any:
        answer = self(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.get_json()

    def all_of(self, path: str, name: str, limit: int = 2) -> list[Any]:
        """Every row of a list, page by page."""
        seen: list[Any] = []
        after: str | None = None
        joint = "&" if "?" in path else "?"
        while True:
            more = "" if after is None else f"&after={after}"
            page = self.get(f"{path}{joint}limit={limit}{more}")
            seen += page[name]
            after = page["next"]
            if after is None:
                return seen


def caller(world: World, *scopes: str, program: Program | None = None) -> Caller:
    _, secret = api_keys.create_key(
        world.session, program_id=(program or world.program).id, scopes=scopes, name="shop",
        by=None, now=world.now,
    )  # fmt: skip
    world.session.commit()
    return Caller(world, secret)


def aff(person: Person) -> str:
    return public(person.enrollment.id)


def grow(world: World, shop: Caller, number: int) -> None:
    """One more of everything that lists show, of Anna's where it is an affiliate's."""
    name = f"Person {number}"
    world.affiliate(f"New {number}", approved=False)
    world.affiliate(name)
    world.coupon("Anna", f"CODE{number}")
    order = world.sale("Anna", "100.00", days_ago=40)
    world.sale(name, "100.00", days_ago=40)
    world.refund(order, "1.00")
    world.payee(name)
    world.release()
    world.withdraw(name, "1.00")
    creatives.add_creative(
        world.session, program_id=world.program.id, kind=Kind.TEXT, by=None, now=world.now,
        wording=Wording(name=name, body="Lamps"),
    )  # fmt: skip
    anna = world.people["Anna"]
    world.session.add(
        Withdrawal(
            enrollment_id=anna.enrollment.id, currency="RUB", amount_micros=1,
            requested_at=world.now, deadline_at=world.now, closed_at=world.now, outcome="returned",
        )
    )  # fmt: skip
    world.session.commit()
    placed = (world.now - DAY).isoformat()
    for path, body in (
        ("/leads", {"lead_id": f"L-{number}", "placed_at": placed}),
        ("/groups", {"name": name}),
        (f"/affiliates/{aff(anna)}/links", {}),
        ("/webhooks", {"url": "https://shop.example/hook", "types": ["order.created"]}),
        ("/orders", {
            "order_id": f"C-{number}", "placed_at": placed, "customer": {"id": "c-881"},
            "total": {"amount": "10.00", "currency": "RUB"},
        }),
    ):  # fmt: skip
        answer = shop(path, "POST", json=body)
        assert answer.status_code == 201, answer.text
    line = f"order_id,placed_at,total,currency\nI-{number},{placed},1.00,RUB\n"
    sent = shop("/orders/imports", "POST", data=line, content_type="text/csv")
    assert sent.status_code == 201
