"""The examples of docs/examples run as they stand against the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    for other in ("Boris", "Carl"):
        shop.world.affiliate(other)
    environment = {**os.environ, "KOPECK_URL": shop.base_url, "KOPECK_KEY": shop.key}
    done = subprocess.run(
        [binary, str(FOLDER / name), "E-1"], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "confirmed 490.00\n3 affiliates\n", done.stdout + done.stderr


def test_every_example_is_run() -> None:
    # Recipes of proxies lie beside them; tests/pixel/test_path_recipes.py runs those.
    assert {each.name for each in FOLDER.glob("order.*")} == set(PROGRAMS)
