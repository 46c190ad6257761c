"""Forms need their token and their own page, the API a key, desks a person: route by route."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from walk import STARTS, Installation, address
from werkzeug.datastructures import Headers

from affiliate.core import http
from affiliate.people.access import Kind
from payouts.batches.models import PayoutBatch, PayoutItem, Withdrawal
from tests.desks.staff import url_of, url_of_item

FORMS_OF_MACHINES = {
    *("events.events", "pixel.keep"),
    *("provider.of_the_platform", "provider.of_payees", "sources.receive"),
}
"""Called from the shops' pages, or signed by Stripe or a shop's system: no cookie of ours counts
there."""
ELSEWHERE = (
    "https://evil.example", "null", "http://[", "https://localhost.evil.example", "file://", "",
    "https://evil.example#localhost",
)  # fmt: skip


@pytest.mark.abuse("A23")
@pytest.mark.parametrize("role", STARTS)
def test_every_form_without_its_token_is_refused_the_public_ones_too(
    installation: Installation, role: str
) -> None:
    app, client = installation.world.app, installation.browsers[role]
    app.config["WTF_CSRF_ENABLED"] = True
    wrong, tried = [], 0
    for rule, method, kind in installation.rules():
        if method == "GET" or kind is Kind.SCOPE or rule.endpoint in FORMS_OF_MACHINES:
            continue
        tried += 1
        for fields in ({}, {"csrf_token": "x"}, {"csrf_token": "\0"}):
            answer = client.open(address(rule.rule, "1"), method=method, data=fields)
            if answer.status_code != 400 and not (answer.status_code == 404 and ":" in rule.rule):
                wrong.append(f"{method} {rule.rule}: {answer.status_code}")
    assert tried > 40
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A23")
def test_a_form_of_another_site_is_refused_with_a_good_token_too(
    installation: Installation,
) -> None:
    client = installation.browsers["owner"]
    wrong = []
    for rule, method, kind in installation.rules():
        if method == "GET" or kind is Kind.SCOPE or rule.endpoint in FORMS_OF_MACHINES:
            continue
        for origin in ELSEWHERE if rule.endpoint == "sign_in.sign_in" else ELSEWHERE[:2]:
            headers = Headers([("Origin", origin)])
            answer = client.open(address(rule.rule, "1"), method=method, headers=headers)
            if answer.status_code != 403:
                wrong.append(f"{method} {rule.rule} from {origin!r}: {answer.status_code}")
    assert not wrong, "\n".join(wrong[:40])
    fields = {"name": "Owner", "locale": "en", "time_zone": "UTC"}
    for origin in ("http://localhost", "http://localhost:8000", "http://127.0.0.1:8000"):
        assert client.post("/profile", data=fields, headers={"Origin": origin}).status_code == 303


@pytest.mark.abuse("A23", "A25")
def test_the_api_takes_no_cookie_for_a_key(installation: Installation) -> None:
    wrong, tried = [], 0
    for rule, method, kind in installation.rules():
        if kind is Kind.SCOPE:
            tried += 1
            answer = installation.browsers["owner"].open(address(rule.rule, "1"), method=method)
            # An id of the wrong shape is no route at all; that says nothing of the caller.
            if answer.status_code != 401 and "uuid:" not in rule.rule:
                wrong.append(f"{method} {rule.rule}: {answer.status_code}")
            if "Set-Cookie" in answer.headers:
                wrong.append(f"{method} {rule.rule}: sets a cookie")
    assert tried >= 15
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A15", "A25")
def test_no_desk_takes_a_key_for_a_person(installation: Installation) -> None:
    client = installation.world.app.test_client()
    headers = {"Authorization": f"Bearer {installation.api_key}"}
    wrong, tried = [], 0
    for rule, method, kind in installation.rules():
        if kind in (Kind.SIGNED_IN, Kind.ROLES, Kind.AFFILIATES):
            tried += 1
            answer = client.open(address(rule.rule, "1"), method=method, headers=headers)
            led = answer.status_code == 303 and str(answer.location).startswith("/sign-in")
            if not led:
                wrong.append(f"{method} {rule.rule}: {answer.status_code}")
    assert tried > 60
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A26")
def test_no_page_of_a_signed_in_person_is_kept_by_a_cache(installation: Installation) -> None:
    wrong, tried = [], 0
    for role in ("affiliate", "owner"):
        for path in installation.pages(role)[0]:
            tried += 1
            kept = installation.browsers[role].get(path).headers["Cache-Control"]
            if kept != "no-store":
                wrong.append(f"{path}: {kept}")
    assert tried > 25
    assert not wrong, "\n".join(wrong)


def test_every_exemption_from_tokens_is_the_api_the_pixel_or_the_end_of_letters(
    app: Flask, client: FlaskClient
) -> None:
    """A new one is a decision; it is added here with its reason."""
    assert client.get("/healthz").status_code == 200
    ours = {f"{view.__module__}.{view.__name__}" for view in app.view_functions.values()}
    exempt = {name.rpartition(".")[2] for name in http.csrf._exempt_views & ours}
    # Mail programs end letters by one POST to a signed address (RFC 8058) and know no form.
    assert exempt <= {"events", "end_letters"}
    for blueprint in http.csrf._exempt_blueprints:
        rules = [r.rule for r in app.url_map.iter_rules() if r.endpoint.startswith(f"{blueprint}.")]
        assert all(rule.startswith(("/api/v1/", "/v1/", "/p.gif")) for rule in rules), blueprint


@pytest.mark.abuse("A36")
def test_a_field_that_moves_money_stands_once(installation: Installation) -> None:
    world = installation.world
    batch = world.session.scalars(sa.select(PayoutBatch)).one()
    item = world.session.scalars(sa.select(PayoutItem)).first()
    assert item is not None
    calls = {
        "/account/money/withdrawals": ("affiliate", "amount"),
        "/account/money/payee": ("affiliate", "destination"),
        f"{url_of(batch)}/approval": ("owner", "hash"),
        f"{url_of_item(item)}/payment": ("owner", "reference"),
    }
    for path, (role, name) in calls.items():
        answer = installation.browsers[role].post(path, data={name: ["0.01", "0.02"]})
        assert answer.status_code == 400, path
    world.session.expire_all()
    assert world.session.scalar(sa.select(sa.func.count()).select_from(Withdrawal)) == 0
    assert batch.status == "frozen"
