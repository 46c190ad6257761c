"""The address of a source: signatures, secrets, copies, and what a killed worker leaves."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from affiliate.core import clock
from affiliate.core.db import db, session_for
from affiliate.core.errors import Invalid
from tests.orders.shop_world import World
from tests.sources.shop_systems import STANDARD_SECRET, Shop, connect_shop, signed
from tracker.integration.models import RefusedCall
from tracker.integration.notebook import flush
from tracker.orders.keys import order_keys
from tracker.personal.customers import Buyer, erase_customer
from tracker.sources import again, connect, follow, secrets
from tracker.sources.checks import CHECKS
from tracker.sources.follow import Following, follow_due
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import Done, Kind, State
from tracker.sources.signatures import TOLERANCE_S, Scheme, is_signed
from tracker.sources.web import BODY_BYTES_MAX

OTHER = "another-secret-of-somebody-0123456789"


@pytest.fixture(params=list(Kind))
def shop(request: pytest.FixtureRequest, world: World) -> Shop:
    return connect_shop(world, request.param)


def body_of(shop: Shop) -> dict[str, Any]:
    names = {
        Kind.SHOPIFY: "orders_paid", Kind.WOOCOMMERCE: "order_processing",
        Kind.STRIPE: "checkout_session_completed",
    }  # fmt: skip
    if shop.kind is Kind.GENERIC:
        return {"id": "1", "event": "order.paid", "order": {
            "id": "G-1", "placed_at": shop.world.now.isoformat(), "currency": "EUR",
            "total": 12.5, "kopeck_clicks": list(shop.clicks)}}  # fmt: skip
    return shop.payload(names[shop.kind])


def wrong(shop: Shop, headers: dict[str, str]) -> list[dict[str, str]]:
    """Signatures of others, of nobody, cut, and of letters that are no ASCII."""
    [name] = [each for each in headers if each in (
        "X-Shopify-Hmac-SHA256", "X-WC-Webhook-Signature", "Stripe-Signature", "X-Signature",
    )]  # fmt: skip
    others = signed(shop.kind, json.dumps(body_of(shop)).encode(), OTHER, shop.source)
    return [{name: others[name]}, {name: ""}, {name: headers[name][:-3]}, {name: "t=1,v1=ÿ,é"}]


@pytest.mark.abuse("A38")
def test_what_is_not_signed_is_refused_and_not_stored(shop: Shop) -> None:
    raw = json.dumps(body_of(shop)).encode()
    headers = signed(shop.kind, raw, shop.secret, shop.source)
    for each in wrong(shop, headers):
        answer = shop.sends(raw, headers=each)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_signature"), each
    changed = raw.replace(b"EUR", b"USD").replace(b"eur", b"usd")
    assert changed != raw
    answer = shop.world.client.post(shop.address, data=changed, headers=headers)
    assert answer.status_code == 400
    assert shop.deliveries() == []


def test_a_signed_body_is_answered_at_once_and_acted_on_later(shop: Shop) -> None:
    answer = shop.sends(body_of(shop))
    assert (answer.status_code, answer.get_json()) == (200, {"received": True})
    [delivery] = shop.deliveries()
    assert (delivery.state, shop.orders()) == (State.WAITING, [])
    assert shop.follow() == 1
    assert [each.state for each in shop.deliveries()] == [State.DONE]
    assert len(shop.orders()) == 1


def test_a_source_that_is_off_or_that_nobody_made_is_not_there(shop: Shop) -> None:
    with shop.world.app.app_context():
        connect.set_on(shop.world.session, source_id=shop.source.id, is_on=False, by="user:1",
                       now=shop.world.now)  # fmt: skip
        shop.world.session.commit()
    assert shop.sends(body_of(shop)).status_code == 404
    client = shop.world.client
    assert client.post("/webhooks/shops/src_nobody", data=b"{}").status_code == 404
    assert client.post("/webhooks/shops/ord_nobody", data=b"{}").status_code == 404
    assert client.get(shop.address).status_code == 405


def test_the_programs_log_says_what_was_refused_and_why(shop: Shop) -> None:
    body, world = body_of(shop), shop.world
    unsigned = wrong(shop, signed(shop.kind, json.dumps(body).encode(), shop.secret, shop.source))
    for headers in unsigned[:2]:
        shop.sends(body, headers=headers)
    shop.sends(b"nonsense of Petrov's")
    assert shop.sends(body).status_code == 200
    assert shop.sends(b" " * (BODY_BYTES_MAX + 1)).status_code == 413
    with world.app.app_context():
        connect.set_on(world.session, source_id=shop.source.id, is_on=False, by="user:1",
                       now=world.now)  # fmt: skip
        world.session.commit()
    shop.sends(body)
    shop.world.client.post("/webhooks/shops/src_nobody", data=b"{}")
    flush(world.app)
    world.session.rollback()
    rows = world.session.scalars(sa.select(RefusedCall).order_by(RefusedCall.code)).all()
    calls: dict[tuple[str, int], int] = {}
    for row in rows:
        calls[row.code, row.status] = calls.get((row.code, row.status), 0) + row.calls
    assert calls == {("bad_signature", 400): 2, ("malformed", 400): 1, ("source_off", 404): 1,
                     ("request_entity_too_large", 413): 1}  # fmt: skip
    assert {(row.caller, row.route, row.program_id, row.fields) for row in rows} == {
        (connect.public(shop.source.id), "POST /webhooks/shops/<source>", world.program.id, "")
    }


@pytest.mark.parametrize("raw", [b"", b"[]", b"nonsense", b'"text"', b'{"a": NaN}', b"\xff{}",
                                 b'{"a": ' * 2_000 + b"1" + b"}" * 2_000])  # fmt: skip
def test_signed_garbage_is_no_order(shopify: Shop, raw: bytes) -> None:
    answer = shopify.sends(raw)
    assert answer.status_code == 400
    assert shopify.deliveries() == []


@pytest.mark.abuse("A5")
def test_what_the_database_cannot_hold_is_stored_without_it(generic: Shop) -> None:
    odd = {**body_of(generic), "note": "a\x00b", "name": "\ud800"}
    assert generic.sends(odd).status_code == 200
    [delivery] = generic.deliveries()
    assert delivery.body is not None
    assert (delivery.body["note"], delivery.body["name"]) == ("ab", "?")


def test_two_secrets_count_while_one_is_rolled(world: World, shopify: Shop) -> None:
    real_now = clock.real_now()
    with world.app.app_context():
        connect.set_secret(world.session, source_id=shopify.source.id, secret=OTHER, by="user:1",
                           settings=world.settings, now=world.now, real_now=real_now)  # fmt: skip
        world.session.commit()
    old, new = shopify.payload("orders_paid"), shopify.payload("orders_paid", number=2)
    assert shopify.sends(old).status_code == 200
    shopify.secret = OTHER
    assert shopify.sends(new).status_code == 200
    over = real_now + timedelta(days=connect.ROTATION_DAYS, seconds=1)
    source = world.session.get_one(Source, shopify.source.id)
    assert len(connect.secrets_of(source, world.settings, real_now)) == 2
    assert connect.secrets_of(source, world.settings, over) == [OTHER]
    connect.end_previous_secret(world.session, source_id=source.id, by="user:1", now=world.now)
    world.session.commit()
    assert connect.secrets_of(source, world.settings, real_now) == [OTHER]


def test_secrets_lie_encrypted_and_outlive_a_changed_key(world: World, shopify: Shop) -> None:
    assert shopify.source.secret is not None
    assert shopify.secret not in shopify.source.secret
    rolled = replace(world.settings, secrets=("n" * 40, *world.settings.secrets))
    assert secrets.opened(shopify.source.secret, rolled) == shopify.secret
    others = replace(world.settings, secrets=("n" * 40,))
    assert secrets.opened(shopify.source.secret, others) is None


@pytest.mark.parametrize("kind", [Kind.SHOPIFY, Kind.STRIPE])
def test_a_system_that_makes_its_own_secret_is_heard_once_it_was_pasted(
    world: World, kind: Kind
) -> None:
    shop = connect_shop(world, kind, secret="")
    shop.secret = OTHER
    assert shop.sends(body_of(shop)).status_code == 400
    said = {"source_id": shop.source.id, "by": "user:1", "settings": world.settings,
            "now": world.now, "real_now": clock.real_now()}  # fmt: skip
    for text in ("", "short", "ключ-который-не-ascii-букв"):
        with pytest.raises(Invalid) as refused:
            connect.set_secret(world.session, secret=text, **said)  # type: ignore[arg-type]
        assert refused.value.errors[0].field == "secret"
        world.session.rollback()
    connect.set_secret(world.session, secret=OTHER, **said)  # type: ignore[arg-type]
    world.session.commit()
    assert shop.sends(body_of(shop)).status_code == 200
    assert shop.source.previous_secret is None


def test_others_are_given_one(world: World) -> None:
    with world.app.app_context():
        source, made = connect.add_source(
            world.session, program_id=world.program.id, kind=Kind.WOOCOMMERCE, name="Woo",
            secret="", by="user:1", settings=world.settings, now=world.now,
        )  # fmt: skip
    assert made is not None
    assert source.secret is not None
    assert secrets.opened(source.secret, world.settings) == made


@pytest.mark.parametrize(("age_s", "believed"), [
    (0, True), (TOLERANCE_S, True), (TOLERANCE_S + 1, False), (-TOLERANCE_S - 1, False),
])  # fmt: skip
@pytest.mark.abuse("A14")
def test_a_signature_with_a_time_holds_five_minutes(age_s: int, *, believed: bool) -> None:
    now = clock.real_now().replace(microsecond=0)
    at, raw, secret = str(int(now.timestamp()) - age_s), b"{}", "whsec_test_secret_of_stripe"
    mac = hmac.digest(secret.encode(), f"{at}.".encode() + raw, "sha256").hex()
    stripe = {"Stripe-Signature": f"t={at},v1={'0' * 64},v1={mac}"}
    assert is_signed(Kind.STRIPE, raw=raw, headers=stripe, secrets=[secret], now=now) is believed
    key = b"0123456789abcdef0123456789abcdef"
    mac64 = b64encode(hmac.digest(key, f"id.{at}.".encode() + raw, "sha256")).decode()
    standard = {"webhook-id": "id", "webhook-timestamp": at, "webhook-signature": f"v1,{mac64}"}
    assert is_signed(
        Kind.GENERIC, raw=raw, headers=standard, secrets=[STANDARD_SECRET], now=now,
        scheme=Scheme.STANDARD,
    ) is believed  # fmt: skip


def test_no_secret_and_an_empty_one_verify_nothing() -> None:
    now = clock.real_now()
    headers = {"X-Shopify-Hmac-SHA256": b64encode(hmac.digest(b"", b"{}", "sha256")).decode()}
    for known in ([], [""]):
        assert not is_signed(Kind.SHOPIFY, raw=b"{}", headers=headers, secrets=known, now=now)


@pytest.mark.parametrize("step", ["taken", "acted", "committed"])
def test_a_worker_that_dies_anywhere_leaves_one_order(shopify: Shop, step: str) -> None:
    shopify.sends("orders_paid")
    world = shopify.world

    def die(at: str) -> None:
        if at == step:
            raise KeyboardInterrupt

    with world.app.app_context():
        run = Following(
            session_for(db.engine), now=lambda _s: world.now, real_now=clock.real_now, at=die
        )
        with pytest.raises(KeyboardInterrupt):
            follow_due(run)
    later = clock.real_now() + timedelta(minutes=2)
    assert shopify.follow(real_now=later) == (0 if step == "committed" else 1)
    [delivery] = shopify.deliveries()
    assert (delivery.state, delivery.results) == (State.DONE, [Done.REPORTED])
    assert shopify.earned() == [(908, 0, None)]


def test_something_of_ours_that_raises_is_tried_again_and_stops_no_other(
    shopify: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopify.sends("orders_paid")
    shopify.sends("orders_paid_taxes_on_top")
    real = follow.reading_of
    fails = shopify.payload("orders_paid")["id"]

    def broken(source: Source, body: Any) -> Any:
        if body["id"] == fails:
            raise RuntimeError("out of order")
        return real(source, body)

    monkeypatch.setattr(follow, "reading_of", broken)
    assert shopify.follow() == 2
    monkeypatch.undo()
    first, second = shopify.deliveries()
    assert (first.state, second.state) == (State.WAITING, State.DONE)
    assert "out of order" in (first.error or "")
    shopify.follow(real_now=clock.real_now() + timedelta(minutes=1))
    assert shopify.deliveries()[0].state == State.DONE


def test_a_held_order_is_taken_by_a_person_with_the_shops_total(shopify: Shop) -> None:
    shopify.tells(shopify.payload("orders_paid", total_price_set=None, total_price="130.00"))
    world, [held] = shopify.world, shopify.deliveries()
    real_now = clock.real_now()
    again.take_as_it_is(
        world.session, delivery_id=held.id, by="user:1", now=world.now, real_now=real_now
    )
    world.session.commit()
    shopify.follow()
    assert shopify.order.total_micros == 130_000_000
    with pytest.raises(again.NothingHeld):
        again.take_as_it_is(
            world.session, delivery_id=held.id, by="user:1", now=world.now, real_now=real_now
        )


def test_bodies_are_forgotten_after_a_month_and_rows_after_three(shopify: Shop) -> None:
    shopify.tells("orders_paid")
    world, real_now = shopify.world, clock.real_now()
    assert again.forget_bodies(world.session, real_now=real_now + timedelta(days=29)) == 0
    assert again.forget_bodies(world.session, real_now=real_now + timedelta(days=31)) == 1
    world.session.commit()
    [delivery] = shopify.deliveries()
    assert delivery.body is None
    with pytest.raises(again.BodyForgotten):
        again.follow_again(
            world.session, delivery_id=delivery.id, by="user:1", now=world.now, real_now=real_now
        )
    world.session.rollback()
    again.forget_bodies(world.session, real_now=real_now + timedelta(days=91))
    world.session.commit()
    assert shopify.deliveries() == []


@pytest.mark.parametrize("buyer", [
    Buyer("115310627314723954", None), Buyer(None, "Paula@buyer.example"),
])  # fmt: skip
@pytest.mark.abuse("A40")
def test_an_erased_buyer_takes_their_bodies_along(shopify: Shop, buyer: Buyer) -> None:
    shopify.tells("orders_paid", "refunds_create_partial", "orders_paid_taxes_on_top")
    world = shopify.world
    with world.app.app_context():
        erase_customer(
            world.session, program_id=world.program.id, buyer=buyer, keys=order_keys(), by="cli",
            now=world.now,
        )  # fmt: skip
        world.session.commit()
    assert [each.body is None for each in shopify.deliveries()] == [True, True, False]


def test_what_nobody_acts_on_alarms_after_an_hour(shopify: Shop) -> None:
    shopify.sends("orders_paid")
    world = shopify.world
    [check] = CHECKS

    def found() -> int:
        world.tick()
        real_now = {"real_now": clock.real_now()}
        return len(world.session.execute(sa.text(check.query), real_now).all())

    assert found() == 0
    world.session.execute(
        sa.update(SourceDelivery).values(received_at=clock.real_now() - timedelta(minutes=61))
    )
    world.session.commit()
    assert found() == 1
    assert "kopeck_source_deliveries_waiting 1.0" in world.client.get("/metrics").text
    shopify.follow()
    assert found() == 0
