"""The examples of docs/examples run as they stand against the real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Shop

FOLDER = Path(__file__).resolve().parents[2] / "docs/examples"
PROGRAMS = {"order.sh": "sh", "order.py": sys.executable, "order.mjs": "node", "order.php": "php"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_reports_refunds_and_lists(shop: Shop, name: str) -> None:
    program = shutil.which(PROGRAMS[name])
    if program is None or (name == "order.sh" and shutil.which("curl") is None):
        pytest.skip(f"{PROGRAMS[name]} is not installed here")
    for other in ("Boris", "Carl"):
        shop.world.affiliate(other)
    environment = {**os.environ, "KOPECK_URL": shop.base_url, "KOPECK_KEY": shop.key}
    done = subprocess.run(
        [program, str(FOLDER / name), "E-1"], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "confirmed 490.00\n3 affiliates\n", done.stdout + done.stderr


def test_every_example_is_run() -> None:
    # Recipes of proxies lie beside them; tests/pixel/test_documented.py runs those.
    assert {each.name for each in FOLDER.glob("order.*")} == set(PROGRAMS)
