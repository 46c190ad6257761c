"""How /pixel.js leaves the server."""

from __future__ import annotations

import gzip
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tracker.pixel.rules import PIXEL_GZIP_BYTES_MAX, compact, script_from
from tracker.pixel.web import blueprint, current_script


@pytest.fixture
def shop_page() -> FlaskClient:
    """What a shop's browser asks, of an application with the pixel alone."""
    alone = Flask("pixel")
    alone.register_blueprint(blueprint)
    return alone.test_client()


def test_the_pixel_costs_a_page_less_than_three_kilobytes() -> None:
    assert len(gzip.compress(current_script().body, 6)) < PIXEL_GZIP_BYTES_MAX


def test_only_comments_and_white_space_are_left_out() -> None:
    source = '/* a\n * b */\n  var x = "// none";\n\n  // why\n  var y = /[/*]/;\n/* c */\nx();\n'
    assert compact(source) == 'var x = "// none";\nvar y = /[/*]/;\nx();\n'


def test_the_served_pixel_holds_no_comment() -> None:
    lines = current_script().body.decode().splitlines()
    assert [line for line in lines if re.match(r"\s*(//|/\*|\*)", line)] == []


def test_any_site_may_load_the_pixel_and_ask_again_cheaply(shop_page: FlaskClient) -> None:
    answer = shop_page.get("/pixel.js")
    assert answer.status_code == 200
    assert answer.data == current_script().body
    assert answer.content_type == "text/javascript; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"

    again = shop_page.get("/pixel.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


def test_a_version_has_an_address_that_never_changes(shop_page: FlaskClient) -> None:
    answer = shop_page.get(f"/pixel-{current_script().version}.js")
    assert answer.data == current_script().body
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_another_version_than_this_release_has_no_address(shop_page: FlaskClient) -> None:
    assert shop_page.get("/pixel-0000000000000000.js").status_code == 404


def test_another_source_is_another_version() -> None:
    assert script_from("a();").version != script_from("b();").version
    assert script_from("a();").version == script_from("// why\n  a();").version
