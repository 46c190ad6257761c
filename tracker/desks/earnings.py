"""The steps of a commission in sentences, for everybody: rules, bands, boosts, caps.

What an order with one plain rate does is told by each desk in its own voice; here is what a
program's rules add to it. Every number of a step is in its sentence, so that the sum can be
followed with a pencil.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from affiliate.core.money import MICROS, Money
from affiliate.core.pages import day, money, percent
from affiliate.programs.terms import BonusFor, Measure, Period
from payouts.commissions.rules import Reason
from tracker.desks.words import _, ngettext

Step = Mapping[str, Any]


def told(step: Step, currency: str) -> str | None:
    """The sentence of a step that some rule made, or None for the steps of a plain order."""
    tell = _TELL.get(step["step"])
    if tell is None or (step["step"] == "level_1" and "rule" not in step):
        return None
    return tell(step, currency) + rounding(step)


def rounding(step: Step) -> str:
    """Where a step had to be rounded, how; to stand behind its sentence."""
    if "rounding" not in step:
        return ""
    return " " + _("Rounded to a millionth; exactly half goes to the even neighbour.")


def amount(step: Step, name: str, currency: str) -> str:
    """A decimal string of a trace, as an amount for reading."""
    return money(parsed(str(step.get(name, "0")), currency))


def parsed(text: str, currency: str) -> Money:
    """A decimal of a trace; it may have six digits, which `Money.parse` refuses on purpose."""
    sign = -1 if text.startswith("-") else 1
    whole, _point, fraction = text.lstrip("-").partition(".")
    return Money(sign * (int(whole) * MICROS + int(fraction.ljust(6, "0") or 0)), currency)


def _converted(step: Step, currency: str) -> str:
    return _(
        "The order was paid in another currency: %(original)s at a rate of %(rate)s is %(net)s.",
        original=amount(step, "original", step["original_currency"]),
        rate=step["rate"],
        net=amount(step, "net", currency),
    )


def _unconverted(step: Step, currency: str) -> str:
    return _(
        "The order was paid in another currency: %(original)s. No exchange rate into %(currency)s "
        "is known for its day yet.",
        original=amount(step, "original", step["original_currency"]),
        currency=currency,
    )


def _recurring(step: Step, currency: str) -> str:  # noqa: ARG001 -- steps are told by one shape
    payment = _("Payment %(sequence)s of a subscription.", sequence=step["sequence"])
    if step["until"] is None:
        return payment
    until = day(datetime.fromisoformat(step["until"]))
    if step["ended"]:
        return f"{payment} " + _("Payments before %(until)s earned.", until=until)
    return f"{payment} " + _("Payments before %(until)s earn.", until=until)


def _level_1(step: Step, currency: str) -> str:
    sentences = [f"{_what(step)}: {_computed(step, currency)}"]
    if step["of_all_shares"] != step["amount"]:
        sentences.append(
            _("The share of it is %(amount)s.", amount=amount(step, "amount", currency))
        )
    if step.get("over"):
        sentences.append(_("It goes before %(others)s.", others=_names(step["over"])))
    return " ".join(sentences)


def _what(step: Step) -> str:
    if "items" not in step:
        return _("Rule “%(rule)s”", rule=step["rule"])
    items = ", ".join(
        item["sku"] if item["quantity"] == 1 else f"{item['quantity']} × {item['sku']}"
        for item in step["items"]
    )
    return _("Rule “%(rule)s” for %(items)s", rule=step["rule"], items=items)


def _computed(step: Step, currency: str) -> str:
    whole = amount(step, "of_all_shares", currency)
    base = amount(step, "base", currency)
    if step["kind"] == "fixed":
        return _("a fixed amount of %(fixed)s.", fixed=amount(step, "fixed", currency))
    if step["kind"] == "per_item":
        each = amount(step, "each", currency)
        if step["quantity"] == 1:
            return _("%(each)s for one piece is %(whole)s.", each=each, whole=whole)
        # Languages with a form for 21 need the number in every form; English says it once.
        return ngettext(
            "%(each)s for each of %(num)s pieces is %(whole)s.",
            "%(each)s for each of %(num)s pieces is %(whole)s.",
            step["quantity"],
            each=each,
            whole=whole,
        )
    rate = percent(step["rate_ppm"])
    share = _("%(rate)s of %(base)s is %(whole)s.", rate=rate, base=base, whole=whole)
    return share if step["kind"] == "percent" else f"{_band(step, currency)}, {share}"


def _band(step: Step, currency: str) -> str:
    """Which band, and what was sold before."""
    orders = step["measure"] == Measure.ORDERS
    begins, ends, volume = (
        step[name] if orders or step[name] is None else amount(step, name, currency)
        for name in ("band_begins", "band_ends", "volume")
    )
    period = PERIODS[Period(step["period"])]()
    if ends is None:
        return _(
            "with %(volume)s sold in the %(period)s, in the band from %(begins)s on",
            volume=volume, period=period, begins=begins,
        )  # fmt: skip
    return _(
        "with %(volume)s sold in the %(period)s, in the band from %(begins)s to below %(ends)s",
        volume=volume, period=period, begins=begins, ends=ends,
    )  # fmt: skip


def _sum(step: Step, currency: str) -> str:
    return _("Together %(amount)s.", amount=amount(step, "amount", currency))


def _boost(step: Step, currency: str) -> str:
    values = {
        "rule": step["rule"],
        **{name: amount(step, name, currency) for name in ("before", "added", "amount")},
    }
    if "times_ppm" in step:
        sentence = _(
            "Boost “%(rule)s”: %(rate)s of %(before)s is %(amount)s, %(added)s more.",
            rate=percent(step["times_ppm"]),
            **values,
        )
    else:
        sentence = _(
            "Boost “%(rule)s”: another %(rate)s, %(added)s more, makes %(before)s %(amount)s.",
            rate=percent(step["add_ppm"]),
            **values,
        )
    if not step["over"]:
        return sentence
    better = _("It gives more than %(others)s.", others=_names(step["over"]))
    return f"{sentence} {better}"


def _bonus(step: Step, currency: str) -> str:
    values = {name: amount(step, name, currency) for name in ("before", "added", "amount")}
    if step["first_of"] == BonusFor.CUSTOMER:
        return _(
            "Bonus for a customer's first order: %(before)s and %(added)s make %(amount)s.",
            **values,
        )
    return _(
        "Bonus for the affiliate's first order: %(before)s and %(added)s make %(amount)s.",
        **values,
    )


def _cap(step: Step, currency: str) -> str:
    names = ("limit", "earned_before", "room", "before", "cut", "amount")
    values = {name: amount(step, name, currency) for name in names if name in step}
    if step["per"] == "order":
        return _(
            "One order earns %(limit)s at the most: %(before)s was cut by %(cut)s to %(amount)s.",
            **values,
        )
    if "room" in step:
        return _(
            "The limit of the period leaves %(room)s: %(before)s was cut by %(cut)s to %(amount)s.",
            **values,
        )
    return _(
        "The limit for a %(period)s is %(limit)s, and %(earned_before)s was earned before: "
        "%(before)s was cut by %(cut)s to %(amount)s.",
        period=PERIODS[Period(step["per"])](),
        **values,
    )


def _tier_make_up(step: Step, currency: str) -> str:
    values = {name: amount(step, name, currency) for name in ("base", "due", "before", "amount")}
    return _(
        "At the end, %(band)s: %(rate)s of the %(base)s of its orders is %(due)s. They had earned "
        "%(before)s, so %(amount)s is made up for.",
        band=_band(step, currency),
        rate=percent(step["rate_ppm"]),
        **values,
    )


def _per_lead(step: Step, currency: str) -> str:
    if "weight" not in step:
        return _("A lead earns %(amount)s.", amount=amount(step, "amount", currency))
    return _(
        "A lead earns %(each)s; the share %(weight)s of it is %(amount)s.",
        each=amount(step, "each", currency),
        weight=step["weight"],
        amount=amount(step, "amount", currency),
    )


def _per_click(step: Step, currency: str) -> str:
    earned = ngettext(
        "%(num)s unique click at %(each)s is %(amount)s.",
        "%(num)s unique clicks at %(each)s are %(amount)s.",
        step["count"],
        each=amount(step, "each", currency),
        amount=amount(step, "amount", currency),
    )
    if not step.get("before"):
        return earned
    beside = ngettext(
        "Counted later, beside %(num)s that was booked before.",
        "Counted later, beside %(num)s that were booked before.",
        step["before"],
    )
    return f"{earned} {beside}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(_("“%(name)s”", name=name) for name in names)


PERIODS = {
    Period.MONTH: lambda: _("month"),
    Period.QUARTER: lambda: _("quarter"),
    Period.YEAR: lambda: _("year"),
}

_TELL = {
    "converted": _converted,
    "unconverted": _unconverted,
    "recurring": _recurring,
    "level_1": _level_1,
    "sum": _sum,
    "boost": _boost,
    "bonus": _bonus,
    "cap": _cap,
    "tier_make_up": _tier_make_up,
    "per_lead": _per_lead,
    "per_click": _per_click,
}

NOTHING = {
    Reason.NOTHING_PAID: lambda: _("The buyer paid nothing for goods, so it earns nothing."),
    Reason.NO_RATE: lambda: _("The rules set a rate of zero here."),
    Reason.BELOW_A_MICRO: lambda: _("That is less than a millionth, so it is nothing."),
    Reason.CUT_TO_NET: lambda: _("Nothing of the net amount was left for it."),
    Reason.RECURRING_OVER: lambda: _(
        "Later payments of a subscription earn for a limited time, and it is over."
    ),
    Reason.CAP_REACHED: lambda: _("What can be earned at the most was earned already."),
    Reason.AWAITS_EXCHANGE_RATE: lambda: _(
        "It waits for the exchange rate of its day, and is reckoned as soon as the program has "
        "entered it."
    ),
    Reason.SELF_PURCHASE: lambda: _("Own purchases earn nothing in this program."),
    Reason.NOTHING_TO_MAKE_UP: lambda: _(
        "The orders of the period earned no less than its final band gives."
    ),
}
"""Why something credited earned nothing."""
