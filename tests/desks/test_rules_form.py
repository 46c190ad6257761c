"""The form of a rule version: fields, text, which of them counts, and the preview."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from html import unescape
from typing import Any

import pytest
import sqlalchemy as sa
from builders import terms_document
from flask import Flask
from hypothesis import given, settings
from rule_documents import DOCUMENTS, FULL
from staff import Staff, hire
from world import World

from affiliate.core.errors import Invalid
from affiliate.people import ids
from affiliate.programs import terms_document as terms_of
from affiliate.programs.models import RuleDraft, RuleVersion
from tracker.desks.manage import rules_document

NONE = {f"tier_{part}_{row}": "" for row in rules_document.ROWS for part in ("from", "rate")}
SENT = {
    **NONE, "level_1_kind": "percent", "level_1_rate": "12.5", "level_1_amount": "",
    "level_2_of": "none", "level_2_rate": "", "tiers_measure": "none", "tiers_period": "month",
    "tiers_apply": "marginal", "cap_order": "", "cap_amount": "", "cap_period": "month",
    "model": "last_click", "position_first": "40", "position_last": "40",
    "half_life_hours": "168", "window_days": "30", "coupon": "loses", "coupon_share": "50",
    "existing_customer": "pays", "self_purchase": "refuses", "binding": "none",
    "binding_months": "", "hold_days": "14", "name": "Winter terms", "note": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def publish(manager: Staff, **changes: str) -> Any:
    return manager.client.post("/manage/rules", data={**SENT, **changes})


def stored(world: World) -> dict[str, Any]:
    """The document of the newest draft; of the version in force where there is none."""
    drafts = sa.select(RuleDraft.document).where(RuleDraft.program_id == world.program.id)
    found = world.session.scalars(drafts.order_by(RuleDraft.id.desc())).first()
    if found is None:
        versions = sa.select(RuleVersion.terms).where(RuleVersion.program_id == world.program.id)
        found = world.session.scalars(versions).one()
    return found


def texts(page: str) -> tuple[str, str]:
    """The document as the page holds it: editable, and as it was drawn."""
    whole = re.search(r'<textarea[^>]*name="whole"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    base = re.search(r'<input[^>]*name="base"[^>]*value="([^"]*)"', page)
    assert whole and base
    return unescape(whole[1]).strip(), unescape(base[1]).strip()


@pytest.mark.parametrize(
    ("fields", "part", "expected"),
    [
        ({"model": "linear"}, "attribution.model", "linear"),
        (
            {"model": "position_based", "position_first": "50", "position_last": "30"},
            "attribution.position",
            {"first_ppm": 500_000, "last_ppm": 300_000},
        ),
        (
            {"model": "time_decay", "half_life_hours": "48"},
            "attribution.half_life_hours",
            48,
        ),
        ({"coupon": "shares", "coupon_share": "25"}, "attribution.coupon_share_ppm", 250_000),
        (
            {"coupon": "in_order"},
            "attribution.evidence",
            [["click_token", "visitor_click"], ["coupon"], ["bound_customer"]],
        ),
        ({"binding": "months", "binding_months": "6"}, "attribution.binding", {"months": 6}),
        ({"binding": "life"}, "attribution.binding", {"months": None}),
        (
            {"level_1_kind": "per_item", "level_1_amount": "2.50"},
            "commission.level_1",
            {"kind": "per_item", "amount": "2.50"},
        ),
        (
            {"level_2_of": "commission", "level_2_rate": "20"},
            "commission.level_2",
            {"of": "commission", "rate_ppm": 200_000},
        ),
        (
            {"tiers_measure": "sales", "tier_from_2": "100000", "tier_rate_2": "15"},
            "commission.tiers.bands",
            [{"from": "0", "rate_ppm": 125_000}, {"from": "100000", "rate_ppm": 150_000}],
        ),
        (
            {"tiers_measure": "orders", "tier_from_3": "10", "tier_rate_3": "15"},
            "commission.tiers.bands",
            [{"from": 0, "rate_ppm": 125_000}, {"from": 10, "rate_ppm": 150_000}],
        ),
        (
            {"cap_order": "500", "cap_amount": "9000", "cap_period": "quarter"},
            "commission.caps",
            {"per_order": "500.00", "per_period": {"amount": "9000.00", "period": "quarter"}},
        ),
    ],
)
def test_fields_become_the_document(
    world: World, manager: Staff, fields: dict[str, str], part: str, expected: Any
) -> None:
    answer = publish(manager, **fields)
    assert answer.status_code == 303, answer.text
    found: Any = stored(world)
    for step in part.split("."):
        found = found[step]
    assert found == expected


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "position_based", "position_first": ""}, "Write the percentage."),
        (
            {"model": "position_based", "position_first": "70"},
            "First and last together are over the whole. (attribution.position.last_ppm)",
        ),
        ({"model": "time_decay", "half_life_hours": ""}, "Write the hours."),
        ({"model": "time_decay", "half_life_hours": "0"}, "Number must be between"),
        ({"coupon": "shares", "coupon_share": "100"}, "(attribution.coupon_share_ppm)"),
        ({"binding": "months"}, "Write the number of months."),
        ({"tiers_measure": "sales", "tier_from_2": "5"}, "Write the percentage."),
        (
            {"tiers_measure": "sales", "tier_from_2": "-5", "tier_rate_2": "15"},
            "(commission.tiers.bands.1.from)",
        ),
        (
            {"tiers_measure": "orders", "tier_from_2": "1.5", "tier_rate_2": "15"},
            "Write a whole number of orders.",
        ),
        (
            {"tiers_measure": "orders", "tier_from_2": "0", "tier_rate_2": "15"},
            "Bands rise: each begins above the one before it. (commission.tiers.bands.1.from)",
        ),
        ({"cap_order": "0"}, "Write an amount above zero. (commission.caps.per_order)"),
        ({"cap_amount": "x"}, "(commission.caps.per_period.amount)"),
        ({"level_2_of": "sale", "level_2_rate": "90"}, "both are over the whole sale."),
        (
            {"level_1_kind": "fixed", "level_1_amount": "5", "tiers_measure": "orders"},
            "level 1 is the rate of the first band",
        ),
    ],
)
def test_what_cannot_be_is_told_beside_its_field(
    world: World, manager: Staff, fields: dict[str, str], told: str
) -> None:
    for action in ({}, {"action": "preview"}):
        answer = publish(manager, **fields, **action)
        assert answer.status_code == 422
        assert told in unescape(answer.text)
        assert "form-error" in answer.text
    assert stored(world)["commission"]["level_1"]["rate_ppm"] == 100_000


def test_the_form_opens_with_the_rules_in_force_in_fields_and_text(
    world: World, manager: Staff
) -> None:
    page = manager.client.get("/manage/rules/new").text
    whole, base = texts(page)
    assert whole == base
    assert json.loads(whole) == terms_of.dump(terms_of.load(stored(world), "RUB"))
    assert 'name="level_1_rate"' in page
    assert 'value="10"' in page


def edited(world: World) -> dict[str, Any]:
    document = deepcopy(FULL)
    document["attribution"]["windows"] = []
    document["commission"]["rules"][0]["when"]["affiliates"] = []
    return document


def test_what_has_no_field_is_kept_when_fields_change(world: World, manager: Staff) -> None:
    text = json.dumps(edited(world))
    shown = publish(manager, whole=text, base="{}", action="preview").text
    whole, base = texts(shown)
    tiers = {"tiers_measure": "sales", "tier_from_2": "7", "tier_rate_2": "13"}
    answer = publish(manager, whole=whole.replace("\n", "\r\n"), base=base, **tiers)
    assert answer.status_code == 303
    found = stored(world)
    assert [boost["name"] for boost in found["commission"]["boosts"]] == [
        "Black Friday",
        "New year",
    ]
    assert found["commission"]["level_1"]["rate_ppm"] == 125_000
    assert found["commission"]["tiers"]["bands"][1] == {"from": "7", "rate_ppm": 130_000}
    # The coupon is chosen as a field now, so its place in the order of evidence is gone too.
    assert found["attribution"]["evidence"] == [
        ["click_token", "visitor_click"],
        ["bound_customer"],
    ]


def test_an_edited_text_counts_and_fills_the_fields(world: World, manager: Staff) -> None:
    _, base = texts(manager.client.get("/manage/rules/new").text)
    text = json.dumps(edited(world))
    # The field says 99 and is not even a number of days; the text was edited and counts.
    answer = publish(
        manager, whole=text, base=base, level_1_rate="99", window_days="x", action="preview"
    )
    assert answer.status_code == 200, answer.text
    whole, base = texts(answer.text)
    assert whole == base
    assert re.search(r'<input[^>]*name="position_last"[^>]*value="30"', answer.text)
    assert re.search(r'<input[^>]*name="tier_from_2"[^>]*value="100000"', answer.text)
    for name, value in (("binding_months", 12), ("window_days", 30), ("hold_days", 14)):
        assert re.search(f'<input[^>]*name="{name}"[^>]*value="{value}"', answer.text), name
    assert publish(manager, whole=text, base="{}", level_1_rate="x").status_code == 303
    assert stored(world) == terms_of.dump(terms_of.load(edited(world), "RUB"))


def test_more_bands_than_rows_stay_as_the_text_has_them(world: World, manager: Staff) -> None:
    document = edited(world)
    bands = [{"from": f"{i}", "rate_ppm": 125_000 + i} for i in range(8)]
    document["commission"]["tiers"]["bands"] = bands
    document["commission"]["level_1"]["rate_ppm"] = 125_000
    text = json.dumps(document)
    answer = publish(manager, whole=text, base=text, hold_days="3")
    assert answer.status_code == 303, answer.text
    assert len(stored(world)["commission"]["tiers"]["bands"]) == 8
    assert stored(world)["payout"] == {"hold_days": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "The text is not valid JSON: line 1, column 2."),
        ("[]", "Write one JSON object: { … }."),
        ('{"a": 1, "a": 2}', "The key 'a' stands twice in one object."),
        ('{"a": NaN}', "NaN is not a JSON value."),
        ("[" * 20_000, "nested too deeply"),
        ('{"attribution": {}}', "Missing data for required field. (commission)"),
        ('{"attribution": {"model": "x"}}', "(attribution.model)"),
    ],
)
def test_a_text_that_cannot_be_is_told_beside_the_text(
    world: World, manager: Staff, text: str, told: str
) -> None:
    answer = publish(manager, whole=text, base="{}", action="preview")
    assert answer.status_code == 422
    assert told in unescape(answer.text)
    assert '<details class="whole-document" open>' in answer.text
    # What was typed is still there.
    assert texts(answer.text)[0] == text


def test_a_base_that_was_tampered_with_is_refused(world: World, manager: Staff) -> None:
    for base in ("{", "[]", '{"attribution": 5, "commission": [], "payout": "x", "more": 1}',
                 '{"attribution": {"evidence": 5}}', '{"attribution": {"evidence": [[[]]]}}',
                 '{"commission": {"tiers": {"bands": 5}}}'):  # fmt: skip
        answer = publish(manager, whole=base, base=base)
        assert answer.status_code in (303, 422), base


def test_a_preview_tells_the_version_in_words_and_writes_nothing(
    world: World, manager: Staff
) -> None:
    answer = publish(
        manager, action="preview", tiers_measure="sales", tier_from_2="100000", tier_rate_2="15"
    )
    assert answer.status_code == 200
    text = unescape(answer.text)
    assert "Nothing is published yet" in text
    assert "12.5% to 15% of every sale" in text
    assert "from 100,000.00\N{NO-BREAK SPACE}RUB" in text
    # 1,750 × 12.5 % + 1,750 × 15 %
    assert "earns 481.25\N{NO-BREAK SPACE}RUB" in text
    assert world.session.scalar(sa.select(sa.func.count(RuleDraft.id))) == 0
    saved = publish(manager)
    again = manager.client.post(saved.location, data={**SENT, "revision": "1", "action": "preview"})
    assert again.status_code == 200
    assert "Nothing is published yet" in again.text


def test_a_stranger_named_in_the_text_is_refused_before_and_at_publishing(
    world: World, manager: Staff
) -> None:
    document = terms_document()
    document["attribution"]["windows"] = [{"affiliates": [ids.public(999_999)], "days": 3}]
    for action in ({}, {"action": "preview"}):
        answer = publish(manager, whole=json.dumps(document), base="{}", **action)
        assert answer.status_code == 422
        assert "No affiliate of this program has this id." in answer.text
        assert "(attribution.windows.0.affiliates.0)" in answer.text


def test_the_largest_number_of_orders_goes_through_the_fields() -> None:
    document = terms_document()
    document["commission"]["tiers"] = {
        "measure": "orders",
        "period": "month",
        "apply": "marginal",
        "bands": [
            {"from": 0, "rate_ppm": document["commission"]["level_1"]["rate_ppm"]},
            {"from": 1_000_000_000, "rate_ppm": 1},
        ],
    }
    stored = terms_of.dump(terms_of.load(document, "RUB"))
    assert rules_document.with_fields(stored, rules_document.fields_of(stored)) == stored


@settings(deadline=None)
@given(DOCUMENTS)
def test_a_document_goes_through_the_fields_unchanged(document: dict[str, Any]) -> None:
    stored = terms_of.dump(terms_of.load(document, "RUB"))
    values = rules_document.fields_of(stored)
    assert set(values) == set(rules_document.FIELDS)
    assert rules_document.with_fields(stored, values) == stored


@pytest.mark.parametrize("name", ["level_1_rate", "level_2_rate", "coupon_share"])
def test_a_choice_without_its_number_names_the_field(name: str) -> None:
    values = rules_document.fields_of(terms_of.dump(terms_of.load(terms_document(), "RUB")))
    with pytest.raises(Invalid) as refused:
        rules_document.with_fields({}, {**values, "coupon": "shares", name: ""})
    assert [error.field for error in refused.value.errors] == [name]
