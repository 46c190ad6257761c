"""Whose order it is, case by case: models, coupons and a manager's word."""

from __future__ import annotations

from datetime import timedelta

import pytest

from affiliate.programs.terms import Position
from tests.attribution.cases import (
    DAY,
    DECAY,
    FIRST,
    HOUR,
    IN_ORDER,
    LINEAR,
    MINUTE,
    NEW_ONLY,
    NOW,
    PLACED,
    POSITION,
    SECOND,
    SHARES,
    TICK,
    WINS,
    Case,
    bound,
    case,
    click,
    coupon,
    email,
    hold,
    steps,
    visit,
)
from tracker.attribution.rules import Kind, Reason
from tracker.clicks.rules import DropReason

LATER, EARLIER = Reason.LATER_CLICK_WINS, Reason.EARLIER_CLICK_WINS
A_DAY = {**DECAY, "half_life": DAY}
THREE = [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 3)]
FOUR = [click(4 * DAY, 4), *THREE]
TWO = THREE[1:]


def position(first: int, last: int) -> dict[str, object]:
    """Per cent for the first and the last touch."""
    return {**POSITION, "position": Position(first * 10_000, last * 10_000)}


def at_half(ppm: int) -> dict[str, object]:
    return {**SHARES, "coupon_share_ppm": ppm}


MODELS: dict[str, Case] = {
    # Last click and first click: all or nothing.
    "last click takes all": case(THREE, {3: "1"}, why={1: LATER, 2: LATER}),
    "last click: the later click of one affiliate is named": case(
        [click(2 * DAY, 1), click(DAY, 1)], {1: "1"}, by={1: Kind.CLICK_TOKEN}),
    "last click: after the order within the skew is the latest": case(
        [click(DAY, 1), click(-5 * MINUTE, 2)], {2: "1"}, why={1: LATER}),
    "last click: a tick beyond the skew is none": case(
        [click(DAY, 1), click(-5 * MINUTE - TICK, 2)], {1: "1"},
        why={2: Reason.CLICK_AFTER_ORDER}),
    "last click: two in one instant, the smaller id": case(
        [click(DAY, 2, click_id="b"), click(DAY, 1, click_id="a")], {1: "1"}, why={2: LATER}),
    "last click: a tick later beats the smaller id": case(
        [click(DAY - TICK, 2, click_id="b"), click(DAY, 1, click_id="a")], {2: "1"}),
    "first click takes all": case(THREE, {1: "1"}, terms=FIRST, why={2: EARLIER, 3: EARLIER}),
    "first click: a tick earlier": case(
        [click(DAY, 1), click(DAY + TICK, 2)], {2: "1"}, terms=FIRST, why={1: EARLIER}),
    "first click: two in one instant, the smaller id": case(
        [click(DAY, 2, click_id="b"), click(DAY, 1, click_id="a")], {1: "1"}, terms=FIRST),
    "first click: only those inside the window": case(
        [click(30 * DAY + TICK, 1), click(30 * DAY, 2), click(DAY, 3)], {2: "1"}, terms=FIRST,
        why={1: Reason.OUTSIDE_WINDOW, 3: EARLIER}),
    "first click: a visitor's click is as good as a token": case(
        [visit(3 * DAY, 1), click(DAY, 2)], {1: "1"}, terms=FIRST, by={1: Kind.VISITOR_CLICK}),
    # Linear: one over the number of touches.
    "linear: one": case(THREE[:1], {1: "1"}, terms=LINEAR),
    "linear: two": case(TWO, {2: "1/2", 3: "1/2"}, terms=LINEAR),
    "linear: three": case(THREE, {1: "1/3", 2: "1/3", 3: "1/3"}, terms=LINEAR),
    "linear: seven": case(
        [click(n * DAY, n) for n in range(1, 8)], dict.fromkeys(range(1, 8), "1/7"), terms=LINEAR),
    "linear: two touches of one affiliate and one of another, 2/3 and 1/3": case(
        [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 1)], {1: "2/3", 2: "1/3"},
        terms=LINEAR),
    "linear: three touches of one affiliate are one whole share": case(
        [click(3 * DAY, 1), click(2 * DAY, 1), click(DAY, 1)], {1: "1"}, terms=LINEAR),
    "linear: what was removed leaves its part to the rest": case(
        [*TWO, click(DAY, 1, drop=DropReason.BOT)], {2: "1/2", 3: "1/2"}, terms=LINEAR,
        why={1: Reason.NOT_A_PERSON}),
    "linear: two in one instant count as two": case(
        [click(DAY, 1, click_id="a"), click(DAY, 2, click_id="b")], {1: "1/2", 2: "1/2"},
        terms=LINEAR),
    "linear: one click known by token and by visitor counts once": case(
        [click(DAY, 1, click_id="a"), visit(DAY, 1, click_id="a"), click(2 * DAY, 2)],
        {1: "1/2", 2: "1/2"}, terms=LINEAR),
    "linear: twenty touches of two affiliates, 15/20 and 5/20": case(
        [click(n * HOUR, 1 if n % 4 else 2) for n in range(1, 21)], {1: "3/4", 2: "1/4"},
        terms=LINEAR),
    # Position-based: first and last as set, the rest equally between.
    "position: one takes all": case(THREE[:1], {1: "1"}, terms=POSITION),
    "position: two of 40/40 halve": case(TWO, {2: "1/2", 3: "1/2"}, terms=POSITION),
    "position: three of 40/20/40": case(THREE, {1: "2/5", 2: "1/5", 3: "2/5"}, terms=POSITION),
    "position: four of 40/10/10/40": case(
        FOUR, {4: "2/5", 1: "1/10", 2: "1/10", 3: "2/5"}, terms=POSITION),
    "position: three between, 20/3 % each": case(
        [click(5 * DAY, 5), *FOUR], {5: "2/5", 4: "1/15", 1: "1/15", 2: "1/15", 3: "2/5"},
        terms=POSITION),
    "position: 30/10, two keep their proportion, 3/4 and 1/4": case(
        TWO, {2: "3/4", 3: "1/4"}, terms=position(30, 10)),
    "position: 20/50, two keep their proportion, 2/7 and 5/7": case(
        TWO, {2: "2/7", 3: "5/7"}, terms=position(20, 50)),
    "position: 0/0, two halve": case(TWO, {2: "1/2", 3: "1/2"}, terms=position(0, 0)),
    "position: 0/0, those between share all": case(
        FOUR, {1: "1/2", 2: "1/2"}, terms=position(0, 0),
        why={4: Reason.NO_SHARE, 3: Reason.NO_SHARE}),
    "position: 50/50 leaves nothing between": case(
        THREE, {1: "1/2", 3: "1/2"}, terms=position(50, 50), why={2: Reason.NO_SHARE}),
    "position: 100/0 is the first click": case(
        THREE, {1: "1"}, terms=position(100, 0),
        why={2: Reason.NO_SHARE, 3: Reason.NO_SHARE}),
    "position: 0/100 is the last click": case(
        THREE, {3: "1"}, terms=position(0, 100), why={1: Reason.NO_SHARE}),
    "position: 100/0 of two": case(TWO, {2: "1"}, terms=position(100, 0)),
    "position: first and last of one affiliate add up, 2/5 + 2/5": case(
        [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 1)], {1: "4/5", 2: "1/5"},
        terms=POSITION),
    "position: first and one between of one affiliate, 2/5 + 1/10": case(
        [click(4 * DAY, 1), click(3 * DAY, 2), click(2 * DAY, 1), click(DAY, 3)],
        {1: "1/2", 2: "1/10", 3: "2/5"}, terms=POSITION),
    "position: all in one instant, first and last by the smaller ids": case(
        [click(DAY, n, click_id="abc"[n - 1]) for n in (1, 2, 3)],
        {1: "2/5", 2: "2/5", 3: "1/5"}, terms=POSITION),
    "position: two last in one instant, the smaller id is the last": case(
        [click(2 * DAY, 1), click(DAY, 2, click_id="a"), click(DAY, 3, click_id="b")],
        {1: "2/5", 2: "2/5", 3: "1/5"}, terms=POSITION),
    "position: who is removed is not first": case(
        [click(31 * DAY, 9), *THREE], {1: "2/5", 2: "1/5", 3: "2/5"}, terms=POSITION,
        why={9: Reason.OUTSIDE_WINDOW}),
    # Time decay: 2 ** (-age / half-life), normalised.
    "decay: one takes all": case(THREE[:1], {1: "1"}, terms=A_DAY),
    "decay: a half-life apart, 1 : 2": case(TWO, {2: "1/3", 3: "2/3"}, terms=A_DAY),
    "decay: two half-lives, 1 : 2 : 4": case(
        THREE, {1: "1/7", 2: "2/7", 3: "4/7"}, terms=A_DAY),
    "decay: four, 1 : 2 : 4 : 8": case(
        FOUR, {4: "1/15", 1: "2/15", 2: "4/15", 3: "8/15"}, terms=A_DAY),
    "decay: in one instant they weigh the same": case(
        [click(DAY, 1, click_id="a"), click(DAY, 2, click_id="b")], {1: "1/2", 2: "1/2"},
        terms=A_DAY),
    "decay: half a half-life apart, 2 ** -0.5 = 0.707106781187 : 1": case(
        TWO, {2: "707106781187/1707106781187", 3: "1000000000000/1707106781187"},
        terms={**DECAY, "half_life": 2 * DAY}),
    "decay: a third of a half-life apart, 2 ** (-1/3) = 0.793700525984 : 1": case(
        TWO, {2: "793700525984/1793700525984", 3: "1000000000000/1793700525984"},
        terms={**DECAY, "half_life": 3 * DAY}),
    "decay: several touches of one affiliate add up, 1 + 4 of 7": case(
        [click(3 * DAY, 1), click(2 * DAY, 2), click(DAY, 1)], {1: "5/7", 2: "2/7"},
        terms=A_DAY),
    "decay: forty half-lives weigh one part of 10 ** 12": case(
        [click(DAY, 1), click(41 * HOUR + 23 * HOUR, 2)],
        {1: "1000000000000/1000000000001", 2: "1/1000000000001"},
        terms={**DECAY, "half_life": HOUR}),
    "decay: what rounds to nothing has no share": case(
        [click(DAY, 1), click(24 * HOUR + 41 * HOUR, 2)], {1: "1"},
        terms={**DECAY, "half_life": HOUR}, why={2: Reason.NO_SHARE}),
    "decay: two very old ones do not vanish together": case(
        [click(29 * DAY, 1), click(29 * DAY - SECOND, 2)], {1: "1/3", 2: "2/3"},
        terms={**DECAY, "half_life": SECOND}),
    "decay: after the order is as old as the order": case(
        [click(-5 * MINUTE, 1), click(NOW, 2)], {1: "1/2", 2: "1/2"}, terms=A_DAY),
    "decay: the default half-life is seven days": case(
        [click(8 * DAY, 1), click(DAY, 2)], {1: "1/3", 2: "2/3"}, terms=DECAY),
}  # fmt: skip

COUPONS: dict[str, Case] = {
    # Wins: a step before all evidence.
    "coupon wins: against a click": case(
        [click(DAY, 1), coupon(2)], {2: "1"}, terms=WINS, why={1: Reason.COUPON_WINS},
        by={2: Kind.COUPON}),
    "coupon wins: against a binding": case(
        [bound(DAY, 3), coupon(2)], {2: "1"}, terms=WINS,
        why={3: Reason.EARLIER_EVIDENCE_WINS}),
    "coupon wins: a click a second before changes nothing": case(
        [click(SECOND, 1), coupon(2)], {2: "1"}, terms=WINS, why={1: Reason.COUPON_WINS}),
    "coupon wins: but not when it is over": case(
        [click(DAY, 1), coupon(2, valid_until=PLACED)], {1: "1"}, terms=WINS,
        why={2: Reason.COUPON_NOT_VALID}),
    "coupon wins: a tick before it is over": case(
        [click(DAY, 1), coupon(2, valid_until=PLACED + TICK)], {2: "1"}, terms=WINS),
    "coupon wins: also where evidence names it elsewhere": case(
        [click(DAY, 1), coupon(2)], {2: "1"},
        terms={**WINS, **steps("click_token", "coupon")}),
    "coupon wins: linear does not share with clicks": case(
        [*TWO, coupon(5)], {5: "1"}, terms={**WINS, **LINEAR}),
    "coupon wins: nobody's coupon wins nothing": case(
        [click(DAY, 1), coupon(None, in_program=False)], {1: "1"}, terms=WINS,
        why={0: Reason.COUPON_UNKNOWN}),
    # Loses: a step after all evidence.
    "coupon loses: against a click": case(
        [click(DAY, 1), coupon(2)], {1: "1"}, why={2: Reason.CLICK_WINS}),
    "coupon loses: against a binding": case(
        [bound(DAY, 3), coupon(2)], {3: "1"}, why={2: Reason.EARLIER_EVIDENCE_WINS}),
    "coupon loses: against a known address": case(
        [email(DAY, 4), coupon(2)], {4: "1"}, why={2: Reason.EARLIER_EVIDENCE_WINS}),
    "coupon loses: alone it is credited": case([coupon(2)], {2: "1"}, by={2: Kind.COUPON}),
    "coupon loses: is left when no click counts": case(
        [click(30 * DAY + TICK, 1), coupon(2)], {2: "1"}, why={1: Reason.OUTSIDE_WINDOW}),
    "coupon loses: of the clicker's own, the click is named": case(
        [click(DAY, 1), coupon(1)], {1: "1"}, by={1: Kind.CLICK_TOKEN}),
    "coupon loses: linear does not share with it": case(
        [*TWO, coupon(5)], {2: "1/2", 3: "1/2"}, terms=LINEAR, why={5: Reason.CLICK_WINS}),
    # Shares: coupon_share_ppm to its owner, the rest by the model.
    "coupon shares: half by default": case(
        [click(DAY, 1), coupon(2)], {1: "1/2", 2: "1/2"}, terms=SHARES),
    "coupon shares: 30 %": case(
        [click(DAY, 1), coupon(2)], {1: "7/10", 2: "3/10"}, terms=at_half(300_000)),
    "coupon shares: one part in a million": case(
        [click(DAY, 1), coupon(2)], {1: "999999/1000000", 2: "1/1000000"}, terms=at_half(1)),
    "coupon shares: nothing is set for it": case(
        [click(DAY, 1), coupon(2)], {1: "1"}, terms=at_half(0), why={2: Reason.NO_SHARE}),
    "coupon shares: all is set for it": case(
        [click(DAY, 1), coupon(2)], {2: "1"}, terms=at_half(1_000_000),
        why={1: Reason.NO_SHARE}),
    "coupon shares: all of it where there is no touch": case([coupon(2)], {2: "1"}, terms=SHARES),
    "coupon shares: none of it where there is no coupon": case(
        [click(DAY, 1)], {1: "1"}, terms=SHARES),
    "coupon shares: all of it when the click is too old": case(
        [click(31 * DAY, 1), coupon(2)], {2: "1"}, terms=SHARES,
        why={1: Reason.OUTSIDE_WINDOW}),
    "coupon shares: none when it is over in that instant": case(
        [click(DAY, 1), coupon(2, valid_until=PLACED)], {1: "1"}, terms=SHARES,
        why={2: Reason.COUPON_NOT_VALID}),
    "coupon shares: the clicker's own coupon adds up to all": case(
        [click(DAY, 1), coupon(1)], {1: "1"}, terms=SHARES, by={1: Kind.COUPON}),
    "coupon shares: with the last of three clicks": case(
        [*THREE, coupon(5)], {3: "1/2", 5: "1/2"}, terms=SHARES, why={1: LATER}),
    "coupon shares: linear, 1/2 of 1/2 each": case(
        [*TWO, coupon(5)], {2: "1/4", 3: "1/4", 5: "1/2"}, terms={**SHARES, **LINEAR}),
    "coupon shares: linear, one of them owns the coupon, 1/4 + 1/2": case(
        [*TWO, coupon(3)], {2: "1/4", 3: "3/4"}, terms={**SHARES, **LINEAR}),
    "coupon shares: position-based, half of 40/20/40": case(
        [*THREE, coupon(5)], {1: "1/5", 2: "1/10", 3: "1/5", 5: "1/2"},
        terms={**SHARES, **POSITION}),
    "coupon shares: time decay, half of 1 : 2": case(
        [*TWO, coupon(5)], {2: "1/6", 3: "1/3", 5: "1/2"}, terms={**SHARES, **A_DAY}),
    "coupon shares: with a binding where no click is left": case(
        [bound(40 * DAY, 3), coupon(2)], {3: "1/2", 2: "1/2"}, terms=SHARES),
    "coupon shares: not with evidence of a later step": case(
        [click(DAY, 1), bound(40 * DAY, 3), coupon(2)], {1: "1/2", 2: "1/2"}, terms=SHARES,
        why={3: Reason.EARLIER_EVIDENCE_WINS}),
    # In order: where evidence names it.
    "coupon in order: not named, it does not count": case(
        [click(DAY, 1), coupon(2)], {1: "1"}, terms=IN_ORDER,
        why={2: Reason.EVIDENCE_NOT_COUNTED}),
    "coupon in order: not named and alone": case(
        [coupon(2)], Reason.EVIDENCE_NOT_COUNTED, terms=IN_ORDER),
    "coupon in order: before clicks": case(
        [click(DAY, 1), coupon(2)], {2: "1"},
        terms={**IN_ORDER, **steps("coupon", "click_token")},
        why={1: Reason.COUPON_WINS}),
    "coupon in order: between clicks and bindings": case(
        [coupon(2), bound(DAY, 3)], {2: "1"},
        terms={**IN_ORDER, **steps("click_token", "coupon", "bound_customer")},
        why={3: Reason.EARLIER_EVIDENCE_WINS}),
    "coupon in order: in one step with clicks it is the latest touch": case(
        [click(MINUTE, 1), coupon(2)], {2: "1"},
        terms={**IN_ORDER, **steps("click_token coupon")}, why={1: LATER}),
    "coupon in order: in one step with clicks, linear": case(
        [*TWO, coupon(5)], {2: "1/3", 3: "1/3", 5: "1/3"},
        terms={**IN_ORDER, **LINEAR, **steps("click_token coupon")}),
    "coupon in order: in one step with clicks, position-based": case(
        [*TWO, coupon(5)], {2: "2/5", 3: "1/5", 5: "2/5"},
        terms={**IN_ORDER, **POSITION, **steps("click_token coupon")}),
    "coupon in order: in one step, first click": case(
        [click(MINUTE, 1), coupon(2)], {1: "1"},
        terms={**IN_ORDER, **FIRST, **steps("click_token coupon")}),
}  # fmt: skip

ASSIGNED: dict[str, Case] = {
    "assigned: with no evidence at all": case(
        [], {7: "1"}, order={"assigned_to": 7}, by={7: Kind.ASSIGNMENT}),
    "assigned: every other candidate loses": case(
        [*TWO, coupon(5), bound(DAY, 6)], {7: "1"}, order={"assigned_to": 7},
        why={2: Reason.ASSIGNED, 3: Reason.ASSIGNED, 5: Reason.ASSIGNED, 6: Reason.ASSIGNED}),
    "assigned: to one whose click was too old": case(
        [click(31 * DAY, 1), click(DAY, 2)], {1: "1"}, order={"assigned_to": 1},
        why={2: Reason.ASSIGNED}, by={1: Kind.ASSIGNMENT}),
    "assigned: wholly, whatever the model": case(
        THREE, {2: "1"}, terms=LINEAR, order={"assigned_to": 2}),
    "assigned: also of a program that had closed": case(
        [click(DAY, 1)], {1: "1"}, order={"assigned_to": 1, "program_closed": True}),
    "assigned: an existing customer is told as one": case(
        [], {7: "1"}, terms=NEW_ONLY, existing=frozenset({7}),
        order={"assigned_to": 7, "customer_since": PLACED - DAY}),
    "assigned: a flood holds nothing": case(
        [click(DAY, 1, drop=DropReason.FLOOD)], {1: "1"}, order={"assigned_to": 1}),
    "assigned: an order too soon holds nothing": case(
        [click(SECOND, 1)], {1: "1"}, terms={"seconds_min": 5}, order={"assigned_to": 1}),
}  # fmt: skip

CASES = {**MODELS, **COUPONS, **ASSIGNED}


@pytest.mark.parametrize("name", CASES)
def test_the_credit_is_shared_as_the_row_says(name: str) -> None:
    hold(CASES[name])


def test_the_half_life_is_read_to_the_microsecond() -> None:
    """A half-life that is no whole number of anything else."""
    odd = timedelta(microseconds=1_234_567)
    hold(
        case(
            [click(odd, 1), click(NOW, 2)], {1: "1/3", 2: "2/3"}, terms={**DECAY, "half_life": odd}
        )
    )
