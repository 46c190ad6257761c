"""The peers' bench without its network and load: what is pinned, how they run, what ends a run."""

from __future__ import annotations

import http.server
import importlib.metadata
import json
import re
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affiliate.core.embedded.servers import Servers
from bench.load import Request, latency_ms, load
from bench.peers import __main__ as bench
from bench.peers import environment, packages

PROJECTS = sorted(packages.PROJECTS.rglob("*.py"))


def test_everything_in_the_peers_environment_is_pinned_once() -> None:
    pins = environment.pins()
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", pin), pin
    names = [pin.partition("==")[0].lower().replace("_", "-") for pin in pins]
    assert len(names) == len(set(names))
    assert {packages.PINAX, packages.AFFILIATE_SYSTEM, "django"} <= set(names)


@pytest.mark.parametrize("name", ["granian", "psycopg", "psycopg-binary"])
def test_server_and_driver_are_the_versions_that_run_kopeck(name: str) -> None:
    assert f"{name}=={importlib.metadata.version(name)}" in environment.pins()


@pytest.mark.parametrize("path", PROJECTS, ids=lambda p: str(p.relative_to(packages.PROJECTS)))
def test_the_projects_compile(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


@pytest.fixture
def projects_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HOST", "USER", "NAME"):
        monkeypatch.setenv(f"PEER_DATABASE_{name}", name.lower())
    monkeypatch.syspath_prepend(str(packages.PROJECTS))
    yield
    sys.modules.pop("common", None)


@pytest.mark.usefixtures("projects_on_path")
@pytest.mark.parametrize("project", ["pinax_project", "affiliate_project"])
def test_the_peers_run_as_a_production_would(project: str) -> None:
    settings: dict[str, Any] = runpy.run_path(str(packages.PROJECTS / project / "settings.py"))
    assert settings["DEBUG"] is False
    database = settings["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["USER"], database["NAME"]) == ("host", "user", "name")
    assert database["CONN_MAX_AGE"] is None
    assert settings["ROOT_URLCONF"] == f"{project}.urls"


def test_the_script_sends_the_same_purchase_as_our_own_generator() -> None:
    assert packages.PURCHASE.body
    assert packages.PURCHASE.script
    assert json.loads(packages.PURCHASE.body(200)) == {
        "referral_code": "A1",
        "event_type": "purchase",
        "is_conversion": True,
        "conversion_value": 4490.0,
        "metadata": {"order_id": "200"},
    }
    lua = packages.PURCHASE.script.read_text(encoding="utf-8")
    for name in packages.PURCHASE.environment:
        assert f'os.getenv("{name}")' in lua
    head, _, body = packages.PURCHASE.text(7, 8000).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /affiliates/referral-actions/track/ HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/found" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not into the tests' output."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A load that ends resets its connections; that is no error of the server."""


@pytest.fixture
def port() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("with_wrk", [True, False], ids=["wrk where there is one", "our own"])
def test_redirects_are_counted_and_an_error_ends_the_run(
    port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_wrk: bool
) -> None:
    if not with_wrk:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert load(port, Request("/found"), connections=2, seconds=1).requests > 0
    with pytest.raises(SystemExit, match="/broken"):
        load(port, Request("/broken"), connections=2, seconds=1)


def test_latencies_are_read_in_each_of_wrks_units() -> None:
    said = "     50%  909.79us\n     75%    1.06s \n     90%    3.00ms\n     99%    1.11s \n"
    assert [latency_ms(said, p) for p in (50, 75, 90, 99)] == [0.90979, 1060.0, 3.0, 1110.0]
    with pytest.raises(SystemExit):
        latency_ms("no such line", 50)


def test_a_peer_that_recorded_less_than_it_answered_ends_the_run(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = packages.Peer("a peer", sys.executable, {}, servers.database_url)
    rows = [
        bench.Row("a peer", 1, 1, 0, lambda _: pytest.fail("not asked"), peer, answered=2),
        bench.Row("Kopeck", 1, 1, 0, lambda _: pytest.fail("not asked"), answered=9),
    ]
    bench._check(peer, rows, "SELECT 2", "clicks")
    assert "answered 2, clicks recorded 2" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="a peer: 1 clicks are missing"):
        bench._check(peer, rows, "SELECT 1", "clicks")
