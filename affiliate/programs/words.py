"""The rules in words: sentences and examples that a person can be paid by.

What the page says is computed from the same terms that decide orders; a test compares the
examples with what the commission rules earn. Rule: docs/rules.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

import flask_babel
from babel.dates import format_time, get_day_names
from flask_babel import get_locale

from affiliate.core.money import MICROS, Money
from affiliate.core.pages import money, percent
from affiliate.programs.models import Program
from affiliate.programs.terms import (
    CommissionTerms,
    CouponPolicy,
    CustomerPolicy,
    LevelTwo,
    Model,
    Of,
    Percent,
    Terms,
)

EXAMPLE_MAJOR_UNITS = {"RUB": 3_500, "JPY": 8_000, "KRW": 80_000, "KZT": 20_000, "HUF": 20_000}
EXAMPLE_MAJOR_UNITS_OTHERWISE = 80


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing an affiliate wants to know: the question, the answer, its number if any."""

    key: str
    icon: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Example:
    """What one sale would earn under the terms."""

    net: Money
    level_1: Money
    level_2: Money
    """Zero where the program has no second level."""
    refunded: Money
    """Part of the sale that comes back later, for the second half of the story."""
    kept_1: Money
    kept_2: Money


def _(text: str, **values: str) -> str:
    """gettext, typed; the catalogue's tool finds its calls by this name."""
    return str(flask_babel.gettext(text, **values))


def ngettext(singular: str, plural: str, num: int) -> str:
    """ngettext, typed."""
    return str(flask_babel.ngettext(singular, plural, num))


def headline(terms: CommissionTerms) -> str:
    """The first thing anyone asks: `10% of every sale`."""
    if isinstance(terms.level_1, Percent):
        return _("%(rate)s of every sale", rate=percent(terms.level_1.rate_ppm))
    return _("%(amount)s for every order", amount=money(terms.level_1.amount))


def level_2_short(terms: CommissionTerms) -> str:
    """The second level in three words: `2% of recruits' sales`."""
    if terms.level_2 is None:
        return _("none")
    rate = percent(terms.level_2.rate_ppm)
    if terms.level_2.of is Of.SALE:
        return _("%(rate)s of your recruits' sales", rate=rate)
    return _("%(rate)s of your recruits' commissions", rate=rate)


def rules_in_words(terms: Terms, program: Program) -> list[Rule]:
    """Every rule as question and answer, in the order in which affiliates ask."""
    return [
        Rule("level_1", "receipt", _("What do I earn?"), _level_1(terms.commission)),
        Rule(
            "level_2", "users", _("What if I bring other affiliates?"), _level_2(terms.commission)
        ),
        Rule("window", "clock", _("How long does a click count?"), _window(terms)),
        Rule("model", "arrows-exchange", _("Two affiliates' clicks: whose order?"), _model(terms)),
        Rule("coupon", "ticket", _("A coupon against a click?"), _coupon(terms)),
        Rule("customer", "user", _("The buyer was a customer before?"), _customer(terms)),
        Rule("self", "user-check", _("May I buy by my own link?"), _self(terms)),
        Rule("hold", "calendar", _("When can I withdraw it?"), _hold(terms)),
        Rule("payout", "cash", _("When and how am I paid?"), _payout(program)),
        Rule("refund", "rotate", _("What happens when a buyer returns something?"), _refund()),
    ]


def example(terms: CommissionTerms, currency: str) -> Example:
    """A sale of a round amount of the currency, and the same sale half refunded."""
    units = EXAMPLE_MAJOR_UNITS.get(currency, EXAMPLE_MAJOR_UNITS_OTHERWISE)
    net = Money(units * MICROS, currency)
    level_1, level_2 = earned(terms, net)
    refunded = net.fraction(1, 2)
    return Example(
        net=net,
        level_1=level_1,
        level_2=level_2,
        refunded=refunded,
        kept_1=level_1 - level_1.fraction(refunded.micros, net.micros),
        kept_2=level_2 - level_2.fraction(refunded.micros, net.micros),
    )


def earned(terms: CommissionTerms, net: Money) -> tuple[Money, Money]:
    """What a sale with one credited, recruited affiliate earns at both levels.

    The packages import one way, so the engine (payouts.commissions.rules) cannot be called
    from here; tests/programs/test_words.py holds the two together.
    """
    level_1 = (
        net.share(terms.level_1.rate_ppm)
        if isinstance(terms.level_1, Percent)
        else terms.level_1.amount
    )
    level_1 = min(level_1, net)
    if terms.level_2 is None:
        return level_1, Money.zero(net.currency)
    of = net if terms.level_2.of is Of.SALE else level_1
    return level_1, min(of.share(terms.level_2.rate_ppm), net - level_1)


def example_sentences(shown: Example, terms: CommissionTerms) -> list[str]:
    """The example told: sale, both levels, half a refund."""
    sentences = [
        _(
            "Somebody follows your link and buys goods for %(net)s, without shipping and tax.",
            net=money(shown.net),
        ),
        _("You earn %(amount)s.", amount=money(shown.level_1)),
    ]
    if terms.level_2 is not None:
        sentences.append(
            _(
                "Whoever recruited you earns %(amount)s on top; it is not taken from yours.",
                amount=money(shown.level_2),
            )
        )
    sentences.append(
        _(
            "Later the buyer returns goods for %(refunded)s: you keep %(kept)s of the commission.",
            refunded=money(shown.refunded),
            kept=money(shown.kept_1),
        )
    )
    return sentences


def _level_1(terms: CommissionTerms) -> str:
    if isinstance(terms.level_1, Percent):
        return _(
            "%(rate)s of the net amount of every order credited to you. Net is what the buyer "
            "pays without shipping, fees and tax, after discounts.",
            rate=percent(terms.level_1.rate_ppm),
        )
    return _(
        "%(amount)s for every order credited to you, but never more than the net amount of the "
        "order (without shipping, fees and tax, after discounts).",
        amount=money(terms.level_1.amount),
    )


def _level_2(terms: CommissionTerms) -> str:
    if terms.level_2 is None:
        return _("This program has one level: you earn from the orders credited to you.")
    return (
        _level_2_rate(terms.level_2)
        + " "
        + _(
            "There are exactly two levels, paid from sales alone; joining costs nothing and "
            "recruiting by itself earns nothing."
        )
    )


def _level_2_rate(level_2: LevelTwo) -> str:
    rate = percent(level_2.rate_ppm)
    if level_2.of is Of.SALE:
        return _(
            "%(rate)s of the net amount of every order credited to an affiliate whom you "
            "recruited, on top of what they earn.",
            rate=rate,
        )
    return _(
        "%(rate)s of the commission of every affiliate whom you recruited, on top of what they "
        "earn.",
        rate=rate,
    )


def _window(terms: Terms) -> str:
    days = terms.attribution.window.days
    return ngettext(
        "An order placed within %(num)s day after the click counts, to the second.",
        "An order placed within %(num)s days after the click counts, to the second.",
        days,
    )


def _model(terms: Terms) -> str:
    if terms.attribution.model is Model.LAST_CLICK:
        return _("The last click before the order is credited, and it takes the whole commission.")
    return _("The first click within that time is credited, and it takes the whole commission.")


def _coupon(terms: Terms) -> str:
    if terms.attribution.coupon is CouponPolicy.WINS:
        return _("A coupon that the buyer types wins against another affiliate's click.")
    return _("A click wins. A coupon is credited where there is no click within its time.")


def _customer(terms: Terms) -> str:
    if terms.attribution.existing_customer is CustomerPolicy.PAYS:
        return _("It makes no difference: orders of existing customers earn like any other.")
    return _("Orders of people who bought before they clicked your link earn nothing.")


def _self(terms: Terms) -> str:
    if terms.attribution.self_purchase is CustomerPolicy.PAYS:
        return _("Yes, your own orders earn like any other.")
    return _("Your own orders through your own link earn nothing.")


def _hold(terms: Terms) -> str:
    days = terms.payout.hold.days
    if days == 0:
        return _(
            "As soon as the order is confirmed. There is no minimum: the smallest coin will do."
        )
    return ngettext(
        "%(num)s day after the order, when the time for returns has passed. There is no "
        "minimum: the smallest coin can be withdrawn.",
        "%(num)s days after the order, when the time for returns has passed. There is no "
        "minimum: the smallest coin can be withdrawn.",
        days,
    )


def _payout(program: Program) -> str:
    locale = get_locale()
    weekday = get_day_names("wide", locale=locale)[program.payout_weekday]
    hour = format_time(time(program.payout_hour), "short", locale=locale)
    return _(
        "Every week: what is available on %(weekday)s at %(hour)s (%(zone)s) is put into a "
        "payout. Or on request, within 24 hours of it.",
        weekday=weekday,
        hour=hour,
        zone=program.time_zone,
    )


def _refund() -> str:
    return _(
        "The commission goes back in the same proportion, by the rules of the day of the order. "
        "A refund of shipping alone takes nothing back."
    )
