"""A client that a public generator makes of /api/openapi.json works against the server."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Shop

NAME = "kopeck_generated"


@pytest.fixture
def generated(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package that openapi-python-client writes; its name."""
    with urllib.request.urlopen(f"{shop.base_url}/api/openapi.json") as document:
        (tmp_path / "openapi.json").write_bytes(document.read())
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [
            *(str(programs / "openapi-python-client"), "generate", "--meta", "none"),
            *("--path", str(tmp_path / "openapi.json"), "--output-path", str(tmp_path / NAME)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # It knows no uploads of NDJSON and CSV; everything else of the document it understands.
    skipped = re.findall(r"WARNING parsing (.*?) within", done.stdout + done.stderr)
    assert skipped == ["POST /api/v1/orders/imports"], done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    return NAME


def test_it_reports_an_order_refunds_it_and_lists(shop: Shop, generated: str) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"{generated}.{name}")

    models = part("models")
    client = part("client").AuthenticatedClient(base_url=shop.base_url, token=shop.key)

    def call(name: str, *values: Any, **named: Any) -> Any:
        return part(f"api.{name}").sync_detailed(*values, client=client, **named)

    total = models.Money(amount="4490.00", currency="RUB")
    order = models.OrderOrTestIn(
        order_id="G-1", placed_at=datetime.fromisoformat(shop.placed_at), total=total
    )
    made = call("orders.orders_report", body=order, idempotency_key="g-1")
    assert (made.status_code, made.parsed.status.value) == (201, "confirmed")
    assert made.parsed.total.amount == "4490.00"
    refund = models.RefundIn(refund_id="R-1", amount=models.Money(amount="90.00", currency="RUB"))
    refunded = call("orders.orders_refund", "G-1", body=refund)
    assert (refunded.status_code, refunded.parsed.amount.amount) == (201, "90.00")
    shown = call("orders.orders_show", "G-1").parsed
    assert [each.refund_id for each in shown.refunds] == ["R-1"]
    listed = call("affiliates.affiliates_listing", limit=1).parsed
    assert [each.id for each in listed.affiliates] == [shop.affiliate]
    balance = call("affiliate_money.affiliate_money_balance", shop.affiliate).parsed
    assert balance.available.amount == "449.00"
    refused = call("orders.orders_show", "nobody")
    assert (refused.status_code, refused.parsed.code) == (404, "not_found")
