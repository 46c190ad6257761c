"""The pages of webhooks and postbacks, clicked through against a real receiver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from standardwebhooks import Webhook
from werkzeug.test import TestResponse
from world import World

from affiliate.core import clock, ids
from affiliate.people.models import UserSession
from affiliate.webhooks.endpoints import ENDPOINTS_MAX, POSTBACKS_MAX
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.desks.staff import hire
from tests.webhooks.told import Told

SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def told(world: World) -> Iterator[Told]:
    with Told.serving(world) as receiver:
        yield receiver


def add(client: FlaskClient, url: str, *types: str, at: str = "/manage/webhooks") -> TestResponse:
    return client.post(at, data={"url": url, "types": list(types), "description": "Books"})


def row(world: World) -> WebhookEndpoint:
    world.session.expire_all()
    return world.session.scalars(sa.select(WebhookEndpoint)).one()


def path_of(endpoint: WebhookEndpoint) -> str:
    at = "/manage/webhooks" if endpoint.enrollment_id is None else "/account/postbacks"
    return f"{at}/{ids.public_id('whk', endpoint.id)}"


def path_of_delivery(world: World) -> str:
    delivery = world.session.scalars(
        sa.select(WebhookDelivery).order_by(WebhookDelivery.id.desc())
    ).first()
    assert delivery is not None
    return f"{path_of(row(world))}/deliveries/{ids.public_id('whd', delivery.id)}"


def test_a_manager_adds_an_endpoint_tests_it_and_sees_what_it_answered(
    world: World, told: Told
) -> None:
    client = hire(world, "manager").client
    assert "Nobody is told yet" in client.get("/manage/webhooks").text
    made = add(client, f"{told.url}/hook", "order.created", "payout.paid")
    assert made.status_code == 201
    secret = SECRET.search(made.text)
    assert secret is not None
    assert SECRET.search(client.get("/manage/webhooks").text) is None
    here = path_of(row(world))
    sent = client.post(f"{here}/tests")
    assert sent.status_code == 303 and "Not sent yet" in client.get(sent.location).text
    told.deliver()
    [request] = told.requests
    assert Webhook(secret[0]).verify(request.body, request.headers)["type"] == "webhook.test"
    page = client.get(sent.location).text
    assert "thanks" in page and "delivered" in page and "webhook.test" in page
    assert "webhook.test" in client.get(here).text


@pytest.mark.parametrize(
    ("url", "types"),
    [
        ("http://shop.example/hook", ["order.created"]),
        ("https://10.0.0.1/hook", ["order.created"]),
        ("https://shop.example:8443/", ["order.created"]),
        ("https://shop.example/", []), ("https://shop.example/", ["order.eaten"]),
        ("https://shop.example/", ["webhook.test"]), ("", ["order.created"]),
    ],
)  # fmt: skip
def test_what_cannot_be_an_endpoint_is_refused_beside_its_field(
    world: World, url: str, types: list[str]
) -> None:
    client = hire(world, "manager").client
    answer = add(client, url, *types)
    assert answer.status_code == 422
    assert "alert-circle" in answer.text
    assert world.session.scalar(sa.select(sa.func.count(WebhookEndpoint.id))) == 0


def test_the_secret_is_shown_again_and_replaced_only_after_the_password(
    world: World, told: Told
) -> None:
    client = hire(world, "manager").client
    endpoint, secret = told.endpoint("order.created")
    here = path_of(endpoint)
    assert secret in client.post(f"{here}/secret/showing").text
    rotated = client.post(f"{here}/secret").text
    new = SECRET.search(rotated)
    assert new is not None and new[0] != secret and "signs as well until" in rotated
    world.session.execute(sa.update(UserSession).values(fresh_at=world.program.created_at))
    world.session.commit()
    for action in ("secret", "secret/showing"):
        answer = client.post(f"{here}/{action}")
        assert answer.status_code == 303 and "/confirm-password" in answer.location


def test_an_endpoint_is_changed_switched_and_removed(world: World, told: Told) -> None:
    client = hire(world, "manager").client
    endpoint, _ = told.endpoint("order.created")
    here = path_of(endpoint)
    changed = client.post(here, data={"url": f"{told.url}/new", "types": ["payout.paid"]})
    assert changed.status_code == 303
    assert (row(world).url, row(world).types) == (f"{told.url}/new", ["payout.paid"])
    assert (
        client.post(here, data={"url": "https://10.0.0.1/", "types": ["payout.paid"]}).status_code
        == 422
    )
    client.post(f"{here}/disabling")
    assert "switched off" in client.get(here).text
    assert client.post(f"{here}/tests").status_code == 409
    client.post(f"{here}/enabling")
    assert row(world).disabled_at is None
    assert client.post(f"{here}/deletion").status_code == 303
    assert client.get(here).status_code == 404
    stored = row(world)
    assert (stored.secret, stored.deleted_at is not None) == (None, True)


def test_deliveries_are_filtered_and_sent_again(world: World, told: Told) -> None:
    client = hire(world, "manager").client
    endpoint, _ = told.endpoint("order.created")
    world.affiliate("Anna")
    world.sale("Anna", "100.00")
    told.status = 500
    told.deliver()
    here = path_of(endpoint)
    assert "next try" in client.get(f"{here}?state=waiting").text
    past = clock.real_now() - timedelta(minutes=1)
    world.session.execute(sa.update(WebhookDelivery).values(next_try_at=past))
    world.session.commit()
    overdue = client.get(f"{here}?state=waiting").text
    assert "in its turn" in overdue and "next try" not in overdue
    assert "None of these" in client.get(f"{here}?state=failed").text
    assert client.get(f"{here}?state=eaten").status_code == 404
    assert client.get(f"{here}?before=whd_x").status_code == 404
    told.status = 200
    assert client.post(f"{path_of_delivery(world)}/repeats").status_code == 303
    assert told.deliver() == 1
    world.session.execute(
        sa.update(WebhookDelivery).values(
            given_up_at=WebhookDelivery.delivered_at, delivered_at=None
        )
    )
    world.session.commit()
    answer = client.post(f"{here}/repeats", data={"days": "1"}, follow_redirects=True)
    assert "1 delivery is sent again." in answer.text and told.deliver() == 1
    assert client.post(f"{here}/repeats", data={"days": "2"}).status_code == 404


def test_a_long_list_has_pages(world: World, told: Told) -> None:
    client = hire(world, "manager").client
    endpoint, _ = told.endpoint("order.created")
    world.affiliate("Anna")
    for _ in range(51):
        world.sale("Anna", "100.00")
    first = client.get(path_of(endpoint)).text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = client.get(older[1].replace("&amp;", "&")).text
    assert second.count("An order is taken</a>") == 1 and 'rel="prev"' in second


@pytest.mark.parametrize("role", ["curator", "analyst", "finance"])
def test_who_keeps_no_settings_sees_no_webhooks(world: World, told: Told, role: str) -> None:
    endpoint, _ = told.endpoint("order.created")
    client = hire(world, role).client
    for path in ("/manage/webhooks", path_of(endpoint)):
        assert client.get(path).status_code in (403, 404)


def test_a_manager_of_another_program_finds_nothing(world: World, told: Told) -> None:
    endpoint, _ = told.endpoint("order.created")
    stranger = hire(world, "manager", program=world.euros).client
    here = path_of(endpoint)
    assert stranger.get(here).status_code == 404
    for action in ("", "/secret", "/tests", "/disabling", "/deletion", "/repeats"):
        assert stranger.post(here + action).status_code == 404, action


def test_an_affiliate_adds_a_postback_and_sees_what_their_tracker_got(
    world: World, told: Told
) -> None:
    anna = world.affiliate("Anna")
    client = anna.client
    assert "No postback yet" in client.get("/account/postbacks").text
    made = client.post(
        "/account/postbacks",
        data={"url": f"{told.url}/p?c={{click_id}}&s={{commission}}&t={{status}}",
              "types": ["commission.earned"], "method": "POST"},
    )  # fmt: skip
    assert made.status_code == 303
    world.sale("Anna", "100.00")
    told.deliver()
    [request] = told.requests
    assert (request.method, request.body) == ("POST", "")
    assert re.fullmatch(r"/p\?c=[0-9a-f-]{36}&s=10\.00&t=pending", request.path)
    page = client.get(path_of_delivery(world)).text
    assert "s=10.00" in page and "whsec" not in page


def test_an_affiliate_reaches_nobody_elses_postbacks_and_no_webhook(
    world: World, told: Told
) -> None:
    world.affiliate("Anna")
    boris = world.affiliate("Boris").client
    postback = told.postback("Anna", "c={click_id}")
    endpoint, _ = told.endpoint("order.created")
    for each in (postback, endpoint):
        path = f"/account/postbacks/{ids.public_id('whk', each.id)}"
        assert boris.get(path).status_code == 404
        for action in ("", "/tests", "/disabling", "/deletion", "/repeats"):
            assert boris.post(path + action).status_code == 404
    manager = hire(world, "manager").client
    found = manager.get(f"/manage/webhooks/{ids.public_id('whk', postback.id)}")
    assert found.status_code == 404, "an affiliate's tracker is no business of the program's"


def test_there_are_only_so_many_of_each(world: World, told: Told) -> None:
    manager = hire(world, "manager").client
    anna = world.affiliate("Anna").client
    for _ in range(ENDPOINTS_MAX):
        assert add(manager, f"{told.url}/", "order.created").status_code == 201
    assert add(manager, f"{told.url}/", "order.created").status_code == 409
    data = {"url": f"{told.url}/", "types": ["commission.earned"], "method": "GET"}
    for _ in range(POSTBACKS_MAX):
        assert anna.post("/account/postbacks", data=data).status_code == 303
    assert anna.post("/account/postbacks", data=data).status_code == 409


def test_an_applicant_cannot_add_a_postback(world: World, told: Told) -> None:
    boris = world.affiliate("Boris", approved=False).client
    data = {"url": f"{told.url}/", "types": ["commission.earned"], "method": "GET"}
    assert boris.post("/account/postbacks", data=data).status_code == 403
