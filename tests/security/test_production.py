"""What production refuses, and what is answered while the database is away."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from walk import Installation, address, faults

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people.models import User

HTTPS = "https://kopeck.example"


@pytest.fixture
def production(production_settings: Settings) -> Iterator[Flask]:
    from wsgi import create_app

    app = create_app(replace(production_settings, trusted_hosts=("kopeck.example",)))
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def away(settings: Settings) -> FlaskClient:
    """The application while nothing answers at the database's address."""
    from wsgi import create_app

    gone = replace(settings, database_url="postgresql+psycopg://kopeck@127.0.0.1:1/none")
    client: FlaskClient = create_app(gone).test_client()
    return client


@pytest.mark.abuse("A48")
@pytest.mark.parametrize(
    "path", ["/demo/", "/demo/clock", "/demo/codes", "/demo/styleguide", "/console", "/debug"]
)
def test_production_has_no_page_of_the_demo(production: Flask, path: str) -> None:
    client = production.test_client()
    assert client.get(path, base_url=HTTPS).status_code == 404
    assert client.post(path, base_url=HTTPS).status_code in (400, 404)
    assert not [rule for rule in production.url_map.iter_rules() if rule.rule.startswith("/demo")]
    assert not production.debug and not production.testing
    assert "/demo" not in client.get("/", base_url=HTTPS).text


@pytest.mark.abuse("A48")
def test_the_clock_stands_with_the_machine_in_production(
    session: Session, production_settings: Settings
) -> None:
    from datetime import timedelta

    with pytest.raises(clock.ClockRefused):
        clock.advance(session, by=timedelta(days=1), settings=production_settings)


@pytest.mark.abuse("A48")
def test_no_account_ships(production: Flask, session: Session) -> None:
    assert production.test_client().get("/", base_url=HTTPS).status_code == 200
    assert session.scalar(sa.select(sa.func.count()).select_from(User)) == 0


@pytest.mark.abuse("A48", "A49")
def test_without_the_database_every_page_says_so_and_none_breaks(away: FlaskClient) -> None:
    wrong = []
    for rule in away.application.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            answer = away.open(address(rule.rule, "1"), method=method)
            what = f"{method} {rule.rule}"
            if answer.status_code != 503:
                wrong += faults(answer, what)
            for secret in ("Traceback", "psycopg", "127.0.0.1:1", "SELECT"):
                if secret.encode() in answer.get_data():
                    wrong.append(f"{what}: shows {secret}")
    assert not wrong, "\n".join(wrong[:40])
    page = away.get("/programs")
    assert page.status_code == 503
    assert page.headers["Retry-After"]
    assert "nothing was recorded" in page.text


@pytest.mark.abuse("A4")
@pytest.mark.parametrize(("count", "status"), [(200, 400), (201, 413), (1_000, 413)])
def test_a_form_has_so_many_fields_and_no_more(
    client: FlaskClient, count: int, status: int
) -> None:
    fields = {f"f{number}": "x" for number in range(count)}
    assert client.post("/sign-in", data=fields).status_code == status
    same = {"email": ["x"] * count}
    assert client.post("/sign-in", data=same).status_code == status


@pytest.mark.abuse("A4")
@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/orders/A-1", "/p.gif"])
def test_an_address_has_so_many_parameters_and_no_more(client: FlaskClient, path: str) -> None:
    query = "&".join(f"p{number}=x" for number in range(1_000))
    assert client.get(f"{path}?{query}").status_code == 414


@pytest.mark.abuse("A4")
def test_a_chunked_body_over_the_limit_is_refused_and_not_cut(installation: Installation) -> None:
    answers = [
        installation.browsers["anonymous"].post(
            "/api/v1/orders", content_type="application/json",
            headers={"Authorization": f"Bearer {installation.api_key}"},
            environ_overrides={
                "wsgi.input": io.BytesIO(b"{" + b" " * spaces + b"}" + b" " * 10),
                "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked",
                "CONTENT_LENGTH": "",
            },
        ).status_code
        for spaces in (10, 1_000_000)
    ]  # fmt: skip
    assert answers == [422, 413]


@pytest.mark.abuse("A4")
def test_the_proxy_of_the_docs_gives_up_on_slow_clients() -> None:
    """WSGI has no clock on a body: the proxy's is the only one, so the recipe must set it."""
    from affiliate.core.config import ROOT

    recipe = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    recipe = recipe.split("```nginx")[1].split("```")[0]
    for line in ("client_body_timeout 10s;", "client_header_timeout 10s;",
                 "proxy_request_buffering on;", "client_max_body_size 1m;",
                 "proxy_set_header X-Forwarded-For $remote_addr;"):  # fmt: skip
        assert line in recipe
