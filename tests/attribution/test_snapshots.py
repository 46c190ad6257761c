"""What is stored of a decision: it reads back as it was, also from before a field existed."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from tests.attribution.cases import DAY, HOUR, LINEAR, ORDER, PLACED, TERMS, click, coupon
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    Candidate,
    Kind,
    OrderFacts,
    Reason,
    Unattributed,
    attribute,
)
from tracker.attribution.snapshot import (
    candidates_from,
    facts_from,
    share_document,
    snapshot_of,
    trace_document,
)
from tracker.clicks.rules import DropReason

# As it was stored before there were assignments, groups, sources and ways to know a buyer.
BEFORE: dict[str, Any] = {
    "order": {
        "placed_at": "2026-11-21T07:15:00+00:00",
        "customer_since": "2026-11-01T00:00:00+00:00",
        "says_new": None,
        "program_closed": False,
    },
    "candidates": [
        {
            "kind": "click_token",
            "enrollment_id": 1,
            "click_id": "a",
            "at": "2026-11-20T07:15:00+00:00",
            "genuine": True,
            "in_program": True,
            "disabled_at": None,
            "valid_until": None,
            "active": True,
            "is_buyer": True,
            "drop": None,
            "loaded": True,
            "unrecorded": False,
        }
    ],
}

CHANGED = Candidate(
    kind=Kind.VISITOR_CLICK,
    enrollment_id=7,
    click_id="b",
    at=PLACED - DAY,
    genuine=False,
    in_program=False,
    by_test_link=True,
    disabled_at=PLACED,
    valid_until=PLACED + DAY,
    active=False,
    buyer_by=BuyerBy.DEVICE,
    drop=DropReason.FLOOD,
    loaded=False,
    unrecorded=True,
    group="vip",
    referrer_host="blog.example",
    paid_search=True,
)
FACTS = OrderFacts(
    placed_at=PLACED,
    customer_since=PLACED - timedelta(microseconds=1),
    says_new=False,
    program_closed=True,
    review_declined=True,
    assigned_to=7,
    contested=True,
)


def stored(order: OrderFacts, *known: Candidate) -> Any:
    return json.loads(json.dumps(snapshot_of(order, known)))


def test_every_field_of_a_candidate_is_kept() -> None:
    """A field that is added and not stored would make a replay read something else."""
    plain = Candidate(kind=Kind.CLICK_TOKEN)
    unlike = [
        f.name for f in fields(Candidate) if getattr(CHANGED, f.name) == getattr(plain, f.name)
    ]
    assert not unlike, "the example has to differ in every field"
    assert candidates_from(stored(ORDER, CHANGED, plain)) == (CHANGED, plain)


def test_every_field_of_an_order_is_kept() -> None:
    others = [f.name for f in fields(OrderFacts) if f.name != "placed_at"]
    assert all(getattr(FACTS, name) != getattr(ORDER, name) for name in others)
    assert facts_from(stored(FACTS)) == FACTS
    assert facts_from(stored(ORDER)) == ORDER


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.ASSIGNMENT])
def test_every_kind_of_evidence_is_kept(kind: Kind) -> None:
    assert candidates_from(stored(ORDER, Candidate(kind=kind))) == (Candidate(kind=kind),)


def test_an_older_snapshot_reads_as_it_was_meant() -> None:
    """Buyers were known by their e-mail address alone."""
    [found] = candidates_from(BEFORE)
    assert found == click(DAY, 1, click_id="a", buyer_by=BuyerBy.EMAIL)
    facts = facts_from(BEFORE)
    assert (facts.review_declined, facts.assigned_to) == (False, None)
    verdict = attribute(facts, [found], TERMS)
    assert isinstance(verdict, Unattributed)
    assert verdict.reason is Reason.SELF_PURCHASE


def test_a_share_names_its_latest_click_and_keeps_the_others() -> None:
    known = [click(3 * DAY, 1, click_id="a"), click(2 * DAY, 2), click(HOUR, 1, click_id="b")]
    found = attribute(replace(ORDER, says_new=False), known, replace(TERMS, **LINEAR))
    assert isinstance(found, Attribution)
    assert share_document(found.shares[0]) == {
        "enrollment_id": 1,
        "weight": "2/3",
        "evidence": "click_token",
        "click_id": "b",
        "clicked_at": "2026-11-21T06:15:00+00:00",
        "existing_customer": True,
        "other_clicks": [{"click_id": "a", "clicked_at": "2026-11-18T07:15:00+00:00"}],
    }
    assert "other_clicks" not in share_document(found.shares[1])


def test_a_line_keeps_the_weight_and_by_what_a_buyer_was_known() -> None:
    known = [click(DAY, 1), click(HOUR, 2), coupon(3, buyer_by=BuyerBy.DEVICE)]
    found = attribute(ORDER, known, replace(TERMS, **LINEAR))
    lines = [trace_document(line) for line in found.trace]
    assert [Fraction(line["weight"]) for line in lines if "weight" in line] == [Fraction(1, 2)] * 2
    [own] = [line for line in lines if line.get("reason") == "self_purchase"]
    assert own["buyer_by"] == "device"
