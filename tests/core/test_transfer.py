"""Pages and front-end files travel compressed, and files are kept for good under their version."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from affiliate.core import transfer

GZIP = {"Accept-Encoding": "gzip"}
STYLE = re.compile(r'href="(/static/kopeck\.css[^"]*)"')


def style_of(client: FlaskClient) -> str:
    found = STYLE.search(client.get("/sign-in").text)
    assert found
    return found[1]


def unpacked(answer: TestResponse) -> str:
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert "Accept-Encoding" in answer.headers["Vary"]
    return gzip.decompress(answer.data).decode()


def test_a_page_is_compressed_for_whoever_takes_it(client: FlaskClient) -> None:
    plain = client.get("/sign-in")
    assert "Content-Encoding" not in plain.headers
    packed = client.get("/sign-in", headers=GZIP)
    assert len(packed.data) < len(plain.data) / 2
    assert "</html>" in unpacked(packed)


@pytest.mark.abuse("A23")
def test_the_length_of_a_compressed_page_says_nothing_of_its_token(client: FlaskClient) -> None:
    lengths = {len(client.get("/sign-in", headers=GZIP).data) for _ in range(12)}
    assert max(lengths) - min(lengths) >= 5


def test_machines_and_refusals_are_answered_as_they_are(client: FlaskClient) -> None:
    for path in ("/readyz", "/api/v1/nothing", "/nowhere", "/api/openapi.json"):
        assert "Content-Encoding" not in client.get(path, headers=GZIP).headers, path


def test_a_file_is_compressed_and_the_same(client: FlaskClient) -> None:
    address = style_of(client)
    for _ in range(2):
        with client.get(address, headers=GZIP) as packed, client.get(address) as plain:
            assert unpacked(packed) == plain.text


def test_a_file_under_its_version_is_kept_for_good(client: FlaskClient) -> None:
    address = style_of(client)
    assert "?v=" in address
    for path in (address, "/static/vendor/tabler-1.6.1/tabler.min.css"):
        with client.get(path, headers=GZIP) as answer:
            assert answer.headers["Cache-Control"] == transfer.FOR_GOOD
    for path in ("/static/kopeck.css", "/static/kopeck.css?v=0123456789"):
        with client.get(path, headers=GZIP) as answer:
            assert "immutable" not in answer.headers["Cache-Control"]


def test_a_file_that_is_known_is_not_sent_again(client: FlaskClient) -> None:
    address = style_of(client)
    for headers in ({}, GZIP):
        with client.get(address, headers=headers) as first:
            known = first.headers["ETag"]
        with client.get(address, headers={**headers, "If-None-Match": known}) as again:
            assert again.status_code == 304
            assert again.data == b""
            assert again.headers["Cache-Control"] == transfer.FOR_GOOD


def test_a_part_of_a_file_is_sent_as_it_is(client: FlaskClient) -> None:
    with client.get("/static/kopeck.css", headers={**GZIP, "Range": "bytes=0-9"}) as part:
        assert part.status_code == 206
        assert "Content-Encoding" not in part.headers
        assert len(part.data) == 10


def test_a_file_that_changes_gets_another_address_and_its_new_body(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    app.static_folder = str(tmp_path)
    style = tmp_path / "kopeck.css"
    style.write_text("a { color: teal }" * 100)
    os.utime(style, ns=(1, 1))
    before = style_of(client)
    with client.get(before, headers=GZIP) as first:
        assert "teal" in unpacked(first)
    style.write_text("a { color: black }" * 100)
    os.utime(style, ns=(2, 2))
    after = style_of(client)
    assert after != before
    with client.get(after, headers=GZIP) as second:
        assert "teal" not in unpacked(second)


@pytest.mark.abuse("A24")
@pytest.mark.parametrize("name", ["../setup.cfg", "..%2Fsetup.cfg", "none.css"])
def test_what_is_no_front_end_file_is_not_found(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/{name}?v=1", headers=GZIP).status_code == 404
