"""Any shop's webhook, by a mapping: each field, each event, each refusal."""

from __future__ import annotations

from typing import Any

import pytest

from affiliate.core import clock
from affiliate.core.errors import Invalid
from tests.orders.shop_world import World
from tests.sources.shop_systems import STANDARD_SECRET, Shop, connect_shop
from tracker.sources import again, connect, generic
from tracker.sources.bodies import email_sha256, read
from tracker.sources.rules import Because, Cancel, Done, Ignored, Kind, Refund, Report, State
from tracker.sources.signatures import Scheme

STARTING = generic.mapping_of(generic.STARTING)


def body(**order: Any) -> dict[str, Any]:
    return {
        "id": "evt-1",
        "event": "order.paid",
        "order": {
            "id": "G-1", "placed_at": "2026-11-20T12:00:00+02:00", "currency": "eur",
            "total": "114.90", "tax": "18.17", "shipping": "5.90", "discount": "10.00",
            "customer": {"id": 17, "email": "sha256:" + "a" * 64},
            "kopeck_clicks": ["one", "two"], "kopeck_visitor": "visitor-1", "coupon": "ANNA10",
            "items": [{"sku": "LAMP-1", "name": "Lamp", "quantity": 2, "price": "59.50"}],
            **order,
        },
    }  # fmt: skip


def mapped(**changes: Any) -> generic.Mapping:
    fields = {**generic.STARTING["fields"], **changes.pop("fields", {})}
    return generic.mapping_of({**generic.STARTING, **changes, "fields": fields})


def test_every_field_comes_from_where_the_mapping_says() -> None:
    [step] = generic.read(body(), STARTING).steps  # type: ignore[union-attr]
    assert isinstance(step, Report)
    assert step.coupons == ("ANNA10",)
    eur = {"currency": "EUR"}
    assert step.document == {
        "order_id": "G-1", "placed_at": "2026-11-20T10:00:00+00:00",
        "total": {"amount": "114.90", **eur}, "discount": {"amount": "10.00", **eur},
        "tax": {"amount": "18.17", **eur}, "shipping": {"amount": "5.90", **eur},
        "items": [{"sku": "LAMP-1", "name": "Lamp", "quantity": 2,
                   "price": {"amount": "59.50", **eur}}],
        "clicks": ["one", "two"], "visitor": "visitor-1",
        "customer": {"id": "17", "email_sha256": "a" * 64},
    }  # fmt: skip


def test_numbers_are_read_exactly_and_never_as_floats() -> None:
    raw = b'{"event": "order.paid", "order": {"id": 1, "placed_at": 1795168800, "currency": "EUR",'
    found = read(raw + b' "total": 0.30}}')
    [step] = generic.read(found, STARTING).steps  # type: ignore[union-attr]
    assert step.document["total"] == {"amount": "0.30", "currency": "EUR"}
    with pytest.raises(Invalid):
        generic.read(read(raw + b' "total": 3e1}}'), STARTING)


def test_amounts_may_be_whole_smallest_units() -> None:
    told = body(total=11490, tax=1817, shipping=590, discount=0, items=None)
    [step] = generic.read(told, mapped(amounts="minor")).steps  # type: ignore[union-attr]
    assert step.document["total"] == {"amount": "114.90", "currency": "EUR"}


def test_events_say_what_a_body_is() -> None:
    refund = {**body(), "event": "order.refunded", "refund": {"id": "R-1", "amount": "-5.00"}}
    [step] = generic.read(refund, STARTING).steps  # type: ignore[union-attr]
    assert isinstance(step, Refund)
    assert step.document["amount"] == {"amount": "5.00", "currency": "EUR"}
    whole = {**refund, "refund": {"id": "R-2"}}
    assert "amount" not in generic.read(whole, STARTING).steps[0].document  # type: ignore[union-attr]
    gone = {**body(), "event": "order.cancelled"}
    assert isinstance(generic.read(gone, STARTING).steps[0], Cancel)  # type: ignore[union-attr]
    assert generic.read({**body(), "event": "cart.seen"}, STARTING) == Ignored(Because.OTHER_TOPIC)
    every = mapped(fields={"event": ""})
    assert isinstance(generic.read({**body(), "event": None}, every).steps[0], Report)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"id": None}, "order_id", "required"),
        ({"placed_at": None}, "placed_at", "required"),
        ({"placed_at": "2026-11-20T12:00:00"}, "placed_at", "not_a_moment"),
        ({"currency": None}, "currency", "required"),
        ({"currency": "XXX"}, "currency", "unknown_currency"),
        ({"total": None}, "total", "required"),
        ({"total": "1,50"}, "total", "not_a_decimal"),
        ({"total": "1.505"}, "total", "too_many_digits"),
        ({"tax": {"amount": 1}}, "tax", "not_a_decimal"),
        ({"items": "three"}, "items", "not_a_list"),
        ({"items": [{"sku": "A"}]}, "item_price", "required"),
    ],
)
def test_what_cannot_be_read_names_the_field_of_the_mapping(
    change: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        generic.read(body(**change), STARTING)
    assert (field, code) in {(each.field, each.code) for each in refused.value.errors}


@pytest.mark.parametrize("text", ["order.", "[", "order[?", "x" * 301, "@@@", "foo(bar)("])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        mapped(fields={"coupon": text})
    assert [(each.field, each.code) for each in refused.value.errors] == [
        ("coupon", "not_an_expression")
    ]


def test_a_mapping_has_to_say_what_every_order_needs() -> None:
    with pytest.raises(Invalid) as refused:
        generic.mapping_of({"fields": {}})
    assert [each.field for each in refused.value.errors] == [
        "order_id", "placed_at", "currency", "total",
    ]  # fmt: skip


def test_a_function_that_does_not_fit_the_body_is_told_beside_its_field() -> None:
    with pytest.raises(Invalid) as refused:
        generic.read(body(), mapped(fields={"total": "sum(order.coupon)"}))
    assert ("total", "does_not_fit") in {(e.field, e.code) for e in refused.value.errors}


def test_addresses_are_hashed_wherever_they_stand() -> None:
    found = read(b'{"a": " Anna@Example.com ", "b": {"c": ["write to anna@example.com, please"]}}')
    assert email_sha256(found["a"]) is not None
    assert found["b"]["c"] == ["write to …, please"]


@pytest.mark.parametrize("scheme", list(Scheme))
def test_each_way_of_signing_is_taken(world: World, scheme: Scheme) -> None:
    secret = {"secret": STANDARD_SECRET} if scheme is Scheme.STANDARD else {}
    shop = connect_shop(world, Kind.GENERIC, scheme=scheme, **secret)
    told = body(placed_at=world.now.isoformat(), kopeck_clicks="|".join(shop.clicks))
    told["order"]["customer"]["email"] = "Paula@Buyer.example"
    [delivery] = shop.tells(told)
    assert (delivery.state, delivery.results) == (State.DONE, [Done.REPORTED])
    assert "buyer.example" not in str(delivery.body).lower()
    # 114.90 - 5.90 - 18.17 = 90.83.
    assert shop.earned() == [(908, 0, None)]


def test_an_id_that_is_the_orders_number_loses_no_second_event(generic: Shop) -> None:
    told = body(placed_at=generic.world.now.isoformat(), kopeck_clicks="|".join(generic.clicks))
    told["id"] = told["order"]["id"]
    gone = {**told, "event": "order.cancelled"}
    generic.tells(told)
    assert generic.earned() == [(908, 0, None)]
    assert generic.tells(gone)[-1].results == [Done.CANCELLED]
    assert generic.earned() == []


def test_an_id_that_the_mapping_names_is_the_events(generic: Shop) -> None:
    world, mapping = generic.world, generic.source.mapping
    document = {**mapping, "fields": {**mapping["fields"], "delivery_id": "id"}}
    connect.set_mapping(
        world.session, source_id=generic.source.id, document=document, scheme=Scheme.HMAC_HEX,
        header="X-Signature", by="user:1", now=world.now,
    )  # fmt: skip
    world.session.commit()
    told = body(placed_at=world.now.isoformat())
    generic.tells(told, {**told, "try": 2})
    assert [each.delivery_id for each in generic.deliveries()] == ["evt-1"]


def test_a_body_without_an_id_is_known_by_its_bytes(generic: Shop) -> None:
    told = body(placed_at=generic.world.now.isoformat())
    del told["id"]
    generic.tells(told, told)
    assert [len(each.delivery_id) for each in generic.deliveries()] == [64]


def test_a_changed_mapping_reads_what_lay_refused(generic: Shop) -> None:
    told = {**body(placed_at=generic.world.now.isoformat()), "event": "order.paid"}
    told["order"]["sum"] = told["order"].pop("total")
    [delivery] = generic.tells(told)
    assert [each["field"] for each in delivery.errors] == ["total"]
    world = generic.world
    document = {**generic.source.mapping, "fields": {
        **generic.source.mapping["fields"], "total": "order.sum"}}  # fmt: skip
    connect.set_mapping(
        world.session, source_id=generic.source.id, document=document, scheme=Scheme.HMAC_HEX,
        header="X-Signature", by="user:1", now=world.now,
    )  # fmt: skip
    again.follow_again(world.session, delivery_id=delivery.id, by="user:1", now=world.now,
                       real_now=clock.real_now())  # fmt: skip
    world.session.commit()
    generic.follow()
    assert generic.deliveries()[0].results == [Done.REPORTED]
