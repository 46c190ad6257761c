"""Traces and reasons as sentences, for affiliates, managers and shops alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from flask_babel import gettext, lazy_gettext, ngettext

from affiliate.core.money import PPM
from affiliate.core.pages import percent
from tracker.attribution.rules import Check, Kind, Reason, Step
from tracker.attribution.subject import WaitsFor


def sentences(trace: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A stored trace for the page's `trace` macro: text and outcome, in order."""
    return [{"text": sentence(line), "outcome": tone(line)} for line in trace]


def sentence(line: Mapping[str, Any]) -> str:
    """One line of a stored trace."""
    who = _candidate(line)
    outcome = Step(line["outcome"])
    if outcome is Step.PASSED:
        inside = Check(line["check"]) is Check.WINDOW
        return (
            _("%(who)s lies inside the attribution window.", who=who)
            if inside
            else _("%(who)s is valid.", who=who)
        )
    if outcome is Step.WON:
        part = line.get("weight", "1")
        if part == "1":
            return _("%(who)s is credited with the order.", who=who)
        return _("%(who)s is credited with %(part)s of the order.", who=who, part=weight(part))
    if outcome is Step.HELD:
        return _("%(who)s waits for a person: %(why)s", who=who, why=reason(line["reason"]))
    return _("%(who)s does not count: %(why)s", who=who, why=reason(line["reason"]))


def tone(line: Mapping[str, Any]) -> str:
    """How the page marks the line: passed, won, lost or none."""
    return _TONES.get(line["outcome"], "none")


def weight(part: str) -> str:
    """A part of the credit as people say it: `33.3333%` of `1/3`, to a ten-thousandth."""
    return percent(round(Fraction(part) * PPM))


def reason(code: str) -> str:
    """Why, as the end of a sentence. Filters are named as a class only."""
    return str(_REASONS[Reason(code)])


def waiting(code: str) -> str:
    """What a commission waits for besides its hold period."""
    return str(_WAITS[WaitsFor(code)])


def age(age_s: int) -> str:
    """How long before the order a click was, in the largest whole unit."""
    for unit_s, words in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if age_s >= unit_s:
            count = age_s // unit_s
            if words == "days":
                return str(ngettext("%(num)d day", "%(num)d days", count))
            if words == "hours":
                return str(ngettext("%(num)d hour", "%(num)d hours", count))
            return str(ngettext("%(num)d minute", "%(num)d minutes", count))
    return str(ngettext("%(num)d second", "%(num)d seconds", age_s))


def _candidate(line: Mapping[str, Any]) -> str:
    kind = Kind(line["candidate"])
    if kind is Kind.COUPON:
        return _("The coupon")
    if kind is Kind.ASSIGNMENT:
        return _("The affiliate whom a manager named")
    if kind is Kind.BOUND_CUSTOMER:
        return _("The affiliate to whom the customer is bound")
    if "age_seconds" not in line or line.get("reason") == Reason.CLICK_AFTER_ORDER:
        return _("The click token")
    ago = age(line["age_seconds"])
    if kind is Kind.CUSTOMER_EMAIL:
        return _("The buyer's address, credited %(ago)s before the order,", ago=ago)
    if kind is Kind.VISITOR_CLICK:
        return _("Another click of the same visitor, %(ago)s before the order,", ago=ago)
    return _("The click %(ago)s before the order", ago=ago)


def _(text: str, **values: Any) -> str:
    return str(gettext(text, **values))


_TONES: Final = {
    Step.PASSED.value: "passed",
    Step.REMOVED.value: "lost",
    Step.LOST.value: "lost",
    Step.WON.value: "won",
}
_REASONS: Final = {
    Reason.NO_EVIDENCE: lazy_gettext("no click and no coupon came with the order."),
    Reason.PROGRAM_CLOSED: lazy_gettext("the program was closed when the order was placed."),
    Reason.TOKEN_NOT_GENUINE: lazy_gettext("the click token is not one of ours."),
    Reason.OTHER_PROGRAM: lazy_gettext("it belongs to another program."),
    Reason.TEST_LINK: lazy_gettext("it came by the test link, which is nobody's."),
    Reason.EVIDENCE_NOT_COUNTED: lazy_gettext(
        "the rules of the program do not count this kind of evidence."
    ),
    Reason.LINK_DISABLED: lazy_gettext("the link was switched off before the click."),
    Reason.COUPON_UNKNOWN: lazy_gettext("nobody owns this coupon code."),
    Reason.COUPON_NOT_VALID: lazy_gettext(
        "the coupon was no longer valid when the order was placed."
    ),
    Reason.BINDING_OVER: lazy_gettext(
        "the time was over for which the customer stays with the affiliate."
    ),
    Reason.NOT_YET_KNOWN: lazy_gettext("it was not known before this order."),
    Reason.AFFILIATE_INACTIVE: lazy_gettext("the affiliate is not active in the program."),
    Reason.CLICK_AFTER_ORDER: lazy_gettext("the click came after the order."),
    Reason.OUTSIDE_WINDOW: lazy_gettext("it is older than the attribution window."),
    Reason.EXCLUDED_SITE: lazy_gettext(
        "it came from a site whose visitors the rules do not count."
    ),
    Reason.PAID_SEARCH: lazy_gettext("it came out of paid search, which the rules do not count."),
    Reason.SELF_PURCHASE: lazy_gettext(
        "the affiliate is the buyer, and the rules refuse own purchases."
    ),
    Reason.EXISTING_CUSTOMER: lazy_gettext("the buyer was a customer already before that."),
    Reason.NOT_A_VISIT: lazy_gettext(
        "the click was not a visit of somebody who chose to go there."
    ),
    Reason.NOT_A_PERSON: lazy_gettext("the click was made by a program, not by a person."),
    Reason.REVIEW_DECLINED: lazy_gettext("a person looked at the click and did not accept it."),
    Reason.TIMING: lazy_gettext("the time between the click and the order is unusual."),
    Reason.PERHAPS_OWN: lazy_gettext("the order may be an own purchase, which the rules refuse."),
    Reason.ASSIGNED: lazy_gettext("a manager said whose order it is."),
    Reason.EARLIER_EVIDENCE_WINS: lazy_gettext("the rules put other evidence before it."),
    Reason.LATER_CLICK_WINS: lazy_gettext("a later click wins by the rules."),
    Reason.EARLIER_CLICK_WINS: lazy_gettext("an earlier click wins by the rules."),
    Reason.NO_SHARE: lazy_gettext("the model of the rules leaves no part for it."),
    Reason.CLICK_WINS: lazy_gettext("by the rules a click wins against a coupon."),
    Reason.COUPON_WINS: lazy_gettext("by the rules a coupon wins against a click."),
}
_WAITS: Final = {
    WaitsFor.CONFIRMATION: lazy_gettext("the shop has not confirmed the order yet"),
    WaitsFor.CLICK_CHECK: lazy_gettext("the click behind the order is still being checked"),
    WaitsFor.REVIEW: lazy_gettext("a person looks at the order"),
    WaitsFor.EXCHANGE_RATE: lazy_gettext("the exchange rate of its day is not known yet"),
    WaitsFor.DISPUTE: lazy_gettext("the buyer's bank has disputed the payment"),
}
