"""What an order earns, in words."""

from __future__ import annotations

from collections.abc import Iterator

from affiliate.core.money import Money
from affiliate.core.pages import money, percent
from affiliate.programs.language import _, ngettext
from affiliate.programs.models import Program
from affiliate.programs.terms import (
    Apply,
    BonusFor,
    Boost,
    CommissionRule,
    CommissionTerms,
    Customer,
    LevelTwo,
    Measure,
    Of,
    Percent,
    Period,
    PerItem,
    Tiers,
)
from affiliate.programs.words_rule import Rule, rate_in_words, span_in_words, who_in_words


def commission_in_words(terms: CommissionTerms, program: Program) -> Iterator[Rule]:
    """Every rule of what an order earns."""
    yield Rule("level_1", "receipt", _("What do I earn?"), _level_1(terms))
    if terms.tiers is not None:
        table = tuple(_bands(terms.tiers, program.currency))
        yield Rule(
            "tiers", "trending-up", _("Does more earn more?"), _tiers(terms.tiers), (), table
        )
    if terms.rules:
        points = tuple(_rule(rule, program.time_zone) for rule in terms.rules)
        yield Rule("rules", "list", _("What earns another rate?"), _rules(), points)
    if terms.recurring is not None:
        yield Rule(
            "recurring", "refresh", _("Later payments of a subscription?"), _recurring(terms)
        )
    if terms.bonus is not None:
        yield Rule("bonus", "gift", _("Is there a bonus?"), _bonus(terms))
    if terms.boosts:
        points = tuple(_boost(boost, program.time_zone) for boost in terms.boosts)
        yield Rule("boosts", "rocket", _("When is there more?"), _boosts(), points)
    limits = tuple(_limits(terms))
    if limits:
        yield Rule("caps", "adjustments", _("Is there a limit?"), _("Yes:"), limits)
    if terms.per_lead is not None or terms.per_click is not None:
        yield Rule(
            "actions", "click", _("Do clicks and leads earn?"), _("Yes:"), tuple(_acts(terms))
        )
    yield Rule("level_2", "users", _("What if I bring other affiliates?"), _level_2(terms))


def _level_1(terms: CommissionTerms) -> str:
    if isinstance(terms.level_1, Percent):
        return _(
            "%(rate)s of the net amount of every order credited to you. Net is what the buyer "
            "pays without shipping, fees and tax, after discounts.",
            rate=percent(terms.level_1.rate_ppm),
        )
    if isinstance(terms.level_1, PerItem):
        return _(
            "%(amount)s for every piece in an order credited to you, but never more than the net "
            "amount of the order (without shipping, fees and tax, after discounts).",
            amount=money(terms.level_1.amount),
        )
    return _(
        "%(amount)s for every order credited to you, but never more than the net amount of the "
        "order (without shipping, fees and tax, after discounts).",
        amount=money(terms.level_1.amount),
    )


def _tiers(tiers: Tiers) -> str:
    counted = {
        (Measure.SALES, Period.MONTH): _("It depends on your net sales of the calendar month."),
        (Measure.SALES, Period.QUARTER): _("It depends on your net sales of the quarter."),
        (Measure.SALES, Period.YEAR): _("It depends on your net sales of the calendar year."),
        (Measure.ORDERS, Period.MONTH): _("It depends on your orders of the calendar month."),
        (Measure.ORDERS, Period.QUARTER): _("It depends on your orders of the quarter."),
        (Measure.ORDERS, Period.YEAR): _("It depends on your orders of the calendar year."),
    }
    applied = {
        Apply.MARGINAL: _("A higher rate is paid for what lies above its edge."),
        Apply.WHOLE_PERIOD: _(
            "The rate that you reach is paid for the whole period; the difference is added at its "
            "end."
        ),
    }
    return f"{counted[tiers.measure, tiers.period]} {applied[tiers.apply]}"


def _bands(tiers: Tiers, currency: str) -> Iterator[tuple[str, str]]:
    for band in tiers.bands:
        if tiers.measure is Measure.SALES:
            begins = _("from %(amount)s", amount=money(Money(band.begins, currency)))
        else:
            begins = ngettext("from %(num)s order", "from %(num)s orders", band.begins)
        yield begins, percent(band.rate_ppm)


def _rules() -> str:
    return _("These, each instead of the rate above. Where several fit, the closest one counts.")


def _rule(rule: CommissionRule, zone: str) -> str:
    when = rule.when
    said = [
        _("products %(names)s", names=", ".join(sorted(when.products))) if when.products else "",
        _("categories %(names)s", names=", ".join(sorted(when.categories)))
        if when.categories
        else "",
        {
            None: "",
            Customer.NEW: _("buyers who never bought before"),
            Customer.EXISTING: _("buyers who bought before"),
        }[when.customer],
        who_in_words(when.who),
        span_in_words(when.begins, when.ends, zone),
    ]
    return _(
        "%(name)s: %(rate)s (%(conditions)s).",
        name=rule.name,
        rate=rate_in_words(rule.earns),
        conditions="; ".join(filter(None, said)),
    )


def _recurring(terms: CommissionTerms) -> str:
    assert terms.recurring is not None
    months, rate = terms.recurring.months, terms.recurring.earns
    earns = (
        _("They earn what any order earns")
        if rate is None
        else _("They earn %(rate)s", rate=rate_in_words(rate))
    )
    if months is None:
        return _("%(earns)s, as long as the buyer pays.", earns=earns)
    return ngettext(
        "%(earns)s, for %(num)s month after the first payment.",
        "%(earns)s, for %(num)s months after the first payment.",
        months,
        earns=earns,
    )


def _bonus(terms: CommissionTerms) -> str:
    assert terms.bonus is not None
    amount = money(terms.bonus.amount)
    if terms.bonus.first_of is BonusFor.CUSTOMER:
        return _("%(amount)s more for the first order of every buyer.", amount=amount)
    return _("%(amount)s more for your first order.", amount=amount)


def _boosts() -> str:
    return _("In these times. Where several fit, the one that gives you most counts.")


def _boost(boost: Boost, zone: str) -> str:
    more = (
        _("%(rate)s of the net more", rate=percent(boost.add_ppm))
        if boost.add_ppm
        else _("%(rate)s of what you earn otherwise", rate=percent(boost.times_ppm))
    )
    said = [span_in_words(boost.begins, boost.ends, zone), who_in_words(boost.who)]
    return _(
        "%(name)s: %(more)s (%(conditions)s).",
        name=boost.name,
        more=more,
        conditions="; ".join(filter(None, said)),
    )


def _limits(terms: CommissionTerms) -> Iterator[str]:
    per_order, per_period, budget = terms.caps.per_order, terms.caps.per_period, terms.budget
    if per_order is not None:
        yield _("An order earns you at most %(amount)s.", amount=money(per_order))
    if per_period is not None:
        words = {
            Period.MONTH: _("In a calendar month you earn at most %(amount)s at level 1."),
            Period.QUARTER: _("In a quarter you earn at most %(amount)s at level 1."),
            Period.YEAR: _("In a calendar year you earn at most %(amount)s at level 1."),
        }
        yield words[per_period.period] % {"amount": money(per_period.amount)}
    if budget is not None:
        budgets = {
            None: _("The program pays out at most %(amount)s to all affiliates."),
            Period.MONTH: _("The program pays at most %(amount)s to all affiliates in a month."),
            Period.QUARTER: _(
                "The program pays at most %(amount)s to all affiliates in a quarter."
            ),
            Period.YEAR: _("The program pays at most %(amount)s to all affiliates in a year."),
        }
        yield budgets[budget.period] % {"amount": money(budget.amount)}


def _acts(terms: CommissionTerms) -> Iterator[str]:
    if terms.per_lead is not None:
        yield _("%(amount)s for every lead that the shop confirms.", amount=money(terms.per_lead))
    if terms.per_click is not None:
        yield _(
            "%(amount)s for every unique click, counted daily; parts of the smallest coin add up.",
            amount=money(terms.per_click),
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
