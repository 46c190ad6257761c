"""What every answer has: known hosts, headers, one shape of error, no traces of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from affiliate.core.config import Settings
from affiliate.core.errors import Refusal
from affiliate.people.access import public

BASE = "http://127.0.0.1:8000"


WithView = Callable[..., FlaskClient]


@pytest.fixture
def with_view() -> Iterator[WithView]:
    """Makes applications with one more page, which tells the address it sees or raises."""
    from affiliate.core.db import db
    from wsgi import create_app

    made: list[Flask] = []

    def make(settings: Settings, raised: Exception | None = None) -> FlaskClient:
        app = create_app(settings)
        made.append(app)

        @app.route("/told", methods=["GET", "POST"])
        @app.route("/api/told", endpoint="api_told", methods=["GET", "POST"])
        @public
        def told() -> str:
            if raised is not None:
                raise raised
            return f"{request.remote_addr} {request.scheme} {request.host}"

        return app.test_client()

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.mark.abuse("A2")
@pytest.mark.parametrize("path", ["/", "/sign-in", "/api/openapi.json", "/healthz", "/nowhere"])
def test_an_unknown_host_is_a_400_and_is_not_repeated(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.abuse("A2")
def test_forwarded_headers_of_strangers_are_not_believed(
    with_view: WithView, settings: Settings
) -> None:
    headers = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Host": "localhost",
        "X-Forwarded-Proto": "https",
    }
    told = with_view(settings).get("/told", base_url=BASE, headers=headers).text
    assert told == "127.0.0.1 http 127.0.0.1:8000"


@pytest.mark.abuse("A2")
def test_our_own_proxy_is_believed_for_as_many_hops_as_are_set(
    with_view: WithView, settings: Settings
) -> None:
    headers = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Host": "localhost"}
    behind_one = with_view(replace(settings, proxy_hops=1))
    assert behind_one.get("/told", base_url=BASE, headers=headers).text.startswith("9.9.9.9 ")
    spoofed = {"X-Forwarded-Host": "evil.example"}
    assert behind_one.get("/told", base_url=BASE, headers=spoofed).status_code == 400


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nowhere", "/healthz"])
@pytest.mark.abuse("A42")
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Request-Id"]


def test_https_installations_ask_browsers_to_stay_with_https(
    with_view: WithView, production_settings: Settings, client: FlaskClient
) -> None:
    safe = with_view(replace(production_settings, trusted_hosts=("127.0.0.1",)))
    answer = safe.get("/healthz", base_url="https://127.0.0.1:8000")
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in client.get("/healthz").headers


@pytest.mark.abuse("A48")
@pytest.mark.parametrize(
    ("path", "kind"), [("/told", "text/html"), ("/api/told", "application/problem+json")]
)
def test_a_fault_of_ours_shows_an_id_and_no_trace(
    with_view: WithView, settings: Settings, path: str, kind: str
) -> None:
    broken = with_view(settings, RuntimeError("the secret detail"))
    answer = broken.get(path, base_url=BASE)
    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith(kind)
    assert "secret detail" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.text


def test_a_refusal_is_a_problem_document_for_machines_and_a_page_for_people(
    with_view: WithView,
    settings: Settings,
) -> None:
    class Refused(Refusal):
        code = "not_today"
        status = 409
        title = "Not today."

    refusing = with_view(settings, Refused("Come tomorrow."))
    problem = refusing.get("/api/told", base_url=BASE)
    assert problem.status_code == 409
    assert problem.json is not None
    assert (problem.json["code"], problem.json["detail"]) == ("not_today", "Come tomorrow.")
    page = refusing.get("/told", base_url=BASE)
    assert page.status_code == 409
    assert "Come tomorrow." in page.text


def test_an_unknown_page_is_a_404_and_a_wrong_method_a_405(client: FlaskClient) -> None:
    assert client.get("/nowhere").status_code == 404
    refused = client.put("/healthz")
    assert refused.status_code in (400, 405)
    assert client.get("/sign-out").status_code == 405
    assert "POST" in client.get("/sign-out").headers["Allow"]


@pytest.mark.abuse("A4")
def test_a_body_over_the_limit_is_a_413(with_view: WithView, settings: Settings) -> None:
    small = with_view(replace(settings, body_bytes_max=1000))
    answer = small.post("/sign-in", base_url=BASE, data={"email": "x" * 2000})
    assert answer.status_code == 413


@pytest.mark.abuse("A27", "A35")
@pytest.mark.parametrize(
    "body", ['"text"', '{"email": ["a"]}', "[[1]]", '{"email": "a@b.example"}']
)
def test_a_page_takes_no_json_for_a_form(client: FlaskClient, app: Flask, body: str) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    for path in ("/sign-in", "/sign-up", "/forgot-password"):
        answer = client.post(path, data=body, content_type="application/json")
        assert answer.status_code == 415


@pytest.mark.abuse("A23")
def test_a_form_without_its_token_is_refused_under_an_id(client: FlaskClient) -> None:
    answer = client.post("/sign-in", data={"email": "a@b.example"})
    assert answer.status_code == 400
    assert answer.headers["X-Request-Id"] and answer.headers["X-Request-Id"] in answer.text


def test_a_static_file_may_be_kept_and_a_missing_one_not(client: FlaskClient) -> None:
    with client.get("/static/kopeck.css") as kept:
        assert "max-age=3600" in kept.headers["Cache-Control"]
    assert client.get("/static/none.css").headers["Cache-Control"] == "no-store"


@pytest.mark.abuse("A5")
def test_text_that_cannot_be_stored_is_a_400(client: FlaskClient) -> None:
    token = client.get("/sign-in").text.split('name="csrf_token" value="')[1].split('"')[0]
    answer = client.post(
        "/sign-in", data={"csrf_token": token, "email": "a\x00b@example.com", "password": "x" * 12}
    )
    assert answer.status_code in (400, 401)


def test_healthz_answers_while_the_database_is_away(
    with_view: WithView, settings: Settings
) -> None:
    away = with_view(replace(settings, database_url="postgresql+psycopg://x@127.0.0.1:9/x"))
    assert away.get("/healthz", base_url=BASE).status_code == 200
    ready = away.get("/readyz", base_url=BASE)
    assert ready.status_code == 503
    assert ready.json == {
        "status": "not ready",
        "checks": {"database": False, "migrations": False},
        "alarms": [],
    }


def test_readyz_says_when_migrations_are_missing(client: FlaskClient, app: Flask) -> None:
    import sqlalchemy as sa

    from affiliate.core.db import db

    assert client.get("/readyz").status_code == 200
    with app.app_context():
        db.session.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
        db.session.commit()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["checks"] == {"database": True, "migrations": False}


def test_metrics_are_for_this_machine_or_with_the_token(
    client: FlaskClient, settings: Settings
) -> None:
    from affiliate.core.health import metrics_token

    assert "kopeck_mails_waiting 0" in client.get("/metrics").text
    stranger = {"REMOTE_ADDR": "10.0.0.7"}
    assert client.get("/metrics", environ_base=stranger).status_code == 401
    proxied = client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert proxied.status_code == 401, "a proxy on this machine stands for strangers"
    for token, status in ((metrics_token(settings), 200), ("x" * 64, 401), ("é", 401)):
        answer = client.get(
            "/metrics", environ_base=stranger, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status
