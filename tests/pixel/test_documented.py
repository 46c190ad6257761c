"""What the docs tell shops to copy does what they say: token snippets, proxy recipes."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.money import Money
from tests.orders.shop_world import World, rub
from tracker.orders import order_tokens
from tracker.orders.keys import order_token_keys
from tracker.pixel.cli import token_key_command

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = DOCS / "examples"
SIGNED = (
    (DOCS / "integration.md").read_text(encoding="utf-8").partition("## Signed order tokens")[2]
)
KEY, ORDER, TOTAL, NET, SECONDS = (
    bytes(range(32)).hex(),
    "A-10042",
    "4490.00",
    "3500.00",
    1795507200,
)
CALL = f'"{KEY}", "{ORDER}", "{TOTAL}", "{NET}", "RUB"'
RUNS = {
    "python": ([sys.executable, "-c"], "{code}\nprint(order_token({call}))"),
    "php": (["php", "-r"], "{code}\necho order_token({call});"),
    "js": (["node", "--input-type=module", "-e"], "{code}\nconsole.log(orderToken({call}));"),
}


def snippet(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SIGNED, re.S)
    assert found, f"docs/integration.md shows no {language}"
    return found.group(1).replace("<?php\n", "")


def documented_token() -> str:
    found = re.search(r"```\n(k1~\S+)\n```", SIGNED)
    assert found
    return found.group(1)


def minted(language: str, call: str) -> str:
    command, program = RUNS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} on this machine")
    code = program.replace("{code}", snippet(language)).replace("{call}", call)
    done = subprocess.run([*command, code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


class TestTokens:
    def test_the_documented_token_is_what_kopeck_itself_makes(self) -> None:
        from datetime import UTC, datetime

        assert documented_token() == order_tokens.mint(
            bytes.fromhex(KEY), order_id=ORDER, total=Money.parse(TOTAL, "RUB"),
            net=Money.parse(NET, "RUB"), signed_at=datetime.fromtimestamp(SECONDS, UTC),
        )  # fmt: skip
        for value in (KEY, ORDER, TOTAL, NET, str(SECONDS)):
            assert value in SIGNED

    @pytest.mark.parametrize("language", RUNS)
    def test_the_snippet_makes_the_documented_token(self, language: str) -> None:
        assert minted(language, f"{CALL}, {SECONDS}") == documented_token()

    @pytest.mark.abuse("A13", "A15")
    @pytest.mark.parametrize("language", RUNS)
    def test_kopeck_believes_what_the_snippet_makes_with_the_programs_key(
        self, world: World, language: str
    ) -> None:
        printed = world.app.test_cli_runner().invoke(token_key_command, ["--program", "lamps"])
        key = printed.stdout.strip()
        assert key == order_token_keys(world.program.id, world.settings)[0].hex()
        token = minted(language, CALL.replace(KEY, key))
        world.event({"order_id": ORDER, "total": rub(TOTAL), "token": token})
        body = world.get()
        assert (body["status"], body["net"]) == ("confirmed", rub(NET))

    def test_there_is_no_key_of_no_program(self, app: Flask) -> None:
        done = app.test_cli_runner().invoke(token_key_command, ["--program", "nope"])
        assert done.exit_code == 1


class Heard:
    """What came to Kopeck's address."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []


@pytest.fixture
def heard() -> Iterator[Heard]:
    told = Heard()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append((self.command, self.path, headers, body))
            self.send_response(204 if self.command == "POST" else 200)
            self.send_header("Set-Cookie", "kopeck_clicks=a; Path=/; HttpOnly")
            self.send_header("Set-Cookie", "kopeck_visitor=b; Path=/; HttpOnly")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


EXPRESS = """
import { createServer } from "node:http";
import { kopeckPath } from "%(file)s";
const pass = kopeckPath({ kopeck: "%(kopeck)s", secret: "demo.1" });
createServer((q, a) => pass(q, a, () => a.end("the shop"))).listen(%(port)s, "127.0.0.1");
"""
WORKER = """
import { createServer } from "node:http";
import worker from "%(file)s";
createServer(async (q, a) => {
  const parts = []; for await (const part of q) { parts.push(part); }
  const answer = await worker.fetch(new Request("http://shop" + q.url, {
    method: q.method, headers: { ...q.headers, "cf-connecting-ip": "127.0.0.1" },
    body: parts.length ? Buffer.concat(parts) : undefined,
  }), { KOPECK: "%(kopeck)s", KOPECK_SECRET: "demo.1" });
  a.statusCode = answer.status;
  a.setHeader("set-cookie", answer.headers.getSetCookie());
  a.end(await answer.text());
}).listen(%(port)s, "127.0.0.1");
"""
NGINX = """
daemon off; pid %(folder)s/pid; error_log stderr; events {}
http { access_log off; %(temp)s
  server { listen 127.0.0.1:%(port)s; location / { return 200 "the shop"; } %(recipe)s } }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_for(recipe: str, kopeck: str, port: int, folder: Path) -> list[str]:
    binary = "nginx" if recipe == "nginx" else "node"
    if shutil.which(binary) is None:
        pytest.skip(f"no {binary} on this machine")
    if recipe == "nginx":
        text = (EXAMPLES / "kopeck.nginx.conf").read_text(encoding="utf-8")
        text = text.replace("https://kopeck.example", kopeck).replace("demo.0000", "demo.1")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        values = {"folder": folder, "port": port, "temp": temp, "recipe": text}
        (folder / "nginx.conf").write_text(NGINX % values, encoding="utf-8")
        return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    names = {"express": ("kopeck-path.mjs", EXPRESS), "worker": ("kopeck-worker.mjs", WORKER)}
    name, program = names[recipe]
    values = {"file": (EXAMPLES / name).as_uri(), "kopeck": kopeck, "port": port}
    return ["node", "--input-type=module", "-e", program % values]


@pytest.fixture(params=["express", "worker", "nginx"])
def shop(request: pytest.FixtureRequest, heard: Heard, tmp_path: Path) -> Iterator[str]:
    """A shop with that recipe in front of it."""
    port = free_port()
    process = subprocess.Popen(
        command_for(request.param, heard.url, port, tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/kopeck/none", timeout=2)
                break
            except requests.RequestException:
                assert time.monotonic() < deadline, "the shop did not begin to answer"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


class TestRecipes:
    """Every recipe for a path of the shop's own hands on the same and nothing else."""

    def test_a_report_goes_on_with_the_pixels_cookies_and_the_buyers_address(
        self, shop: str, heard: Heard
    ) -> None:
        answer = requests.post(
            f"{shop}/kopeck/v1/keep?x=1",
            data=json.dumps({"clicks": []}),
            headers={
                "Content-Type": "application/json", "Origin": shop,
                "Cookie": "session=secret; kopeck_clicks=a|b; kopeck_visitor=v",
                "Sec-Fetch-Site": "same-origin", "Authorization": "Bearer of-the-shop",
            },
            timeout=10,
        )  # fmt: skip
        assert answer.status_code == 204
        assert set(answer.raw.headers.getlist("Set-Cookie")) == {
            "kopeck_clicks=a; Path=/; HttpOnly", "kopeck_visitor=b; Path=/; HttpOnly",
        }  # fmt: skip
        [(method, path, headers, body)] = heard.requests
        assert (method, path, body) == ("POST", "/v1/keep?x=1", b'{"clicks": []}')
        assert headers["cookie"] == "kopeck_clicks=a|b; kopeck_visitor=v"
        assert headers["x-kopeck-proxy"] == "demo.1"
        assert headers["x-kopeck-buyer"] == "127.0.0.1"
        assert headers["sec-fetch-site"] == "same-origin"
        assert headers["content-type"].startswith("application/json")

    @pytest.mark.parametrize(
        "path", ["/pixel.js", "/pixel-debug.js", "/pixel-0123abcd.js", "/p.gif?a=b", "/v.gif"]
    )
    def test_what_is_the_pixels_is_handed_on(self, shop: str, heard: Heard, path: str) -> None:
        assert requests.get(f"{shop}/kopeck{path}", timeout=10).status_code == 200
        assert [asked for _, asked, _, _ in heard.requests] == [path]

    @pytest.mark.parametrize(
        "path", ["/sign-in", "/api/v1/orders", "/metrics", "/", "/v1/events/x", "/pixel.js/x"]
    )
    def test_nothing_else_is(self, shop: str, heard: Heard, path: str) -> None:
        assert requests.get(f"{shop}/kopeck{path}", timeout=10).status_code == 404
        assert heard.requests == []
