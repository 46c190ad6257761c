"""The pages of shop systems: connect one, look at what it sent, map what nobody knows."""

from __future__ import annotations

import hmac
import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire
from world import World

from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.core.db import db, session_for
from tracker.orders.models import Order
from tracker.sources import connect, lookup
from tracker.sources.follow import Following, follow_due
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import Done, Kind

SECRET = "a-secret-of-the-shop-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the pages; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def add(who: Staff, kind: Kind, **more: str) -> Any:
    data = {"kind": kind.value, "name": "Our shop", "scheme": "hmac_hex", "header": "X-Signature",
            **more}  # fmt: skip
    return who.client.post("/manage/sources?program=demo", data=data)


def source_in(world: World) -> Source:
    world.session.rollback()
    return world.session.scalars(sa.select(Source)).one()


def page_of(source: Source, path: str = "") -> str:
    return f"/manage/sources/{connect.public(source.id)}{path}"


def send(world: World, source: Source, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    client = world.app.test_client()
    mac = hmac.digest(SECRET.encode(), raw, "sha256").hex()
    answer = client.post(
        f"/webhooks/shops/{connect.public(source.id)}", data=raw,
        headers={"X-Signature": mac, "Host": "127.0.0.1:8000"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    follow(world)


def follow(world: World) -> None:
    with world.app.app_context():
        follow_due(Following(session_for(db.engine), now=clock.now, real_now=clock.real_now))


def order(world: World, **changes: Any) -> dict[str, Any]:
    return {"id": "e-1", "event": "order.paid", "order": {
        "id": "G-1", "placed_at": world.now.isoformat(), "currency": "RUB", "total": "100.00",
        "items": [{"sku": "LAMP", "price": "100.00", "quantity": 1}], **changes}}  # fmt: skip


@pytest.mark.parametrize("kind", list(Kind))
def test_each_system_is_connected_by_its_own_steps(
    world: World, manager: Staff, kind: Kind
) -> None:
    listed = manager.client.get("/manage/sources?program=demo")
    assert "Nothing is connected" in listed.text
    form = manager.client.get(f"/manage/sources/new?kind={kind.value}&program=demo")
    assert form.status_code == 200
    answer = add(manager, kind)
    made_here = kind in (Kind.WOOCOMMERCE, Kind.GENERIC)
    assert answer.status_code == (201 if made_here else 303)
    source = source_in(world)
    shown = answer.text if made_here else manager.client.get(page_of(source)).text
    address = f"http://127.0.0.1:8000/webhooks/shops/{connect.public(source.id)}"
    assert address in shown
    topic = {Kind.SHOPIFY: "Refund create", Kind.WOOCOMMERCE: "Order deleted",
             Kind.STRIPE: "charge.dispute.closed", Kind.GENERIC: "by POST"}[kind]  # fmt: skip
    assert topic in shown
    assert ("Nothing is taken before the secret is set" in shown) is not made_here
    assert "Our shop" in manager.client.get("/manage/sources?program=demo").text


def test_who_gave_the_secret_is_not_asked_for_it_again(world: World, manager: Staff) -> None:
    for secret, asked in (("", True), (SECRET, False)):
        add(manager, Kind.STRIPE, secret=secret)
        said = manager.client.get("/manage/sources?program=demo").text
        assert "The address is ready." in said
        assert ("then set its secret here" in said) is asked


def test_a_made_secret_is_shown_once(world: World, manager: Staff) -> None:
    shown = add(manager, Kind.WOOCOMMERCE).text
    [secret] = set(re.findall(r'data-copy="([A-Za-z0-9_-]{43})"', shown))
    source = source_in(world)
    assert connect.secrets_of(source, world.settings, clock.real_now()) == [secret]
    assert secret not in manager.client.get(page_of(source)).text


def test_a_secret_is_set_rolled_and_ended(world: World, manager: Staff) -> None:
    add(manager, Kind.STRIPE)
    source = source_in(world)
    bad = manager.client.post(page_of(source, "/secret"), data={"secret": "short"})
    assert (bad.status_code, "at least 16 characters" in bad.text) == (422, True)
    for text in (SECRET, SECRET + "2"):
        answer = manager.client.post(page_of(source, "/secret"), data={"secret": text})
        assert answer.status_code == 303
    assert "Two secrets count until" in manager.client.get(page_of(source)).text
    manager.client.post(page_of(source, "/previous-secret/end"))
    assert source_in(world).previous_secret is None
    actions = world.session.scalars(
        sa.select(AuditEntry.action).where(AuditEntry.subject == f"source:{source.id}")
    ).all()
    assert actions == [
        "source.add", "source.set_secret", "source.set_secret", "source.end_previous_secret",
    ]  # fmt: skip
    logged = world.session.scalars(sa.select(AuditEntry.new)).all()
    assert SECRET not in str(logged)


def test_an_address_is_turned_off_and_on(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    manager.client.post(page_of(source, "/state"), data={"on": "no"})
    assert not source_in(world).is_on
    assert "it answers nobody" in manager.client.get(page_of(source)).text
    manager.client.post(page_of(source, "/state"), data={"on": "yes"})
    assert source_in(world).is_on


def test_promotion_codes_are_named(world: World, manager: Staff) -> None:
    add(manager, Kind.STRIPE)
    source = source_in(world)
    answer = manager.client.post(page_of(source, "/options"), data={"coupons": "promo_1"})
    assert (answer.status_code, "promo_1MtAnna = ANNA10" in answer.text) == (422, True)
    manager.client.post(page_of(source, "/options"), data={
        "takes_tests": "y", "coupons": "promo_1 = ANNA10\n\npromo_2=BORIS"})  # fmt: skip
    assert source_in(world).options == {
        "takes_tests": True, "coupons": {"promo_1": "ANNA10", "promo_2": "BORIS"},
    }  # fmt: skip


def test_what_came_is_listed_with_what_became_of_it(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    send(world, source, order(world))
    send(world, source, {**order(world), "id": "e-2", "event": "cart.seen"})
    send(world, source, {**order(world, id="G-2", total="1.0.0"), "id": "e-3"})
    shown = manager.client.get(page_of(source)).text
    for sentence in ("The order was taken.", "It is about something that earns nobody anything.",
                     "Some fields cannot be read."):  # fmt: skip
        assert sentence in shown
    refused = manager.client.get(page_of(source, "?state=refused")).text
    assert "The order was taken." not in refused
    [row] = world.session.scalars(
        sa.select(SourceDelivery).where(SourceDelivery.state == "refused")
    )
    detail = manager.client.get(page_of(source, f"/deliveries/{lookup.public(row.id)}")).text
    assert "<code>total</code>" in detail
    assert "decimal string" in detail
    assert "To look at" in manager.client.get("/manage/sources?program=demo").text


def test_a_held_order_is_taken_with_its_own_total(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    send(world, source, order(world, total="90.00"))
    [row] = world.session.scalars(sa.select(SourceDelivery))
    path = page_of(source, f"/deliveries/{lookup.public(row.id)}")
    assert "not taken before somebody has looked" in manager.client.get(path).text
    assert manager.client.post(f"{path}/acceptance").status_code == 303
    follow(world)
    world.session.rollback()
    assert world.session.scalars(sa.select(Order.total_micros)).all() == [90_000_000]
    again = manager.client.post(f"{path}/acceptance")
    assert (again.status_code, "somebody has already" in again.text) == (409, True)
    assert manager.client.post(f"{path}/repetition").status_code == 303
    follow(world)
    assert "It was known already." in manager.client.get(path).text


def test_a_refund_that_failed_late_asks_for_a_person_and_takes_their_word(
    world: World, manager: Staff
) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    send(world, source, order(world))
    world.session.execute(
        sa.update(SourceDelivery).values(state="held", because=Done.REFUND_FAILED.value)
    )
    world.session.commit()
    [row] = world.session.scalars(sa.select(SourceDelivery))
    path = page_of(source, f"/deliveries/{lookup.public(row.id)}")
    page = manager.client.get(path).text
    assert "by a correction, unless the buyer" in page
    assert "I have seen to it" in page
    assert "not taken before somebody" not in page
    assert manager.client.post(f"{path}/acceptance").status_code == 303


def test_a_mapping_is_tried_and_kept(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    body = order(world)
    body["order"]["sum"] = body["order"].pop("total")
    send(world, source, body)
    [row] = world.session.scalars(sa.select(SourceDelivery))
    form = fields(source)
    tried = manager.client.post(page_of(source, "/mapping"), data={
        **form, "what": "try", "against": lookup.public(row.id)})  # fmt: skip
    assert (tried.status_code, "1 field cannot be read." in tried.text) == (200, True)
    assert "Nothing stands there in this body." in tried.text
    form["total"] = "order.sum"
    tried = manager.client.post(page_of(source, "/mapping"), data={
        **form, "what": "try", "against": lookup.public(row.id)})  # fmt: skip
    assert "What it would be" in tried.text
    assert "100.00" in tried.text
    assert source_in(world).mapping["fields"]["total"] == "order.total"
    kept = manager.client.post(page_of(source, "/mapping"), data={**form, "what": "keep"})
    assert kept.status_code == 303
    assert source_in(world).mapping["fields"]["total"] == "order.sum"
    assert 'value="order.sum"' in manager.client.get(page_of(source, "/mapping")).text


def test_a_pasted_body_is_tried_and_forgotten(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    said = {**fields(source), "what": "try"}
    for body, expected in (
        (json.dumps(order(world, total="90.00")), "held for you"),
        (json.dumps({**order(world), "event": "order.cancelled"}), "The cancellation of the order"),
        (json.dumps({**order(world), "event": "order.refunded", "refund": {"id": "R-7"}}),
         "all that is left of the order"),
        (json.dumps(order(world, customer={"id": "with space"})), "1 field cannot be read."),
        ("nonsense", "no JSON"),
        ("", "Choose a body, or paste one."),
    ):  # fmt: skip
        answer = manager.client.post(page_of(source, "/mapping"), data={**said, "body": body})
        assert expected in answer.text, expected
    assert world.session.scalars(sa.select(SourceDelivery)).all() == []


def test_what_is_no_expression_stands_beside_its_field(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source = source_in(world)
    form = {**fields(source), "coupon": "order[", "placed_at": "", "what": "keep"}
    answer = manager.client.post(page_of(source, "/mapping"), data=form)
    assert answer.status_code == 422
    assert "This is no JMESPath expression." in answer.text
    assert "This has to be said." in answer.text
    bad = manager.client.post(page_of(source, "/mapping"), data={
        **fields(source), "header": "X Signature:", "what": "keep"})  # fmt: skip
    assert (bad.status_code, "Name the header" in bad.text) == (422, True)


def test_other_systems_have_no_mapping_and_unknown_kinds_no_form(
    world: World, manager: Staff
) -> None:
    add(manager, Kind.SHOPIFY)
    source = source_in(world)
    assert manager.client.get(page_of(source, "/mapping")).status_code == 404
    assert manager.client.get("/manage/sources/new?kind=other").status_code == 404
    assert manager.client.get(page_of(source, "/deliveries/dlv_nothing")).status_code == 404


def test_an_analyst_reads_and_changes_nothing(world: World, manager: Staff) -> None:
    add(manager, Kind.GENERIC, secret=SECRET)
    source, analyst = source_in(world), hire(world, "analyst")
    shown = analyst.client.get(page_of(source))
    assert (shown.status_code, "Set the secret" in shown.text) == (200, False)
    assert analyst.client.post(page_of(source, "/state"), data={"on": "no"}).status_code == 403
    assert analyst.client.get("/manage/sources/new?kind=shopify").status_code == 403


def fields(source: Source) -> dict[str, str]:
    said = source.mapping
    words = {name: said[name] for name in ("amounts", "orders", "refunds", "cancellations")}
    return {**said["fields"], **words, "scheme": source.scheme, "header": source.header}
