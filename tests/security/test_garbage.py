"""Garbage to every route, page and form: refused, never a fault of ours.

Nothing here lists addresses or fields by hand: routes come out of the URL map, pages and
forms out of what each role is shown, the API's fields out of its own OpenAPI document.
"""

from __future__ import annotations

import gc
import itertools
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from walk import MARK, STARTS, Installation, address, faults
from werkzeug.test import TestResponse

from affiliate.core.db import db

PATHS = (
    "%00", "%FF%FE", "%0d%0aX-Evil:%201", "-1", "0", "9" * 30, "x" * 5_000, "..%2f..%2fetc",
    "%E2%80%AE", "'%20OR%201=1--", "%3Cscript%3Ekpk", "bat_zzzz", "aff_9999999999999999",
    "2026-13", "9999-12", "0000-00", "%F0%9F%92%A9",
)  # fmt: skip
TEXTS = (
    "", "\0", "\ud800", "x" * 20_000, "9" * 30, f'{MARK}">', "a\r\nX-Evil: 1", "9999-12-31",
)  # fmt: skip
"""For a whole form or one parameter at a time."""
FIELD_TEXTS = itertools.cycle(
    ("\0", "9" * 30, MARK, "\u202e\u200b", "-1", "1e400", "0001-01-01", "{{7*7}}", "2026-13",
     "//evil.example", "javascript:alert(1)", "%", "' OR 1=1 --", "NaN", "٥", "1_000"),
)  # fmt: skip
"""For one field among good ones, one after the other."""
JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**17, "", "\0", "\ud800", f"{MARK}", "x" * 20_000, [], {},
    [[[]]], {"amount": "1"}, {"a": {"b": None}}, [None], "9999-12-31T23:59:59Z",
)  # fmt: skip
BODIES: tuple[tuple[bytes, str], ...] = (
    (b"", "application/json"),
    (b"[]", "application/json"),
    (b'"text"', "application/json"),
    (b"null", "application/json"),
    (b"[" * 100_000, "application/json"),
    (b'{"a":' * 50_000, "application/json"),
    (b'{"a":1,"a":2}', "application/json"),
    (b'{"a":1e999}', "application/json"),
    (b"{}", "application/json; charset=utf-7"),
    (b"\xff\xfe", "application/json"),
    (b"\xff\xfe=\xff&a=%FF%00", "application/x-www-form-urlencoded"),
    (b"&".join(b"a=%d" % n for n in range(5_000)), "application/x-www-form-urlencoded"),
    (b"x" * 1_000_001, "application/x-www-form-urlencoded"),
    (b"--x\r\nContent-Disposition: form-data", "multipart/form-data; boundary=x"),
    (b"--x\r\n", "multipart/form-data"),
    (b"", "multipart/form-data; boundary=" + "y" * 3_000),
    (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "application/xml"),
    (b"\x1f\x8b\x08\0\0\0\0\0", "application/json"),
    (b"a=1", "\xff/\xfe"),
)
HEADERS: tuple[dict[str, str], ...] = (
    {"Cookie": "kopeck=\xff; kopeck=.eJw; =; ;;"},
    {"Cookie": "kopeck=" + "x" * 8_000},
    {"Cookie": "__Host-kopeck=eyJzaWduX2luIjp7fX0.x.y; kpv=%00"},
    {"Authorization": "Bearer kpk_\xff_\0"},
    {"Authorization": "Bearer " + "x" * 9_000},
    {"Authorization": "Basic \xff"},
    {"Accept-Language": "xx-\xff;q=a, ,;;,*;q=9e99"},
    {"Accept": "\xff;q=NaN"},
    {"User-Agent": ""},
    {"User-Agent": f"{MARK}\x1b[31m\xff"},
    {"Referer": f"javascript:{MARK}"},
    {"Origin": "null"},
    {"Range": "bytes=-1,9-,x"},
    {"If-None-Match": '"\xff', "If-Modified-Since": "yesterday"},
    {"X-Forwarded-For": MARK, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"},
    {"X-HTTP-Method-Override": "DELETE", "Content-Encoding": "gzip", "Expect": "a miracle"},
    {"HX-Request": "true", "HX-Current-URL": "http://[", "HX-Prompt": "\xff"},
)


def names(text: str) -> str:
    return repr(text[:40])


@pytest.mark.abuse("A3", "A5", "A34", "A48")
@pytest.mark.parametrize("role", STARTS)
def test_garbage_in_the_path_breaks_no_route(installation: Installation, role: str) -> None:
    client = installation.browsers[role]
    wrong: list[str] = []
    for rule, method, _ in installation.rules():
        if "<" not in rule.rule:
            continue
        for value in PATHS:
            answer = client.open(address(rule.rule, value), method=method)
            wrong += faults(answer, f"{method} {rule.rule} {names(value)} as {role}")
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.abuse("A4", "A5", "A34", "A36")
@pytest.mark.parametrize("role", STARTS)
def test_garbage_in_the_query_breaks_no_page(installation: Installation, role: str) -> None:
    wrong: list[str] = []
    pages, _ = installation.pages(role)
    assert len(pages) >= len(STARTS[role])
    for path in pages:
        plain = path.partition("?")[0]
        for name in sorted(installation.parameters(plain)):
            for value in TEXTS:
                query = {name: value.encode("utf-8", "surrogatepass")}
                answer = installation.browsers[role].get(plain, query_string=query)
                wrong += faults(answer, f"{plain}?{name}={names(value)} as {role}")
            twice = installation.browsers[role].get(f"{plain}?{name}=a&{name}=%FF&{name}[]=b")
            wrong += faults(twice, f"{plain}?{name} twice as {role}")
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.parametrize("role", STARTS)
def test_no_page_keeps_a_connection(installation: Installation, role: str) -> None:
    """Nor a file, once it is read to its end; the collector does not come by to hide it."""
    pages, _ = installation.pages(role)
    kept: list[str] = []
    gc.collect()
    gc.disable()
    try:
        with installation.world.app.app_context():
            pool: Any = db.engine.pool
        before = pool.checkedout()
        for path in pages:
            installation.browsers[role].get(path).close()
            if pool.checkedout() > before:
                kept.append(path)
                before = pool.checkedout()
    finally:
        gc.enable()
    assert kept == []


@pytest.mark.abuse("A4", "A5", "A6", "A34", "A35")
@pytest.mark.parametrize("role", STARTS)
def test_garbage_in_a_form_breaks_no_page(installation: Installation, role: str) -> None:
    client = installation.browsers[role]
    wrong: list[str] = []
    _, forms = installation.pages(role)
    assert forms
    for form in forms:
        for value in TEXTS:
            every = {name: _bytes(value) for name in form.fields}
            wrong += faults(_send(client, form, every), f"{form.action} all {names(value)}")
        for name, value in zip(form.fields, FIELD_TEXTS, strict=False):
            one = {**form.fields, name: _bytes(value)}
            wrong += faults(_send(client, form, one), f"{form.action} {name}={names(value)}")
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.abuse("A4", "A5", "A36", "A48")
@pytest.mark.parametrize("role", STARTS)
def test_a_body_that_is_garbage_breaks_no_route(installation: Installation, role: str) -> None:
    client = installation.browsers[role]
    headers = {"Authorization": f"Bearer {installation.api_key}"}
    wrong: list[str] = []
    for rule, method, kind in installation.rules():
        if method != "POST" or rule.endpoint == "sign_in.sign_out":
            continue
        for body, content_type in BODIES:
            answer = client.open(
                address(rule.rule, "1"), method=method, data=body,
                content_type=content_type, headers=headers if kind == "scope" else {},
            )  # fmt: skip
            wrong += faults(answer, f"{method} {rule.rule} {body[:20]!r} {content_type[:40]}")
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.abuse("A5", "A6", "A35")
def test_garbage_in_a_field_of_the_api_breaks_nothing(installation: Installation) -> None:
    client = installation.browsers["anonymous"]
    document = client.get("/api/openapi.json").get_json()
    headers = {"Authorization": f"Bearer {installation.api_key}"}
    wrong: list[str] = []
    calls = 0
    for path, operations in document["paths"].items():
        if "post" not in operations:
            continue
        schema = operations["post"].get("requestBody", {}).get("content", {})
        schema = schema.get("application/json", {}).get("schema", {})
        fields = document["components"]["schemas"].get(
            str(schema.get("$ref", "")).rpartition("/")[2], {}
        )
        for name in [*fields.get("properties", {}), "unknown"]:
            for value in JSON_VALUES:
                calls += 1
                answer = client.post(
                    re.sub(r"{[^}]+}", "A-1", path), headers=headers,
                    data=json.dumps({name: value}), content_type="application/json",
                )  # fmt: skip
                wrong += faults(answer, f"POST {path} {name}={value!r:.40}")
                if answer.status_code < 300 and name == "unknown":
                    wrong.append(f"POST {path} takes an unknown field")
    assert calls > 300
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.abuse("A2", "A3", "A4", "A48")
def test_garbage_in_a_header_breaks_no_route(installation: Installation) -> None:
    wrong: list[str] = []
    for rule, method, _ in installation.rules():
        for headers in HEADERS if method == "GET" else HEADERS[::4]:
            answer = installation.world.app.test_client().open(
                address(rule.rule, "1"), method=method, headers=headers
            )
            wrong += faults(answer, f"{method} {rule.rule} {headers!r:.60}")
            if "evil.example" in str(answer.headers):
                wrong.append(f"{method} {rule.rule}: repeats a header")
    assert not wrong, "\n".join(wrong[:40])


@pytest.mark.abuse("A36", "A46")
def test_an_odd_method_is_refused_everywhere(installation: Installation) -> None:
    client = installation.browsers["owner"]
    wrong: list[str] = []
    known = {(address(rule.rule, "1"), method) for rule, method, _ in installation.rules()}
    for path in sorted({path for path, _ in known}):
        for method in ("PUT", "TRACE", "KPK"):
            if (path, method) in known:
                continue
            answer = client.open(path, method=method)
            wrong += faults(answer, f"{method} {path}")
            if answer.status_code not in (404, 405):
                wrong.append(f"{method} {path}: {answer.status_code}")
    assert not wrong, "\n".join(wrong[:40])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _send(client: FlaskClient, form: Any, fields: dict[str, Any]) -> TestResponse:
    if form.method == "get":
        return client.get(form.action, query_string=fields)
    return client.post(form.action, data=fields)
