"""Whose order it is, case by case: the order of evidence, and every check at its boundary."""

from __future__ import annotations

from typing import Any

import pytest

from affiliate.programs.terms import ExcludedSources, Model, Who, WindowFor
from tests.attribution import test_cases_of_models
from tests.attribution.cases import (
    DAY,
    FIRST,
    HOUR,
    IN_ORDER,
    LINEAR,
    MINUTE,
    NEW_ONLY,
    NOW,
    OWN_PAYS,
    PLACED,
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
from tracker.attribution.rules import BuyerBy, Kind, Reason, ReviewReason
from tracker.clicks.rules import DropReason

EVERYTHING = [click(DAY, 1), visit(HOUR, 5), coupon(2), bound(20 * DAY, 3), email(2 * DAY, 4)]
FIRST_STEP = Reason.EARLIER_EVIDENCE_WINS

EVIDENCE: dict[str, Case] = {
    "clicks decide first, of tokens and visitors alike": case(
        EVERYTHING, {5: "1"}, by={5: Kind.VISITOR_CLICK},
        why={1: Reason.LATER_CLICK_WINS, 2: Reason.CLICK_WINS, 3: FIRST_STEP, 4: FIRST_STEP}),
    "a binding comes after clicks": case(
        EVERYTHING[2:], {3: "1"}, by={3: Kind.BOUND_CUSTOMER}, why={2: FIRST_STEP, 4: FIRST_STEP}),
    "a known address comes after a binding": case(
        [coupon(2), email(2 * DAY, 4)], {4: "1"}, by={4: Kind.CUSTOMER_EMAIL}),
    "the step before decides even when it is older": case(
        [click(29 * DAY, 1), email(HOUR, 4)], {1: "1"}, why={4: FIRST_STEP}),
    "a step that nothing is left of does not decide": case(
        [click(31 * DAY, 1), bound(90 * DAY, 3)], {3: "1"}, why={1: Reason.OUTSIDE_WINDOW}),
    "tokens before other clicks of the visitor": case(
        [click(DAY, 1), visit(HOUR, 5)], {1: "1"}, terms=steps("click_token", "visitor_click"),
        why={5: FIRST_STEP}),
    "visitors before tokens": case(
        [click(HOUR, 1), visit(DAY, 5)], {5: "1"}, terms=steps("visitor_click", "click_token"),
        why={1: FIRST_STEP}),
    "tokens alone count": case(
        [visit(HOUR, 5)], Reason.EVIDENCE_NOT_COUNTED, terms=steps("click_token")),
    "tokens alone: the visitor's click does not count beside one": case(
        [click(DAY, 1), visit(HOUR, 5)], {1: "1"}, terms=steps("click_token"),
        why={5: Reason.EVIDENCE_NOT_COUNTED}),
    "one click by token and visitor is the better evidence": case(
        [click(DAY, 1, click_id="a"), visit(DAY, 1, click_id="a"), visit(HOUR, 5)], {1: "1"},
        terms=steps("click_token", "visitor_click"), by={1: Kind.CLICK_TOKEN}),
    "one click by token and visitor where visitors are better": case(
        [click(DAY, 1, click_id="a"), visit(DAY, 1, click_id="a"), click(HOUR, 5)], {1: "1"},
        terms=steps("visitor_click", "click_token"), by={1: Kind.VISITOR_CLICK}),
    "one click by token and visitor where tokens do not count": case(
        [click(DAY, 1, click_id="a"), visit(DAY, 1, click_id="a")], {1: "1"},
        terms=steps("visitor_click"), by={1: Kind.VISITOR_CLICK}),
    "bindings before clicks": case(
        EVERYTHING, {3: "1"}, terms=steps("bound_customer", "click_token visitor_click"),
        why={1: FIRST_STEP, 5: FIRST_STEP, 4: Reason.EVIDENCE_NOT_COUNTED}),
    "known addresses before clicks": case(
        EVERYTHING, {4: "1"}, terms=steps("customer_email", "click_token")),
    "coupon, binding, address, click": case(
        EVERYTHING, {2: "1"},
        terms={**IN_ORDER, **steps("coupon", "bound_customer", "customer_email", "click_token")}),
    "a binding and a click in one step: the later touch": case(
        [bound(2 * DAY, 3), click(DAY, 1)], {1: "1"}, terms=steps("click_token bound_customer")),
    "a binding and a click in one step: the binding is later": case(
        [bound(HOUR, 3), click(DAY, 1)], {3: "1"}, terms=steps("click_token bound_customer")),
    "everything in one step, linear: 1/5 each": case(
        EVERYTHING, {1: "1/5", 2: "1/5", 3: "1/5", 4: "1/5", 5: "1/5"},
        terms={**LINEAR, **IN_ORDER,
               **steps("click_token visitor_click coupon bound_customer customer_email")}),
    "one affiliate by three kinds of one step": case(
        [click(2 * DAY, 1), bound(DAY, 1), email(HOUR, 1), click(MINUTE, 2)],
        {1: "3/4", 2: "1/4"}, by={1: Kind.CUSTOMER_EMAIL},
        terms={**LINEAR, **steps("click_token bound_customer customer_email")}),
    "no kind of evidence counts": case(
        [click(DAY, 1), bound(DAY, 3)], Reason.EVIDENCE_NOT_COUNTED, terms={"evidence": ()}),
    "no kind of evidence counts but the coupon that loses": case(
        [click(DAY, 1), coupon(2)], {2: "1"}, terms={"evidence": ()}),
    "the model chooses inside the step alone": case(
        [click(20 * DAY, 1), click(DAY, 5), bound(25 * DAY, 3)], {1: "1"}, terms=FIRST,
        why={3: FIRST_STEP}),
}  # fmt: skip

WIDE = (WindowFor(Who(groups=frozenset({"vip"})), 60 * DAY),)
OWN = (*WIDE, WindowFor(Who(enrollments=frozenset({1})), 10 * DAY))
LAST_OF_TWO = (*WIDE, WindowFor(Who(groups=frozenset({"vip"})), 7 * DAY))

TIME: dict[str, Case] = {
    "window: exactly at its end": case([click(30 * DAY)], {1: "1"}),
    "window: a tick after its end": case([click(30 * DAY + TICK)], Reason.OUTSIDE_WINDOW),
    "window: a visitor's click exactly at its end": case([visit(30 * DAY)], {1: "1"}),
    "window: a visitor's click a tick after": case(
        [visit(30 * DAY + TICK)], Reason.OUTSIDE_WINDOW),
    "window: a known address exactly at its end": case([email(30 * DAY)], {4: "1"}),
    "window: a known address a tick after": case([email(30 * DAY + TICK)], Reason.OUTSIDE_WINDOW),
    "window: a binding has none": case([bound(900 * DAY)], {3: "1"}),
    "window: a coupon has none": case([coupon(2)], {2: "1"}, terms={"window": DAY}),
    "window of a group: exactly at its end": case(
        [click(60 * DAY, group="vip")], {1: "1"}, terms={"windows": WIDE}),
    "window of a group: a tick after": case(
        [click(60 * DAY + TICK, group="vip")], Reason.OUTSIDE_WINDOW, terms={"windows": WIDE}),
    "window of a group: not for others": case(
        [click(31 * DAY, group="new"), click(31 * DAY, 2)], Reason.OUTSIDE_WINDOW,
        terms={"windows": WIDE}),
    "window of an affiliate goes before their group's": case(
        [click(10 * DAY + TICK, group="vip")], Reason.OUTSIDE_WINDOW, terms={"windows": OWN}),
    "window of an affiliate: exactly at its end": case(
        [click(10 * DAY, group="vip")], {1: "1"}, terms={"windows": OWN}),
    "window of a group: the later one of two": case(
        [click(7 * DAY + TICK, group="vip")], Reason.OUTSIDE_WINDOW,
        terms={"windows": LAST_OF_TWO}),
    "window of a group: holds for known addresses": case(
        [email(60 * DAY, group="vip")], {4: "1"}, terms={"windows": WIDE}),
    "windows of two affiliates in one order": case(
        [click(40 * DAY, 1, group="vip"), click(31 * DAY, 2)], {1: "1"}, terms={"windows": WIDE},
        why={2: Reason.OUTSIDE_WINDOW}),
    "order of time: five minutes after the order": case([click(-5 * MINUTE)], {1: "1"}),
    "order of time: a tick more": case([click(-5 * MINUTE - TICK)], Reason.CLICK_AFTER_ORDER),
    "order of time: in the very instant": case([click(NOW)], {1: "1"}),
    "order of time: bound a tick before the order": case([bound(TICK)], {3: "1"}),
    "order of time: bound by this very order": case([bound(NOW)], Reason.NOT_YET_KNOWN),
    "order of time: bound after it, whatever the skew": case(
        [bound(-MINUTE)], Reason.NOT_YET_KNOWN),
    "order of time: address first credited by this very order": case(
        [email(NOW)], Reason.NOT_YET_KNOWN),
    "binding: a tick before its end": case([bound(DAY, valid_until=PLACED + TICK)], {3: "1"}),
    "binding: at its end": case([bound(DAY, valid_until=PLACED)], Reason.BINDING_OVER),
    "binding: over long ago leaves the click": case(
        [bound(99 * DAY, valid_until=PLACED - DAY), click(DAY, 1)], {1: "1"},
        why={3: Reason.BINDING_OVER}),
    "link: switched off a tick after the click": case(
        [click(DAY, disabled_at=PLACED - DAY + TICK)], {1: "1"}),
    "link: switched off in the instant of the click": case(
        [click(DAY, disabled_at=PLACED - DAY)], Reason.LINK_DISABLED),
    "link: of two of one affiliate the one in force": case(
        [click(2 * DAY, 1), click(DAY, 1, disabled_at=PLACED - 2 * DAY)], {1: "1"},
        why={1: Reason.LINK_DISABLED}),
    "coupon: a tick before its end": case([coupon(valid_until=PLACED + TICK)], {2: "1"}),
    "coupon: at its end": case([coupon(valid_until=PLACED)], Reason.COUPON_NOT_VALID),
    "coupon: switched off in that instant": case(
        [coupon(disabled_at=PLACED)], Reason.COUPON_NOT_VALID),
    "coupon: switched off a tick after": case([coupon(disabled_at=PLACED + TICK)], {2: "1"}),
    "seconds: exactly at the limit": case([click(5 * SECOND)], {1: "1"}, terms={"seconds_min": 5}),
    "seconds: a tick nearer waits for a person": case(
        [click(5 * SECOND - TICK)], {1: "1"}, terms={"seconds_min": 5},
        held={1: ReviewReason.TOO_SOON}, why={1: Reason.TIMING}),
    "seconds: in the very instant": case(
        [click(NOW)], {1: "1"}, terms={"seconds_min": 5}, held={1: ReviewReason.TOO_SOON}),
    "seconds: after the order within the skew": case(
        [click(-MINUTE)], {1: "1"}, terms={"seconds_min": 5}, held={1: ReviewReason.TOO_SOON}),
    "contested: waits for a person": case(
        [click(DAY)], {1: "1"}, order={"contested": True}, held={1: ReviewReason.CONTESTED}),
    "contested: declined by a person": case(
        [click(DAY)], Reason.REVIEW_DECLINED, order={"contested": True, "review_declined": True}),
    "contested: a coupon is the shop's own word": case(
        [coupon(2)], {2: "1"}, order={"contested": True, "review_declined": True}),
    "seconds: no limit": case([click(NOW)], {1: "1"}),
    "seconds: one that does not win holds nothing": case(
        [click(DAY, 1), click(SECOND, 2)], {1: "1"}, terms={**FIRST, "seconds_min": 5}),
    "seconds: only the share that it is part of": case(
        [click(DAY, 1), click(SECOND, 2)], {1: "1/2", 2: "1/2"},
        terms={**LINEAR, "seconds_min": 5}, held={2: ReviewReason.TOO_SOON}),
    "seconds: one of the affiliate's touches is enough": case(
        [click(DAY, 1), click(SECOND, 1)], {1: "1"}, terms={**LINEAR, "seconds_min": 5},
        held={1: ReviewReason.TOO_SOON}),
    "seconds: a coupon has no time": case([coupon(2)], {2: "1"}, terms={"seconds_min": 5}),
    "seconds: a binding has none either": case([bound(SECOND)], {3: "1"}, terms={"seconds_min": 5}),
    "seconds: beside a flood the flood is named": case(
        [click(SECOND, drop=DropReason.FLOOD)], {1: "1"}, terms={"seconds_min": 5},
        held={1: ReviewReason.FLOOD}),
    "seconds: a person declined it": case(
        [click(SECOND)], Reason.REVIEW_DECLINED, terms={"seconds_min": 5},
        order={"review_declined": True}),
    "seconds: declined, the older click is left": case(
        [click(DAY, 1), click(SECOND, 2)], {1: "1"}, terms={"seconds_min": 5},
        order={"review_declined": True}, why={2: Reason.REVIEW_DECLINED}),
    "seconds: declined, but exactly at the limit": case(
        [click(5 * SECOND)], {1: "1"}, terms={"seconds_min": 5},
        order={"review_declined": True}),
}  # fmt: skip


def without(*sites: str, paid_search: bool = False) -> dict[str, Any]:
    return {"excluded": ExcludedSources(frozenset(sites), paid_search=paid_search)}


COUPONS_SITE = without("coupons.example")
SUBDOMAINS = without(".shop.example")
NO_SEARCH = without(paid_search=True)

SOURCES: dict[str, Case] = {
    "site: excluded": case(
        [click(DAY, referrer_host="coupons.example")], Reason.EXCLUDED_SITE, terms=COUPONS_SITE),
    "site: another": case(
        [click(DAY, referrer_host="blog.example")], {1: "1"}, terms=COUPONS_SITE),
    "site: unknown": case([click(DAY)], {1: "1"}, terms=COUPONS_SITE),
    "site: capitals and the dot at the end are the same": case(
        [click(DAY, referrer_host="Coupons.Example.")], Reason.EXCLUDED_SITE, terms=COUPONS_SITE),
    "site: its subdomain is another": case(
        [click(DAY, referrer_host="my.coupons.example")], {1: "1"}, terms=COUPONS_SITE),
    "site: one that only ends alike is another": case(
        [click(DAY, referrer_host="mycoupons.example")], {1: "1"}, terms=COUPONS_SITE),
    "subdomains: one of them": case(
        [click(DAY, referrer_host="www.shop.example")], Reason.EXCLUDED_SITE, terms=SUBDOMAINS),
    "subdomains: one of one of them": case(
        [click(DAY, referrer_host="a.b.shop.example")], Reason.EXCLUDED_SITE, terms=SUBDOMAINS),
    "subdomains: the site itself is not one": case(
        [click(DAY, referrer_host="shop.example")], {1: "1"}, terms=SUBDOMAINS),
    "subdomains: one that only ends alike is not": case(
        [click(DAY, referrer_host="myshop.example")], {1: "1"}, terms=SUBDOMAINS),
    "site: the excluded click leaves the older one": case(
        [click(DAY, 1), visit(HOUR, 2, referrer_host="coupons.example")], {1: "1"},
        terms=COUPONS_SITE, why={2: Reason.EXCLUDED_SITE}),
    "site: a coupon comes from nowhere": case(
        [coupon(2, referrer_host="coupons.example")], {2: "1"}, terms=COUPONS_SITE),
    "paid search: excluded": case(
        [click(DAY, paid_search=True)], Reason.PAID_SEARCH, terms=NO_SEARCH),
    "paid search: not excluded": case([click(DAY, paid_search=True)], {1: "1"}),
    "paid search: a click without its mark": case([click(DAY)], {1: "1"}, terms=NO_SEARCH),
    "paid search: is told before the site": case(
        [click(DAY, paid_search=True, referrer_host="coupons.example")], Reason.PAID_SEARCH,
        terms=without("coupons.example", paid_search=True)),
}  # fmt: skip

BEFORE, AFTER = {"customer_since": PLACED - 3 * DAY}, {"customer_since": PLACED - HOUR}
OLD, SOLD = frozenset({1}), Reason.EXISTING_CUSTOMER

BUYERS: dict[str, Case] = {
    "existing: before the click, refused": case([click(DAY)], SOLD, terms=NEW_ONLY, order=BEFORE),
    "existing: before the click, paid and told": case(
        [click(DAY)], {1: "1"}, order=BEFORE, existing=OLD),
    "existing: after the click, new": case([click(DAY)], {1: "1"}, terms=NEW_ONLY, order=AFTER),
    "existing: in the instant of the click, new": case(
        [click(DAY)], {1: "1"}, terms=NEW_ONLY, order={"customer_since": PLACED - DAY}),
    "existing: a tick before the click": case(
        [click(DAY)], {1: "1"}, order={"customer_since": PLACED - DAY - TICK}, existing=OLD),
    "existing: since this very order, new": case(
        [click(-MINUTE)], {1: "1"}, terms=NEW_ONLY, order={"customer_since": PLACED}),
    "existing: the shop's word where we know nothing": case(
        [click(DAY)], {1: "1"}, order={"says_new": False}, existing=OLD),
    "existing: the shop's word that they are new": case(
        [click(DAY)], {1: "1"}, terms=NEW_ONLY, order={"says_new": True}),
    "existing: our record before the shop's word": case(
        [click(DAY)], {1: "1"}, terms=NEW_ONLY, order={**AFTER, "says_new": False}),
    "existing: our record before the shop's word that they are new": case(
        [click(DAY)], SOLD, terms=NEW_ONLY, order={**BEFORE, "says_new": True}),
    "existing: nobody knows": case([click(DAY)], {1: "1"}, terms=NEW_ONLY),
    "existing: a coupon counts as of the order": case(
        [coupon(1)], {1: "1"}, order=AFTER, existing=OLD),
    "existing: a coupon, refused": case([coupon(1)], SOLD, terms=NEW_ONLY, order=AFTER),
    "existing: the older click brought them": case(
        [click(4 * DAY, 1), click(DAY, 2)], {1: "1"}, terms=NEW_ONLY, order=BEFORE, why={2: SOLD}),
    "existing: told of each affiliate for themselves": case(
        [click(4 * DAY, 1), click(DAY, 2)], {1: "1/2", 2: "1/2"}, terms=LINEAR, order=BEFORE,
        existing=frozenset({2})),
    "existing: one touch before the first order makes them new": case(
        [click(4 * DAY, 1), click(DAY, 1)], {1: "1"}, terms=LINEAR, order=BEFORE),
    "existing: bound by their first order, new": case(
        [bound(3 * DAY, 1)], {1: "1"}, terms=NEW_ONLY, order=BEFORE),
    "existing: bound by a later order": case(
        [bound(2 * DAY, 1)], {1: "1"}, order=BEFORE, existing=OLD),
    **{
        f"own purchase: refused by {by.value}": case(
            [click(DAY, buyer_by=by)], Reason.SELF_PURCHASE)
        for by in BuyerBy
        if by is not BuyerBy.ADDRESS
    },
    **{
        f"own purchase: paid by {by.value}": case(
            [click(DAY, buyer_by=by)], {1: "1"}, terms=OWN_PAYS)
        for by in BuyerBy
    },
    "own purchase: by coupon": case([coupon(buyer_by=BuyerBy.DEVICE)], Reason.SELF_PURCHASE),
    "own purchase: of the affiliate they are bound to": case(
        [bound(DAY, buyer_by=BuyerBy.CUSTOMER_ID)], Reason.SELF_PURCHASE),
    "own purchase: leaves another's older click": case(
        [click(DAY, 1), click(HOUR, 2, buyer_by=BuyerBy.DEVICE)], {1: "1"},
        why={2: Reason.SELF_PURCHASE}),
    "own purchase: of a shared network a person has the word": case(
        [click(DAY, 1), click(HOUR, 2, buyer_by=BuyerBy.ADDRESS)], {2: "1"},
        held={2: ReviewReason.PERHAPS_OWN}, why={2: Reason.PERHAPS_OWN}),
    "own purchase: of a shared network by coupon": case(
        [coupon(1, buyer_by=BuyerBy.ADDRESS)], {1: "1"}, held={1: ReviewReason.PERHAPS_OWN}),
    "own purchase: of a shared network, only the share that it is part of": case(
        [click(DAY, 1), click(HOUR, 2, buyer_by=BuyerBy.ADDRESS)], {1: "1/2", 2: "1/2"},
        terms=LINEAR, held={2: ReviewReason.PERHAPS_OWN}),
    "own purchase: of a shared network, one that does not win holds nothing": case(
        [click(DAY, 1, buyer_by=BuyerBy.ADDRESS), click(HOUR, 2)], {2: "1"}),
    "own purchase: of a shared network beside a flood": case(
        [click(DAY, 1, buyer_by=BuyerBy.ADDRESS, drop=DropReason.FLOOD)], {1: "1"},
        held={1: ReviewReason.FLOOD}),
    "own purchase: of a shared network, declined": case(
        [click(DAY, 1), click(HOUR, 2, buyer_by=BuyerBy.ADDRESS)], {1: "1"},
        order={"review_declined": True}, why={2: Reason.REVIEW_DECLINED}),
    "own purchase: is told before an existing customer": case(
        [click(DAY, buyer_by=BuyerBy.EMAIL)], Reason.SELF_PURCHASE, terms=NEW_ONLY, order=BEFORE),
}  # fmt: skip

GENUINE: dict[str, Case] = {
    "token: not genuine": case([click(DAY, genuine=False)], Reason.TOKEN_NOT_GENUINE),
    "token: not genuine beside a good one": case(
        [click(HOUR, 2, genuine=False), click(DAY, 1)], {1: "1"},
        why={2: Reason.TOKEN_NOT_GENUINE}),
    "token: of another program": case([click(DAY, in_program=False)], Reason.OTHER_PROGRAM),
    "token: of another program beside one of ours": case(
        [click(HOUR, 0, enrollment_id=None, in_program=False), click(DAY, 1)], {1: "1"},
        why={0: Reason.OTHER_PROGRAM}),
    "token: of the test link": case(
        [click(DAY, in_program=False, by_test_link=True)], Reason.TEST_LINK),
    "token: of the test link beside one of ours": case(
        [click(HOUR, 0, enrollment_id=None, in_program=False, by_test_link=True), click(DAY, 1)],
        {1: "1"}, why={0: Reason.TEST_LINK}),
    "binding: in another program": case([bound(DAY, in_program=False)], Reason.OTHER_PROGRAM),
    "binding: elsewhere leaves the click": case(
        [bound(DAY, in_program=False), click(DAY, 1)], {1: "1"}, terms=steps(
            "bound_customer", "click_token"), why={3: Reason.OTHER_PROGRAM}),
    "binding: to an affiliate who is not active": case(
        [bound(DAY, active=False)], Reason.AFFILIATE_INACTIVE),
    "binding: to an affiliate who is not active leaves the click": case(
        [bound(DAY, active=False), click(DAY, 1)], {1: "1"}, terms=steps(
            "bound_customer", "click_token"), why={3: Reason.AFFILIATE_INACTIVE}),
    "address: in another program": case([email(DAY, in_program=False)], Reason.OTHER_PROGRAM),
    "affiliate: not active": case([click(DAY, active=False)], Reason.AFFILIATE_INACTIVE),
    "affiliate: not active, their coupon neither": case(
        [coupon(active=False), click(DAY, 1)], {1: "1"}, terms=WINS,
        why={2: Reason.AFFILIATE_INACTIVE}),
    "program: closed, and the click is told": case(
        [click(DAY)], Reason.PROGRAM_CLOSED, order={"program_closed": True},
        why={1: Reason.PROGRAM_CLOSED}),
    "click: by a robot": case([click(DAY, drop=DropReason.BOT)], Reason.NOT_A_PERSON),
    "click: prefetched": case([click(DAY, drop=DropReason.PREFETCH)], Reason.NOT_A_VISIT),
    "click: a duplicate credits": case([click(DAY, drop=DropReason.DUPLICATE)], {1: "1"}),
    "click: in a flood is held": case(
        [click(DAY, drop=DropReason.FLOOD)], {1: "1"}, held={1: ReviewReason.FLOOD}),
    "click: in a flood, one of two touches holds the share": case(
        [click(DAY, 1), click(HOUR, 1, drop=DropReason.FLOOD), click(MINUTE, 2)],
        {1: "2/3", 2: "1/3"}, terms=LINEAR, held={1: ReviewReason.FLOOD}),
    "click: in a flood, declined by a person": case(
        [click(DAY, drop=DropReason.FLOOD)], Reason.REVIEW_DECLINED,
        order={"review_declined": True}),
    "nothing at all": case([], Reason.NO_EVIDENCE),
    "the check that got furthest names the reason": case(
        [click(DAY, 1, genuine=False), click(31 * DAY, 2), click(DAY, 3, active=False)],
        Reason.OUTSIDE_WINDOW),
    "of two that got as far, the later one names it": case(
        [click(2 * DAY, 1, drop=DropReason.BOT), click(DAY, 2, drop=DropReason.PREFETCH)],
        Reason.NOT_A_VISIT),
    "coupon shares: with the buyer's own coupon the click takes all": case(
        [click(DAY, 1), coupon(2, buyer_by=BuyerBy.EMAIL)], {1: "1"}, terms=SHARES,
        why={2: Reason.SELF_PURCHASE}),
}  # fmt: skip

CASES = {**EVIDENCE, **TIME, **SOURCES, **BUYERS, **GENUINE}


@pytest.mark.parametrize("name", CASES)
def test_it_is_credited_as_the_row_says(name: str) -> None:
    hold(CASES[name])


def test_there_are_more_than_150_cases_and_they_name_every_reason() -> None:
    every = {**CASES, **test_cases_of_models.CASES}
    assert len(every) == len(CASES) + len(test_cases_of_models.CASES)
    assert len(every) >= 150
    named = {one.shares for one in every.values() if isinstance(one.shares, Reason)}
    named |= {reason for one in every.values() for reason in one.why.values()}
    assert named == set(Reason)
    models = {one.terms.get("model", Model.LAST_CLICK) for one in every.values()}
    assert models == set(Model)
