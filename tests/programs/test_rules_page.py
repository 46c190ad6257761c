"""docs/rules.md, "The rule document", says what the schema does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from affiliate.core.config import ROOT
from affiliate.core.errors import Invalid
from affiliate.programs.terms_attribution import AttributionPart, ExcludedPart, PositionPart
from affiliate.programs.terms_commission import (
    BoostPart,
    CapsPart,
    CommissionPart,
    EarnsPart,
    RulePart,
    WhenPart,
)
from affiliate.programs.terms_document import PayoutPart, dump, load
from affiliate.programs.terms_fields import Part
from affiliate.programs.terms_tiers import BandPart, TiersPart

SECTION = (
    (ROOT / "docs" / "rules.md").read_text().partition("## The rule document\n")[2]
    .partition("\n## ")[0]
)  # fmt: skip
PARTS: tuple[type[Part], ...] = (
    AttributionPart, PositionPart, ExcludedPart, CommissionPart, EarnsPart, RulePart, WhenPart,
    TiersPart, BandPart, BoostPart, CapsPart, PayoutPart,
)  # fmt: skip


def example() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", SECTION, re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


def test_the_document_on_the_page_is_accepted_and_names_every_setting() -> None:
    document = example()
    stored = dump(load(document, "RUB"))
    for part in ("attribution", "commission", "payout"):
        assert set(document[part]) == set(stored[part])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_field_stands_on_the_page(part: type[Part]) -> None:
    for name, field in part().fields.items():
        assert f"`{field.data_key or name}`" in SECTION, name


def test_bounds_on_the_page_are_those_of_the_schema() -> None:
    for field in ("half_life_hours", "window_days", "seconds_min", "coupon_share_ppm"):
        whole: Any = AttributionPart().fields[field]
        (row,) = re.findall(rf"^\| `{field}` \|.*$", SECTION, re.MULTILINE)
        assert f"{whole.least:,} to {whole.most:,}" in row
    hold: Any = PayoutPart().fields["hold_days"]
    assert f"| `hold_days` | {hold.least} to {hold.most} |" in SECTION


def test_the_example_of_a_boost_is_at_its_edge() -> None:
    assert "10 %, a boost of `times_ppm` 2,500,000: level 1 reaches 25 %" in SECTION
    document = example()
    document["commission"] = {
        "level_1": {"kind": "percent", "rate_ppm": 100_000},
        "level_2": {"of": "sale", "rate_ppm": 750_000},
        "boosts": [{**document["commission"]["boosts"][0], "times_ppm": 2_500_000}],
    }
    load(document, "RUB")
    document["commission"]["level_2"]["rate_ppm"] += 1
    with pytest.raises(Invalid):
        load(document, "RUB")
