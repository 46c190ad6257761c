"""Heads for everybody, the proof beside a statement, and the verifier as people load it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from staff import hire
from world import World

from affiliate.core import clock
from affiliate.people import ids
from payouts.ledger.seals.sealing import newest, seal_next


def seal(world: World, most: int = 4_096) -> None:
    """Seal whatever is booked."""
    while seal_next(world.session, real_now=clock.real_now(), transactions_max=most):
        world.session.commit()
    world.session.rollback()


def month_path(client: FlaskClient) -> str:
    """The address of the newest statement."""
    found = re.search(r"/account/money/statements/(\d{4}-\d\d)", client.get("/account/money").text)
    assert found
    return found[0]


def test_an_affiliate_takes_proof_and_verifier_and_all_holds(world: World, tmp_path: Path) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    world.sale("Anna", "3500.00", days_ago=0.1)
    world.sale("Boris", "100.00", days_ago=0.1)
    seal(world)
    page = anna.client.get(month_path(anna.client)).text
    proof = re.search(r'href="([^"]+proof\.json)" download', page)
    assert proof
    answer = anna.client.get(proof[1])
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="proof-demo-')
    assert answer.headers["Cache-Control"] == "no-store"
    (tmp_path / "proof.json").write_bytes(answer.data)
    found = json.loads(answer.data)
    assert [entry["amount_micros"] for entry in found["entries"]] == [350_000_000]
    assert (found["closing"]["pending"], found["currency"]) == ("350.00", "RUB")
    seals_page = anna.client.get("/seals").text
    noted = re.search(r'value="(\d+:[0-9a-f]{64})"', seals_page)
    script = re.search(r'href="([^"]+verify_statement\.py[^"]*)"', seals_page)
    assert noted
    assert script
    with anna.client.get(script[1]) as loaded:
        (tmp_path / "verify.py").write_bytes(loaded.data)
    command = [sys.executable, "-I", "verify.py", "proof.json", "--head", noted[1]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    other = json.loads(boris.client.get(f"{month_path(boris.client)}/proof.json").data)
    assert other["owner"] != found["owner"]


def test_before_the_first_seal_the_pages_say_so(world: World) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=0.1)
    refused = anna.client.get(f"{month_path(anna.client)}/proof.json")
    assert refused.status_code == 409
    assert "Nothing is sealed yet" in refused.text
    assert "Nothing is sealed yet" in anna.client.get("/seals").text
    assert anna.client.get("/seals/heads").get_json() == {"heads": [], "next_before": None}


def test_a_proof_is_asked_for_a_month_that_has_begun_and_from_a_block_that_can_be(
    world: World,
) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=0.1)
    seal(world)
    for month in ("2026-13", "9999-01", "1970-01", "november"):
        assert anna.client.get(f"/account/money/statements/{month}/proof.json").status_code == 404
    path = f"{month_path(anna.client)}/proof.json"
    for since in ("0", "-1", "x", "1.5", "9" * 16, "\u0661"):
        refused = anna.client.get(path, query_string={"since": since})
        assert refused.status_code == 422, since
        assert "Write the number of a block, as 17." in refused.text
    assert anna.client.get(path, query_string={"since": "999999"}).status_code == 200


def test_finance_takes_the_same_proof_of_its_own_programs_alone(world: World) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=0.1)
    seal(world)
    month = month_path(anna.client)
    finance = hire(world, "finance").client
    page = finance.get("/finance/statements").text
    link = re.search(r'href="(/finance/statements/aff_[^"]+/proof\.json[^"]*)"', page)
    assert link
    own = anna.client.get(f"{month}/proof.json").data
    assert finance.get(link[1].replace("&amp;", "&")).data == own
    stranger = hire(world, "finance", program=world.euros).client
    assert stranger.get(link[1]).status_code == 404
    for nobody in ("aff_zzzz", ids.public(999_999), "x"):
        assert finance.get(f"/finance/statements/{nobody}/proof.json").status_code == 404
    assert finance.get(f"{link[1].partition('?')[0]}?month=2026-13").status_code == 422


def test_heads_are_public_in_order_and_follow_from_each_other(
    world: World, client: FlaskClient
) -> None:
    from payouts.ledger.seals.rules import GENESIS, head_of

    world.affiliate("Anna")
    for _ in range(3):
        world.sale("Anna", "100.00", days_ago=0.1)
    seal(world, 1)
    found = client.get("/seals/heads").get_json()["heads"]
    assert [each["number"] for each in found] == [3, 2, 1]
    assert found[0]["head"] == newest(world.session).head.hex()
    assert set(found[0]) == {"number", "head", "summary", "sealed_at"}, "no count of anything"
    head = GENESIS
    for each in reversed(found):
        head = head_of(
            number=each["number"],
            before=head,
            summary=bytes.fromhex(each["summary"]),
            sealed_at=datetime.fromisoformat(each["sealed_at"]),
        )
        assert head.hex() == each["head"]
    older = client.get("/seals/heads?before=3").get_json()
    assert [each["number"] for each in older["heads"]] == [2, 1]
    assert client.get("/seals/heads?before=x").status_code == 422
    figures = client.get("/metrics").text
    assert "\nkopeck_seals 3.0\n" in figures
    assert "\nkopeck_sealed_timestamp_seconds " in figures


def test_heads_come_in_pages(
    world: World, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracker.desks import seals as page

    world.affiliate("Anna")
    for _ in range(3):
        world.sale("Anna", "100.00", days_ago=0.1)
    seal(world, 1)
    monkeypatch.setattr(page, "HEADS_MAX", 2)
    first = client.get("/seals/heads").get_json()
    assert ([each["number"] for each in first["heads"]], first["next_before"]) == ([3, 2], 2)
    last = client.get("/seals/heads?before=2").get_json()
    assert ([each["number"] for each in last["heads"]], last["next_before"]) == ([1], None)
