"""Decisions, commissions and the audit log in words, for those who may know everything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from affiliate.core.money import MICROS, Money
from affiliate.core.pages import duration, money, percent
from tracker.attribution.rules import Reason, Step
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
        Reason.OTHER_PROGRAM: _("the link belongs to another program"),
        Reason.LINK_DISABLED: _("the link was switched off when it was clicked"),
        Reason.COUPON_UNKNOWN: _("the program has no such coupon"),
        Reason.COUPON_NOT_VALID: _("the coupon was no longer valid"),
        Reason.AFFILIATE_INACTIVE: _("the affiliate is not active in the program"),
        Reason.CLICK_AFTER_ORDER: _("the click came after the order"),
        Reason.OUTSIDE_WINDOW: _("the click was older than the attribution window"),
        Reason.SELF_PURCHASE: _("the affiliate bought for themselves"),
        Reason.EXISTING_CUSTOMER: _("the buyer was a customer already"),
        Reason.NOT_A_VISIT: _("the click was no visit by a person (preloaded or framed)"),
        Reason.NOT_A_PERSON: _("the click was made by a program, not by a person"),
        Reason.REVIEW_DECLINED: _("a person looked at the click and did not accept it"),
        Reason.LATER_CLICK_WINS: _("a later click goes before it"),
        Reason.EARLIER_CLICK_WINS: _("an earlier click goes before it"),
        Reason.CLICK_WINS: _("a click goes before a coupon"),
        Reason.COUPON_WINS: _("a coupon goes before a click"),
        Reason.ASSIGNED: _("a manager said whose order it is"),
    }.get(Reason(code), code)


def trace(lines: list[dict[str, Any]], names: Names) -> list[dict[str, str]]:
    """Every check in order: `{text, outcome}` as the trace component wants it."""
    return [{"text": _line(line, names), "outcome": _outcome(line)} for line in lines]


def _outcome(line: dict[str, Any]) -> str:
    return {"passed": "passed", "won": "won"}.get(line.get("outcome", ""), "lost")


def _line(line: dict[str, Any], names: Names) -> str:
    who = names.get(line.get("enrollment_id") or 0, _("nobody known"))
    what = _candidate(line, who)
    outcome = line.get("outcome")
    if outcome == Step.WON:
        return _("%(what)s is credited.", what=what)
    if outcome == Step.PASSED:
        return _("%(what)s passed every check.", what=what)
    return _("%(what)s was left out: %(why)s.", what=what, why=reason(line.get("reason")))


def _candidate(line: dict[str, Any], who: str) -> str:
    if line.get("candidate") == "coupon":
        return _("The coupon of %(who)s", who=who)
    if line.get("candidate") == "assignment":
        return _("A manager's word for %(who)s", who=who)
    age_s = line.get("age_seconds")
    if age_s is None:
        return _("A click for %(who)s", who=who)
    return _(
        "The click for %(who)s, %(age)s before the order,",
        who=who,
        age=duration(timedelta(seconds=age_s)),
    )


def commission_steps(steps: list[dict[str, Any]], currency: str) -> list[str]:
    """How a commission was computed, step by step."""
    return [text for step in steps if (text := _step(step, currency))]


def _step(step: dict[str, Any], currency: str) -> str:
    kind = step.get("step")
    if kind == "base":
        if step.get("weight") == "1":
            return _("The order's net is %(net)s.", net=_amount(step, "net", currency))
        return _(
            "Of the order's net of %(net)s, %(weight)s is theirs: %(amount)s.",
            net=_amount(step, "net", currency),
            weight=step.get("weight"),
            amount=_amount(step, "amount", currency),
        )
    if kind == "level_1":
        return _level_1(step, currency)
    if kind == "level_2":
        of = _("the sale") if step.get("of") == "sale" else _("the recruit's commission")
        return _(
            "%(rate)s of %(of)s, %(base)s, is %(amount)s.",
            rate=percent(step["rate_ppm"]),
            of=of,
            base=_amount(step, "base", currency),
            amount=_amount(step, "amount", currency),
        )
    if kind == "cut_to_net":
        return _(
            "Cut from %(before)s to %(amount)s: all commissions together stay within the net.",
            before=_amount(step, "before", currency),
            amount=_amount(step, "amount", currency),
        )
    if kind == "not_earned":
        return not_earned(step.get("reason", ""))
    return ""


def _level_1(step: dict[str, Any], currency: str) -> str:
    amount = _amount(step, "amount", currency)
    if step.get("kind") == "percent":
        return _("%(rate)s of it is %(amount)s.", rate=percent(step["rate_ppm"]), amount=amount)
    return _("The fixed amount for an order is %(amount)s.", amount=amount)


def not_earned(code: str) -> str:
    """Why a credited order earned nothing."""
    return {
        "nothing_paid": _("Nothing was paid for goods, so nothing is earned."),
        "no_rate": _("The rules set a rate of zero."),
        "below_a_micro": _("The share is below a millionth of the currency's unit."),
        "cut_to_net": _("Nothing of the net was left for it."),
    }.get(code, code)


def _amount(step: dict[str, Any], name: str, currency: str) -> str:
    """A decimal string of a trace, as an amount for reading."""
    whole, _point, fraction = str(step.get(name, "0")).partition(".")
    micros = int(whole.lstrip("-")) * MICROS + int(fraction.ljust(6, "0")[:6] or "0")
    return money(Money(-micros if whole.startswith("-") else micros, currency))


def waits_for(code: str | None) -> str:
    """What a commission waits for before it can be withdrawn."""
    return {
        None: "",
        "confirmation": _("the shop's confirmation of the order"),
        "click_check": _("the check of the click"),
        "review": _("a person's review"),
        "hold_period": _("the end of the hold period"),
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
        "decided_by_person": _("a person decided it anew"),
    }.get(code, code or "")


def review(reason: str, outcome: str | None) -> str:
    """Why a person has to look at an order, and what they said."""
    why = {
        "flood": _(
            "The click came in a flood: more of one address, or again and again of one device "
            "on a flooded affiliate, than people click."
        ),
    }.get(reason, reason)
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


def outcome(code: str) -> str:
    """What a report did to the order."""
    return {
        "created": _("made the order"),
        "superseded_browser": _("took the place of the browser's report"),
        "evidence_added": _("added evidence, no amounts"),
        "replay": _("said the same again"),
        "conflict": _("contradicted the first report and was refused"),
    }.get(code, code)


def action(code: str) -> str:
    """An action of the audit log in words; the code itself where there are none yet."""
    return {
        "application.send": _("applied"),
        "enrollment.approve": _("approved the application"),
        "enrollment.reject": _("rejected the application"),
        "enrollment.suspend": _("suspended the affiliate"),
        "enrollment.reinstate": _("let the affiliate in again"),
        "enrollment.set_recruiter": _("changed the recruiter"),
        "coupon.create": _("gave a coupon"),
        "coupon.disable": _("switched a coupon off"),
        "link.disable": _("switched a link off"),
        "rules.publish": _("published rules"),
        "program.create": _("created the program"),
        "program.update": _("changed settings"),
        "program.close": _("announced the closing"),
        "program.closed": _("closed the program"),
        "payee.change": _("named another account to be paid to"),
        "withdrawal.request": _("asked for a withdrawal"),
        "batch.approve": _("approved a batch"),
        "batch.cancel": _("cancelled a batch"),
        "item.hold": _("held a payout"),
        "item.mark_paid": _("marked a payout as paid"),
        "item.try_again": _("allowed a new attempt"),
        "payouts.lock": _("locked payouts"),
        "payouts.unlock": _("unlocked payouts"),
        "order.cancel": _("cancelled an order"),
        "order.confirm": _("confirmed an order"),
        "order.review_released": _("released an order after a review"),
        "order.review_declined": _("declined an order's click after a review"),
        "order.review_overturned": _("let a declined click stand after all"),
        "order.decide_anew": _("had an order decided anew"),
        "click.clear": _("let a filtered click count"),
        "claim.accepted": _("accepted a case"),
        "claim.answered": _("explained a case"),
        "claim.declined": _("declined a case"),
        "order.assign": _("gave an order to an affiliate"),
        "order.unassign": _("let the rules decide an order again"),
        "order.conflict": _("contradicted a report and was refused"),
        "email.change": _("changed their address"),
        "invitation.send": _("invited somebody"),
        "invitation.accept": _("accepted an invitation"),
        "invitation.withdraw": _("withdrew an invitation"),
        "user.create": _("made a user"),
        "user.register": _("registered"),
        "user.verify": _("verified their address"),
        "user.disable": _("disabled a user"),
        "user.enable": _("let a user in again"),
        "role.grant": _("gave a role"),
        "role.revoke": _("took a role back"),
        "password.change": _("changed their password"),
        "password.reset": _("set a new password by mail"),
        "api_key.create": _("made an API key"),
        "api_key.revoke": _("revoked an API key"),
        "clock.advance": _("moved the demo clock"),
    }.get(code, code)
