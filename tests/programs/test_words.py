"""What the public page promises is what the commission rules earn."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from builders import terms_document
from flask import Flask
from moments import NOW

from affiliate.core.money import Money
from affiliate.programs import terms_document as terms_of
from affiliate.programs import words
from payouts.commissions.rules import Credit, Earned, Sale, commissions_of


@pytest.mark.parametrize("currency", ["RUB", "EUR", "JPY", "KWD"])
@pytest.mark.parametrize("level_1", [{"kind": "percent", "rate_ppm": 123_456}, "fixed", "huge"])
@pytest.mark.parametrize(
    "level_2",
    [None, {"of": "sale", "rate_ppm": 20_000}, {"of": "commission", "rate_ppm": 333_333}],
)
def test_the_example_is_what_the_rules_earn(currency: str, level_1: Any, level_2: Any) -> None:
    if isinstance(level_1, str):
        level_1 = {"kind": "fixed", "amount": {"fixed": "7", "huge": "999999"}[level_1]}
    commission = {"level_1": level_1, "level_2": level_2}
    terms = terms_of.load(terms_document(commission=commission), currency)
    shown = words.example(terms.commission, currency)
    credit = Credit(
        enrollment_id=1,
        weight=Fraction(1),
        terms=terms.commission,
        rule_version_id=1,
        recruiter_id=2,
    )
    sale = Sale(
        program_id=1,
        reference="order:1",
        decision=1,
        net=shown.net,
        credits=(credit,),
        placed_at=NOW,
        hold=terms.payout.hold,
    )
    earned = {one.level: one.amount for one in commissions_of(sale) if isinstance(one, Earned)}
    zero = Money.zero(currency)
    assert (earned.get(1, zero), earned.get(2, zero)) == (shown.level_1, shown.level_2)
    assert shown.level_1 + shown.level_2 <= shown.net


def test_every_choice_in_the_rules_has_its_sentence(app: Flask) -> None:
    from affiliate.programs.models import Program

    program = Program(payout_weekday=4, payout_hour=17, time_zone="Asia/Tokyo", currency="EUR")
    seen = set()
    for model in ("last_click", "first_click"):
        for coupon in ("wins", "loses"):
            for policy in ("pays", "refuses"):
                document = terms_document()
                document["attribution"].update(
                    model=model, coupon=coupon, existing_customer=policy, self_purchase=policy
                )
                terms = terms_of.load(document, "EUR")
                with app.test_request_context():
                    rules = words.rules_in_words(terms, program)
                assert all(rule.answer for rule in rules)
                seen |= {(rule.key, rule.answer) for rule in rules}
    for key, choices in {"model": 2, "coupon": 2, "customer": 2, "self": 2, "payout": 1}.items():
        assert len([one for one in seen if one[0] == key]) == choices
    assert any("Friday at 5:00" in answer and "Asia/Tokyo" in answer for _, answer in seen)
