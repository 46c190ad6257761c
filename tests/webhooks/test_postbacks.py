"""Affiliates' postbacks: their own commissions, the click behind them, nothing of anybody else."""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from told import Told
from world import World

from affiliate.core.config import Settings
from affiliate.core.db import session_for
from affiliate.people import enrollments
from affiliate.personal.erase import erase_identity, find_person
from affiliate.webhooks import deliver, keeping
from affiliate.webhooks.endpoints import Owner, Wanted, create_endpoint, rotate_secret, send_test
from affiliate.webhooks.models import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from tracker.orders.models import Order

EVERYTHING = (
    "c={click_id}&1={sub1}&2={sub2}&5={sub5}&o={order_id}&x={commission_id}&s={commission}"
    "&y={currency}&t={status}&e={event}&l={level}"
)


def sent(told: Told) -> list[dict[str, str]]:
    found = [parse_qs(urlsplit(r.path).query, keep_blank_values=True) for r in told.requests]
    return [{name: values[0] for name, values in each.items()} for each in found]


def sale_with_subs(world: World, name: str, total: str, *subs: str) -> tuple[Order, str]:
    link = world.people[name].link
    assert link is not None
    at = world.now
    sub_ids = (*subs, *("",) * (5 - len(subs)))
    token = world.click(link, at=at, sub_ids=sub_ids)  # type: ignore[arg-type]
    return world.order(total, at=at, clicks=(token,)), token


def test_a_commission_is_told_with_its_click_and_sub_ids(world: World, told: Told) -> None:
    world.affiliate("Anna")
    told.postback("Anna", EVERYTHING)
    order, _ = sale_with_subs(world, "Anna", "123.45", "news & more", "may")
    told.deliver()
    [values] = sent(told)
    assert values.pop("x").startswith("com_")
    click = values.pop("c")
    assert len(click) == 36
    # A tenth of 123.45, which is 12.345.
    assert values == {
        "1": "news & more", "2": "may", "5": "", "o": order.order_id, "s": "12.345", "y": "RUB",
        "t": "pending", "e": "commission.earned", "l": "1",
    }  # fmt: skip
    [request] = told.requests
    assert (request.method, request.body) == ("GET", "")
    assert not [name for name in request.headers if name.startswith("webhook-")]


def test_a_refund_a_release_and_a_void_are_told_with_what_is_left(world: World, told: Told) -> None:
    world.affiliate("Anna")
    told.postback("Anna", "x={commission_id}&s={commission}&t={status}")
    order = world.sale("Anna", "1000.00", days_ago=30)
    world.refund(order, "250.00")
    world.release()
    world.cancel(world.sale("Anna", "10.00"))
    told.deliver()
    told_of = [(each["s"], each["t"]) for each in sent(told)]
    assert sorted(told_of) == sorted(
        [("100.00", "pending"), ("75.00", "reduced"), ("75.00", "available"),
         ("1.00", "pending"), ("0.00", "voided")]
    )  # fmt: skip
    of_first = [each["t"] for each in sent(told) if each["x"] == sent(told)[0]["x"]]
    assert len(of_first) in (2, 3)


def test_an_affiliate_is_told_of_their_own_commissions_alone(world: World, told: Told) -> None:
    world.affiliate("Rita")
    world.affiliate("Anna", recruiter="Rita")
    told.postback("Rita", EVERYTHING)
    sale_with_subs(world, "Anna", "1000.00", "secret-campaign")
    told.deliver()
    [values] = sent(told)
    # The recruiter's own part: no click and no sub-id of the recruit, whose campaign it is.
    assert (values["l"], values["c"], values["1"]) == ("2", "", "")
    assert "secret-campaign" not in told.requests[0].path


def test_a_coupon_has_no_click(world: World, told: Told) -> None:
    world.affiliate("Anna")
    world.coupon("Anna", "LAMPS10")
    told.postback("Anna", "c={click_id}&o={order_id}")
    order = world.order("100.00", at=world.now, coupon="LAMPS10")
    told.deliver()
    assert sent(told) == [{"c": "", "o": order.order_id}]


def test_every_attempt_says_the_same(world: World, told: Told) -> None:
    world.affiliate("Anna")
    told.postback("Anna", EVERYTHING, "commission.earned")
    order, _ = sale_with_subs(world, "Anna", "100.00", "a")
    told.status = 500
    told.deliver()
    world.refund(order, "50.00")
    told.status = 200
    told.later(seconds=6)
    told.deliver()
    first, second = told.requests
    assert first.path == second.path


def test_a_test_is_told_without_a_sale(world: World, told: Told) -> None:
    anna = world.affiliate("Anna")
    postback = told.postback("Anna", EVERYTHING)
    owner = Owner(world.program.id, anna.enrollment.id)
    send_test(world.session, owner=owner, endpoint_id=postback.id, now=world.now)
    world.session.commit()
    told.deliver()
    [values] = sent(told)
    assert (values["e"], values["t"], values["s"], values["o"]) == (
        "webhook.test", "test", "0.00", "TEST",
    )  # fmt: skip


def test_a_postback_has_no_secret_to_replace(world: World, told: Told) -> None:
    anna = world.affiliate("Anna")
    postback = told.postback("Anna", "c={click_id}")
    with pytest.raises(Exception, match="nothing here"):
        rotate_secret(
            world.session, owner=Owner(world.program.id, anna.enrollment.id),
            endpoint_id=postback.id, settings=world.settings, actor="test", now=world.now,
        )  # fmt: skip


def test_a_merchants_endpoint_is_told_beside_it(world: World, told: Told) -> None:
    world.affiliate("Anna")
    told.postback("Anna", "c={click_id}")
    told.endpoint("commission.earned")
    world.sale("Anna", "100.00")
    assert told.deliver() == 2
    assert {request.method for request in told.requests} == {"GET", "POST"}


def test_what_is_earned_while_a_postback_is_erased_is_earned(
    world: World, told: Told, settings: Settings
) -> None:
    world.affiliate("Anna")
    told.postback("Anna", "s={status}")
    merchants, _ = told.endpoint("commission.earned")
    engine = sa.create_engine(settings.database_url)
    with session_for(engine)() as other:
        keeping.forget_postbacks(other, enrollment_ids=[world.people["Anna"].enrollment.id])
        ends = threading.Timer(1, other.commit)
        ends.start()
        world.sale("Anna", "100.00")
        ends.join()
    engine.dispose()
    assert told.events() == ["commission.earned"]
    assert [each.endpoint_id for each in told.deliveries()] == [merchants.id]


def test_who_is_erased_takes_their_postbacks_with_them(world: World, told: Told) -> None:
    anna = world.affiliate("Anna")
    told.postback("Anna", "c={click_id}")
    told.endpoint("commission.earned")
    world.sale("Anna", "100.00")
    told.deliver()
    with world.app.app_context():
        person = find_person(world.session, user_id=anna.user_id, lock=True)
        erase_identity(world.session, person, by=None, now=world.now)
        world.session.commit()
    own = WebhookEndpoint.enrollment_id.is_not(None)
    assert world.session.scalar(sa.select(sa.func.count(WebhookEndpoint.id)).where(own)) == 0
    addresses = world.session.scalars(sa.select(WebhookDelivery.address)).all()
    assert set(addresses) == {None}


@pytest.mark.abuse("A30")
@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "224.0.0.1",
        "0.0.0.0", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "ff02::1",
    ],
)  # fmt: skip
def test_a_name_that_leads_inside_when_it_is_asked_is_not_connected_to(
    world: World, told: Told, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The name was public when the address was entered: each attempt judges it anew."""
    endpoint, _ = create_endpoint(
        world.session, owner=told.owner,
        wanted=Wanted("https://rebound.example/hook", ["order.created"]),
        settings=world.settings, actor="test", by=None, now=world.now,
    )  # fmt: skip
    world.affiliate("Anna")
    world.session.commit()
    world.sale("Anna", "100.00")
    resolve = socket.getaddrinfo

    def rebound(host: str, *args: Any, **kwargs: Any) -> Any:
        return resolve(address if host == "rebound.example" else host, *args, **kwargs)

    def connect(self: socket.socket, where: Any) -> None:
        raise AssertionError(f"connected to {where}")

    with world.app.app_context():
        ready = deliver.claim(
            world.session, settings=world.settings, real_now=deliver.clock.real_now()
        )
        assert ready is not None
        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        monkeypatch.setattr(socket.socket, "connect", connect)
        answer = deliver.request(ready, world.settings)
        monkeypatch.undo()
        world.session.rollback()
    assert (answer.status, answer.trouble) == (None, "private")
    assert endpoint.id


@pytest.mark.abuse("A30")
def test_a_redirect_is_an_answer_and_is_not_followed(world: World, told: Told) -> None:
    world.affiliate("Anna")
    told.postback("Anna", "c={click_id}")
    told.status, told.answer_headers = 302, {"Location": f"{told.url}/inside"}
    world.sale("Anna", "100.00")
    told.deliver()
    assert len(told.requests) == 1
    attempt = world.session.scalars(sa.select(WebhookAttempt)).one()
    assert (attempt.status, attempt.trouble) == (302, None)


@pytest.mark.abuse("A30")
def test_production_asks_nothing_of_its_own_machine(
    world: World, told: Told, production_settings: Any
) -> None:
    """A row that demo mode had taken is refused when it is asked, too."""
    told.endpoint("order.created")
    world.affiliate("Anna")
    world.sale("Anna", "100.00")
    with world.app.app_context():
        deliver.deliver_due(production_settings)
    assert told.requests == []
    attempt = world.session.scalars(sa.select(WebhookAttempt)).one()
    assert attempt.trouble == "not_allowed"


def test_who_has_left_is_told_of_what_is_still_theirs(world: World, told: Told) -> None:
    anna = world.affiliate("Anna")
    told.postback("Anna", "t={status}", "commission.released")
    world.sale("Anna", "100.00", days_ago=30)
    with world.app.app_context():
        enrollments.close(world.session, enrollment_id=anna.enrollment.id, by=None, now=world.now)
        world.session.commit()
    world.release()
    told.deliver()
    assert sent(told) == [{"t": "available"}]
