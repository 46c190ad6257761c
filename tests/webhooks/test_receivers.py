"""The receivers of docs/webhooks.md hear what Kopeck sends, and nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from standardwebhooks import Webhook
from told import Told
from world import World

from affiliate.webhooks import endpoints, rules
from tests.programs import free_port, program, serving_at

DOC = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text(encoding="utf-8")
BODY = '{"type":"payout.paid","data":{"amount":{"amount":"10.00","currency":"RUB"}}}'
CHANGED = BODY.replace("10.00", "90.00")

# What a shop has around each receiver: its secret, and a file of all that was believed.
PHP = """<?php
$secret = trim(file_get_contents('secret'));
%s
file_put_contents('believed', "$body\\n", FILE_APPEND);
http_response_code(204);
"""
NODE = """
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
%s
createServer(async (q, a) => {
  const parts = []; for await (const part of q) { parts.push(part); }
  const body = Buffer.concat(parts).toString();
  try {
    verify(readFileSync("secret", "utf8").trim(), q.headers, body);
    appendFileSync("believed", body + "\\n");
    a.statusCode = 204;
  } catch { a.statusCode = 401; }
  a.end();
}).listen(%d, "127.0.0.1");
"""
PYTHON = """
from pathlib import Path
from flask import Flask, request
def seen_before(id):
    return False
def handle(type, data):
    with open("believed", "a") as file:
        file.write(request.get_data(as_text=True) + "\\n")
%s
app = Flask("shop")
@app.post("/hook")
def hook():
    global SECRET
    SECRET = Path("secret").read_text().strip()
    return receive(request)
app.run("127.0.0.1", %d)
"""


def documented(language: str) -> str:
    return DOC.split(f"```{language}\n")[1].split("```")[0]


@dataclass
class Receiver:
    """A shop's server that has the documented code in it."""

    folder: Path
    url: str

    def knows(self, secret: str) -> None:
        (self.folder / "secret").write_text(secret + "\n", encoding="utf-8")

    def believed(self) -> list[str]:
        path = self.folder / "believed"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def says_no_to(self, body: str, headers: dict[str, str]) -> bool:
        before = self.believed()
        answer = requests.post(self.url, data=body.encode(), headers=headers, timeout=30)
        return not answer.ok and self.believed() == before


def command_for(language: str, port: int, folder: Path) -> list[str]:
    code = documented(language)
    if language == "php":
        (folder / "hook.php").write_text(PHP % code, encoding="utf-8")
        # As it comes without a php.ini: warnings go into the answer, and its status with them.
        options = ["-n", "-d", "display_errors=1"]
        return [program("php"), *options, "-S", f"127.0.0.1:{port}", "-t", ".", "hook.php"]
    if language == "js":
        return [program("node"), "--input-type=module", "-e", NODE % (code, port)]
    return [sys.executable, "-c", PYTHON % (code, port)]


@pytest.fixture(params=["python", "php", "js"])
def receiver(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Receiver]:
    monkeypatch.chdir(tmp_path)
    made = Receiver(tmp_path, "")
    made.knows(rules.new_secret())
    port = free_port()
    with serving_at(port, command_for(request.param, port, tmp_path), tmp_path):
        made.url = f"http://127.0.0.1:{port}/hook"
        yield made


def signed(secret: str, body: str = BODY, *, ago_s: int = 0, id_: str = "msg_1") -> dict[str, str]:
    """As Kopeck signs; so long ago."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {
        "content-type": "application/json", "webhook-id": id_,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, at, body),
    }  # fmt: skip


def test_it_believes_kopeck_also_while_the_secret_is_changed(
    receiver: Receiver, world: World, told: Told
) -> None:
    endpoint, secret = told.endpoint("order.created", url=receiver.url)
    receiver.knows(secret)
    world.affiliate("Anna")
    world.sale("Anna", "100.00")
    assert told.deliver() == 1
    with world.app.app_context():
        new = endpoints.rotate_secret(
            world.session, owner=told.owner, endpoint_id=endpoint.id, settings=world.settings,
            actor="test", now=world.now,
        )  # fmt: skip
        world.session.commit()
    for known in (secret, new):
        receiver.knows(known)
        world.sale("Anna", "200.00")
        assert told.deliver() == 1
    assert [each.delivered_at is not None for each in told.deliveries()] == [True] * 3
    assert ['"order.created"' in body for body in receiver.believed()] == [True] * 3

    receiver.knows(rules.new_secret())
    world.sale("Anna", "300.00")
    assert told.deliver() == 1
    assert told.deliveries()[-1].delivered_at is None
    assert len(receiver.believed()) == 3


def test_it_believes_nothing_that_was_changed_or_kept(receiver: Receiver) -> None:
    secret = rules.new_secret()
    receiver.knows(secret)
    good = signed(secret)
    refused = {
        "another amount": (CHANGED, good),
        "another id": (BODY, {**good, "webhook-id": "msg_2"}),
        "another time": (
            BODY,
            {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)},
        ),
        "another secret": (BODY, signed(rules.new_secret())),
        "ten minutes ago": (BODY, signed(secret, ago_s=600)),
        "in ten minutes": (BODY, signed(secret, ago_s=-600)),
        "another version": (
            BODY,
            {**good, "webhook-signature": "v2" + good["webhook-signature"][2:]},
        ),
        "no signature": (BODY, {**good, "webhook-signature": ""}),
        "no words": (BODY, {**good, "webhook-signature": "v1,\t,"}),
        "nothing at all": (BODY, {}),
    }
    refused |= {f"no {name}": (BODY, {k: v for k, v in good.items() if k != name}) for name in good
                if name.startswith("webhook-")}  # fmt: skip
    for name, (body, headers) in refused.items():
        assert receiver.says_no_to(body, headers), name
    assert not receiver.says_no_to(BODY, good)
    assert receiver.believed() == [BODY]
