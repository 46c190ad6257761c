"""Traces and reasons as sentences, for affiliates, managers and shops alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask_babel import gettext, lazy_gettext, ngettext

from tracker.attribution.decide import WaitsFor
from tracker.attribution.rules import Check, Kind, Reason, Step


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
        return _("%(who)s is credited with the order.", who=who)
    return _("%(who)s does not count: %(why)s", who=who, why=reason(line["reason"]))


def tone(line: Mapping[str, Any]) -> str:
    """How the page marks the line: passed, won or lost."""
    return Step.LOST.value if line["outcome"] == Step.REMOVED else str(line["outcome"])


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
    if "age_seconds" not in line:
        return _("The click token")
    ago = age(line["age_seconds"])
    if kind is Kind.VISITOR_CLICK:
        return _("Another click of the same visitor, %(ago)s before the order,", ago=ago)
    return _("The click %(ago)s before the order", ago=ago)


def _(text: str, **values: Any) -> str:
    return str(gettext(text, **values))


_REASONS: Final = {
    Reason.NO_EVIDENCE: lazy_gettext("no click and no coupon came with the order."),
    Reason.PROGRAM_CLOSED: lazy_gettext("the program was closed when the order was placed."),
    Reason.TOKEN_NOT_GENUINE: lazy_gettext("the click token is not one of ours."),
    Reason.OTHER_PROGRAM: lazy_gettext("the link belongs to another program."),
    Reason.LINK_DISABLED: lazy_gettext("the link was switched off before the click."),
    Reason.COUPON_UNKNOWN: lazy_gettext("nobody owns this coupon code."),
    Reason.COUPON_NOT_VALID: lazy_gettext(
        "the coupon was no longer valid when the order was placed."
    ),
    Reason.AFFILIATE_INACTIVE: lazy_gettext("the affiliate is not active in the program."),
    Reason.CLICK_AFTER_ORDER: lazy_gettext("the click came after the order."),
    Reason.OUTSIDE_WINDOW: lazy_gettext("the click is older than the attribution window."),
    Reason.SELF_PURCHASE: lazy_gettext(
        "the affiliate is the buyer, and the rules refuse own purchases."
    ),
    Reason.EXISTING_CUSTOMER: lazy_gettext("the buyer was a customer already before that."),
    Reason.NOT_A_VISIT: lazy_gettext(
        "the click was not a visit of somebody who chose to go there."
    ),
    Reason.NOT_A_PERSON: lazy_gettext("the click was made by a program, not by a person."),
    Reason.REVIEW_DECLINED: lazy_gettext("a person looked at the click and did not accept it."),
    Reason.LATER_CLICK_WINS: lazy_gettext("a later click wins by the rules."),
    Reason.EARLIER_CLICK_WINS: lazy_gettext("an earlier click wins by the rules."),
    Reason.CLICK_WINS: lazy_gettext("by the rules a click wins against a coupon."),
    Reason.COUPON_WINS: lazy_gettext("by the rules a coupon wins against a click."),
    Reason.ASSIGNED: lazy_gettext("a manager said whose order it is."),
}
_WAITS: Final = {
    WaitsFor.CONFIRMATION: lazy_gettext("the shop has not confirmed the order yet"),
    WaitsFor.CLICK_CHECK: lazy_gettext("the click behind the order is still being checked"),
    WaitsFor.REVIEW: lazy_gettext("a person looks at the order"),
}
