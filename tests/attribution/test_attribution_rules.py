"""Whose order it is, in tables: pure values in, decision and trace out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from affiliate.programs.terms import Model
from tests.attribution.cases import (
    DAY,
    FIRST,
    HOUR,
    MINUTE,
    NEW_ONLY,
    ORDER,
    OWN_PAYS,
    PLACED,
    TERMS,
    TICK,
    WINS,
    click,
    coupon,
)
from tracker.attribution.rules import (
    CLASS_OF_DROP,
    Attribution,
    BuyerBy,
    Candidate,
    Check,
    Kind,
    Reason,
    Step,
    Unattributed,
    attribute,
)
from tracker.clicks.rules import DropReason, credits

CREDITED: dict[str, tuple[list[Candidate], dict[str, Any], dict[str, Any], int, Kind]] = {
    # name: candidates, changed terms, changed order, who is credited, by what
    "one click": ([click(DAY)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a click in the instant of the order": ([click(0 * DAY)], {}, {}, 1, Kind.CLICK_TOKEN),
    "exactly at the end of the window": ([click(30 * DAY)], {}, {}, 1, Kind.CLICK_TOKEN),
    "exactly at the end of a one-day window": (
        [click(DAY)], {"window": DAY}, {}, 1, Kind.CLICK_TOKEN),
    "exactly five minutes after the order": ([click(-5 * MINUTE)], {}, {}, 1, Kind.CLICK_TOKEN),
    "the last of two": ([click(2 * DAY, 1), click(DAY, 2)], {}, {}, 2, Kind.CLICK_TOKEN),
    "the last by a microsecond": (
        [click(DAY, 1), click(DAY - TICK, 2)], {}, {}, 2, Kind.CLICK_TOKEN),
    "the first of two": ([click(2 * DAY, 1), click(DAY, 2)], FIRST, {}, 1, Kind.CLICK_TOKEN),
    "the first by a microsecond": (
        [click(DAY, 1), click(DAY - TICK, 2)], FIRST, {}, 1, Kind.CLICK_TOKEN),
    "last click passes over one outside the window": (
        [click(31 * DAY, 1), click(29 * DAY, 2)], {}, {}, 2, Kind.CLICK_TOKEN),
    "first click passes over one outside the window": (
        [click(31 * DAY, 1), click(29 * DAY, 2)], FIRST, {}, 2, Kind.CLICK_TOKEN),
    "first click is the only one inside": (
        [click(30 * DAY + TICK, 1), click(30 * DAY, 2)], FIRST, {}, 2, Kind.CLICK_TOKEN),
    "a forged token beside a genuine one": (
        [click(HOUR, 2, genuine=False), click(DAY, 1)], {}, {}, 1, Kind.CLICK_TOKEN),
    "another program's later click": (
        [click(HOUR, 2, in_program=False), click(DAY, 1)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a link disabled after the click": (
        [click(DAY, disabled_at=PLACED - HOUR)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a link disabled a tick after the click": (
        [click(DAY, disabled_at=PLACED - DAY + TICK)], {}, {}, 1, Kind.CLICK_TOKEN),
    "an inactive affiliate's later click": (
        [click(HOUR, 2, active=False), click(DAY, 1)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a robot's later click": (
        [click(HOUR, 2, drop=DropReason.BOT), click(DAY, 1)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a duplicate credits like its original": (
        [click(DAY, drop=DropReason.DUPLICATE)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a click of the same visitor that the token does not name": (
        [click(2 * DAY, 1), click(DAY, 2, kind=Kind.VISITOR_CLICK)], {}, {}, 2,
        Kind.VISITOR_CLICK),
    "a coupon alone": ([coupon(2)], {}, {}, 2, Kind.COUPON),
    "a coupon loses against a click": ([click(DAY, 1), coupon(2)], {}, {}, 1, Kind.CLICK_TOKEN),
    "a coupon wins against a click": (
        [click(DAY, 1), coupon(2)], WINS, {}, 2, Kind.COUPON),
    "a coupon wins against a click of the same affiliate": (
        [click(DAY, 2), coupon(2)], WINS, {}, 2, Kind.COUPON),
    "a losing coupon is left when no click counts": (
        [click(31 * DAY, 1), coupon(2)], {}, {}, 2, Kind.COUPON),
    "a click is left when the winning coupon is over": (
        [click(DAY, 1), coupon(2, valid_until=PLACED)], WINS, {}, 1, Kind.CLICK_TOKEN),
    "a coupon valid for one tick more": (
        [coupon(2, valid_until=PLACED + TICK)], {}, {}, 2, Kind.COUPON),
    "a coupon disabled a tick after the order": (
        [coupon(2, disabled_at=PLACED + TICK)], {}, {}, 2, Kind.COUPON),
    "the buyer's own click, where the rules pay it": (
        [click(DAY, buyer_by=BuyerBy.EMAIL)], OWN_PAYS, {}, 1, Kind.CLICK_TOKEN),
    "the buyer's own later click leaves the other's": (
        [click(HOUR, 2, buyer_by=BuyerBy.EMAIL), click(DAY, 1)], {}, {}, 1, Kind.CLICK_TOKEN),
    "an old customer, where the rules pay": (
        [click(DAY)], {}, {"customer_since": PLACED - 2 * DAY}, 1, Kind.CLICK_TOKEN),
    "a customer since after the click": (
        [click(DAY)], NEW_ONLY, {"customer_since": PLACED - HOUR}, 1, Kind.CLICK_TOKEN),
    "a customer since the very instant of the click": (
        [click(DAY)], NEW_ONLY, {"customer_since": PLACED - DAY}, 1, Kind.CLICK_TOKEN),
    "the order's own row makes nobody an old customer": (
        [click(-MINUTE)], NEW_ONLY, {"customer_since": PLACED}, 1, Kind.CLICK_TOKEN),
    "our record goes before the shop's word": (
        [click(DAY)], NEW_ONLY, {"customer_since": PLACED - HOUR, "says_new": False}, 1,
        Kind.CLICK_TOKEN),
    "the shop says new": ([click(DAY)], NEW_ONLY, {"says_new": True}, 1, Kind.CLICK_TOKEN),
    "nobody says anything": ([click(DAY)], NEW_ONLY, {}, 1, Kind.CLICK_TOKEN),
    "an older click from before they were a customer": (
        [click(5 * DAY, 1), click(DAY, 2)], NEW_ONLY, {"customer_since": PLACED - 2 * DAY}, 1,
        Kind.CLICK_TOKEN),
    "an unrecorded click": ([click(DAY, loaded=False, unrecorded=True)], {}, {}, 1,
        Kind.CLICK_TOKEN),
}  # fmt: skip

REFUSED: dict[str, tuple[list[Candidate], dict[str, Any], dict[str, Any], Reason]] = {
    "nothing at all": ([], {}, {}, Reason.NO_EVIDENCE),
    "a program that had closed": ([click(DAY)], {}, {"program_closed": True},
        Reason.PROGRAM_CLOSED),
    "a forged token": ([click(DAY, genuine=False)], {}, {}, Reason.TOKEN_NOT_GENUINE),
    "another program's token": ([click(DAY, in_program=False)], {}, {}, Reason.OTHER_PROGRAM),
    "a tick over the window": ([click(30 * DAY + TICK)], {}, {}, Reason.OUTSIDE_WINDOW),
    "a tick over a one-day window": ([click(DAY + TICK)], {"window": DAY}, {},
        Reason.OUTSIDE_WINDOW),
    "a tick more than five minutes after the order": ([click(-5 * MINUTE - TICK)], {}, {},
        Reason.CLICK_AFTER_ORDER),
    "a link disabled in the instant of the click": (
        [click(DAY, disabled_at=PLACED - DAY)], {}, {}, Reason.LINK_DISABLED),
    "a link disabled before the click": (
        [click(DAY, disabled_at=PLACED - 2 * DAY)], {}, {}, Reason.LINK_DISABLED),
    "an inactive affiliate": ([click(DAY, active=False)], {}, {}, Reason.AFFILIATE_INACTIVE),
    "an inactive affiliate's coupon": ([coupon(active=False)], {}, {},
        Reason.AFFILIATE_INACTIVE),
    "a coupon that nobody owns": ([coupon(None, in_program=False)], {}, {},
        Reason.COUPON_UNKNOWN),
    "a coupon in its last instant": ([coupon(valid_until=PLACED)], {}, {},
        Reason.COUPON_NOT_VALID),
    "a coupon disabled in the order's instant": ([coupon(disabled_at=PLACED)], {}, {},
        Reason.COUPON_NOT_VALID),
    "the buyer's own click": ([click(DAY, buyer_by=BuyerBy.EMAIL)], {}, {}, Reason.SELF_PURCHASE),
    "the buyer's own coupon": ([coupon(buyer_by=BuyerBy.EMAIL)], {}, {}, Reason.SELF_PURCHASE),
    "a customer since a tick before the click": (
        [click(DAY)], NEW_ONLY, {"customer_since": PLACED - DAY - TICK},
        Reason.EXISTING_CUSTOMER),
    "the shop says old and we know nothing": ([click(DAY)], NEW_ONLY, {"says_new": False},
        Reason.EXISTING_CUSTOMER),
    "an old customer's coupon": ([coupon()], NEW_ONLY, {"customer_since": PLACED - TICK},
        Reason.EXISTING_CUSTOMER),
    "a robot": ([click(DAY, drop=DropReason.BOT)], {}, {}, Reason.NOT_A_PERSON),
    "a prefetch": ([click(DAY, drop=DropReason.PREFETCH)], {}, {}, Reason.NOT_A_VISIT),
    "the check that got furthest names the reason": (
        [click(DAY, genuine=False), click(31 * DAY)], {}, {}, Reason.OUTSIDE_WINDOW),
}  # fmt: skip


@pytest.mark.parametrize("name", CREDITED)
def test_is_credited(name: str) -> None:
    candidates, terms, order, who, evidence = CREDITED[name]
    found = attribute(replace(ORDER, **order), candidates, replace(TERMS, **terms))
    assert isinstance(found, Attribution)
    [share] = found.shares
    assert (share.enrollment_id, share.evidence, share.weight) == (who, evidence, 1)
    assert found.trace[-1].outcome is Step.WON


@pytest.mark.parametrize("name", REFUSED)
def test_credits_nobody(name: str) -> None:
    candidates, terms, order, reason = REFUSED[name]
    found = attribute(replace(ORDER, **order), candidates, replace(TERMS, **terms))
    assert isinstance(found, Unattributed)
    assert found.reason is reason


def test_two_clicks_in_one_instant_credit_the_smaller_click_id() -> None:
    both = [click(DAY, 2, click_id="b"), click(DAY, 1, click_id="a")]
    for model in (Model.LAST_CLICK, Model.FIRST_CLICK):
        found = attribute(ORDER, both, replace(TERMS, model=model))
        assert isinstance(found, Attribution)
        assert found.shares[0].enrollment_id == 1


def test_a_click_known_by_token_and_by_visitor_counts_once() -> None:
    token = click(DAY, click_id="a")
    found = attribute(ORDER, [replace(token, kind=Kind.VISITOR_CLICK), token], TERMS)
    assert isinstance(found, Attribution)
    assert found.shares[0].evidence is Kind.CLICK_TOKEN
    assert len(found.trace) == 2


def test_the_trace_names_every_candidate_its_check_and_its_reason() -> None:
    found = attribute(
        ORDER, [click(31 * DAY, 3), click(2 * DAY, 1), click(DAY, 2), coupon(4)], TERMS
    )
    lines = [(one.enrollment_id, one.check, one.outcome, one.reason) for one in found.trace]
    assert lines == [
        (3, Check.WINDOW, Step.REMOVED, Reason.OUTSIDE_WINDOW),
        (1, Check.WINDOW, Step.PASSED, None),
        (2, Check.WINDOW, Step.PASSED, None),
        (4, Check.COUPON, Step.PASSED, None),
        (1, Check.MODEL, Step.LOST, Reason.LATER_CLICK_WINS),
        (4, Check.COUPON_AGAINST_CLICK, Step.LOST, Reason.CLICK_WINS),
        (2, Check.COUPON_AGAINST_CLICK, Step.WON, None),
    ]
    assert found.trace[0].age_s == 31 * 86_400


@pytest.mark.parametrize(
    ("changes", "awaited"),
    [
        ({}, False),
        ({"loaded": False}, True),
        ({"loaded": False, "unrecorded": True}, False),
    ],
)
def test_only_a_click_whose_row_will_come_is_awaited(changes: Any, awaited: bool) -> None:
    found = attribute(ORDER, [click(DAY, **changes)], TERMS)
    assert isinstance(found, Attribution)
    assert found.shares[0].awaits_click_check is awaited


def test_every_reason_to_drop_a_click_is_told_as_a_class() -> None:
    assert set(CLASS_OF_DROP) == {reason for reason in DropReason if not credits(reason)}
