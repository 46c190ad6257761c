"""`kopeck replay`: what a person at the keyboard sees."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from replay_support import sold

from tests.builders import terms_document
from tests.orders.shop_world import World, of
from tracker.replay.cli import replay


def run(world: World, *words: str, first: str | None = None) -> Result:
    day = world.now.date().isoformat()
    options = [
        "--program",
        world.program.slug,
        "--from",
        first or "2020-01-01",
        "--to",
        "2099-01-01",
    ]
    assert day
    return world.app.test_cli_runner().invoke(replay, [*options, *words])


def rules(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "draft.json"
    path.write_text(json.dumps(terms_document(**changes)))
    return str(path)


FIRST = {
    "attribution": {**terms_document()["attribution"], "model": "first_click"},
}


@pytest.fixture
def orders(world: World) -> tuple[str, str]:
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    sold(world, "A-1", "100.00", anna, ben)
    sold(world, "A-2", "50.00", ben)
    return of(anna), of(ben)


def test_a_draft_is_compared_in_words_and_csv(
    world: World, orders: tuple[str, str], tmp_path: Path
) -> None:
    anna, ben = orders
    out = tmp_path / "changes.csv"
    said = run(world, "--rules", rules(tmp_path, **FIRST), "--out", str(out))
    assert said.exit_code == 0, said.output
    assert "2 orders; 1 would earn otherwise, 1 would change hands." in said.output
    assert anna in said.output
    assert "credit gained in 1 orders: later_click_wins" in said.output
    [row] = list(csv.DictReader(out.read_text().splitlines()))
    assert (row["order"], row["credit_before"], row["credit_after"]) == (
        "A-1", f"{ben}:1", f"{anna}:1",
    )  # fmt: skip
    assert (row["booked"], row["would_be"]) == ("10.00", "10.00")


def test_json_is_the_whole_comparison(
    world: World, orders: tuple[str, str], tmp_path: Path
) -> None:
    said = run(world, "--rules", rules(tmp_path, **FIRST), "--json")
    document = json.loads(said.stdout)
    assert (document["orders"], document["changed_hands"]) == (2, 1)
    assert len(orders) == len(document["affiliates"])


@pytest.mark.usefixtures("orders")
def test_without_rules_the_books_are_held_against_them(world: World) -> None:
    said = run(world)
    assert (said.exit_code, "to the micro" in said.output) == (0, True), said.output
    world.session.execute(sa.text("UPDATE commissions SET amount_micros = amount_micros - 1"))
    world.session.commit()
    said = run(world)
    assert said.exit_code == 1
    assert "The books differ from their rules in 2 places." in said.output
    assert "amount_micros" in said.output
    world.session.execute(sa.text("UPDATE commissions SET amount_micros = amount_micros + 1"))
    world.session.commit()


def test_what_cannot_be_tried_is_said(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert "--rules is not JSON" in run(world, "--rules", str(broken)).output
    document = terms_document()
    document["attribution"]["model"] = "best_friend"
    broken.write_text(json.dumps(document))
    said = run(world, "--rules", str(broken))
    assert said.exit_code == 1
    assert "attribution.model: " in said.output
    unknown = world.app.test_cli_runner().invoke(
        replay, ["--program", "nobody", "--from", "2026-01-01", "--to", "2026-01-02"]
    )
    assert unknown.exit_code == 1
    assert "Error:" in unknown.output
    backwards = world.app.test_cli_runner().invoke(
        replay, ["--program", world.program.slug, "--from", "2026-01-02", "--to", "2026-01-01"]
    )
    assert "--to lies before --from." in backwards.output
    early = world.app.test_cli_runner().invoke(
        replay, ["--program", world.program.slug, "--from", "0001-01-01", "--to", "2026-01-01"]
    )
    assert "no order is as old as that" in early.output
