"""The rules' document: what it means, what is refused by which path, and that nothing is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import terms_document
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_documents import DOCUMENTS, FULL, GONE, JSON, broken, changed

from affiliate.core.errors import Invalid
from affiliate.core.money import Money
from affiliate.people import ids
from affiliate.programs import terms as values
from affiliate.programs.terms import Band, Evidence, Fixed, Percent, PerItem, Who
from affiliate.programs.terms_checks import highest_level_1
from affiliate.programs.terms_document import dump, load
from affiliate.programs.terms_fields import percent_text

OLD = terms_document()
MOSCOW_MIDNIGHT = datetime(2026, 11, 26, 21, 0, tzinfo=UTC)


def refused(document: Any, currency: str = "RUB") -> dict[str, tuple[str, str]]:
    """Code and sentence of each path that is refused."""
    with pytest.raises(Invalid) as found:
        load(document, currency)
    return {error.field: (error.code, error.message) for error in found.value.errors}


def test_a_document_of_before_is_read_and_has_every_default() -> None:
    terms = load(OLD, "RUB")
    assert terms.attribution.windows == ()
    assert terms.attribution.evidence == values.EVIDENCE_DEFAULT
    assert terms.attribution.position == values.Position(400_000, 400_000)
    assert terms.attribution.half_life == timedelta(days=7)
    assert terms.attribution.coupon_share_ppm == 500_000
    assert terms.attribution.binding is None
    assert terms.attribution.seconds_min == 0
    assert terms.attribution.excluded == values.ExcludedSources()
    plain = values.CommissionTerms(
        level_1=Percent(100_000), level_2=values.LevelTwo(values.Of.SALE, 20_000)
    )
    assert terms.commission == plain
    assert terms.payout.hold == timedelta(days=14)


def test_a_document_that_sets_everything_is_read_to_the_letter() -> None:
    terms = load(FULL, "RUB")
    attribution, commission = terms.attribution, terms.commission
    assert attribution.position == values.Position(400_000, 300_000)
    assert attribution.windows[1].who == Who(frozenset(["press"]), frozenset([7]))
    assert attribution.evidence[1] == (Evidence.COUPON,)
    assert attribution.binding == values.Binding(12)
    assert attribution.excluded.sites == {"shop.example", ".search.example"}
    assert attribution.excluded.paid_search
    lamps, books = commission.rules
    assert lamps.when.who == Who(frozenset(["press"]), frozenset([7]))
    assert lamps.when.begins == datetime(2026, 11, 30, 21, 0, tzinfo=UTC)
    assert lamps.when.customer is values.Customer.NEW
    assert books.earns == PerItem(Money.parse("25.00", "RUB"))
    assert commission.tiers is not None
    assert commission.tiers.bands[1] == Band(100_000_000_000, 120_000)
    assert commission.boosts[0].begins == MOSCOW_MIDNIGHT
    assert commission.boosts[0].times_ppm == 1_500_000
    assert commission.boosts[1].add_ppm == 50_000
    assert commission.caps.per_order == Money.parse("5000", "RUB")
    assert commission.budget == values.Budget(Money.parse("1000000", "RUB"), values.Period.QUARTER)
    assert commission.per_click == Money(12_345, "RUB")


def test_what_is_stored_reads_back_the_same_and_names_every_setting() -> None:
    terms = load(FULL, "RUB")
    stored = dump(terms)
    assert load(json.loads(json.dumps(stored)), "RUB") == terms
    plain = dump(load(OLD, "RUB"))
    assert set(plain["commission"]) == set(stored["commission"])
    assert set(stored["attribution"]) - set(plain["attribution"]) == {"position"}
    assert plain["attribution"]["evidence"] == [
        ["click_token", "visitor_click"], ["bound_customer"],     ]  # fmt: skip


@pytest.mark.parametrize("currency", ["RUB", "JPY", "KWD"])
def test_bands_are_written_so_that_every_currency_reads_them(currency: str) -> None:
    document = terms_document(
        commission={
            "level_1": {"kind": "percent", "rate_ppm": 0},
            "level_2": None,
            "tiers": {
                "measure": "sales", "period": "year", "apply": "whole_period",
                "bands": [{"from": "0", "rate_ppm": 0}, {"from": "100", "rate_ppm": 10}],
            },
        }
    )  # fmt: skip
    terms = load(document, currency)
    assert load(dump(terms), currency) == terms
    assert dump(terms)["commission"]["tiers"]["bands"][1]["from"] == "100"


ATTRIBUTION = [
    ("model", "random", "model", "unknown_choice"),
    ("model", ["linear"], "model", "unknown_choice"),
    ("window_days", 0, "window_days", "out_of_range"),
    ("window_days", 3_651, "window_days", "out_of_range"),
    ("window_days", 30.0, "window_days", "not_an_integer"),
    ("window_days", True, "window_days", "not_an_integer"),
    ("window_days", "30", "window_days", "not_an_integer"),
    ("windows", {}, "windows", "not_a_list"),
    ("windows", [{"days": 60}], "windows.0.groups", "nobody_named"),
    ("windows", [{"groups": ["a"]}], "windows.0.days", "required"),
    ("windows", [{"groups": ["a"], "days": 0}], "windows.0.days", "out_of_range"),
    ("windows", [{"groups": [""], "days": 1}], "windows.0.groups.0", "length"),
    ("windows", [{"groups": ["a\x00"], "days": 1}], "windows.0.groups.0", "control_character"),
    ("windows", [{"groups": ["\ud800"], "days": 1}], "windows.0.groups.0", "control_character"),
    ("windows", [{"groups": [5], "days": 1}], "windows.0.groups.0", "not_a_string"),
    ("windows", [{"affiliates": ["aff_nobody!"], "days": 1}], "windows.0.affiliates.0",
     "unknown_affiliate"),
    ("windows", [{"affiliates": [7], "days": 1}], "windows.0.affiliates.0", "unknown_affiliate"),
    ("windows", [{"affiliates": [ids.public(2**63)], "days": 1}], "windows.0.affiliates.0",
     "unknown_affiliate"),
    ("windows", [{"affiliates": ["aff_" + "x" * 99], "days": 1}], "windows.0.affiliates.0",
     "unknown_affiliate"),
    ("windows", [{"groups": ["a"], "days": 1}] * 51, "windows", "too_many"),
    ("windows", [{"groups": ["a"] * 501, "days": 1}], "windows.0.groups", "too_many"),
    ("evidence", [], "evidence", "too_few"),
    ("evidence", [["coupon"], []], "evidence.1", "too_few"),
    ("evidence", [["coupon"], ["horoscope"]], "evidence.1.0", "unknown_choice"),
    ("evidence", [["coupon", "bound_customer"], ["coupon"]], "evidence", "named_twice"),
    ("evidence", [["click_token"], ["bound_customer"]], "evidence", "coupon_missing"),
    ("evidence", GONE, "evidence", "coupon_missing"),
    ("coupon", "wins", "evidence", "not_read"),
    ("coupon", "tosses", "coupon", "unknown_choice"),
    ("coupon_share_ppm", 500_000, "coupon_share_ppm", "not_read"),
    ("coupon_share_ppm", 0, "coupon_share_ppm", "out_of_range"),
    ("coupon_share_ppm", 1_000_000, "coupon_share_ppm", "out_of_range"),
    ("existing_customer", None, "existing_customer", "null"),
    ("self_purchase", GONE, "self_purchase", "required"),
    ("model", "linear", "position", "not_read"),
    ("position.first_ppm", 700_001, "position.last_ppm", "over_the_whole"),
    ("position.first_ppm", -1, "position.first_ppm", "out_of_range"),
    ("position.first_ppm", 1_000_001, "position.first_ppm", "out_of_range"),
    ("position.middle_ppm", 1, "position.middle_ppm", "unknown_field"),
    ("half_life_hours", 48, "half_life_hours", "not_read"),
    ("half_life_hours", 0, "half_life_hours", "out_of_range"),
    ("half_life_hours", 8_761, "half_life_hours", "out_of_range"),
    ("binding", {}, "binding.months", "required"),
    ("binding", {"months": 0}, "binding.months", "out_of_range"),
    ("binding", {"months": 121}, "binding.months", "out_of_range"),
    ("evidence", [["coupon"]], "binding", "not_read"),
    ("seconds_min", -1, "seconds_min", "out_of_range"),
    ("seconds_min", 86_401, "seconds_min", "out_of_range"),
    ("excluded.sites", ["https://shop.example"], "excluded.sites.0", "not_a_host"),
    ("excluded.sites", ["com"], "excluded.sites.0", "not_a_host"),
    ("excluded.sites", ["..shop.example"], "excluded.sites.0", "not_a_host"),
    ("excluded.sites", ["shop.example:8080"], "excluded.sites.0", "not_a_host"),
    ("excluded.sites", ["a.example"] * 201, "excluded.sites", "too_many"),
    ("excluded.paid_search", 1, "excluded.paid_search", "not_a_boolean"),
    ("excluded", [], "excluded", "not_an_object"),
    ("discount", 1, "discount", "unknown_field"),
]  # fmt: skip
LEVELS = [
    ("level_1", GONE, "level_1", "required"),
    ("level_1.kind", "gift", "level_1.kind", "unknown_choice"),
    ("level_1.kind", None, "level_1.kind", "null"),
    ("level_1.rate_ppm", -1, "level_1.rate_ppm", "out_of_range"),
    ("level_1.rate_ppm", 1_000_001, "level_1.rate_ppm", "out_of_range"),
    ("level_1.rate_ppm", GONE, "level_1.rate_ppm", "required"),
    ("level_1.amount", "1.00", "level_1.amount", "not_read"),
    ("level_1", {"kind": "fixed"}, "level_1.amount", "required"),
    ("level_1", {"kind": "fixed", "amount": "-1"}, "level_1.amount", "not_a_decimal"),
    ("level_1", {"kind": "fixed", "amount": 1}, "level_1.amount", "not_a_decimal"),
    ("level_1", {"kind": "per_item", "amount": "1.234"}, "level_1.amount", "too_many_digits"),
    ("level_1", {"kind": "fixed", "amount": "9000000000000"}, "level_1.amount", "too_large"),
    ("level_1", {"kind": "fixed", "amount": "5"}, "level_1", "not_read"),
    ("level_1.rate_ppm", 90_000, "level_1", "not_read"),
    ("level_2", GONE, "level_2", "required"),
    ("level_2.rate_ppm", 0, "level_2.rate_ppm", "out_of_range"),
    ("level_2.of", "profit", "level_2.of", "unknown_choice"),
    ("level_3", {"rate_ppm": 1}, "level_3", "unknown_field"),
]  # fmt: skip
RULES = [
    ("rules.0.name", "", "rules.0.name", "length"),
    ("rules.0.name", "x" * 81, "rules.0.name", "length"),
    ("rules.1.name", "Lamps for the press", "rules.1.name", "named_twice"),
    ("rules.0.name", GONE, "rules.0.name", "required"),
    ("rules.0.when", {}, "rules.0.when.groups", "nothing_named"),
    ("rules.0.when", GONE, "rules.0.when", "required"),
    ("rules.0.when.until", "2026-12-01T00:00:00+03:00", "rules.0.when.until", "not_after"),
    ("rules.0.when.until", "2026-11-01T00:00:00Z", "rules.0.when.until", "not_after"),
    ("rules.0.when.until", "2026-12-31", "rules.0.when.until", "not_a_moment"),
    ("rules.0.when.from", "2026-02-30T00:00:00Z", "rules.0.when.from", "not_a_moment"),
    ("rules.0.when.from", "2026-12-01 00:00", "rules.0.when.from", "not_a_moment"),
    ("rules.0.when.from", 5, "rules.0.when.from", "not_a_moment"),
    ("rules.0.when.customer", "angry", "rules.0.when.customer", "unknown_choice"),
    ("rules.0.when.affiliates", ["lnk_1"], "rules.0.when.affiliates.0", "unknown_affiliate"),
    ("rules.0.when.weekday", 1, "rules.0.when.weekday", "unknown_field"),
    ("rules.0.earns.rate_ppm", -5, "rules.0.earns.rate_ppm", "out_of_range"),
    ("rules", [FULL["commission"]["rules"][1]] * 101, "rules", "too_many"),
]  # fmt: skip
TIERS = [
    ("tiers.bands", [], "tiers.bands", "too_few"),
    ("tiers.bands", [FULL["commission"]["tiers"]["bands"][0]] * 21, "tiers.bands", "too_many"),
    ("tiers.bands.0.from", "1", "tiers.bands.0.from", "not_from_zero"),
    ("tiers.bands.0.from", 0, "tiers.bands.0.from", "not_a_decimal"),
    ("tiers.bands.0.from", "-1", "tiers.bands.0.from", "not_a_decimal"),
    ("tiers.bands.1.from", "0", "tiers.bands.1.from", "not_rising"),
    ("tiers.bands.2.from", "100000", "tiers.bands.2.from", "not_rising"),
    ("tiers.bands.2.from", "99999.99", "tiers.bands.2.from", "not_rising"),
    ("tiers.bands.1.from", "1.001", "tiers.bands.1.from", "too_many_digits"),
    ("tiers.bands.0.until", "100000.01", "tiers.bands.0.until", "bands_do_not_meet"),
    ("tiers.bands.0.until", "99999.99", "tiers.bands.0.until", "bands_do_not_meet"),
    ("tiers.bands.2.until", "600000", "tiers.bands.2.until", "last_band_ends"),
    ("tiers.bands.1.rate_ppm", -1, "tiers.bands.1.rate_ppm", "out_of_range"),
    ("tiers.bands.1.rate_ppm", GONE, "tiers.bands.1.rate_ppm", "required"),
    ("tiers.measure", "orders", "tiers.bands.1.from", "not_an_integer"),
    ("tiers.measure", "clicks", "tiers.measure", "unknown_choice"),
    ("tiers.period", "week", "tiers.period", "unknown_choice"),
    ("tiers.apply", "never", "tiers.apply", "unknown_choice"),
]  # fmt: skip
REST = [
    ("recurring", {}, "recurring.months", "required"),
    ("recurring.months", 0, "recurring.months", "out_of_range"),
    ("recurring.earns.kind", "gift", "recurring.earns.kind", "unknown_choice"),
    ("bonus.amount", "0", "bonus.amount", "not_above_zero"),
    ("bonus.amount", "-5", "bonus.amount", "not_a_decimal"),
    ("bonus.first_of", "week", "bonus.first_of", "unknown_choice"),
    ("boosts.0.until", "2026-11-27T00:00:00+03:00", "boosts.0.until", "not_after"),
    ("boosts.0.from", GONE, "boosts.0.from", "required"),
    ("boosts.0.add_ppm", 5, "boosts.0.add_ppm", "one_of_two"),
    ("boosts.0.times_ppm", GONE, "boosts.0.add_ppm", "one_of_two"),
    ("boosts.0.times_ppm", 1_000_000, "boosts.0.times_ppm", "out_of_range"),
    ("boosts.0.times_ppm", 10_000_001, "boosts.0.times_ppm", "out_of_range"),
    ("boosts.1.add_ppm", 0, "boosts.1.add_ppm", "out_of_range"),
    ("boosts.1.name", "Black Friday", "boosts.1.name", "named_twice"),
    ("boosts", [FULL["commission"]["boosts"][0]] * 21, "boosts", "too_many"),
    ("caps.per_order", "0.00", "caps.per_order", "not_above_zero"),
    ("caps.per_order", "-1", "caps.per_order", "not_a_decimal"),
    ("caps.per_period.amount", "0", "caps.per_period.amount", "not_above_zero"),
    ("caps.per_period.period", "life", "caps.per_period.period", "unknown_choice"),
    ("caps", None, "caps", "null"),
    ("budget.amount", "0", "budget.amount", "not_above_zero"),
    ("budget.period", GONE, "budget.period", "required"),
    ("per_lead", "0", "per_lead", "not_above_zero"),
    ("per_lead", "0.001", "per_lead", "too_many_digits"),
    ("per_lead", {"amount": "1"}, "per_lead", "not_a_decimal"),
    ("per_click", "0.000000", "per_click", "not_above_zero"),
    ("per_click", "0.0000001", "per_click", "too_many_digits"),
    ("per_click", "1e-3", "per_click", "not_a_decimal"),
    ("per_click", ".5", "per_click", "not_a_decimal"),
    ("per_click", "٠.٥", "per_click", "not_a_decimal"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "told_at", "code"),
    [(f"attribution.{path}", value, f"attribution.{at}", code)
     for path, value, at, code in ATTRIBUTION]
    + [(f"commission.{path}", value, f"commission.{at}", code)
       for path, value, at, code in [*LEVELS, *RULES, *TIERS, *REST]]
    + [
        ("payout.hold_days", -1, "payout.hold_days", "out_of_range"),
        ("payout.hold_days", 366, "payout.hold_days", "out_of_range"),
        ("payout", GONE, "payout", "required"),
        ("currency", "EUR", "currency", "unknown_field"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_path(
    path: str, value: Any, told_at: str, code: str
) -> None:
    found = refused(changed(path, value))
    assert told_at in found, found
    assert found[told_at][0] == code
    sentence = found[told_at][1]
    assert sentence[0].isupper() or sentence[0] in "0123456789"
    assert sentence.endswith((".", "}.", "Z", '".'))


@pytest.mark.parametrize("document", [None, [], "terms", 5, {}, {"attribution": None}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    assert refused(document)


def test_an_unknown_currency_is_refused() -> None:
    assert refused(OLD, "XXQ")["currency"][0] == "unknown_currency"


def test_amounts_have_the_digits_of_the_programs_currency() -> None:
    document = terms_document(
        commission={"level_1": {"kind": "fixed", "amount": "5.5"}, "level_2": None}
    )
    assert load(document, "KWD").commission.level_1 == Fixed(Money(5_500_000, "KWD"))
    assert refused(document, "JPY") == {
        "commission.level_1.amount": (
            "too_many_digits", "JPY has 0 digits after the point, not more.",
        )
    }  # fmt: skip


def test_everything_that_is_wrong_is_told_at_once() -> None:
    document = changed("attribution.window_days", 0)
    document["payout"]["hold_days"] = -1
    document["commission"]["tiers"]["bands"][0]["from"] = "x"
    assert set(refused(document)) == {
        "attribution.window_days", "payout.hold_days", "commission.tiers.bands.0.from",
    }  # fmt: skip


def levels(level_2: int, *, of: str = "sale", level_1: int = 100_000, **more: Any) -> Any:
    """A document of these two levels and what stands beside them."""
    return terms_document(
        commission={
            "level_1": {"kind": "percent", "rate_ppm": level_1},
            "level_2": {"of": of, "rate_ppm": level_2} if level_2 else None,
            **more,
        }
    )


def rule(rate_ppm: int, **when: Any) -> dict[str, Any]:
    return {
        "name": f"at {rate_ppm}",
        "when": when or {"categories": ["lamps"]},
        "earns": {"kind": "percent", "rate_ppm": rate_ppm},
    }


def boost(**gives: Any) -> dict[str, Any]:
    span = {"from": "2026-12-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}
    return {"name": "December", **span, **gives}


BANDS = {
    "measure": "orders", "period": "month", "apply": "marginal",
    "bands": [{"from": 0, "rate_ppm": 100_000}, {"from": 10, "rate_ppm": 400_000}],
}  # fmt: skip
IN_FEBRUARY = {"from": "2027-02-01T00:00:00Z", "until": "2027-03-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("beside", "reached"),
    [
        # What is left to level 2 is the whole less what level 1 can reach.
        ({}, 100_000),
        ({"rules": [rule(700_000)]}, 700_000),
        ({"tiers": BANDS}, 400_000),
        ({"recurring": {"months": 3, "earns": {"kind": "percent", "rate_ppm": 300_000}}}, 300_000),
        ({"boosts": [boost(add_ppm=50_000)]}, 150_000),
        ({"boosts": [boost(times_ppm=2_500_000)]}, 250_000),
        # 400,000 × 2 of the upper band.
        ({"tiers": BANDS, "boosts": [boost(times_ppm=2_000_000)]}, 800_000),
        # Of two boosts the better one counts: 100,000 + 300,000, not both.
        (
            {"boosts": [boost(add_ppm=300_000), boost(times_ppm=2_000_000) | {"name": "Other"}]},
            400_000,
        ),
        # The rule of February is over before the boost of December begins, so neither meets.
        (
            {"rules": [rule(500_000, **IN_FEBRUARY)], "boosts": [boost(times_ppm=2_000_000)]},
            500_000,
        ),
        # Of other groups: nobody has both. Of an affiliate and a group: somebody may.
        (
            {
                "rules": [rule(400_000, groups=["a"])],
                "boosts": [boost(times_ppm=2_000_000, groups=["b"])],
            },
            400_000,
        ),
        (
            {
                "rules": [rule(400_000, groups=["a"])],
                "boosts": [boost(times_ppm=2_000_000, affiliates=[ids.public(7)])],
            },
            800_000,
        ),
    ],
)  # fmt: skip
def test_both_levels_together_may_take_the_whole_sale_and_not_a_millionth_more(
    beside: dict[str, Any], reached: int
) -> None:
    terms = load(levels(1_000_000 - reached, **beside), "EUR")
    highest = highest_level_1(terms.commission)
    assert highest is not None
    assert highest.rate_ppm == reached
    assert refused(levels(1_000_001 - reached, **beside), "EUR")["commission.level_2"][0] == (
        "over_the_sale"
    )


def test_a_boost_alone_may_not_pass_the_whole_sale() -> None:
    found = refused(levels(0, level_1=600_000, boosts=[boost(times_ppm=2_000_000)]))
    code, sentence = found["commission.boosts.0"]
    assert code == "over_the_sale"
    assert sentence == (
        "Level 1 reaches 120 % of the sale by level 1 with the boost 'December', which is over "
        "the whole sale."
    )


def test_level_2_of_the_commission_stays_as_it_was() -> None:
    terms = load(levels(200_000, of="commission", level_1=900_000), "EUR")
    assert terms.commission.level_2 == values.LevelTwo(values.Of.COMMISSION, 200_000)


def test_a_boost_that_adds_to_no_percentage_is_refused() -> None:
    document = terms_document(
        commission={
            "level_1": {"kind": "fixed", "amount": "5"},
            "level_2": None,
            "boosts": [boost(add_ppm=10_000)],
        }
    )
    assert refused(document)["commission.boosts.0.add_ppm"][0] == "not_read"
    document["commission"]["boosts"] = [boost(times_ppm=2_000_000)]
    assert load(document, "RUB").commission.boosts[0].times_ppm == 2_000_000


@pytest.mark.parametrize(
    ("ppm", "text"), [(0, "0"), (1, "0.0001"), (125_000, "12.5"), (1_000_000, "100")]
)
def test_rates_in_sentences_are_per_cent(ppm: int, text: str) -> None:
    assert percent_text(ppm) == text


@settings(deadline=None)
@given(DOCUMENTS)
def test_every_valid_document_is_read_stored_and_read_again(document: dict[str, Any]) -> None:
    terms = load(document, "RUB")
    stored = dump(terms)
    assert load(json.loads(json.dumps(stored)), "RUB") == terms
    assert dump(load(stored, "RUB")) == stored


@settings(max_examples=400, deadline=None)
@given(JSON | broken() | st.fixed_dictionaries({"attribution": JSON, "commission": JSON}))
def test_a_document_is_read_or_refused_and_nothing_else(document: Any) -> None:
    try:
        terms = load(document, "RUB")
    except Invalid as refusal:
        assert refusal.errors
        assert all(error.code and error.message for error in refusal.errors)
    else:
        assert load(dump(terms), "RUB") == terms
