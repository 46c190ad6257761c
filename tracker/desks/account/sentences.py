"""Decisions, commissions and clicks in sentences for the affiliate whose money it is.

The same reasons are stored in rows, so that a page can say nothing else than what decided.
Of other affiliates it is told that there was one, never who, nor what was wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from affiliate.core.money import Money
from affiliate.core.pages import day, duration, moment, money, percent
from payouts.commissions.rows import CommissionRow, Status, when_available
from payouts.commissions.rules import RECRUITER_BUYS, ReleaseWait, VoidReason
from payouts.commissions.rules import Reason as NothingBecause
from tracker.attribution.rules import Kind, Reason, Step
from tracker.attribution.subject import WaitsFor
from tracker.attribution.words import weight
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import clicked_at_of
from tracker.desks import earnings
from tracker.desks.account.language import gettext as _


@dataclass(frozen=True, slots=True)
class Sentence:
    """One step of a reason; `outcome` is a word of the trace macro."""

    text: str
    outcome: str = "none"


def credited_because(share: Mapping[str, Any] | None, placed_at: datetime) -> str:
    """One sentence for lists: why the order is the reader's."""
    if share is None:
        return _("Credited to you.")
    if share.get("evidence") in BY_EVIDENCE:
        return BY_EVIDENCE[Kind(share["evidence"])]()
    clicked_at = share.get("clicked_at")
    if not clicked_at:
        return _("Credited to you by your link.")
    age = placed_at - datetime.fromisoformat(clicked_at)
    return _("Credited to you: your click, %(age)s before the order.", age=before(age))


BY_EVIDENCE: Mapping[Kind, Callable[[], str]] = {
    Kind.COUPON: lambda: _("Credited to you: your coupon was typed."),
    Kind.BOUND_CUSTOMER: lambda: _("Credited to you: the customer is bound to you."),
    Kind.CUSTOMER_EMAIL: lambda: _("Credited to you: the buyer's earlier order was yours."),
    Kind.ASSIGNMENT: lambda: _("Credited to you by a manager of the program."),
}


def before(age: timedelta) -> str:
    """How long before the order; never less than nothing, for clocks differ."""
    if age < timedelta(minutes=1):
        return _("less than a minute")
    return duration(age)


def attribution(trace: Sequence[Mapping[str, Any]], enrollment_id: int) -> list[Sentence]:
    """The trace of a decision, told to one of the affiliates in it."""
    told: list[Sentence] = []
    for line in trace:
        mine = line.get("enrollment_id") == enrollment_id
        if line["outcome"] == Step.HELD and not mine:
            continue
        sentence = _mine(line) if mine else _anothers(line)
        # Two candidates of others in one state make one sentence: a count names nobody more.
        if sentence not in told or mine:
            told.append(sentence)
    return told


def _mine(line: Mapping[str, Any]) -> Sentence:
    what = _candidate(line)
    outcome = line["outcome"]
    if outcome == Step.PASSED:
        return Sentence(_("%(what)s passed every check.", what=what), "passed")
    if outcome == Step.WON:
        part = line.get("weight", "1")
        if part == "1":
            return Sentence(_("%(what)s wins: the order is yours.", what=what), "won")
        part = weight(part)
        return Sentence(_("%(what)s earns you %(part)s of it.", what=what, part=part), "won")
    reason = Reason(line["reason"])
    if outcome == Step.HELD:
        return Sentence(f"{what}: {WHY_NOT[reason]()}")
    return Sentence(f"{what}: {WHY_NOT[reason]()}", "lost")


def _anothers(line: Mapping[str, Any]) -> Sentence:
    words = ANOTHERS[Kind(line["candidate"])]
    outcome = line["outcome"]
    if outcome == Step.WON:
        part = line.get("weight", "1")
        if part == "1":
            return Sentence(_("%(what)s was credited.", what=words()), "won")
        part = weight(part)
        return Sentence(_("%(what)s was credited with %(part)s.", what=words(), part=part), "won")
    if outcome == Step.PASSED:
        return Sentence(_("%(what)s passed every check.", what=words()))
    if outcome == Step.LOST:
        return Sentence(f"{words()}: {WHY_NOT[Reason(line['reason'])]()}", "lost")
    return Sentence(_("There was other evidence, which does not count."))


ANOTHERS: Mapping[Kind, Callable[[], str]] = {
    Kind.CLICK_TOKEN: lambda: _("Another affiliate's click"),
    Kind.VISITOR_CLICK: lambda: _("Another affiliate's click"),
    Kind.COUPON: lambda: _("Another affiliate's coupon"),
    Kind.BOUND_CUSTOMER: lambda: _("The customer's binding to another affiliate"),
    Kind.CUSTOMER_EMAIL: lambda: _("An earlier order that brought another affiliate a credit"),
    Kind.ASSIGNMENT: lambda: _("Another affiliate, whom a manager named,"),
}


def _candidate(line: Mapping[str, Any]) -> str:
    kind = line["candidate"]
    if kind == Kind.COUPON:
        return _("Your coupon")
    if kind == Kind.BOUND_CUSTOMER:
        return _("The customer's binding to you")
    if kind == Kind.ASSIGNMENT:
        return _("A manager's word for you")
    age = timedelta(seconds=int(line.get("age_seconds") or 0))
    if kind == Kind.CUSTOMER_EMAIL:
        return _("The buyer's order credited to you %(age)s before", age=before(age))
    click_id = line.get("click_id")
    if not click_id:
        return _("Your click")
    clicked_at = clicked_at_of(UUID(click_id))
    if line.get("reason") == Reason.CLICK_AFTER_ORDER:
        return _("Your click of %(moment)s", moment=moment(clicked_at))
    return _(
        "Your click of %(moment)s (%(age)s before the order)",
        moment=moment(clicked_at),
        age=before(age),
    )


WHY_NOT = {
    Reason.NO_EVIDENCE: lambda: _("nothing led from a link or coupon to this order."),
    Reason.PROGRAM_CLOSED: lambda: _("the program was closed when the order was placed."),
    Reason.TOKEN_NOT_GENUINE: lambda: _("its token was changed on the way, or is not ours."),
    Reason.OTHER_PROGRAM: lambda: _("it belongs to another program."),
    Reason.TEST_LINK: lambda: _("it came by the test link, which is nobody's."),
    Reason.LINK_DISABLED: lambda: _("the link was switched off before the click."),
    Reason.COUPON_UNKNOWN: lambda: _("the program has no such coupon."),
    Reason.COUPON_NOT_VALID: lambda: _("the coupon was no longer valid."),
    Reason.EVIDENCE_NOT_COUNTED: lambda: _("the rules do not count this kind of evidence."),
    Reason.BINDING_OVER: lambda: _("the time was over for which a customer stays bound."),
    Reason.NOT_YET_KNOWN: lambda: _("it was not known before this order."),
    Reason.AFFILIATE_INACTIVE: lambda: _("the membership was not active then."),
    Reason.CLICK_AFTER_ORDER: lambda: _("it came after the order."),
    Reason.OUTSIDE_WINDOW: lambda: _("it is older than the time for which a click counts."),
    Reason.EXCLUDED_SITE: lambda: _("visitors from that site are not counted in this program."),
    Reason.PAID_SEARCH: lambda: _("clicks out of paid search are not counted in this program."),
    Reason.SELF_PURCHASE: lambda: _("own purchases earn nothing in this program."),
    Reason.EXISTING_CUSTOMER: lambda: _("the buyer was a customer before it."),
    Reason.NOT_A_VISIT: lambda: _("nobody visited the page: it was fetched in the background."),
    Reason.NOT_A_PERSON: lambda: _("it was a robot's or a link preview's, not a person's."),
    Reason.REVIEW_DECLINED: lambda: _("a person looked at the click and did not accept it."),
    Reason.TIMING: lambda: _("a person looks at the timing of the click and the order first."),
    Reason.PERHAPS_OWN: lambda: _("a person looks first whether it is an own purchase."),
    Reason.ASSIGNED: lambda: _("a manager of the program said whose order it is."),
    Reason.EARLIER_EVIDENCE_WINS: lambda: _("the rules put other evidence before it."),
    Reason.LATER_CLICK_WINS: lambda: _("a later click goes before it."),
    Reason.EARLIER_CLICK_WINS: lambda: _("an earlier click goes before it."),
    Reason.NO_SHARE: lambda: _("the rules leave no part of the order for it."),
    Reason.CLICK_WINS: lambda: _("a click goes before a coupon in this program."),
    Reason.COUPON_WINS: lambda: _("a coupon goes before a click in this program."),
}


def commission(row: CommissionRow, via: str | None) -> list[Sentence]:
    """How the amount follows from the order, step by step as it was computed.

    `via` is the name of the recruit whose sale it was, at level 2.
    """
    currency = row.amount.currency
    told: list[Sentence] = []
    for step in row.trace:
        told.append(Sentence(_commission_step(step, currency, via)))
    return told


def _commission_step(step: Mapping[str, Any], currency: str, via: str | None) -> str:
    of_a_rule = earnings.told(step, currency)
    return of_a_rule or _plain_step(step, currency, via) + earnings.rounding(step)


def _plain_step(step: Mapping[str, Any], currency: str, via: str | None) -> str:
    kind = step["step"]
    amounts = {
        name: earnings.amount(step, name, currency)
        for name in ("net", "amount", "base", "before", "fixed", "each")
        if name in step
    }
    if kind == "base" and step["weight"] == "1":
        return _("The net amount of the order, without shipping, fees and tax: %(net)s.", **amounts)
    if kind == "base":
        return _(
            "The net amount of the order is %(net)s; the share %(weight)s of it is %(amount)s.",
            weight=step["weight"],
            **amounts,
        )
    if kind == "level_1" and step["kind"] == "percent":
        return _("%(rate)s of it: %(amount)s.", rate=percent(step["rate_ppm"]), **amounts)
    if kind == "level_1" and step["kind"] == "per_item":
        return _(
            "%(each)s for each of %(quantity)s pieces: %(amount)s.",
            quantity=step["quantity"],
            **amounts,
        )
    if kind == "level_1":
        return _("A fixed amount per order: %(amount)s.", **amounts)
    if kind == "level_2" and step["of"] == "sale":
        return _(
            "%(via)s sold it; you recruited them, and %(rate)s of %(base)s is %(amount)s.",
            via=via or _("Your recruit"),
            rate=percent(step["rate_ppm"]),
            **amounts,
        )
    if kind == "level_2":
        return _(
            "%(via)s earned %(base)s; you recruited them, and %(rate)s of it is %(amount)s.",
            via=via or _("Your recruit"),
            rate=percent(step["rate_ppm"]),
            **amounts,
        )
    if kind == RECRUITER_BUYS:
        return _("You are the buyer of this order.")
    if kind == "cut_to_net":
        return _(
            "All commissions of an order together are at most its net amount, so %(before)s "
            "became %(amount)s.",
            **amounts,
        )
    return earnings.NOTHING[NothingBecause(step["reason"])]()


VOIDED = {
    VoidReason.ORDER_CANCELLED: lambda: _("The order was cancelled, so its commission went back."),
    VoidReason.ORDER_SUPERSEDED: lambda: _(
        "The shop's own report took the place of an earlier one."
    ),
    VoidReason.DECISION_REPLACED: lambda: _("Later evidence led to another decision."),
    VoidReason.CLICK_INVALID: lambda: _("The click behind it did not pass the checks."),
    VoidReason.REVIEW_REJECTED: lambda: _("It was reviewed by the program and not accepted."),
    VoidReason.RATE_ENTERED: lambda: _("The exchange rate of its day came, so it was reckoned."),
    VoidReason.DECIDED_BY_PERSON: lambda: _("A person of the program decided it anew."),
    VoidReason.LEAD_CANCELLED: lambda: _("The lead was cancelled, so what it earned went back."),
    VoidReason.CLICKS_RECOUNTED: lambda: _("The clicks of the day were counted anew."),
}


def refund(trace: Mapping[str, Any], taken: Money) -> str:
    """How a reversal follows from the refund: the formula with its numbers."""
    currency = trace["currency"]
    amounts = {
        name: money(earnings.parsed(trace[name], currency))
        for name in ("frozen", "refunded_net", "net", "already")
    }
    if not earnings.parsed(trace["net"], currency):
        return _("Nothing was earned, so nothing went back.")
    if not earnings.parsed(trace["already"], currency):
        return _(
            "%(refunded_net)s of %(net)s went back to the buyer, so %(taken)s of your "
            "%(frozen)s went back too.",
            taken=money(taken),
            **amounts,
        )
    return _(
        "%(refunded_net)s of %(net)s went back to the buyer in all: of your %(frozen)s another "
        "%(taken)s, after %(already)s before.",
        taken=money(taken),
        **amounts,
    )


def when(row: CommissionRow, now: datetime) -> str:
    """When it can be withdrawn, and the one thing that it waits for."""
    if row.status is Status.VOIDED:
        assert row.void_reason is not None, "a voided commission says why"
        return VOIDED[row.void_reason]()
    if row.status is Status.NOT_EARNED:
        return earnings.NOTHING[row.reason]() if row.reason else _("It earned nothing.")
    if row.status is Status.REVERSED:
        return _("The order was refunded in full, so nothing is left of it.")
    answer = when_available(row, now)
    if row.released_at:
        return _("In your balance since %(day)s.", day=day(row.released_at))
    if answer.waits_for is None:
        return _("Available within minutes.")
    return (
        WAITS[answer.waits_for](day(answer.at))
        if answer.waits_for in WAITS
        else _("Available from %(day)s.", day=day(answer.at))
    )


WAITS = {
    ReleaseWait.HOLD_PERIOD.value: lambda at: _(
        "Available on %(day)s, when the hold period is over.", day=at
    ),
    ReleaseWait.BUDGET.value: lambda at: _(
        "Waits for the program's budget; it was due on %(day)s.", day=at
    ),
    WaitsFor.CONFIRMATION.value: lambda at: _(
        "Waits for the shop to confirm the order; available from %(day)s at the earliest.", day=at
    ),
    WaitsFor.CLICK_CHECK.value: lambda at: _(
        "Waits for the check of its click, a day at most; available from %(day)s.", day=at
    ),
    WaitsFor.REVIEW.value: lambda at: _(
        "Waits for a review by the program; available from %(day)s at the earliest.", day=at
    ),
    WaitsFor.EXCHANGE_RATE.value: lambda at: _(
        "Waits for the exchange rate of its day; available from %(day)s at the earliest.", day=at
    ),
    WaitsFor.DISPUTE.value: lambda at: _(
        "Waits for the end of a dispute about the buyer's payment; available from %(day)s at the "
        "earliest.",
        day=at,
    ),
}

FILTERED = {
    DropReason.LINK_DISABLED: lambda: _("Not counted: the link was switched off."),
    DropReason.AFFILIATE_INACTIVE: lambda: _("Not counted: your membership was not active."),
    DropReason.PROGRAM_CLOSED: lambda: _("Not counted: the program was closed."),
    DropReason.HEAD_REQUEST: lambda: _(
        "Not counted: the link was only checked, nobody followed it."
    ),
    DropReason.PREFETCH: lambda: _(
        "Not counted: the browser loaded it ahead, nobody saw the page."
    ),
    DropReason.FRAMED: lambda: _("Not counted: it was loaded inside another page."),
    DropReason.SUBRESOURCE: lambda: _("Not counted: it was loaded as an image or script."),
    DropReason.EMPTY_AGENT: lambda: _("Not counted: no browser named itself."),
    DropReason.LINK_PREVIEW: lambda: _("Not counted: a messenger fetched a preview of the link."),
    DropReason.BOT: lambda: _("Not counted: a robot or tool."),
    DropReason.DUPLICATE: lambda: _("A repeat within seconds: credits an order, counted once."),
    DropReason.FLOOD: lambda: _(
        "Not counted: more clicks came together than people make. An order it leads to is "
        "looked at by a person."
    ),
}


def click(reason: DropReason | None, *, unique: bool) -> str:
    """What became of a click."""
    if reason is not None:
        return FILTERED[reason]()
    return _("Counted, a new visitor today.") if unique else _("Counted, a visitor seen today.")
