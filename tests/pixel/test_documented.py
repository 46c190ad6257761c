"""The snippets of docs/integration.md that sign order tokens do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.money import Money
from tests.orders.shop_world import World, rub
from tests.programs import program
from tracker.orders import order_tokens
from tracker.orders.keys import order_token_keys
from tracker.pixel.cli import token_key_command

DOCS = Path(__file__).resolve().parents[2] / "docs"
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
    command, around = RUNS[language]
    code = around.replace("{code}", snippet(language)).replace("{call}", call)
    binary = program(command[0])
    done = subprocess.run(
        [binary, *command[1:], code], capture_output=True, text=True, check=True, timeout=60
    )
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

    @pytest.mark.abuse("A13", "A15")
    @pytest.mark.parametrize("language", RUNS)
    def test_kopeck_believes_no_other_order_by_it(self, world: World, language: str) -> None:
        key = order_token_keys(world.program.id, world.settings)[0].hex()
        token = minted(language, CALL.replace(KEY, key))
        other = minted(language, CALL)
        for sent, order_id, total in (
            (token, ORDER, "4490.01"), (token, "A-10043", TOTAL), (other, ORDER, TOTAL),
        ):  # fmt: skip
            world.event({"order_id": order_id, "total": rub(total), "token": sent})
            answer = world.client.get(f"/api/v1/orders/{order_id}", headers=world.headers)
            assert answer.status_code == 404
        world.event({"order_id": ORDER, "total": rub(TOTAL), "token": token})
        assert world.get()["status"] == "confirmed"

    def test_there_is_no_key_of_no_program(self, app: Flask) -> None:
        done = app.test_cli_runner().invoke(token_key_command, ["--program", "nope"])
        assert done.exit_code == 1
