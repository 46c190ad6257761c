"""No column is forgotten: each is said to be erased, replaced, kept for a reason, or plain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from affiliate.core.db import Model
from affiliate.core.personal import Fate
from affiliate.personal import inventory as affiliates
from payouts.personal import inventory as payouts
from tracker.personal.inventory import INVENTORY, OWN

ROOT = Path(__file__).resolve().parents[2]
COULD_HOLD = (sa.Text, sa.LargeBinary, sa.Uuid, sa.JSON, sa.ARRAY)


def could_hold(column: sa.Column[object]) -> bool:
    kind = column.type
    if isinstance(kind, sa.ARRAY):
        return isinstance(kind.item_type, COULD_HOLD)
    return isinstance(kind, COULD_HOLD)


def of_models() -> set[tuple[str, str]]:
    return {
        (table.name, column.name)
        for table in Model.metadata.tables.values()
        for column in table.columns
        if could_hold(column)
    }


@pytest.mark.abuse("A40")
def test_every_column_that_could_hold_something_of_a_person_is_in_the_inventory(app: Flask) -> None:
    named = {(table, name) for table, said in INVENTORY.items() for name, _ in said.columns()}
    assert app
    assert of_models() - named == set()
    assert named - of_models() == set()


@pytest.mark.parametrize("inventory", [affiliates.INVENTORY, payouts.INVENTORY, OWN])
def test_a_column_has_one_fate_and_a_table_one_package(inventory: dict[str, object]) -> None:
    others = Counter(
        table for each in (affiliates.INVENTORY, payouts.INVENTORY, OWN) for table in each
    )
    for table in inventory:
        assert others[table] == 1
        names = Counter(name for name, _ in INVENTORY[table].columns())
        assert max(names.values(), default=1) == 1, table


@pytest.mark.abuse("A40")
def test_what_is_kept_stands_in_the_document_with_its_reason() -> None:
    told = (ROOT / "docs/personal-data.md").read_text(encoding="utf-8")
    for table, said in INVENTORY.items():
        for name, fate in said.columns():
            if fate is Fate.KEPT:
                assert f"`{table}.{name}`" in told, f"{table}.{name} is kept: say so and why"
