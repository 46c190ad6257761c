"""API v1: every resource as a shop's, a manager's and an affiliate's system reads and writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_babel import force_locale
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core import ids
from affiliate.core.audit import AuditEntry
from affiliate.core.config import Settings
from affiliate.core.outbox import Mail
from affiliate.people import api_keys
from affiliate.people.scope_words import SCOPE_WORDS
from affiliate.promo import creatives
from affiliate.promo.rules import Kind, Wording
from payouts.batches.models import Withdrawal
from payouts.commissions.models import Commission
from payouts.commissions.rows import Status, as_row
from tests.api.calls import Caller, aff, caller, grow
from tests.world import DAY, Person, World
from tracker.orders.models import Customer, Order, Refund

SHOP = tuple(api_keys.SCOPES)


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def shop(world: World) -> Caller:
    return caller(world, *SHOP)


def own(world: World, person: Person, *scopes: str) -> Caller:
    _, secret = api_keys.create_own_key(
        world.session, enrollment_id=person.enrollment.id, scopes=scopes or ("own:read",),
        name="sheet", by=person.user_id, now=world.now,
    )  # fmt: skip
    world.session.commit()
    return Caller(world, secret)


def actors(world: World, action: str) -> list[str]:
    world.session.rollback()
    found = world.session.scalars(
        sa.select(AuditEntry.actor).where(AuditEntry.action == action).order_by(AuditEntry.id)
    )
    return [actor.partition("_")[0] for actor in found]


def code_of(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every statement that SQLAlchemy sends meanwhile."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_every_scope_is_told_in_words_in_both_languages(app: Flask) -> None:
    assert set(SCOPE_WORDS) == set(api_keys.SCOPES)
    with app.test_request_context("/"):
        for scope, words in SCOPE_WORDS.items():
            with force_locale("ru"):
                russian = str(words)
            with force_locale("en"):
                assert str(words) != russian, scope


class TestApplications:
    def test_they_are_listed_with_what_was_told_and_approved(
        self, world: World, shop: Caller
    ) -> None:
        newcomers = [world.affiliate(name, approved=False) for name in ("New", "Newer", "Newest")]
        world.affiliate("Anna")
        found = shop.all_of("/applications", "applications")
        assert [each["id"] for each in found] == [aff(each) for each in newcomers]
        first = found[0]
        assert (first["status"], first["verified"]) == ("applied", True)
        assert set(first["answers"]) == {"channels", "how", "audience", "site", "rule_version"}
        assert shop.get(f"/applications/{first['id']}") == first
        answer = shop(f"/applications/{first['id']}/approval", "POST")
        assert (answer.status_code, answer.get_json()["status"]) == (200, "active")
        again = shop(f"/applications/{first['id']}/rejection", "POST", json={"reason": "Late"})
        assert code_of(again) == (409, "step_refused")
        assert actors(world, "enrollment.approve")[-1] == "key:kpk"
        active = shop.all_of("/applications?status=active", "applications")
        assert first["id"] in [each["id"] for each in active]

    def test_a_rejection_says_why_and_is_mailed(self, world: World, shop: Caller) -> None:
        newcomer = world.affiliate("New", approved=False)
        path = f"/applications/{aff(newcomer)}/rejection"
        for body in ({}, {"reason": ""}, {"reason": "x" * 1_001}, {"reason": 1}):
            assert shop(path, "POST", json=body).status_code == 422
        answer = shop(path, "POST", json={"reason": "We sell lamps."}).get_json()
        assert (answer["status"], answer["reason"]) == ("rejected", "We sell lamps.")
        mails = world.session.scalars(
            sa.select(Mail.template).where(Mail.recipient == "new@example.com")
        ).all()
        assert "application_rejected" in mails
        assert actors(world, "enrollment.reject") == ["key:kpk"]


class TestStanding:
    def test_an_affiliate_is_suspended_and_taken_back(self, world: World, shop: Caller) -> None:
        anna = aff(world.affiliate("Anna"))
        gone = shop(f"/affiliates/{anna}/suspension", "POST", json={"reason": "Spam"})
        assert (gone.get_json()["status"], gone.get_json()["reason"]) == ("suspended", "Spam")
        again = shop(f"/affiliates/{anna}/suspension", "POST", json={"reason": "Spam"})
        assert code_of(again) == (409, "step_refused")
        back = shop(f"/affiliates/{anna}/reinstatement", "POST")
        assert back.get_json()["status"] == "active"
        assert actors(world, "enrollment.suspend") == ["key:kpk"]

    def test_groups_are_made_and_filled(self, world: World, shop: Caller) -> None:
        anna = aff(world.affiliate("Anna"))
        made = shop("/groups", "POST", json={"name": "Bloggers"})
        assert (made.status_code, made.get_json()) == (201, {"name": "Bloggers", "members": 0})
        assert code_of(shop("/groups", "POST", json={"name": "bloggers"})) == (409, "group_taken")
        put = shop(f"/affiliates/{anna}/group", "PUT", json={"group": "Bloggers"})
        assert put.get_json()["group"] == "Bloggers"
        assert shop.get("/groups") == {"groups": [{"name": "Bloggers", "members": 1}]}
        unknown = shop(f"/affiliates/{anna}/group", "PUT", json={"group": "Nobody"})
        assert unknown.get_json()["errors"][0]["code"] == "unknown_group"
        none = shop(f"/affiliates/{anna}/group", "PUT", json={"group": None})
        assert none.get_json()["group"] is None
        assert actors(world, "group.create") == ["key:kpk"]
        assert actors(world, "enrollment.set_group") == ["key:kpk", "key:kpk"]

    def test_recruiters_change_without_a_circle(self, world: World, shop: Caller) -> None:
        anna, boris = aff(world.affiliate("Anna")), aff(world.affiliate("Boris"))

        def put(who: str, recruiter: str | None) -> TestResponse:
            body = {"recruiter": recruiter, "reason": "agreed"}
            return shop(f"/affiliates/{who}/recruiter", "PUT", json=body)

        assert put(anna, boris).get_json()["recruiter"] == boris
        assert code_of(put(boris, anna)) == (422, "recruiter_cycle")
        assert put(anna, "aff_zzzz").status_code == 422
        assert put(anna, None).get_json()["recruiter"] is None
        assert actors(world, "enrollment.set_recruiter")[-1] == "key:kpk"


class TestLinksAndCoupons:
    def test_links_of_all_are_listed_and_switched_off_for_good(
        self, world: World, shop: Caller
    ) -> None:
        people = [world.affiliate(name) for name in ("Anna", "Boris", "Carla")]
        found = shop.all_of("/links", "links")
        assert [each["affiliate"] for each in found] == [aff(each) for each in people[::-1]]
        mine = shop.get(f"/links?affiliate={aff(people[0])}")["links"]
        assert [each["affiliate"] for each in mine] == [aff(people[0])]
        link = mine[0]
        assert shop.get(f"/links?code={link['code']}")["links"] == [link]
        assert shop.get(f"/links/{link['id']}") == link
        off = shop(f"/links/{link['id']}/disabling", "POST").get_json()
        assert off["disabled_at"] is not None
        assert shop(f"/links/{link['id']}/disabling", "POST").get_json() == off
        assert actors(world, "link.disable") == ["key:kpk"]

    def test_a_coupon_is_given_found_and_ended(self, world: World, shop: Caller) -> None:
        anna = aff(world.affiliate("Anna"))
        until = (world.now + DAY).isoformat()
        made = shop(
            f"/affiliates/{anna}/coupons", "POST", json={"code": "anna10", "valid_until": until}
        )
        assert made.status_code == 201
        coupon = made.get_json()
        assert (coupon["code"], coupon["affiliate"]) == ("ANNA10", anna)
        taken = shop(f"/affiliates/{anna}/coupons", "POST", json={"code": "ANNA10"})
        assert code_of(taken) == (409, "coupon_taken")
        past = {"code": "OLD", "valid_until": (world.now - DAY).isoformat()}
        assert shop(f"/affiliates/{anna}/coupons", "POST", json=past).status_code == 422
        assert shop.get("/coupons?code=%20Anna10")["coupons"] == [coupon]
        assert shop.get(f"/coupons?affiliate={anna}")["coupons"] == [coupon]
        assert shop.get(f"/affiliates/{anna}/coupons")["coupons"] == [coupon]
        assert shop.get(f"/coupons/{coupon['id']}") == coupon
        off = shop(f"/coupons/{coupon['id']}/disabling", "POST").get_json()
        assert off["disabled_at"] is not None
        assert actors(world, "coupon.create") == ["key:kpk"]
        assert actors(world, "coupon.disable") == ["key:kpk"]


def test_programs_and_versions_of_their_rules(world: World, shop: Caller) -> None:
    slug = world.program.slug
    [program] = shop.get("/programs")["programs"]
    assert (program["slug"], program["currency"], program["rule_version"]) == (slug, "RUB", 1)
    assert shop.get(f"/programs/{slug}") == program
    [version] = shop.get(f"/programs/{slug}/rules")["versions"]
    assert shop.get(f"/programs/{slug}/rules/1") == version
    assert shop.get(f"/programs/{slug}/rules/in-force") == version
    past = (world.now - 300 * DAY).isoformat().replace("+00:00", "Z")
    assert shop.get(f"/programs/{slug}/rules/in-force?at={past}") == version
    for path in ("rules/2", "rules/99999999999999999999"):
        assert shop(f"/programs/{slug}/{path}").status_code == 404
    other = world.euros.slug
    for path in ("", "/rules", "/rules/1", "/rules/in-force"):
        assert shop(f"/programs/{other}{path}").status_code == 404


def test_creatives_are_listed_and_an_affiliate_gets_what_is_offered(
    world: World, shop: Caller
) -> None:
    anna = world.affiliate("Anna")
    made = [
        creatives.add_creative(
            world.session, program_id=world.program.id, kind=Kind.TEXT, by=None, now=world.now,
            wording=Wording(name=name, body="Lamps: {link}"),
        )
        for name in ("One", "Two", "Three")
    ]  # fmt: skip
    creatives.retire_creative(world.session, creative_id=made[0].id, by=None, now=world.now)
    world.session.commit()
    codes = [creatives.creative_code(each.id) for each in made]
    assert [each["id"] for each in shop.all_of("/creatives", "creatives")] == codes[::-1]
    assert [each["id"] for each in shop.get("/creatives?state=retired")["creatives"]] == codes[:1]
    assert shop.get("/creatives?kind=banner")["creatives"] == []
    one = shop.get(f"/creatives/{codes[1]}")
    assert (one["name"], one["body"], one["season"]) == ("Two", "Lamps: {link}", "now")
    offered = own(world, anna).all_of(f"/affiliates/{aff(anna)}/creatives", "creatives", limit=1)
    assert [each["id"] for each in offered] == [codes[2], codes[1]]


class TestOrders:
    def test_the_filters_hold_together(self, world: World, shop: Caller) -> None:
        anna = world.affiliate("Anna")
        world.affiliate("Boris")
        orders = [world.sale("Anna", "100.00", days_ago=days) for days in (4, 3, 2)]
        other = world.sale("Boris", "50.00", days_ago=1)
        nobodys = world.order("9.00", at=world.now - timedelta(hours=1))
        world.cancel(orders[0])

        def ids_of(query: str) -> list[str]:
            return [each["order_id"] for each in shop.all_of(f"/orders{query}", "orders")]

        by_id = [each.order_id for each in (*orders, other, nobodys)]
        assert ids_of("") == by_id[::-1]
        assert ids_of("?status=cancelled") == by_id[:1]
        assert ids_of("?credit=unattributed") == by_id[4:]
        assert ids_of(f"?affiliate={aff(anna)}") == [by_id[2], by_id[1]]
        begin = (world.now - timedelta(days=3)).isoformat().replace("+00:00", "Z")
        end = (world.now - timedelta(days=1)).isoformat().replace("+00:00", "Z")
        assert ids_of(f"?from={begin}&to={end}") == [by_id[2], by_id[1]]
        assert ids_of(f"?from={begin}&to={end}&status=cancelled") == []
        listed = shop.get("/orders?limit=2")["orders"][1]
        assert (listed["commission"], listed["outcome"]) == (
            {"amount": "5.00", "currency": "RUB"}, "attributed",
        )  # fmt: skip
        assert [each["weight"] for each in listed["shares"]] == ["1"]

    def test_what_changed_since_is_found_by_each_kind_of_change(
        self, world: World, shop: Caller
    ) -> None:
        world.affiliate("Anna")
        orders = {
            name: world.sale("Anna", "100.00", days_ago=20)
            for name in ("cancelled", "refunded", "reviewed", "confirmed", "decided", "nothing")
        }
        since = (world.now - DAY).isoformat().replace("+00:00", "Z")
        assert shop.get(f"/orders?updated_since={since}")["orders"] == []
        world.cancel(orders["cancelled"])
        world.refund(orders["refunded"], "10.00")
        rows = {name: each.id for name, each in orders.items()}
        for name, column in (("reviewed", "reviewed_at"), ("confirmed", "confirmed_at")):
            world.session.execute(
                sa.update(Order).where(Order.id == rows[name]).values({column: world.now})
            )
        world.session.execute(
            sa.text("UPDATE decisions SET number = 2, decided_at = :now WHERE order_id = :id"),
            {"now": world.now, "id": rows["decided"]},
        )
        world.session.commit()
        found = shop.all_of(f"/orders?updated_since={since}", "orders")
        changed = [each for name, each in orders.items() if name != "nothing"]
        assert {each["order_id"] for each in found} == {each.order_id for each in changed}

    def test_every_decision_is_told_with_its_trace(self, world: World, shop: Caller) -> None:
        world.affiliate("Anna")
        order = world.sale("Anna", "100.00")
        [told] = shop.get(f"/orders/{order.order_id}/attributions")["attributions"]
        assert (told["number"], told["outcome"], told["voided_at"]) == (1, "attributed", None)
        assert all(line["text"] for line in told["trace"])
        assert shop("/orders/A-0/attributions").status_code == 404
        assert shop("/orders/ä/attributions").status_code == 422

    def test_refunds_are_read_one_by_one_of_an_order_and_of_all(
        self, world: World, shop: Caller
    ) -> None:
        world.affiliate("Anna")
        first, second = world.sale("Anna", "100.00"), world.sale("Anna", "70.00")
        for order, amount in ((first, "10.00"), (first, "20.00"), (second, "7.00")):
            world.refund(order, amount)
        every = shop.all_of("/refunds", "refunds")
        assert [each["amount"]["amount"] for each in every] == ["7.00", "20.00", "10.00"]
        of_first = shop.all_of(f"/orders/{first.order_id}/refunds", "refunds", limit=1)
        assert of_first == every[1:]
        one = every[2]
        path = f"/orders/{first.order_id}/refunds/{one['refund_id']}"
        assert shop.get(path) == one
        assert shop(f"/orders/{second.order_id}/refunds/{one['refund_id']}").status_code == 404
        assert shop("/orders/A-0/refunds").status_code == 404
        later = (world.now + DAY).isoformat().replace("+00:00", "Z")
        assert shop.get(f"/refunds?from={later}")["refunds"] == []
        assert len(shop.get(f"/refunds?to={later}")["refunds"]) == 3

    def test_odd_filters_are_refused(self, shop: Caller) -> None:
        for query in ("status=x", "credit=1", "affiliate=anna", "from=today", "after=ord_", "q=1"):
            assert shop(f"/orders?{query}").status_code == 422, query


def test_leads_are_listed(world: World, shop: Caller) -> None:
    world.affiliate("Anna")
    placed = world.now.isoformat()
    for number, kind in enumerate(("inquiry", "inquiry", "call")):
        body = {"lead_id": f"L-{number}", "placed_at": placed, "kind": kind}
        assert shop("/leads", "POST", json=body).status_code == 201
    assert shop("/leads/L-0/cancellation", "POST").status_code == 200

    def found(query: str = "") -> list[str]:
        return [each["lead_id"] for each in shop.all_of(f"/leads{query}", "leads")]

    assert found() == ["L-2", "L-1", "L-0"]
    assert found("?kind=inquiry") == ["L-1", "L-0"]
    assert found("?status=cancelled") == ["L-0"]
    later = (world.now + DAY).isoformat().replace("+00:00", "Z")
    assert found(f"?from={later}") == []
    assert found(f"?to={later}&kind=call") == ["L-2"]


class TestCommissions:
    def test_they_are_filtered_as_their_status_is_reckoned(
        self, world: World, shop: Caller
    ) -> None:
        world.affiliate("Boris")
        anna = world.affiliate("Anna", recruiter="Boris")
        orders = [world.sale("Anna", "100.00", days_ago=days) for days in (40, 5, 4, 3)]
        world.release()
        world.refund(orders[1], None)
        world.cancel(orders[2])
        world.session.rollback()
        rows = [as_row(row) for row in world.session.scalars(sa.select(Commission))]
        assert {row.status for row in rows} >= {
            Status.PENDING, Status.AVAILABLE, Status.REVERSED, Status.VOIDED,
        }  # fmt: skip
        for status in Status:
            found = shop.all_of(f"/commissions?status={status.value}", "commissions")
            of_status = [ids.public_id("com", row.id) for row in rows if row.status is status]
            assert sorted(each["id"] for each in found) == sorted(of_status), status
        firsts = shop.all_of(f"/commissions?affiliate={aff(anna)}&level=1", "commissions")
        assert len(firsts) == 4
        assert {each["affiliate"] for each in firsts} == {aff(anna)}
        later = (world.now + DAY).isoformat().replace("+00:00", "Z")
        assert shop.get(f"/commissions?from={later}")["commissions"] == []

    def test_one_is_told_step_by_step(self, world: World, shop: Caller) -> None:
        world.affiliate("Anna")
        order = world.sale("Anna", "100.00")
        world.refund(order, "50.00")
        [row] = shop.get("/commissions")["commissions"]
        told = shop.get(f"/commissions/{row['id']}")
        assert (told["source"], told["rule_version"]) == (order.order_id, 1)
        assert told["steps"]
        assert [each["amount"]["amount"] for each in told["taken_back"]] == ["5.00"]


class TestCustomers:
    def buyer(self, shop: Caller, world: World, number: int = 1) -> str:
        body = {
            "order_id": f"C-{number}", "placed_at": world.now.isoformat(),
            "total": {"amount": "10.00", "currency": "RUB"},
            "customer": {"id": "c-881", "email_sha256": "ab" * 32},
            "metadata": {"name": "Petrov"},
        }  # fmt: skip
        answer = shop("/orders", "POST", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["order_id"])

    def test_a_buyer_is_found_by_the_shops_id_with_their_orders(
        self, world: World, shop: Caller
    ) -> None:
        for number in range(3):
            self.buyer(shop, world, number)
        found = shop.get("/customers/c-881")
        assert found["first_ordered_at"] is not None
        assert found["bound_to"] is None
        orders = shop.all_of("/customers/c-881", "orders")
        assert [each["order_id"] for each in orders] == ["C-2", "C-1", "C-0"]
        assert code_of(shop("/customers/c-882")) == (404, "no_such_customer")

    def test_an_erasure_takes_the_name_and_leaves_the_order(
        self, world: World, shop: Caller
    ) -> None:
        order_id = self.buyer(shop, world)
        for body in ({}, {"customer_id": None}, {"email": ""}, {"customer_id": "ä"}, {"id": "c"}):
            assert shop("/customers/erasures", "POST", json=body).status_code == 422, body
        done = shop("/customers/erasures", "POST", json={"customer_id": "c-881"})
        assert done.get_json() == {"customers": 1, "orders": 1, "leads": 0}
        again = shop("/customers/erasures", "POST", json={"customer_id": "c-881"})
        assert code_of(again) == (404, "no_such_customer")
        assert shop("/customers/c-881").status_code == 404
        kept = shop.get(f"/orders/{order_id}")
        assert (kept["total"]["amount"], kept["metadata"]) == ("10.00", {})
        assert world.session.scalars(sa.select(Customer.shop_id)).all() == [None]
        assert actors(world, "customer.erase") == ["key:kpk"]


class TestMoney:
    def test_withdrawals_and_balances_of_everybody(self, world: World, shop: Caller) -> None:
        people = [world.affiliate(name) for name in ("Anna", "Boris", "Carla")]
        for person in people:
            world.sale(person.name, "100.00", days_ago=40)
            world.payee(person.name)
        world.release()
        done = [world.withdraw(person.name, "1.00") for person in people]
        found = shop.all_of("/withdrawals", "withdrawals")
        assert [each["affiliate"] for each in found] == [aff(each) for each in people[::-1]]
        first = found[-1]
        assert first["id"] == ids.public_id("wd", done[0].withdrawal_id)
        assert (first["status"], first["amount"]["amount"]) == ("open", "1.00")
        assert shop.get(f"/withdrawals/{first['id']}") == first
        assert shop.get(f"/withdrawals?affiliate={first['affiliate']}")["withdrawals"] == [first]
        world.session.execute(
            sa.update(Withdrawal)
            .where(Withdrawal.id == done[0].withdrawal_id)
            .values(closed_at=world.now, outcome="paid")
        )
        world.session.commit()
        [paid] = shop.get("/withdrawals?status=paid")["withdrawals"]
        assert paid["id"] == first["id"]
        assert len(shop.get("/withdrawals?status=open")["withdrawals"]) == 2
        balances = shop.all_of("/balances", "balances")
        assert [each["affiliate"] for each in balances] == [aff(each) for each in people]
        assert {each["in_payout"]["amount"] for each in balances} == {"1.00"}
        alone = shop.get(f"/affiliates/{aff(people[0])}/balance")
        assert alone["available"] == balances[0]["available"]

    def test_statements_are_listed_summed_and_taken_as_files(
        self, world: World, shop: Caller
    ) -> None:
        anna = world.affiliate("Anna")
        world.sale("Anna", "100.00", days_ago=40)
        world.sale("Anna", "50.00", days_ago=0)
        path = f"/affiliates/{aff(anna)}/statements"
        for reader in (shop, own(world, anna)):
            months = reader.get(path)["statements"]
            assert world.month() in [each["period"] for each in months]
            shown = reader.get(f"{path}/{world.month()}")
            assert shown["complete"] is False
            opening, closing = shown["opening"]["owed"], shown["closing"]["owed"]
            assert (opening["amount"], closing["amount"]) == ("10.00", "15.00")
            assert shown["earned"]["amount"] == "5.00"
            csv = reader(f"{path}/{world.month()}.csv")
            assert (csv.status_code, csv.mimetype) == (200, "text/csv")
            assert shown["files"]["csv"].endswith(f"{path}/{world.month()}.csv")
            assert len(csv.get_data().splitlines()) == shown["lines"] + 3
            pdf = reader(f"{path}/{world.month()}.pdf")
            assert pdf.get_data().startswith(b"%PDF")
            assert reader(f"{path}/{world.month()}.xlsx").status_code == 200
            for bad in ("2026-13", "2999-01", "x", "x.csv"):
                assert reader(f"{path}/{bad}").status_code == 404, bad


class TestOwnKeys:
    """What is their owner's, and nothing of a buyer."""

    def test_orders_show_what_they_brought_and_no_buyer(self, world: World) -> None:
        boris = world.affiliate("Boris")
        anna = world.affiliate("Anna", recruiter="Boris")
        order = world.sale("Anna", "100.00")
        world.session.execute(
            sa.update(Order)
            .where(Order.id == order.id)
            .values(details={"name": "Petrov"}, coupon="PETROV")
        )
        world.session.commit()
        for person, level in ((anna, 1), (boris, 2)):
            answer = own(world, person)(f"/affiliates/{aff(person)}/orders")
            [shown] = answer.get_json()["orders"]
            assert (shown["order_id"], shown["level"]) == (order.order_id, level)
            assert ("net" in shown) == (level == 1)
            assert "PETROV" not in answer.text.upper()
            assert "customer" not in answer.text

    def test_single_things_are_their_owners_alone(self, world: World, shop: Caller) -> None:
        anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
        for person in (anna, boris):
            world.sale(person.name, "100.00", days_ago=40)
            world.payee(person.name)
        world.release()
        for person in (anna, boris):
            world.withdraw(person.name, "1.00")
        reader = own(world, anna)
        for path, name in (
            ("/links", "links"), ("/withdrawals", "withdrawals"), ("/commissions", "commissions"),
        ):  # fmt: skip
            mine = shop.get(f"{path}?affiliate={aff(anna)}")[name]
            theirs = shop.get(f"{path}?affiliate={aff(boris)}")[name]
            assert reader(f"{path}/{mine[0]['id']}").status_code == 200
            assert reader(f"{path}/{theirs[0]['id']}").status_code == 404
            assert code_of(reader(path)) == (403, "scope_missing")
        assert "reason" not in reader.get(f"/affiliates/{aff(anna)}/withdrawals")["withdrawals"][0]
        orders = world.session.scalars(sa.select(Order).order_by(Order.id)).all()
        clicks = [
            shop.get(f"/orders/{order.order_id}")["attribution"]["shares"][0]["click_id"]
            for order in orders
        ]
        assert [reader(f"/clicks/{click}").status_code for click in clicks] == [200, 404]


LISTS = (
    ("/applications", "applications"), ("/applications?status=active", "applications"),
    ("/affiliates", "affiliates"), ("/links", "links"), ("/coupons", "coupons"),
    ("/orders", "orders"), ("/refunds", "refunds"), ("/commissions", "commissions"),
    ("/withdrawals", "withdrawals"), ("/balances", "balances"),
    ("/affiliates/{aff}/orders", "orders"), ("/affiliates/{aff}/commissions", "commissions"),
    ("/affiliates/{aff}/coupons", "coupons"), ("/creatives", "creatives"), ("/leads", "leads"),
    ("/orders/imports", "imports"), ("/batches", "batches"), ("/groups", "groups"),
    ("/webhooks", "webhooks"), ("/affiliates/{aff}/links", "links"),
    ("/affiliates/{aff}/withdrawals", "withdrawals"), ("/customers/c-881", "orders"),
)  # fmt: skip


def test_a_list_costs_as_many_statements_however_long_it_is(world: World, shop: Caller) -> None:
    first = world.affiliate("Anna")

    def measured() -> dict[str, tuple[int, int]]:
        found = {}
        for path, name in LISTS:
            with counted() as seen:
                rows = shop.get(path.format(aff=aff(first)))[name]
            found[path] = (len(rows), len(seen))
        return found

    grow(world, shop, 1)
    shop.get("/orders")  # So that the note of the key's use is written before.
    few = measured()
    for number in range(2, 5):
        grow(world, shop, number)
    many = measured()
    for path, _name in LISTS:
        assert many[path][0] > few[path][0], f"{path} did not grow"
        assert many[path][1] == few[path][1], f"{path}: {few[path]} {many[path]}"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/applications", "applications:read"),
        ("POST", "/applications/aff_x/approval", "applications:decide"),
        ("POST", "/affiliates/aff_x/suspension", "affiliates:manage"),
        ("PUT", "/affiliates/aff_x/group", "affiliates:manage"),
        ("PUT", "/affiliates/aff_x/recruiter", "affiliates:manage"),
        ("POST", "/groups", "affiliates:manage"),
        ("GET", "/links", "affiliates:read"),
        ("POST", "/links/lnk_x/disabling", "affiliates:write"),
        ("GET", "/coupons", "coupons:read"),
        ("POST", "/affiliates/aff_x/coupons", "coupons:write"),
        ("POST", "/coupons/cpn_x/disabling", "coupons:write"),
        ("GET", "/creatives", "creatives:read"),
        ("GET", "/orders", "orders:read"),
        ("GET", "/refunds", "orders:read"),
        ("GET", "/leads", "leads:read"),
        ("GET", "/commissions", "commissions:read"),
        ("GET", "/customers/c-1", "customers:read"),
        ("POST", "/customers/erasures", "customers:erase"),
        ("GET", "/withdrawals", "withdrawals:read"),
        ("GET", "/balances", "withdrawals:read"),
        ("GET", "/affiliates/aff_x/statements", "statements:read"),
        ("GET", "/webhooks", "webhooks:read"),
        ("GET", "/webhooks/whk_x/deliveries", "webhooks:read"),
        ("POST", "/webhooks", "webhooks:write"),
        ("PUT", "/webhooks/whk_x", "webhooks:write"),
        ("DELETE", "/webhooks/whk_x", "webhooks:write"),
        ("POST", "/webhooks/whk_x/secret", "webhooks:write"),
        ("POST", "/webhooks/whk_x/tests", "webhooks:write"),
        ("POST", "/webhooks/whk_x/deliveries/whd_x/repeats", "webhooks:write"),
    ],
)
def test_each_call_needs_its_own_scope(world: World, method: str, path: str, scope: str) -> None:
    without = caller(world, *(each for each in SHOP if each != scope))
    assert code_of(without(path, method, json={})) == (403, "scope_missing")
    assert caller(world, scope)(path, method, json={}).status_code in (200, 404, 422)


def test_another_programs_lists_show_nothing(world: World) -> None:
    world.affiliate("Anna")
    world.refund(world.sale("Anna", "100.00", days_ago=40), "1.00")
    world.coupon("Anna", "ANNA10")
    world.payee("Anna")
    world.release()
    world.withdraw("Anna", "1.00")
    stranger = caller(world, *SHOP, program=world.euros)
    anna = aff(world.people["Anna"])
    assert world.session.scalar(sa.select(sa.func.count(Refund.id))) == 1
    for path, name in LISTS:
        if "{aff}" in path or path.startswith("/customers/"):
            assert stranger(path.format(aff=anna)).status_code == 404
        else:
            assert stranger.get(path)[name] == [], path
            joint = "&" if "?" in path else "?"
            if path in ("/orders", "/links", "/coupons", "/commissions", "/withdrawals"):
                assert stranger.get(f"{path}{joint}affiliate={anna}")[name] == [], path
