"""Affiliates who buy from themselves: by each way in which Kopeck can know it (A20)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from bank_accounts import PAYEE_RUSSIA, PAYEE_SEPA
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people import sessions
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.recruiters import set_recruiter
from affiliate.people.shop_customers import set_shop_customer
from payouts.audit import run as audit
from payouts.batches.payees import set_payee
from payouts.commissions.models import Commission
from payouts.rails.bank import BankRail
from payouts.rails.bank_russia import RussianRail
from payouts.rails.bank_sepa import SepaRail
from tests.orders.shop_world import DAY, World, earned, email_sha256, of
from tracker.attribution.facts import BuyerBy
from tracker.attribution.models import AffiliateSighting, Decision
from tracker.attribution.sightings import forget_sightings, note_sighting
from tracker.attribution.snapshot import candidates_from, facts_from
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.visitors import VisitorCookie
from tracker.orders.keys import order_keys
from tracker.orders.review import review_order

HOME = "8.8.4.4"
ELSEWHERE = "9.9.9.9"
OTHER_BROWSER = bytes([7]) * 16
IBAN = "DE89 3704 0044 0532 0130 00"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def account(world: World, who: Enrollment, *, address: str = HOME) -> FlaskClient:
    """A browser in which the affiliate has just opened their account."""
    user_id = world.session.scalars(
        sa.select(Affiliate.user_id).where(Affiliate.id == who.affiliate_id)
    ).one()
    token = sessions.begin(world.session, user_id=user_id, agent="tests", now=clock.real_now())
    fs_uniquifier = world.session.get_one(User, user_id).fs_uniquifier
    world.session.commit()
    browser = world.app.test_client()
    with browser.session_transaction() as cookie:
        cookie[sessions.COOKIE_KEY] = token
        cookie["_user_id"], cookie["_fresh"] = fs_uniquifier, True
    look(browser, address)
    return browser


def look(browser: FlaskClient, address: str = HOME) -> Any:
    answer = browser.get("/account/", environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == 200
    return answer


def visitor_in(world: World, browser: FlaskClient) -> bytes:
    """Who the click front would take the browser for."""
    cookie = browser.get_cookie("kpk_v")
    assert cookie is not None
    read = VisitorCookie(world.settings.keys("visitor"), https=False)
    found = read.read(f"kpk_v={cookie.value}")
    assert found is not None
    return found


def later(world: World, **shift: float) -> str:
    """An order after the account was opened: it is opened now."""
    return (clock.real_now() + timedelta(**(shift or {"seconds": 2}))).isoformat()


def refused_by(order: dict[str, Any]) -> Any:
    """By what its candidates were known, or what became of the order."""
    if order["attribution"]["outcome"] == "attributed":
        return "paid"
    lines = [one for one in order["attribution"]["trace"] if one["outcome"] == "removed"]
    assert {one["check"] for one in lines} == {"self_purchase"}
    assert order["commissions"] == []
    [by] = {one["buyer_by"] for one in lines}
    return by


def stored_sightings(world: World) -> list[Any]:
    world.tick()
    return list(world.session.scalars(sa.select(AffiliateSighting)))


def sound(world: World) -> None:
    world.tick()
    assert audit.run(world.session, audit.registered(world.app), real_now=world.now) == []


@pytest.mark.abuse("A20")
class TestEachSignal:
    @pytest.mark.parametrize("plain", [True, False])
    def test_the_shops_customer_id(self, world: World, plain: bool) -> None:
        anna = world.affiliate("anna")
        set_shop_customer(
            world.session, enrollment_id=anna.id, customer_id="c-881", by="user:1", now=world.now
        )
        world.session.commit()
        token = world.click(world.link(anna))
        path = "" if plain else "?"
        own = world.post(world.order("A-1", clicks=[token], customer={"id": "c-881"}), path)
        assert refused_by(own.get_json()) == "customer_id"
        other = world.post(world.order("A-2", clicks=[token], customer={"id": "c-882"}), path)
        assert refused_by(other.get_json()) == "paid"
        sound(world)

    def test_the_shops_customer_of_a_guests_address(self, world: World) -> None:
        """The shop said once that the address is the customer's, who is the affiliate."""
        anna = world.affiliate("anna")
        set_shop_customer(
            world.session, enrollment_id=anna.id, customer_id="c-881", by="user:1", now=world.now
        )
        world.session.commit()
        private = email_sha256("anna.private@mail.example")
        world.post(world.order("A-1", customer={"id": "c-881", "email_sha256": private}))
        token = world.click(world.link(anna))
        guest = world.post(world.order("A-2", clicks=[token], customer={"email_sha256": private}))
        assert refused_by(guest.get_json()) == "customer_id"

    def test_the_browser_in_which_the_account_was_open(self, world: World) -> None:
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        visitor = visitor_in(world, account(world, anna))
        own = world.click(world.link(anna), visitor=visitor, ago=timedelta(0))
        body = world.order("A-1", clicks=[own], placed_at=later(world))
        assert refused_by(world.post(body).get_json()) == "device"
        # Through another affiliate's link it is a purchase like any.
        others = world.click(world.link(boris), visitor=visitor, ago=timedelta(0))
        body = world.order("A-2", clicks=[others], placed_at=later(world))
        assert refused_by(world.post(body).get_json()) == "paid"
        # Out of another browser too.
        away = world.click(world.link(anna), visitor=OTHER_BROWSER, ago=timedelta(0))
        body = world.order("A-3", clicks=[away], placed_at=later(world))
        assert refused_by(world.post(body).get_json()) == "paid"
        sound(world)

    def test_the_browser_counts_also_for_a_coupon(self, world: World) -> None:
        anna = world.affiliate("anna")
        world.coupon(anna, "ANNA10")
        visitor = visitor_in(world, account(world, anna))
        body = world.order(
            "A-1", coupon="ANNA10", visitor=str(UUID(bytes=visitor)), placed_at=later(world)
        )
        assert refused_by(world.post(body).get_json()) == "device"

    @pytest.mark.parametrize(
        ("paid_with", "by"),
        [
            ("DE89370400440532013000", "payment_account"),
            ("FR7630006000011234567890189", "paid"),
        ],
    )
    def test_the_account_that_they_are_paid_to(self, world: World, paid_with: str, by: str) -> None:
        anna = world.affiliate("anna")
        for destination in (f"Anna Lamp, {IBAN}", "another one since"):
            set_payee(
                world.session, affiliate_id=anna.affiliate_id, rail="manual",
                destination=destination, ready=True, by="user:1", now=world.now,
            )  # fmt: skip
        world.session.commit()
        token = world.click(world.link(anna))
        for order_id, customer in (("A-1", {"id": "c-1"}), ("A-2", {})):
            body = world.order(
                order_id, clicks=[token], customer={**customer, "payment_sha256": sha256(paid_with)}
            )
            assert refused_by(world.post(body).get_json()) == by
        sound(world)

    @pytest.mark.parametrize(
        ("rail", "typed", "number"),
        [
            (SepaRail(), PAYEE_SEPA, "NL91ABNA0417164300"),
            (RussianRail(), PAYEE_RUSSIA, "40817810438000000001"),
        ],
        ids=["sepa", "russia"],
    )
    def test_the_bank_account_that_they_are_paid_to(
        self, world: World, rail: BankRail, typed: dict[str, str], number: str
    ) -> None:
        anna = world.affiliate("anna")
        set_payee(
            world.session, affiliate_id=anna.affiliate_id, rail=rail.name,
            destination=rail.account(typed), ready=True, by="user:1", now=world.now,
        )  # fmt: skip
        world.session.commit()
        body = world.order(
            "A-1", clicks=[world.click(world.link(anna))],
            customer={"id": "c-1", "payment_sha256": sha256(number)},
        )  # fmt: skip
        assert refused_by(world.post(body).get_json()) == "payment_account"

    def test_the_card_of_an_earlier_own_purchase(self, world: World) -> None:
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        card = {"payment_sha256": sha256("card_fp_1")}
        known = {"email_sha256": email_sha256("anna@blog.example"), **card}
        links = {who.id: world.link(who) for who in (anna, boris)}

        def buys(order_id: str, who: Enrollment, ago: timedelta, **customer: Any) -> Any:
            body = world.order(
                order_id, customer=customer, placed_at=(world.now - ago).isoformat(),
                clicks=[world.click(links[who.id], ago=3 * DAY, visitor=bytes([who.id]) * 16)],
            )  # fmt: skip
            return refused_by(world.post(body).get_json())

        assert buys("A-1", anna, 2 * DAY, id="guest-1", **card) == "paid"
        assert buys("A-2", anna, DAY, **known) == "email"
        assert buys("A-3", anna, timedelta(hours=1), id="guest-2", **card) == "payment_account"
        # It is Anna's, and bought through Boris's link it is like any.
        assert buys("B-1", boris, timedelta(hours=1), id="guest-3", **card) == "paid"
        # An order that was placed before anything was known stays as it was.
        assert buys("A-4", anna, timedelta(days=1, hours=1), id="guest-4", **card) == "paid"

    def test_what_paid_for_many_buyers_is_nobodys(self, world: World) -> None:
        anna = world.affiliate("anna")
        bank = {"payment_sha256": sha256("the bank")}
        link = world.link(anna)
        known = {"email_sha256": email_sha256("anna@blog.example"), **bank}
        early = (world.now - DAY).isoformat()
        body = world.order("A-0", clicks=[world.click(link, ago=2 * DAY)], customer=known)
        assert refused_by(world.post({**body, "placed_at": early}).get_json()) == "email"
        got = []
        for number in range(1, 8):
            at = world.now - timedelta(hours=10 - number)
            body = world.order(
                f"A-{number}", clicks=[world.click(link, ago=2 * DAY)],
                customer={"id": f"c-{number}", **bank}, placed_at=at.isoformat(),
            )  # fmt: skip
            got.append(refused_by(world.post(body).get_json()))
        assert got == ["payment_account"] * 5 + ["paid"] * 2

    def test_the_surest_is_named(self, world: World) -> None:
        anna = world.affiliate("anna")
        visitor = visitor_in(world, account(world, anna))
        token = world.click(world.link(anna), visitor=visitor, ago=timedelta(0))
        customer = {"email_sha256": email_sha256("anna@blog.example")}
        body = world.order(
            "A-1", clicks=[token], customer=customer, ip=HOME, placed_at=later(world)
        )
        assert refused_by(world.post(body).get_json()) == "email"

    def test_rules_that_pay_own_purchases_pay_them(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        world = World.build(
            app, settings, client, session,
            attribution={
                "model": "last_click", "window_days": 30, "coupon": "loses",
                "existing_customer": "pays", "self_purchase": "pays",
            },
        )  # fmt: skip
        anna = world.affiliate("anna")
        boris = world.affiliate("boris", recruiter=anna)
        visitor = visitor_in(world, account(world, boris))
        token = world.click(world.link(boris), visitor=visitor, ago=timedelta(0))
        customer = {"email_sha256": email_sha256("anna@blog.example")}
        body = world.order(
            "A-1", clicks=[token], customer=customer, ip=HOME, placed_at=later(world)
        )
        order = world.post(body).get_json()
        assert [one[1:3] for one in earned(order)] == [(1, "350.00"), (2, "70.00")]
        assert order["commissions"][0]["waits_for"] == "hold_period"


@pytest.mark.abuse("A20")
class TestTheNetwork:
    """A network has many behind it: the order is credited and a person has the word."""

    def held(self, order: dict[str, Any]) -> bool:
        assert order["attribution"]["outcome"] == "attributed"
        lines = [one for one in order["attribution"]["trace"] if one["outcome"] == "held"]
        waits = {one["waits_for"] for one in order["commissions"]}
        if not lines:
            assert waits == {"hold_period"}
            return False
        assert [(one["reason"], one["buyer_by"]) for one in lines] == [("perhaps_own", "address")]
        assert waits == {"review"}
        return True

    def order(self, world: World, who: Enrollment, order_id: str, **changes: Any) -> Any:
        token = world.click(world.link(who), visitor=OTHER_BROWSER, ago=timedelta(0))
        body = world.order(order_id, clicks=[token], placed_at=later(world), **changes)
        answer = world.post(body)
        assert answer.status_code == 201, answer.text
        return answer.get_json()

    def test_the_shop_says_where_the_buyer_was(self, world: World) -> None:
        anna = world.affiliate("anna")
        account(world, anna)
        assert self.held(self.order(world, anna, "A-1", ip=HOME))
        assert not self.held(self.order(world, anna, "A-2", ip=ELSEWHERE))
        assert not self.held(self.order(world, anna, "A-3"))
        sound(world)

    def test_a_household_is_one_network(self, world: World) -> None:
        anna = world.affiliate("anna")
        account(world, anna, address="2a00:1450:4001:81b::200e")
        assert self.held(self.order(world, anna, "A-1", ip="2a00:1450:4001:81b:1:2:3:4"))
        assert not self.held(self.order(world, anna, "A-2", ip="2a00:1450:4001:81c::200e"))

    def test_a_browsers_report_comes_out_of_it(self, world: World) -> None:
        """What the page says of its address is not asked; the shop's server may follow."""
        anna = world.affiliate("anna")
        account(world, anna)
        token = world.click(world.link(anna), visitor=OTHER_BROWSER, ago=timedelta(0))
        said = {"order_id": "A-1", "total": world.order()["total"], "ip": ELSEWHERE}
        document = {"program": world.program.slug, "type": "order", "order": said,
                    "clicks": [token]}  # fmt: skip
        answer = world.client.post("/v1/events", json=document, environ_base={"REMOTE_ADDR": HOME})
        assert answer.status_code == 204
        assert world.get("A-1")["commissions"][0]["waits_for"] == "confirmation"
        body = world.order("A-1", placed_at=later(world))
        assert self.held(world.post(body).get_json())

    def test_a_browser_that_comes_after_the_server_tells_it_too(self, world: World) -> None:
        """Each of an order of its own: of one order the first browser alone is heard."""
        anna = world.affiliate("anna")
        account(world, anna)
        for order_id, address, decisions, held in (
            ("A-1", ELSEWHERE, 1, False),
            ("A-2", HOME, 2, True),
        ):
            assert not self.held(self.order(world, anna, order_id))
            said = {"order_id": order_id, "total": world.order()["total"], "coupon": address}
            document = {"program": world.program.slug, "type": "order", "order": said}
            world.client.post("/v1/events", json=document, environ_base={"REMOTE_ADDR": address})
            world.tick()
            assert world.session.scalar(sa.select(sa.func.max(Decision.number))) == decisions
            order = world.get(order_id)
            order["commissions"] = [c for c in order["commissions"] if c["status"] != "voided"]
            assert self.held(order) is held

    def test_a_person_declines_and_nobody_is_paid(self, world: World) -> None:
        anna = world.affiliate("anna")
        account(world, anna)
        self.order(world, anna, "A-1", ip=HOME)
        self.review(world, "A-1", ReviewOutcome.DECLINED)
        order = world.get("A-1")
        assert order["attribution"]["reason"] == "review_declined"
        assert [one["status"] for one in order["commissions"]] == []
        sound(world)

    def test_a_person_releases_and_it_is_paid(self, world: World) -> None:
        anna = world.affiliate("anna")
        account(world, anna)
        self.order(world, anna, "A-1", ip=HOME)
        self.review(world, "A-1", ReviewOutcome.RELEASED)
        assert [one["waits_for"] for one in world.get("A-1")["commissions"]] == ["hold_period"]
        sound(world)

    def test_a_network_of_several_affiliates_says_nothing(self, world: World) -> None:
        people = [world.affiliate(name) for name in ("anna", "boris", "clara")]
        for who in people[:2]:
            account(world, who)
        assert self.held(self.order(world, people[0], "A-1", ip=HOME))
        account(world, people[2])
        assert not self.held(self.order(world, people[0], "A-2", ip=HOME))

    def test_a_proxy_of_ones_own_is_no_network(self, world: World) -> None:
        anna = world.affiliate("anna")
        for address in ("10.0.0.1", "127.0.0.1", "::1", "fe80::1", "not an address"):
            account(world, anna, address=address)
        assert {row.kind for row in stored_sightings(world)} == {"device"}

    def review(self, world: World, order_id: str, outcome: ReviewOutcome) -> None:
        with world.app.app_context():
            review_order(
                world.session, program_id=world.program.id, order_id=order_id, outcome=outcome,
                reason="Looked at.", by="user:1", now=clock.real_now(),
            )  # fmt: skip
            world.session.commit()


@pytest.mark.abuse("A20")
class TestTheRecruiter:
    """Who recruited the seller and buys through them earns no level 2 of it."""

    def test_level_2_is_refused_and_level_1_stays(self, world: World) -> None:
        anna = world.affiliate("anna")
        boris = world.affiliate("boris", recruiter=anna)
        token = world.click(world.link(boris))
        customer = {"id": "c-1", "email_sha256": email_sha256("anna@blog.example")}
        order = world.post(world.order("A-1", clicks=[token], customer=customer)).get_json()
        assert [one[:4] for one in earned(order)] == [
            (of(boris), 1, "350.00", "pending"), (of(anna), 2, "0.00", "not_earned"),
        ]  # fmt: skip
        assert order["commissions"][1]["reason"] == "self_purchase"
        stranger = world.post(world.order("A-2", clicks=[token], customer={"id": "c-2"}))
        assert earned(stranger.get_json())[1][:3] == (of(anna), 2, "70.00")
        sound(world)

    @pytest.mark.parametrize("by", ["customer_id", "device", "payment_account"])
    def test_in_each_sure_way(self, world: World, by: str) -> None:
        anna = world.affiliate("anna")
        boris = world.affiliate("boris", recruiter=anna)
        set_shop_customer(
            world.session, enrollment_id=anna.id, customer_id="c-881", by="user:1", now=world.now
        )
        set_payee(
            world.session, affiliate_id=anna.affiliate_id, rail="manual", destination=IBAN,
            ready=True, by="user:1", now=world.now,
        )  # fmt: skip
        world.session.commit()
        visitor = visitor_in(world, account(world, anna))
        token = world.click(
            world.link(boris), visitor=visitor if by == "device" else OTHER_BROWSER,
            ago=timedelta(0),
        )  # fmt: skip
        customer = {
            "customer_id": {"id": "c-881"}, "device": {"id": "c-1"},
            "payment_account": {"id": "c-1", "payment_sha256": sha256("DE89370400440532013000")},
        }[by]  # fmt: skip
        body = world.order("A-1", clicks=[token], customer=customer, placed_at=later(world))
        order = world.post(body).get_json()
        assert [one[2] for one in earned(order)] == ["350.00", "0.00"]
        world.tick()
        [second] = world.session.scalars(sa.select(Commission).where(Commission.level == 2))
        assert second.trace[-2:] == [
            {"step": "recruiter_buys", "by": by},
            {"step": "not_earned", "reason": "self_purchase"},
        ]
        [snapshot] = world.session.scalars(sa.select(Decision.snapshot))
        assert snapshot["sale"]["buying_recruiters"] == {str(anna.id): by}

    def test_a_network_alone_does_not_cost_level_2(self, world: World) -> None:
        """Recruits are often of one house; their own share waits for nobody either."""
        anna = world.affiliate("anna")
        boris = world.affiliate("boris", recruiter=anna)
        account(world, anna)
        token = world.click(world.link(boris), visitor=OTHER_BROWSER, ago=timedelta(0))
        body = world.order("A-1", clicks=[token], ip=HOME, placed_at=later(world))
        order = world.post(body).get_json()
        assert [one[2] for one in earned(order)] == ["350.00", "70.00"]

    def test_a_later_decision_knows_it_still(self, world: World) -> None:
        anna, clara = world.affiliate("anna"), world.affiliate("clara")
        boris = world.affiliate("boris", recruiter=anna)
        customer = {"id": "c-1", "email_sha256": email_sha256("anna@blog.example")}
        first = world.click(world.link(boris))
        said = {"order_id": "A-1", "total": world.order()["total"], "customer": customer}
        world.event(said, clicks=[first])
        world.tick()
        set_recruiter(
            world.session, enrollment_id=boris.id, recruiter_id=clara.id, by=None, now=world.now,
            reason="She takes over.",
        )  # fmt: skip
        world.session.commit()
        order = world.post(world.order("A-1", customer=customer, clicks=[first])).get_json()
        live = [one for one in earned(order) if one[3] != "voided"]
        assert [(one[0], one[2]) for one in live] == [(of(boris), "350.00"), (of(anna), "0.00")]
        sound(world)


@pytest.mark.abuse("A20")
class TestWhatIsKept:
    def test_hashes_that_cannot_be_joined_with_clicks(self, world: World) -> None:
        anna = world.affiliate("anna")
        visitor = visitor_in(world, account(world, anna))
        rows = stored_sightings(world)
        assert {row.kind for row in rows} == {"device", "address"}
        assert UUID(bytes=visitor) not in {row.mark for row in rows}
        text = "".join(str(vars(row)) for row in rows)
        assert HOME not in text and visitor.hex() not in text

    def test_neither_addresses_nor_accounts_of_buyers(self, world: World) -> None:
        card = sha256("card_fp_1")
        body = world.order("A-1", ip=HOME, customer={"id": "c-1", "payment_sha256": card})
        assert world.post(body).status_code == 201
        world.event({"order_id": "A-2", "total": world.order()["total"]})
        world.tick()
        stored = world.session.execute(
            sa.text(
                "SELECT (SELECT json_agg(o) FROM orders o)::text"
                " || (SELECT json_agg(r) FROM order_reports r)::text"
                " || (SELECT json_agg(d) FROM decisions d)::text"
            )
        ).scalar_one()
        assert HOME not in stored and card not in stored and "127.0.0.1" not in stored

    def test_the_same_content_does_not_look_at_the_address(self, world: World) -> None:
        body = world.order("A-1", ip=HOME)
        assert world.post(body).status_code == 201
        assert world.post({**body, "ip": ELSEWHERE}).status_code == 200
        other = {**body, "customer": {"payment_sha256": sha256("x")}}
        assert world.post(other).status_code == 409

    def test_a_page_is_noted_once_in_a_while(self, world: World) -> None:
        anna = world.affiliate("anna")
        browser = account(world, anna)
        before = stored_sightings(world)
        answer = look(browser)
        assert "Set-Cookie" not in answer.headers or "kpk_v" not in answer.headers["Set-Cookie"]
        assert [(r.mark, r.last_seen_at) for r in stored_sightings(world)] == [
            (r.mark, r.last_seen_at) for r in before
        ]
        look(browser, ELSEWHERE)
        assert len(stored_sightings(world)) == len(before) + 1

    def test_in_consent_mode_no_browser_is_known(
        self, settings: Settings, session: Session
    ) -> None:
        from wsgi import create_app

        app = create_app(replace(settings, consent_mode=True))
        world = World.build(app, app.extensions["kopeck.settings"], app.test_client(), session)
        browser = account(world, world.affiliate("anna"))
        assert browser.get_cookie("kpk_v") is None
        assert {row.kind for row in stored_sightings(world)} == {"address"}
        with app.app_context():
            db.session.remove()
            db.engine.dispose()

    def test_a_tampered_cookie_is_a_new_browser(self, world: World) -> None:
        browser = account(world, world.affiliate("anna"))
        before = visitor_in(world, browser)
        browser.set_cookie("kpk_v", "A" * 43)
        look(browser)
        assert visitor_in(world, browser) != before

    def test_it_is_forgotten_when_no_order_can_ask_for_it(self, world: World) -> None:
        anna = world.affiliate("anna")
        account(world, anna)
        seen = max(row.last_seen_at for row in stored_sightings(world))
        counts = []
        for days in (31, 31.01, 60, 60.01):
            forget_sightings(world.session, now=seen + timedelta(days=days))
            world.session.commit()
            counts.append(len(stored_sightings(world)))
        assert counts == [2, 1, 1, 0]

    def test_a_browser_of_long_ago_or_of_later_says_nothing(self, world: World) -> None:
        anna = world.affiliate("anna")
        link = world.link(anna)
        with world.app.app_context():
            [mark] = order_keys().device_marks(UUID(bytes=OTHER_BROWSER))
        got = {}
        for name, seen in (
            ("30 days", -30 * DAY), ("longer", -30 * DAY - timedelta(seconds=1)),
            ("the instant", timedelta(0)), ("later", timedelta(seconds=1)),
        ):  # fmt: skip
            world.session.execute(sa.delete(AffiliateSighting))
            note_sighting(
                world.session, affiliate_id=anna.affiliate_id, marks={mark: BuyerBy.DEVICE},
                now=world.now + seen,
            )  # fmt: skip
            world.session.commit()
            token = world.click(link, visitor=OTHER_BROWSER)
            order = world.post(world.order(f"A-{name.replace(' ', '')}", clicks=[token]))
            got[name] = refused_by(order.get_json())
        assert got == {
            "30 days": "device", "longer": "paid", "the instant": "device", "later": "paid",
        }  # fmt: skip

    def test_what_was_known_stays_known_to_later_decisions_and_replays(self, world: World) -> None:
        """The browser is forgotten; the decision that knew it is not."""
        anna = world.affiliate("anna")
        visitor = visitor_in(world, account(world, anna))
        token = world.click(world.link(anna), visitor=visitor, ago=timedelta(0))
        said = {"order_id": "A-1", "total": world.order()["total"], "placed_at": later(world)}
        world.event(said, clicks=[token])
        assert refused_by(world.get("A-1")) == "device"
        world.tick()
        world.session.execute(sa.delete(AffiliateSighting))
        world.session.commit()
        body = world.order("A-1", clicks=[token], placed_at=said["placed_at"])
        assert refused_by(world.post(body).get_json()) == "device"
        world.tick()
        for snapshot in world.session.scalars(sa.select(Decision.snapshot)):
            assert {known.buyer_by for known in candidates_from(snapshot)} == {BuyerBy.DEVICE}
            assert facts_from(snapshot).review_declined is False


class TestGarbage:
    @pytest.mark.parametrize(
        ("changes", "field", "code"),
        [
            ({"ip": "999.1.1.1"}, "ip", "not_an_address"),
            ({"ip": "8.8.4.4:80"}, "ip", "not_an_address"),
            ({"ip": "fe80::1%eth0"}, "ip", "not_an_address"),
            ({"ip": ""}, "ip", "not_an_address"),
            ({"ip": 134744072}, "ip", "not_an_address"),
            ({"ip": "٨.8.4.4"}, "ip", "not_an_address"),
            ({"customer": {"payment_sha256": "DE89"}}, "customer.payment_sha256", "not_a_sha256"),
            ({"customer": {"ip": HOME}}, "customer.ip", "unknown_field"),
        ],
    )
    def test_it_is_refused_with_its_field(
        self, world: World, changes: dict[str, Any], field: str, code: str
    ) -> None:
        answer = world.post(world.order("A-1", **changes))
        assert answer.status_code == 422
        assert [(e["field"], e["code"]) for e in answer.get_json()["errors"]] == [(field, code)]
