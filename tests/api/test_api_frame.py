"""The API's own description, its browsable page and the strict reading of queries."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import openapi_spec_validator
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from affiliate.core import api, api_document
from affiliate.core.fields import (
    Flag,
    MomentField,
    MoneyField,
    field_errors,
    money_json,
)
from affiliate.core.money import Money
from tests.api import codes

CALLS = {
    "/api/v1/orders": {"post"},
    "/api/v1/orders/{order_id}": {"get"},
    "/api/v1/orders/{order_id}/confirmation": {"post"},
    "/api/v1/orders/{order_id}/refunds": {"post"},
    "/api/v1/orders/{order_id}/cancellation": {"post"},
}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def test_the_description_is_openapi_3_1_with_every_call_of_orders(
    document: dict[str, Any],
) -> None:
    assert document["openapi"] == "3.1.0"
    for path, methods in CALLS.items():
        assert methods <= set(document["paths"][path])


def test_every_call_names_its_errors_and_the_key(document: dict[str, Any]) -> None:
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, calls in document["paths"].items():
        for method in set(calls) & {"get", "post", "delete"}:
            assert "default" in calls[method]["responses"], (method, path)


def test_errors_are_described_as_problem_documents(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    assert list(responses["DEFAULT_ERROR"]["content"]) == ["application/problem+json"]


def test_every_reference_of_the_description_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    for reference in references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place


def test_money_is_described_as_strings(document: dict[str, Any]) -> None:
    total = document["components"]["schemas"]["OrderOrTestIn"]["properties"]["total"]
    total = api_document.resolved(document, total)
    assert total["properties"]["amount"]["type"] == "string"
    assert total["required"] == ["amount", "currency"]


def test_the_browsable_page_needs_no_inline_script(client: FlaskClient) -> None:
    answer = client.get("/api/")
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert "data-theme-toggle" in answer.text
    assert 'class="page-back" href="/"' in answer.text
    for name in ("vendor/swagger-ui-5.35.0/swagger-ui-bundle.js", "api.js"):
        with client.get(f"/static/{name}") as script:
            assert script.status_code == 200


class Query(ma.Schema):
    a = ma.fields.Integer()


class Body(ma.Schema):
    price = MoneyField()
    at = MomentField()
    flag = Flag()


blueprint = api.api_blueprint("probe", "/api/v1/probe")


@blueprint.get("")
@blueprint.arguments(Query, location="query")
@blueprint.response(200, Query)
def ask(query: dict[str, Any]) -> dict[str, Any]:
    return query


@blueprint.post("")
@blueprint.arguments(Body)
@blueprint.response(201, Body)
def tell(body: dict[str, Any]) -> dict[str, Any]:
    return body


@blueprint.post("/answer")
@blueprint.arguments(Body)
@blueprint.response(201, Body)
def tell_as_it_is(body: dict[str, Any]) -> Response:
    return api.answer({"price": money_json(body["price"])}, 201, {"X-Was": "asked"})


@pytest.fixture
def probe(app: Flask, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """The frame with a resource of its own, open to all: roles are tested elsewhere."""
    from affiliate.people import access

    for view in (ask, tell, tell_as_it_is):
        monkeypatch.setattr(view, access._MARK, access.Mark(access.Kind.PUBLIC), raising=False)
    api.register(app, blueprint)
    client = app.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    return client


@pytest.mark.abuse("A36")
def test_a_parameter_that_stands_twice_is_malformed(probe: FlaskClient) -> None:
    answer = probe.get("/api/v1/probe?a=1&a=2")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed")


@pytest.mark.abuse("A35")
def test_an_unknown_parameter_is_refused(probe: FlaskClient) -> None:
    answer = probe.get("/api/v1/probe?b=1")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "b"


def test_what_was_read_is_written_the_same_way(probe: FlaskClient) -> None:
    body = {
        "price": {"amount": "19.90", "currency": "EUR"},
        "at": "2026-11-21T10:15:00.5+03:00",
        "flag": False,
    }
    answer = probe.post("/api/v1/probe", json=body)
    assert answer.get_json() == {**body, "at": "2026-11-21T07:15:00.500000Z"}


def test_an_answer_may_be_given_as_it_is(probe: FlaskClient) -> None:
    body = {"price": {"amount": "1.00", "currency": "EUR"}}
    answer = probe.post("/api/v1/probe/answer", json=body)
    assert (answer.status_code, answer.headers["X-Was"]) == (201, "asked")
    assert answer.get_json() == body


@pytest.mark.parametrize("raw", ["[]", "1", '"text"', "null", "true"])
def test_a_body_that_is_no_object_is_refused(probe: FlaskClient, raw: str) -> None:
    answer = probe.post("/api/v1/probe", data=raw, content_type="application/json")
    assert answer.status_code == 422


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_another_method_names_those_that_are_allowed(probe: FlaskClient, method: str) -> None:
    answer = probe.open("/api/v1/orders", method=method)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.content_type == "application/problem+json"


def test_nested_messages_become_dotted_paths() -> None:
    found = list(field_errors({"items": {0: {"price": {"amount": ["bad"]}}}, "_schema": ["all"]}))
    assert [(one.field, one.message) for one in found] == [
        ("items.0.price.amount", "bad"),
        ("", "all"),
    ]


def test_output_may_be_negative_and_finer_than_the_currency() -> None:
    assert money_json(Money(-1, "RUB")) == {"amount": "-0.000001", "currency": "RUB"}


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    openapi_spec_validator.validate(document)  # type: ignore[arg-type]


def test_every_route_stands_in_the_description_and_the_other_way(
    app: Flask, document: dict[str, Any]
) -> None:
    routes = {
        (api_document.path_of(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, method, _ in api_document.operations(document)}
    assert routes == described


def test_every_call_has_a_name_of_its_own_and_says_its_scope(document: dict[str, Any]) -> None:
    calls = list(api_document.operations(document))
    assert len({operation["operationId"] for _, _, operation in calls}) == len(calls)
    for path, method, operation in calls:
        assert operation["x-scopes"], (method, path)
        assert operation["summary"], (method, path)


def test_every_list_is_paged_in_one_form(document: dict[str, Any]) -> None:
    for path, method, operation in api_document.operations(document):
        answer = operation["responses"].get("200", {})
        if "next" in api_document.properties(document, answer):
            names = {each.get("name") for each in operation["parameters"]}
            assert {"limit", "after"} <= names, (method, path)
            assert "Link" in answer["headers"], (method, path)
            assert answer["links"]["next"]["parameters"]["after"] == "$response.body#/next"


def test_every_write_takes_a_key_and_every_read_an_etag(document: dict[str, Any]) -> None:
    for path, method, operation in api_document.operations(document):
        references = {each.get("$ref", "").rpartition("/")[2] for each in operation["parameters"]}
        reads_a_file = path.endswith((".csv", ".xlsx", ".pdf"))
        wanted = "IfNoneMatch" if method == "get" else "IdempotencyKey"
        assert wanted in references or reads_a_file, (method, path)


def test_links_lead_from_an_order_to_its_refunds_and_from_an_affiliate_to_its_links(
    document: dict[str, Any],
) -> None:
    paths = document["paths"]
    of_order = paths["/api/v1/orders"]["post"]["responses"]["201"]["links"]
    assert of_order["orders_refund"]["parameters"] == {"order_id": "$response.body#/order_id"}
    of_affiliate = paths["/api/v1/affiliates"]["post"]["responses"]["201"]["links"]
    assert of_affiliate["links_create"]["parameters"] == {"affiliate": "$response.body#/id"}


def test_the_description_is_the_same_each_time(client: FlaskClient) -> None:
    first, again = client.get("/api/openapi.json"), client.get("/api/openapi.json")
    assert first.data == again.data
    etag = first.headers["ETag"]
    assert client.get("/api/openapi.json", headers={"If-None-Match": etag}).status_code == 304


def test_the_list_of_codes_is_that_of_the_source() -> None:
    assert codes.PAGE.read_text(encoding="utf-8") == codes.page(), "python -m tests.api.codes"


def test_a_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for each in codes.refusals():
        statuses.setdefault(each.code, set()).add(each.status)
    assert {code for code, found in statuses.items() if len(found) > 1} == set()


def test_what_has_not_changed_is_not_sent_again(probe: FlaskClient) -> None:
    first = probe.get("/api/v1/probe?a=1")
    headers = {"If-None-Match": first.headers["ETag"]}
    assert first.headers["Cache-Control"] == "private, no-cache"
    same, other = (probe.get(f"/api/v1/probe?a={a}", headers=headers) for a in (1, 2))
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert (other.status_code, other.get_json()) == (200, {"a": 2})
