"""The examples of docs/examples run as they stand against the real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.clients.conftest import Shop
from tests.programs import program

FOLDER = Path(__file__).resolve().parents[2] / "docs/examples"
PROGRAMS = {"order.sh": "sh", "order.py": sys.executable, "order.mjs": "node", "order.php": "php"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_reports_refunds_and_lists(shop: Shop, name: str) -> None:
    binary = program(PROGRAMS[name])
    if name == "order.sh":
        program("curl")
    boris, _ = (shop.world.affiliate(name) for name in ("Boris", "Carl"))
    token = shop.world.click(boris.link, at=datetime.now(UTC) - timedelta(hours=1))
    environment = {
        **os.environ, "KOPECK_URL": shop.base_url, "KOPECK_KEY": shop.key, "KOPECK_CLICKS": token,
    }  # fmt: skip
    done = subprocess.run(
        [binary, str(FOLDER / name), "E-1"], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "confirmed, 490.00 refunded\n3 affiliates\n", done.stdout + done.stderr
    credit = attribution(shop, "E-1")
    assert len(credit["shares"]) == 1, credit
    refused = subprocess.run(
        [binary, str(FOLDER / name), "E-2"], env={**environment, "KOPECK_CURRENCY": "XXQ"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "total.currency" in refused.stderr + refused.stdout


def attribution(shop: Shop, order_id: str) -> dict[str, Any]:
    asked = Request(
        f"{shop.base_url}/api/v1/orders/{order_id}", headers={"Authorization": f"Bearer {shop.key}"}
    )
    with urlopen(asked) as answer:
        found: dict[str, Any] = json.load(answer)["attribution"]
    return found


def test_every_example_is_run() -> None:
    # Recipes of proxies lie beside them; tests/pixel/test_path_recipes.py runs those.
    assert {each.name for each in FOLDER.glob("order.*")} == set(PROGRAMS)
