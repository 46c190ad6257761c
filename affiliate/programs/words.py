"""The rules in words: sentences and examples that a person can be paid by.

What the page says is computed from the same terms that decide orders, its examples by the
engine itself. Other affiliates whom the rules name are counted, never named, and limits
against fraud are told as a kind, without their number. Rule: docs/rules.md.
"""

from __future__ import annotations

from datetime import time

from babel.dates import format_time, get_day_names
from flask_babel import get_locale

from affiliate.core.money import Money
from affiliate.core.pages import money, percent
from affiliate.programs.examples import Example, Kind, Told
from affiliate.programs.language import _, ngettext
from affiliate.programs.models import Program
from affiliate.programs.terms import BonusFor, CommissionTerms, Measure, Of, Percent, PerItem, Terms
from affiliate.programs.words_attribution import attribution_in_words
from affiliate.programs.words_commission import commission_in_words
from affiliate.programs.words_rule import Rule

__all__ = ["Rule", "example_sentences", "headline", "level_2_short", "rules_in_words"]


def headline(terms: CommissionTerms) -> str:
    """The first thing anyone asks: `10% of every sale`, or with tiers `10% to 15%`."""
    if terms.tiers is not None and len(terms.tiers.bands) > 1:
        rates = [band.rate_ppm for band in terms.tiers.bands]
        low, high = percent(min(rates)), percent(max(rates))
        return _("%(low)s to %(high)s of every sale", low=low, high=high)
    if isinstance(terms.level_1, Percent):
        return _("%(rate)s of every sale", rate=percent(terms.level_1.rate_ppm))
    if isinstance(terms.level_1, PerItem):
        return _("%(amount)s for every piece sold", amount=money(terms.level_1.amount))
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
        *commission_in_words(terms.commission, program),
        *attribution_in_words(terms.attribution),
        Rule("hold", "calendar", _("When can I withdraw it?"), _hold(terms)),
        Rule("payout", "cash", _("When and how am I paid?"), _payout(program)),
        Rule("refund", "rotate", _("What happens when a buyer returns something?"), _refund()),
    ]


def example_sentences(shown: Example, terms: CommissionTerms) -> list[str]:
    """The example told: sale, both levels, half a refund; then what earns otherwise."""
    sentences = [_sale(shown), _("You earn %(amount)s.", amount=money(shown.level_1))]
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
    return sentences + [_other(told, terms) for told in shown.others]


def _sale(shown: Example) -> str:
    if shown.pieces == 1:
        return _(
            "Somebody follows your link and buys goods for %(net)s, without shipping and tax.",
            net=money(shown.net),
        )
    return ngettext(
        "Somebody follows your link and buys %(num)s piece for %(net)s, without shipping and tax.",
        "Somebody follows your link and buys %(num)s pieces for %(net)s, without shipping and tax.",
        shown.pieces,
        net=money(shown.net),
    )


def _other(told: Told, terms: CommissionTerms) -> str:
    net, amount = money(told.sale.net), money(told.level_1)
    if told.kind is Kind.RULE:
        return _(
            "An order of %(net)s to which “%(name)s” applies earns %(amount)s.",
            net=net,
            name=told.name,
            amount=amount,
        )
    if told.kind is Kind.TIER:
        return _tier(told, terms)
    if told.kind is Kind.BOOST:
        return _(
            "In the time of “%(name)s” an order of %(net)s earns %(amount)s.",
            name=told.name,
            net=net,
            amount=amount,
        )
    if told.kind is Kind.RECURRING:
        return _(
            "A later payment of %(net)s for a subscription earns %(amount)s.",
            net=net,
            amount=amount,
        )
    if told.name == BonusFor.CUSTOMER.value:
        return _(
            "If it is the buyer's first order, %(net)s earns %(amount)s with the bonus.",
            net=net,
            amount=amount,
        )
    return _(
        "If it is your first order, %(net)s earns %(amount)s with the bonus.",
        net=net,
        amount=amount,
    )


def _tier(told: Told, terms: CommissionTerms) -> str:
    net, amount = money(told.sale.net), money(told.level_1)
    assert terms.tiers is not None
    if terms.tiers.measure is Measure.ORDERS:
        return ngettext(
            "After %(num)s order in the period, the next one of %(net)s earns %(amount)s.",
            "After %(num)s orders in the period, the next one of %(net)s earns %(amount)s.",
            told.sale.volume,
            net=net,
            amount=amount,
        )
    return _(
        "After sales of %(volume)s in the period, the next order of %(net)s earns %(amount)s.",
        volume=money(Money(told.sale.volume, told.sale.net.currency)),
        net=net,
        amount=amount,
    )


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
    hour = format_time(time(program.payout_hour), "HH:mm", locale=locale)
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
