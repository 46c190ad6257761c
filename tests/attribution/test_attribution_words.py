"""Traces as sentences: everything that can happen has its words, for everybody who reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.attribution.cases import (
    DAY,
    HOUR,
    LINEAR,
    ORDER,
    SECOND,
    SHARES,
    TERMS,
    bound,
    click,
    coupon,
    email,
    steps,
)
from tracker.attribution import words
from tracker.attribution.rules import (
    BuyerBy,
    Candidate,
    Check,
    Kind,
    Reason,
    ReviewReason,
    Step,
    attribute,
)
from tracker.attribution.snapshot import trace_document
from tracker.clicks.tokens import new_click_id
from tracker.desks.account import sentences as account
from tracker.desks.manage import sentences as manage

NAMES = {1: "Anna", 2: "Boris", 3: "Clara"}
CLICK_ID = str(UUID(bytes=new_click_id(1_790_000_000_000, bytes(10))))
READERS = (
    words.sentence,
    lambda line: manage.trace([line], NAMES)[0]["text"],
    lambda line: account.attribution([line], 1)[0].text,
)


def lines(known: list[Candidate], order: Any = ORDER, **terms: Any) -> list[dict[str, Any]]:
    found = attribute(order, known, replace(TERMS, **terms))
    return [trace_document(line) for line in found.trace]


def known_click(ago: Any, who: int, **changes: Any) -> Candidate:
    made = click(ago, who, **changes)
    assert made.at is not None
    click_id = new_click_id(int(made.at.timestamp() * 1000), bytes([who]) * 10)
    return replace(made, click_id=str(UUID(bytes=click_id)))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("outcome", Step)
def test_every_kind_has_a_sentence_of_every_outcome(app: Flask, kind: Kind, outcome: Step) -> None:
    click_id = CLICK_ID if kind.is_click else None
    line = {
        "candidate": kind.value,
        "check": Check.MODEL.value,
        "outcome": outcome.value,
        "reason": Reason.TIMING.value if outcome in {Step.HELD, Step.LOST, Step.REMOVED} else None,
        "enrollment_id": 1,
        "age_seconds": 86_400,
        "click_id": click_id,
        "weight": "1/3" if outcome is Step.WON else None,
    }
    line = {key: value for key, value in line.items() if value is not None}
    with app.test_request_context():
        told = [read(line) for read in READERS]
        others = account.attribution([line], 2)
        assert words.tone(line) in {"passed", "lost", "won", "none"}
    assert all(text.strip().endswith(".") for text in told), told
    assert len(others) == (0 if outcome is Step.HELD else 1)
    if outcome is Step.WON:
        assert all("33.3333%" in text for text in told)


def test_a_click_after_the_order_is_not_told_as_before_it(app: Flask) -> None:
    trace = lines([known_click(-DAY, 1)])
    with app.test_request_context():
        told = [read(trace[0]) for read in READERS]
    assert all("after the order" in text for text in told), told
    assert not any("before the order" in text for text in told), told


def test_a_split_is_told_with_its_parts(app: Flask) -> None:
    trace = lines([known_click(2 * DAY, 1), known_click(DAY, 2), coupon(3)], **LINEAR, **SHARES)
    with app.test_request_context():
        told = [line["text"] for line in manage.trace(trace, NAMES)]
        mine = [one.text for one in account.attribution(trace, 1)]
        shop = [words.sentence(line) for line in trace]
    assert "The click for Anna, 2 days before the order, is credited with 25%." in told
    assert "The coupon of Clara is credited with 50%." in told
    assert "The coupon is credited with 50% of the order." in shop
    assert any("earns you 25% of it" in text for text in mine)
    assert "Another affiliate's click was credited with 25%." in mine
    assert "Another affiliate's coupon was credited with 50%." in mine
    assert not any(name in text for name in ("Boris", "Clara") for text in mine)


def test_an_affiliate_learns_the_class_of_a_hold_and_not_the_seconds(app: Flask) -> None:
    trace = lines([known_click(2 * SECOND, 1)], seconds_min=37)
    with app.test_request_context():
        mine = " ".join(one.text for one in account.attribution(trace, 1))
        others = account.attribution(trace, 2)
        told = manage.trace(trace, NAMES)[-1]
        shop = words.sentence(trace[-1])
    assert "a person looks at the timing of the click and the order first" in mine
    assert "37" not in mine
    assert "37" not in shop
    assert told["outcome"] == "none"
    assert "sooner after the click than the rules allow for" in told["text"]
    assert not any("timing" in one.text for one in others)


@pytest.mark.parametrize("by", BuyerBy)
def test_only_the_manager_learns_by_what_a_buyer_was_known(app: Flask, by: BuyerBy) -> None:
    trace = lines([known_click(DAY, 1, buyer_by=by)])
    with app.test_request_context():
        told = manage.trace(trace, NAMES)[-1]
        mine = account.attribution(trace, 1)
        word = manage.buyer_by(by.value)
    assert told["text"].endswith(f"known by {word}.")
    assert not any(word in sentence.text for sentence in mine)
    assert any("own purchase" in sentence.text for sentence in mine)


def test_bindings_addresses_and_a_managers_word_are_told_apart(app: Flask) -> None:
    order = steps("bound_customer customer_email")
    trace = lines([bound(90 * DAY, 1), email(HOUR, 2)], **order, **LINEAR)
    with app.test_request_context():
        told = [line["text"] for line in manage.trace(trace, NAMES)]
        assigned = manage.trace(lines([], replace(ORDER, assigned_to=3)), NAMES)
        because = account.credited_because({"evidence": "assignment"}, ORDER.placed_at)
    assert "Anna, to whom the customer is bound, is credited with 50%." in told
    assert any(text.startswith("The buyer's address, credited to Boris") for text in told)
    assert assigned == [{"text": "Clara, whom a manager named, is credited.", "outcome": "won"}]
    assert because == "Credited to you by a manager of the program."


def test_every_reason_for_a_review_is_told_to_the_manager(app: Flask) -> None:
    with app.test_request_context():
        told = {reason: manage.review(reason.value, None) for reason in ReviewReason}
    assert len(set(told.values())) == len(ReviewReason)
    assert all(text.endswith("before somebody has looked.") for text in told.values())
