"""Sales of a world, and a draft tried on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from affiliate.people.models import Enrollment
from affiliate.programs import terms_document as terms_of
from tests.builders import terms_document
from tests.orders.shop_world import DAY, World, rub
from tracker.replay.comparison import Comparison
from tracker.replay.history import Span
from tracker.replay.trial import trial

PERCENT = {"kind": "percent", "rate_ppm": 100_000}
TIERS = {
    "measure": "sales",
    "period": "year",
    "apply": "marginal",
    "bands": [{"from": "0", "rate_ppm": 100_000}, {"from": "1000.00", "rate_ppm": 200_000}],
}


def span_of(world: World, *, begins: datetime | None = None) -> Span:
    program = world.program
    return Span(
        program.id,
        program.currency,
        program.time_zone,
        begins or world.now - 400 * DAY,
        world.now + DAY,
    )


def tried(
    world: World,
    *,
    begins: datetime | None = None,
    commission: dict[str, Any] | None = None,
    attribution: dict[str, Any] | None = None,
    now: datetime | None = None,
) -> Comparison:
    """The draft's defaults are those of `make`."""
    document = terms_document()
    document["attribution"] |= attribution or {}
    document["commission"] = {"level_1": PERCENT, "level_2": None, **(commission or {})}
    world.tick()
    terms = terms_of.load(document, world.program.currency)
    span = span_of(world, begins=begins)
    if now is not None:
        span = replace(span, ends=now)
    return trial(world.session, span, terms, now=now or world.now)


def sold(
    world: World,
    order_id: str,
    total: str,
    *who: Enrollment,
    placed_at: datetime | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """An order with a click of each, the first one's the oldest."""
    before = world.now - (placed_at or world.now)
    tokens = [
        world.click(
            world.link(each),
            ago=before + timedelta(hours=2 + len(who) - n),
            visitor=bytes([n]) * 8 + each.id.to_bytes(8, "big"),
        )
        for n, each in enumerate(who)
    ]
    body = {
        "order_id": order_id,
        "total": rub(total),
        "clicks": tokens,
        "placed_at": (placed_at or world.now).isoformat(),
        **changes,
    }
    answer = world.post(body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def refunded(world: World, order_id: str, amount: str | None) -> None:
    body = {"refund_id": f"R-{order_id}-{amount}", **({"amount": rub(amount)} if amount else {})}
    answer = world.post(body, f"/{order_id}/refunds")
    assert answer.status_code == 201, answer.text


def cancelled(world: World, order_id: str) -> None:
    answer = world.post({"reason": "the buyer thought better of it"}, f"/{order_id}/cancellation")
    assert answer.status_code == 200, answer.text


def micros(amount: str) -> int:
    whole, _, part = amount.partition(".")
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))
