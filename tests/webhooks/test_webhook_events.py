"""What is told, in which words, and that nothing is written where nobody listens."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from told import Told
from world import World

from affiliate.core.fields import moment_json
from affiliate.people import enrollments
from affiliate.people.ids import public
from affiliate.webhooks.models import WebhookEvent
from affiliate.webhooks.rules import CHOSEN, EventType
from payouts.batches.models import PayoutItem
from payouts.batches.reverse import reverse_item
from tests.desks.staff import earned, two_in_a_batch

FORBIDDEN = ("example.com", "DE89", "Anna", "email", "visitor", "customer")


def test_where_nobody_listens_nothing_is_written(world: World) -> None:
    earned(world, "Anna")
    world.cancel(world.sale("Anna", "100.00"))
    assert world.session.scalar(sa.select(sa.func.count(WebhookEvent.id))) == 0


def test_an_order_is_told_with_what_it_earned_in_the_order_of_what_happened(
    world: World, told: Told
) -> None:
    world.affiliate("Rita")
    anna = world.affiliate("Anna", recruiter="Rita")
    told.endpoint()
    order = world.sale("Anna", "4100.00", days_ago=1)
    assert told.deliver() == 3
    assert told.types() == ["order.created", "commission.earned", "commission.earned"]
    created, first, second = (request.message for request in told.requests)
    assert created["timestamp"] == moment_json(order.received_at)
    assert created["data"] == {
        "order_id": order.order_id, "status": "confirmed", "source": "api",
        "placed_at": moment_json(order.placed_at),
        "total": {"amount": "4100.00", "currency": "RUB"},
        "net": {"amount": "4100.00", "currency": "RUB"},
    }  # fmt: skip
    assert first["data"]["affiliate"] == public(anna.enrollment.id)
    assert (first["data"]["level"], second["data"]["level"]) == (1, 2)
    assert second["data"]["via"] == first["data"]["affiliate"]
    # A tenth of 4,100.00.
    assert first["data"]["amount"] == first["data"]["left"] == {
        "amount": "410.00", "currency": "RUB"
    }  # fmt: skip
    assert first["data"]["order_id"] == order.order_id and first["data"]["kind"] == "order"
    assert first["data"]["commission"].startswith("com_")


def test_refunds_and_a_cancellation_are_told_with_what_they_leave(world: World, told: Told) -> None:
    world.affiliate("Anna")
    order = world.sale("Anna", "1000.00", days_ago=1)
    told.endpoint()
    world.refund(order, "250.00")
    world.cancel(order)
    told.deliver()
    assert told.types() == [
        "order.refunded", "commission.reduced", "order.cancelled", "commission.voided",
    ]  # fmt: skip
    refunded, reduced, cancelled, voided = (request.message["data"] for request in told.requests)
    assert refunded["amount"] == {"amount": "250.00", "currency": "RUB"}
    # 100.00 earned, a quarter of it taken back.
    assert (reduced["amount"]["amount"], reduced["left"]["amount"]) == ("100.00", "75.00")
    assert cancelled["status"] == "cancelled"
    assert (voided["left"]["amount"], voided["reason"]) == ("0.00", "order_cancelled")


def test_a_release_a_withdrawal_and_its_payment_are_told(world: World, told: Told) -> None:
    told.endpoint()
    earned(world, "Anna")
    requested = world.withdraw("Anna", None)
    world.pay(requested)
    with world.app.app_context():
        reverse_item(
            world.session, item=world.session.get_one(PayoutItem, requested.item_id),
            amount=world.rub("10.00"), reference="back-1", reason="returned", now=world.now,
        )  # fmt: skip
        world.session.commit()
    assert told.events() == [
        "affiliate.applied", "affiliate.approved", "order.created", "commission.earned",
        "commission.released", "withdrawal.requested", "batch.approved", "payout.paid",
        "payout.returned",
    ]  # fmt: skip
    told.deliver()
    by_type = {request.message["type"]: request.message["data"] for request in told.requests}
    assert by_type["withdrawal.requested"]["amount"] == {"amount": "410.00", "currency": "RUB"}
    assert by_type["batch.approved"]["count"] == 1
    paid = by_type["payout.paid"]
    assert (paid["status"], paid["amount"]["amount"]) == ("paid", "410.00")
    assert paid["payout"].startswith("pay_") and paid["batch"].startswith("bat_")
    assert by_type["payout.returned"]["amount"]["amount"] == "10.00"
    sent = " ".join(request.body for request in told.requests)
    assert [word for word in FORBIDDEN if word in sent] == []


def test_the_steps_of_an_affiliate_are_told(world: World, told: Told) -> None:
    told.endpoint()
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris", approved=False)
    with world.app.app_context():
        of_anna = {"enrollment_id": anna.enrollment.id, "by": None, "now": world.now}
        enrollments.suspend(world.session, reason="Look", **of_anna)
        enrollments.reinstate(world.session, **of_anna)
        enrollments.close(world.session, **of_anna)
        enrollments.reject(
            world.session, enrollment_id=boris.enrollment.id, reason="No", by=None, now=world.now
        )
        world.session.commit()
    assert told.events() == [
        "affiliate.applied", "affiliate.approved", "affiliate.applied", "affiliate.suspended",
        "affiliate.reinstated", "affiliate.closed", "affiliate.rejected",
    ]  # fmt: skip


def test_an_endpoint_is_told_what_it_asked_for_and_of_its_own_program(
    world: World, told: Told
) -> None:
    told.endpoint("order.cancelled")
    world.affiliate("Anna")
    order = world.sale("Anna", "100.00")
    assert told.events() == []
    world.cancel(order)
    assert told.events() == ["order.cancelled"]


def test_two_endpoints_are_told_the_same_message_under_the_same_id(
    world: World, told: Told
) -> None:
    told.endpoint("order.created", path="/one")
    told.endpoint("order.created", path="/two")
    world.affiliate("Anna")
    world.sale("Anna", "100.00")
    assert told.deliver() == 2
    one, two = told.requests
    assert {one.path, two.path} == {"/one", "/two"}
    assert one.body == two.body
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]


def test_what_is_rolled_back_is_not_told(world: World, told: Told) -> None:
    told.endpoint()
    world.affiliate("Anna")
    before = told.events()
    with world.app.app_context():
        enrollments.suspend(
            world.session, enrollment_id=world.people["Anna"].enrollment.id, reason="Look",
            by=None, now=world.now,
        )  # fmt: skip
        world.session.rollback()
    assert told.events() == before


def test_a_batch_of_many_is_told_item_by_item(world: World, told: Told) -> None:
    told.endpoint("payout.failed", "payout.paid", "batch.approved")
    batch = two_in_a_batch(world)
    assert told.events() == []
    assert batch.status == "frozen"


@pytest.mark.parametrize("type_", CHOSEN)
def test_every_type_stands_in_the_document(type_: EventType) -> None:
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text(encoding="utf-8")
    assert f"| `{type_}` |" in text


def test_the_document_names_no_type_that_there_is_not() -> None:
    import re
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", text, re.MULTILINE)) == set(EventType)


def test_every_type_has_a_trigger_that_tells_it(world: World) -> None:
    triggers = " ".join(
        world.session.scalars(
            sa.text("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE '%_tell_%'")
        )
    )
    functions = " ".join(
        world.session.scalars(
            sa.text(
                "SELECT prosrc FROM pg_proc JOIN pg_trigger ON tgfoid = pg_proc.oid "
                "WHERE proname = 'tell_of_affiliate' OR proname LIKE 'tell\\_of\\_new\\_%'"
            )
        )
    )
    missing = [type_ for type_ in CHOSEN if f"'{type_}'" not in triggers + functions]
    assert missing == []


def test_numbers_of_rows_never_leave_the_house(world: World, told: Told) -> None:
    told.endpoint()
    earned(world, "Anna")
    told.deliver()
    for request in told.requests:
        data = json.loads(request.body)["data"]
        assert not [
            name for name, value in data.items()
            if isinstance(value, int) and name not in ("level", "number", "count")
        ]  # fmt: skip


def test_what_happens_a_moment_later_is_not_told_of_what_was_before(
    world: World, told: Told
) -> None:
    world.affiliate("Anna")
    world.sale("Anna", "100.00", at=world.now - timedelta(hours=3))
    told.endpoint()
    assert told.deliver() == 0
