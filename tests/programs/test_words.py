"""What pages say of the rules: all of it, and what they promise is what the engine earns."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest
from builders import make_program, terms_document
from flask import Flask
from hypothesis import HealthCheck, given, settings
from moments import NOW
from rule_documents import DOCUMENTS, FULL, changed
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people import ids
from affiliate.programs import examples, words
from affiliate.programs import terms_document as terms_of
from affiliate.programs.examples import Kind
from affiliate.programs.models import Program
from affiliate.programs.terms import Terms
from payouts.commissions.examples import earned
from payouts.commissions.rules import Credit, Earned, Sale, commissions_of, reversal

PROGRAM = Program(payout_weekday=4, payout_hour=17, time_zone="Asia/Tokyo", currency="EUR")
RUBLES = Program(payout_weekday=4, payout_hour=17, time_zone="Asia/Tokyo", currency="RUB")
PRESS = {"name": "Press", "when": {"groups": ["press"]},
           "earns": {"kind": "percent", "rate_ppm": 150_000}}  # fmt: skip


@pytest.mark.parametrize("currency", ["RUB", "EUR", "JPY", "KWD"])
@pytest.mark.parametrize(
    "level_1", [{"kind": "percent", "rate_ppm": 123_456}, "fixed", "huge", "per_item"]
)
@pytest.mark.parametrize(
    "level_2",
    [None, {"of": "sale", "rate_ppm": 20_000}, {"of": "commission", "rate_ppm": 333_333}],
)
def test_the_example_is_what_the_rules_earn(currency: str, level_1: Any, level_2: Any) -> None:
    if isinstance(level_1, str):
        amount = {"fixed": "7", "huge": "999999", "per_item": "2"}[level_1]
        kind = "per_item" if level_1 == "per_item" else "fixed"
        level_1 = {"kind": kind, "amount": amount}
    commission = {"level_1": level_1, "level_2": level_2}
    terms = terms_of.load(terms_document(commission=commission), currency)
    shown = examples.example(terms, currency, earned=earned)
    credit = Credit(
        enrollment_id=1, weight=Fraction(1), terms=terms.commission, rule_version_id=1,
        recruiter_id=2,
    )  # fmt: skip
    sale = Sale(
        program_id=1, reference="order:1", decision=1, net=shown.net, credits=(credit,),
        placed_at=NOW, hold=terms.payout.hold,
    )  # fmt: skip
    if level_1["kind"] != "per_item":
        amounts = {one.level: one.amount for one in commissions_of(sale) if isinstance(one, Earned)}
        zero = Money.zero(currency)
        assert (amounts.get(1, zero), amounts.get(2, zero)) == (shown.level_1, shown.level_2)
    else:
        # Three pieces at 2 each.
        assert (shown.pieces, shown.level_1) == (3, Money.parse("6", currency))
    back = reversal(
        frozen=shown.level_1, refunded_net=shown.refunded, net=shown.net,
        already=Money.zero(currency),
    )  # fmt: skip
    assert shown.kept_1 == shown.level_1 - back
    assert shown.level_1 + shown.level_2 <= shown.net


def test_the_application_computes_its_examples_by_the_engine(app: Flask) -> None:
    with app.app_context():
        assert examples.calculator() is earned


def others(terms: Terms) -> dict[str, list[Money]]:
    found: dict[str, list[Money]] = {}
    for told in examples.example(terms, "RUB", earned=earned).others:
        found.setdefault(told.kind, []).append(told.level_1)
    return found


def test_whatever_earns_otherwise_has_an_example_of_its_own() -> None:
    document = deepcopy(FULL)
    document["commission"]["rules"].append(PRESS)
    found = others(terms_of.load(document, "RUB"))
    # Net 3,500: the lamps 15 %, books 3 × 25.00, the press 15 %.
    assert [str(m) for m in found[Kind.RULE]] == ["525.00 RUB", "75.00 RUB", "525.00 RUB"]
    # Half of it lies below the edge of 100,000: 1,750 × 10 % + 1,750 × 12 %.
    assert [str(m) for m in found[Kind.TIER]] == ["385.00 RUB"]
    # The press has 15 % by its rule, half as much again in the boost; the others 10 % + 5 %.
    assert [str(m) for m in found[Kind.BOOST]] == ["787.50 RUB", "525.00 RUB"]
    assert [str(m) for m in found[Kind.BONUS]] == ["650.00 RUB"]
    assert [str(m) for m in found[Kind.RECURRING]] == ["175.00 RUB"]


def test_a_rule_over_which_a_closer_one_wins_is_not_told_by_the_wrong_name() -> None:
    broad = {**PRESS, "name": "All lamps", "when": {"categories": ["lamps"]}}
    closer = {**PRESS, "name": "Red", "when": {"categories": ["lamps"], "customer": "new"},
              "earns": {"kind": "fixed", "amount": "1"}}  # fmt: skip
    document = changed("commission.rules", [broad, {**closer, "name": "Blue"}, closer])
    shown = examples.example(terms_of.load(document, "RUB"), "RUB", earned=earned)
    assert [told.name for told in shown.others if told.kind is Kind.RULE] == ["All lamps", "Red"]


def test_bands_of_orders_and_whole_periods_begin_at_their_edge() -> None:
    bands = [{"from": 0, "rate_ppm": 100_000}, {"from": 10, "rate_ppm": 200_000}]
    tiers = {"measure": "orders", "period": "month", "apply": "whole_period", "bands": bands}
    found = others(terms_of.load(changed("commission.tiers", tiers), "RUB"))
    assert [str(m) for m in found[Kind.TIER]] == ["700.00 RUB"]


def said(app: Flask, terms: Terms) -> dict[str, str]:
    """Everything a page says, by the key of the rule."""
    with app.test_request_context():
        return {
            rule.key: " ".join([rule.answer, *rule.points, *(" ".join(row) for row in rule.table)])
            for rule in words.rules_in_words(terms, RUBLES)
        }


def test_a_version_tells_every_setting_in_words(app: Flask) -> None:
    document = deepcopy(FULL)
    # A second of the same kind is in the document only to be told.
    document["attribution"]["windows"].append({"affiliates": [ids.public(8)], "days": 1})
    text = said(app, terms_of.load(document, "RUB"))
    gap = "\N{NO-BREAK SPACE}"
    for key, parts in {
        "level_1": ["10% of the net amount"],
        "tiers": ["net sales of the calendar month", "what lies above its edge",
                  f"from 100,000.00{gap}RUB 12%", f"from 500,000.00{gap}RUB 15%"],
        "rules": ["Lamps for the press: 15% of the net", "products LAMP-1", "categories lamps",
                  "never bought before", "for the group press", "1 affiliate with whom",
                  "from 1 Dec 2026, 06:00 until before 1 Jan 2027, 06:00, Asia/Tokyo",
                  f"Books: 25.00{gap}RUB for each piece"],
        "recurring": ["5% of the net", "12 months after the first payment"],
        "bonus": [f"300.00{gap}RUB more for your first order"],
        "boosts": ["Black Friday: 150% of what you earn otherwise", "for the group press",
                   "New year: 5% of the net more"],
        "caps": [f"at most 5,000.00{gap}RUB", "In a calendar month you earn",
                 f"at most 90,000.00{gap}RUB at level 1",
                 f"at most 1,000,000.00{gap}RUB to all affiliates in a quarter"],
        "actions": [f"40.00{gap}RUB for every lead", f"0.012345{gap}RUB for every unique click"],
        "level_2": ["2% of the net amount", "exactly two levels"],
        "window": ["within 30 days", "60 days for the group press",
                   "90 days for the group press; for 1 affiliate", "1 day for 1 affiliate"],
        "model": ["The first click takes 40%", "the last one 30%", "the other 30% equally"],
        "evidence": ["buyer's browser remembers or another click", "a coupon", "bound to"],
        "coupon": ["in its turn"],
        "customer": ["earn nothing"],
        "self": ["earn nothing"],
        "binding": ["stays yours for 12 months"],
        "excluded": ["paid advertisements", "pages of shop.example", "below search.example"],
        "sooner": ["sooner after the click than people buy wait for a person"],
        "hold": ["14 days after the order"],
    }.items():  # fmt: skip
        for part in parts:
            assert part in text[key], (key, text[key])
    assert "5 second" not in " ".join(text.values())
    assert ids.public(7) not in " ".join(text.values())


@pytest.mark.parametrize(
    ("path", "choices", "key"),
    [
        ("attribution.model", ["last_click", "first_click", "linear", "time_decay"], "model"),
        ("attribution.coupon", ["wins", "loses", "shares"], "coupon"),
        ("attribution.existing_customer", ["pays", "refuses"], "customer"),
        ("attribution.self_purchase", ["pays", "refuses"], "self"),
        ("attribution.binding", [None, {"months": 1}, {"months": 2}, {"months": None}], "binding"),
        ("commission.bonus",
         [{"amount": "1", "first_of": who} for who in ("customer", "affiliate")], "bonus"),
        ("commission.recurring",
         [{"months": None}, {"months": 1}, {"months": 2},
          {"months": 2, "earns": {"kind": "fixed", "amount": "1"}}], "recurring"),
        ("commission.budget",
         [{"amount": "9", "period": each} for each in (None, "month", "quarter", "year")], "caps"),
        ("commission.caps",
         [{"per_period": {"amount": "9", "period": each}} for each in ("month", "quarter", "year")],
         "caps"),
        ("commission.level_1",
         [{"kind": kind, "amount": "9"} for kind in ("fixed", "per_item")], "level_1"),
        ("payout.hold_days", [0, 1, 2], "hold"),
    ],
)  # fmt: skip
def test_every_choice_in_the_rules_has_a_sentence_of_its_own(
    app: Flask, path: str, choices: list[Any], key: str
) -> None:
    document = terms_document()
    told = {said(app, terms_of.load(changed(path, each, document), "RUB"))[key] for each in choices}
    assert len(told) == len(choices)


def test_a_plain_version_asks_nothing_that_it_does_not_have(app: Flask) -> None:
    text = said(app, terms_of.load(terms_document(), "RUB"))
    assert not {"tiers", "rules", "recurring", "bonus", "boosts", "caps", "actions", "excluded",
                "sooner"} & set(text)  # fmt: skip
    assert "Friday at 17:00" in text["payout"]
    assert "Asia/Tokyo" in text["payout"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("payout.hold_days", 14, "10% to 15% of every sale"),
        ("commission.tiers", None, "10% of every sale"),
    ],
)
def test_the_headline_names_the_span_of_the_tiers(
    app: Flask, path: str, value: Any, told: str
) -> None:
    terms = terms_of.load(changed(path, value), "RUB")
    with app.test_request_context():
        assert words.headline(terms.commission) == told


def test_the_public_page_shows_the_whole_version_with_its_examples(
    app: Flask, session: Session
) -> None:
    document = deepcopy(FULL)
    document["attribution"]["windows"] = []
    document["commission"]["rules"][0]["when"]["affiliates"] = []
    document["commission"] |= {"per_lead": None, "per_click": None}
    make_program(session, now=NOW, terms_document=document)
    session.commit()
    page = app.test_client().get("/programs/lamps").text
    gap = "\N{NO-BREAK SPACE}"
    for part in (
        "Black Friday",
        "from 100,000.00",
        f"“Black Friday” an order of 3,500.00{gap}RUB earns 525.00{gap}RUB",
        f"earns 385.00{gap}RUB",
        f"650.00{gap}RUB with the bonus",
    ):
        assert part in page, part


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS)
def test_any_version_is_told_and_its_examples_pay_no_more_than_the_sale(
    app: Flask, document: dict[str, Any]
) -> None:
    terms = terms_of.load(document, "EUR")
    shown = examples.example(terms, "EUR", earned=earned)
    for told in shown.others:
        assert told.level_1 <= told.sale.net
    with app.test_request_context():
        assert all(rule.answer for rule in words.rules_in_words(terms, PROGRAM))
        assert len(words.example_sentences(shown, terms.commission)) >= 3
        assert words.headline(terms.commission)
