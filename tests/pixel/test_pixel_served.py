"""How /pixel.js leaves the server."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from tests.builders import make_program
from tracker.pixel.cli import pixel_command
from tracker.pixel.rules import PIXEL_GZIP_BYTES_MAX, compact, script_from, script_of
from tracker.pixel.scripts import DEBUG_SOURCE, VERSIONS, current_script, freeze
from tracker.pixel.web import blueprint


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


def test_every_released_version_keeps_its_address(shop_page: FlaskClient) -> None:
    frozen = list(VERSIONS.glob("pixel-*.js"))
    assert frozen
    for path in frozen:
        answer = shop_page.get(f"/{path.name}")
        assert answer.data == path.read_bytes()
        assert path.name == script_of(answer.data).name, "its name says what it holds"
        assert "immutable" in answer.headers["Cache-Control"]


def test_releasing_again_freezes_the_same_file(tmp_path: Path) -> None:
    assert freeze(tmp_path) == freeze(tmp_path)
    (path,) = tmp_path.iterdir()
    assert script_of(path.read_bytes()) == current_script()


def test_version_address_and_integrity_are_published(client: FlaskClient) -> None:
    answer = client.get("/pixel.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    told = answer.get_json()
    body = client.get(f"/pixel-{told['version']}.js").data
    digest = base64.b64encode(hashlib.sha384(body).digest()).decode()
    assert told["integrity"] == f"sha384-{digest}"
    assert told["url"] == f"http://127.0.0.1:8000/pixel-{told['version']}.js"
    assert {one["version"] for one in told["before"]} == {
        path.stem.removeprefix("pixel-") for path in VERSIONS.glob("pixel-*.js")
    } - {told["version"]}


def test_the_command_prints_the_lines_to_embed(app: Flask, session: Session) -> None:
    make_program(session, now=real_now())
    session.commit()
    run = app.test_cli_runner()
    done = run.invoke(pixel_command, ["--program", "lamps"])
    assert done.exit_code == 0, done.output
    assert f'integrity="{current_script().integrity}" crossorigin="anonymous"' in done.output
    assert "X-Kopeck-Proxy: lamps." in done.output
    assert run.invoke(pixel_command, ["--program", "nope"]).exit_code == 1


def test_the_debug_panel_is_not_part_of_what_every_page_pays_for(shop_page: FlaskClient) -> None:
    panel = shop_page.get("/pixel-debug.js")
    assert panel.data == current_script(DEBUG_SOURCE).body != current_script().body


def test_a_version_that_never_was_has_no_address(shop_page: FlaskClient) -> None:
    assert shop_page.get("/pixel-0000000000000000.js").status_code == 404


def test_another_source_is_another_version() -> None:
    assert script_from("a();").version != script_from("b();").version
    assert script_from("a();").version == script_from("// why\n  a();").version
