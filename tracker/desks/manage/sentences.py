"""Decisions and commissions in words, for those who may know everything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from affiliate.core.pages import duration, percent
from affiliate.people.screening import Signal
from payouts.commissions.rules import RECRUITER_BUYS
from payouts.commissions.rules import Reason as NothingBecause
from tracker.attribution.rules import BuyerBy, Kind, Reason, ReviewReason, Step
from tracker.attribution.words import tone, weight
from tracker.desks import earnings
from tracker.desks.words import _

Names = Mapping[int, str]
"""Names of affiliates by enrollment."""


def reason(code: str | None) -> str:
    """Why a candidate lost or nobody was credited: one sentence each."""
    if not code:
        return ""
    return {
        Reason.NO_EVIDENCE: _("nobody's click or coupon came with the order"),
        Reason.PROGRAM_CLOSED: _("the program's notice period was over"),
        Reason.TOKEN_NOT_GENUINE: _("the click token was not made by us, or was changed"),
        Reason.OTHER_PROGRAM: _("it belongs to another program"),
        Reason.TEST_LINK: _("it came by the test link, which is nobody's"),
        Reason.EVIDENCE_NOT_COUNTED: _("the rules do not count this kind of evidence"),
        Reason.LINK_DISABLED: _("the link was switched off when it was clicked"),
        Reason.COUPON_UNKNOWN: _("the program has no such coupon"),
        Reason.COUPON_NOT_VALID: _("the coupon was no longer valid"),
        Reason.BINDING_OVER: _("the binding of the customer was over"),
        Reason.NOT_YET_KNOWN: _("it was not known before this order"),
        Reason.AFFILIATE_INACTIVE: _("the affiliate is not active in the program"),
        Reason.CLICK_AFTER_ORDER: _("the click came after the order"),
        Reason.OUTSIDE_WINDOW: _("it was older than the attribution window"),
        Reason.EXCLUDED_SITE: _("it came from a site that the rules exclude"),
        Reason.PAID_SEARCH: _("it came out of paid search, which the rules exclude"),
        Reason.SELF_PURCHASE: _("the affiliate bought for themselves"),
        Reason.EXISTING_CUSTOMER: _("the buyer was a customer already"),
        Reason.NOT_A_VISIT: _("the click was no visit by a person (preloaded or framed)"),
        Reason.NOT_A_PERSON: _("the click was made by a program, not by a person"),
        Reason.REVIEW_DECLINED: _("a person looked at the click and did not accept it"),
        Reason.TIMING: _("the order came sooner after the click than the rules allow for"),
        Reason.PERHAPS_OWN: _("the affiliate may have bought for themselves"),
        Reason.ASSIGNED: _("a manager said whose order it is"),
        Reason.EARLIER_EVIDENCE_WINS: _("the rules put other evidence before it"),
        Reason.LATER_CLICK_WINS: _("a later click goes before it"),
        Reason.EARLIER_CLICK_WINS: _("an earlier click goes before it"),
        Reason.NO_SHARE: _("the model leaves no part for it"),
        Reason.CLICK_WINS: _("a click goes before a coupon"),
        Reason.COUPON_WINS: _("a coupon goes before a click"),
    }.get(Reason(code), code)


def trace(lines: list[dict[str, Any]], names: Names) -> list[dict[str, str]]:
    """Every check in order: `{text, outcome}` as the trace component wants it."""
    return [{"text": _line(line, names), "outcome": tone(line)} for line in lines]


def _line(line: dict[str, Any], names: Names) -> str:
    who = names.get(line.get("enrollment_id") or 0, _("nobody known"))
    what = _candidate(line, who)
    outcome = line.get("outcome")
    if outcome == Step.WON:
        part = line.get("weight", "1")
        if part == "1":
            return _("%(what)s is credited.", what=what)
        return _("%(what)s is credited with %(part)s.", what=what, part=weight(part))
    if outcome == Step.PASSED:
        return _("%(what)s passed every check.", what=what)
    why = reason(line.get("reason"))
    if line.get("buyer_by"):
        why = _("%(why)s, known by %(by)s", why=why, by=buyer_by(line["buyer_by"]))
    if outcome == Step.HELD:
        return _("%(what)s waits for a review: %(why)s.", what=what, why=why)
    return _("%(what)s was left out: %(why)s.", what=what, why=why)


def _candidate(line: dict[str, Any], who: str) -> str:
    kind = line.get("candidate")
    if kind == Kind.COUPON:
        return _("The coupon of %(who)s", who=who)
    if kind == Kind.ASSIGNMENT:
        return _("%(who)s, whom a manager named,", who=who)
    if kind == Kind.BOUND_CUSTOMER:
        return _("%(who)s, to whom the customer is bound,", who=who)
    age_s = line.get("age_seconds")
    if age_s is None or line.get("reason") == Reason.CLICK_AFTER_ORDER:
        return _("A click for %(who)s", who=who)
    age = duration(timedelta(seconds=age_s))
    if kind == Kind.CUSTOMER_EMAIL:
        return _(
            "The buyer's address, credited to %(who)s %(age)s before the order,", who=who, age=age
        )
    return _("The click for %(who)s, %(age)s before the order,", who=who, age=age)


def buyer_by(code: str) -> str:
    """By what a buyer was known to be the affiliate."""
    return {
        BuyerBy.CUSTOMER_ID: _("the shop's customer"),
        BuyerBy.EMAIL: _("the e-mail address"),
        BuyerBy.ADDRESS: _("the network address"),
        BuyerBy.DEVICE: _("the device"),
        BuyerBy.PAYMENT_ACCOUNT: _("the payment account"),
    }[BuyerBy(code)]


def commission_steps(steps: list[dict[str, Any]], currency: str) -> list[str]:
    """How a commission was computed, step by step."""
    return [text for step in steps if (text := _step(step, currency))]


def _step(step: dict[str, Any], currency: str) -> str:
    of_a_rule = earnings.told(step, currency)
    return of_a_rule or _plain_step(step, currency) + earnings.rounding(step)


def _plain_step(step: dict[str, Any], currency: str) -> str:
    kind = step.get("step")
    if kind == "base":
        if step.get("weight") == "1":
            return _("The order's net is %(net)s.", net=earnings.amount(step, "net", currency))
        return _(
            "Of the order's net of %(net)s, %(weight)s is theirs: %(amount)s.",
            net=earnings.amount(step, "net", currency),
            weight=step.get("weight"),
            amount=earnings.amount(step, "amount", currency),
        )
    if kind == "level_1":
        return _level_1(step, currency)
    if kind == "level_2":
        of = _("the sale") if step.get("of") == "sale" else _("the recruit's commission")
        return _(
            "%(rate)s of %(of)s, %(base)s, is %(amount)s.",
            rate=percent(step["rate_ppm"]),
            of=of,
            base=earnings.amount(step, "base", currency),
            amount=earnings.amount(step, "amount", currency),
        )
    if kind == RECRUITER_BUYS:
        return _("The recruiter is the buyer, known by %(by)s.", by=buyer_by(step["by"]))
    if kind == "cut_to_net":
        return _(
            "Cut from %(before)s to %(amount)s: all commissions together stay within the net.",
            before=earnings.amount(step, "before", currency),
            amount=earnings.amount(step, "amount", currency),
        )
    if kind == "not_earned":
        return not_earned(step.get("reason", ""))
    return ""


def _level_1(step: dict[str, Any], currency: str) -> str:
    amount = earnings.amount(step, "amount", currency)
    if step.get("kind") == "percent":
        return _("%(rate)s of it is %(amount)s.", rate=percent(step["rate_ppm"]), amount=amount)
    if step.get("kind") == "per_item":
        return _(
            "%(each)s for each of %(quantity)s pieces is %(amount)s.",
            each=earnings.amount(step, "each", currency),
            quantity=step["quantity"],
            amount=amount,
        )
    return _("The fixed amount for an order is %(amount)s.", amount=amount)


def not_earned(code: str) -> str:
    """Why a credited order earned nothing."""
    return earnings.NOTHING[NothingBecause(code)]() if code in set(NothingBecause) else code


def waits_for(code: str | None) -> str:
    """What a commission waits for before it can be withdrawn."""
    return {
        None: "",
        "confirmation": _("the shop's confirmation of the order"),
        "click_check": _("the check of the click"),
        "review": _("a person's review"),
        "exchange_rate": _("the exchange rate of its day"),
        "dispute": _("the end of a dispute about the buyer's payment"),
        "hold_period": _("the end of the hold period"),
        "budget": _("the program's budget"),
    }.get(code, code or "")


def void_reason(code: str | None) -> str:
    """Why a decision or commission was taken back as a whole."""
    return {
        None: "",
        "order_cancelled": _("the order was cancelled"),
        "order_superseded": _("the shop's server reported the order itself"),
        "decision_replaced": _("late evidence led to another decision"),
        "click_invalid": _("the credited click did not pass the checks"),
        "review_rejected": _("a review turned it down"),
        "rate_entered": _("the exchange rate that it waited for was entered"),
        "decided_by_person": _("a person decided it anew"),
        "lead_cancelled": _("the lead was cancelled"),
        "clicks_recounted": _("the clicks of the day were counted anew"),
    }.get(code, code or "")


def review(reason: str, outcome: str | None) -> str:
    """Why a person has to look at an order, and what they said."""
    why = {
        ReviewReason.FLOOD: _(
            "The click came in a flood: more of one address, or again and again of one device "
            "on a flooded affiliate, than people click."
        ),
        ReviewReason.TOO_SOON: _(
            "The order came sooner after the click than the rules of the program allow for."
        ),
        ReviewReason.PERHAPS_OWN: _(
            "The buyer came out of a network in which the affiliate's own account was open that "
            "day, and the rules of the program refuse own purchases. A network may be a "
            "household, an office, or thousands of telephones."
        ),
        ReviewReason.CONTESTED: _(
            "Two browsers reported the order with its right total and with different clicks, and "
            "the shop's server sent none. The first one is credited; one of them is not the buyer."
        ),
    }[ReviewReason(reason)]
    said = {
        None: _("Nothing is released before somebody has looked."),
        "released": _("A person released it."),
        "declined": _("A person declined it."),
    }.get(outcome, outcome or "")
    return f"{why} {said}"


def source(code: str) -> str:
    """Who reported an order."""
    return {
        "api": _("the shop's server"),
        "browser": _("the buyer's browser"),
        "webhook": _("the shop's webhook"),
        "csv": _("an imported file"),
    }.get(code, code)


def confirmed(by: str) -> str:
    """Who confirmed an order, where it was no person."""
    return _("a token that the shop had signed") if by == "token" else source(by)


def outcome(code: str) -> str:
    """What a report did to the order."""
    return {
        "created": _("made the order"),
        "superseded_browser": _("took the place of the browser's report"),
        "evidence_added": _("added evidence, no amounts"),
        "not_heard": _("another browser's word; it changes nothing"),
        "contested": _("another browser's word with the same total; a person has to look"),
        "replay": _("said the same again"),
        "conflict": _("contradicted the first report and was refused"),
    }.get(code, code)


def signals() -> dict[Signal, str]:
    """What an application shows for and against itself."""
    return {
        Signal.AUDIENCE: _("how many they reach"),
        Signal.VERIFIED: _("verified address"),
        Signal.SITE: _("names a site"),
        Signal.OWN_DOMAIN: _("the address is of that site"),
        Signal.TOLD_IN_FULL: _("tells in full how they promote"),
        Signal.TOLD_SOME: _("tells how they promote"),
        Signal.RECRUITED: _("recruited by somebody active"),
        Signal.SITE_KNOWN: _("somebody else named the same site"),
        Signal.TAKES_CREDIT: _(
            "coupons or cashback: often the last click of somebody else's buyer"
        ),
    }
