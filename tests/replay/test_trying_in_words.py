"""The example of docs/rules.md, "Trying a draft", comes out as written."""

from __future__ import annotations

import re
from pathlib import Path

from replay_support import sold, tried

from tests.orders.shop_world import World

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def micros(text: str) -> int:
    return round(float(text.replace(",", "")) * 1_000_000)


def test_the_example_of_the_page(world: World) -> None:
    part = PAGE.read_text().partition("### Trying a draft")[2].partition("\n## ")[0]
    words = " ".join(part.partition("Example:")[2].split())
    total, _, has, _, gets, gains, loses, more = re.findall(r"[\d,]+\.\d\d|\d+(?= %)", words)
    assert "last click pays 10 %" in words
    assert "first click and 12 %" in words
    anna, boris = world.affiliate("anna"), world.affiliate("boris")
    sold(world, "A-1", total.replace(",", ""), anna, boris)
    found = tried(
        world,
        attribution={"model": "first_click"},
        commission={"level_1": {"kind": "percent", "rate_ppm": 120_000}},
    )
    assert found.changed_hands == 1
    assert found.affiliates[boris.id].booked == micros(has) == micros(loses)
    assert found.affiliates[boris.id].would == 0
    assert found.affiliates[anna.id].would == micros(gets) == micros(gains)
    assert found.cost.would - found.cost.booked == micros(more)
