"""The part `commission` of the rules' document: what an order earns. Pure.

Rule: docs/rules.md, "The rule document".
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validates_schema

from affiliate.core.errors import Phrase
from affiliate.core.fields import MomentField, moment_json
from affiliate.core.money import PPM, Money
from affiliate.programs import terms_checks
from affiliate.programs.terms import (
    BOOST_TIMES_MAX,
    BOOSTS_MAX,
    MONTHS_MAX,
    NAME_CHARS_MAX,
    RULES_MAX,
    Bonus,
    BonusFor,
    Boost,
    Budget,
    Caps,
    CommissionRule,
    CommissionTerms,
    Customer,
    Fixed,
    LevelTwo,
    Of,
    Percent,
    Period,
    PeriodCap,
    PerItem,
    Recurring,
    When,
)
from affiliate.programs.terms_fields import (
    Amount,
    Choice,
    Label,
    Part,
    Rate,
    Whole,
    affiliates,
    names,
    refuse_together,
    several_parts,
    take_who,
    who_document,
    wrong,
)
from affiliate.programs.terms_tiers import TiersPart, tiers_document

KINDS = {"percent": "rate_ppm", "fixed": "amount", "per_item": "amount"}
"""What level 1 and rules can earn, and the field that says how much."""


class EarnsPart(Part):
    kind = fields.String(required=True)
    rate_ppm = Rate()
    amount = Amount()

    @validates_schema
    def _fits_its_kind(self, values: dict[str, Any], **_: Any) -> None:
        kind = values["kind"]
        if kind not in KINDS:
            raise wrong(
                "kind", "unknown_choice", Phrase("One of: %(choices)s.", choices=", ".join(KINDS))
            )
        wanted = KINDS[kind]
        other = "amount" if wanted == "rate_ppm" else "rate_ppm"
        if wanted not in values:
            raise wrong(wanted, "required", Phrase("A %(kind)s commission needs it.", kind=kind))
        if other in values:
            raise wrong(other, "not_read", Phrase("A %(kind)s commission has none.", kind=kind))

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Percent | Fixed | PerItem:
        if values["kind"] == "percent":
            return Percent(values["rate_ppm"])
        return (Fixed if values["kind"] == "fixed" else PerItem)(values["amount"])


class LevelTwoPart(Part):
    of = Choice(Of, required=True)
    rate_ppm = Rate(1, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> LevelTwo:
        return LevelTwo(**values)


class WhenPart(Part):
    groups = names(NAME_CHARS_MAX)
    affiliates = affiliates()
    products = names()
    categories = names()
    customer = Choice(Customer, allow_none=True, load_default=None)
    begins = MomentField(data_key="from", allow_none=True, load_default=None)
    ends = MomentField(data_key="until", allow_none=True, load_default=None)

    @validates_schema
    def _asks_for_something(self, values: dict[str, Any], **_: Any) -> None:
        if not any(values.values()):
            raise wrong("groups", "nothing_named", "Name at least one condition; what every order "
                        "earns is level_1.")  # fmt: skip
        if values["begins"] and values["ends"] and values["begins"] >= values["ends"]:
            raise wrong("until", "not_after", "It ends before it begins; until is later than from.")

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> When:
        who, products = take_who(values), frozenset(values.pop("products"))
        return When(who, products, frozenset(values.pop("categories")), **values)


class RulePart(Part):
    name = Label(NAME_CHARS_MAX, required=True)
    when = fields.Nested(WhenPart, required=True)
    earns = fields.Nested(EarnsPart, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> CommissionRule:
        return CommissionRule(**values)


class RecurringPart(Part):
    months = Whole(1, MONTHS_MAX, required=True, allow_none=True)
    earns = fields.Nested(EarnsPart, allow_none=True, load_default=None)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Recurring:
        return Recurring(**values)


class BonusPart(Part):
    amount = Amount(above_zero=True, required=True)
    first_of = Choice(BonusFor, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Bonus:
        return Bonus(**values)


class BoostPart(Part):
    name = Label(NAME_CHARS_MAX, required=True)
    groups = names(NAME_CHARS_MAX)
    affiliates = affiliates()
    begins = MomentField(data_key="from", required=True)
    ends = MomentField(data_key="until", required=True)
    add_ppm = Rate(1)
    times_ppm = Rate(PPM + 1, BOOST_TIMES_MAX * PPM)

    @validates_schema
    def _gives_one_thing(self, values: dict[str, Any], **_: Any) -> None:
        if values["begins"] >= values["ends"]:
            raise wrong("until", "not_after", "It ends before it begins; until is later than from.")
        if ("add_ppm" in values) == ("times_ppm" in values):
            raise wrong("add_ppm", "one_of_two", "Write either add_ppm or times_ppm.")

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Boost:
        return Boost(who=take_who(values), **values)


class PeriodCapPart(Part):
    amount = Amount(above_zero=True, required=True)
    period = Choice(Period, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> PeriodCap:
        return PeriodCap(**values)


class CapsPart(Part):
    per_order = Amount(above_zero=True, allow_none=True, load_default=None)
    per_period = fields.Nested(PeriodCapPart, allow_none=True, load_default=None)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Caps:
        return Caps(**values)


class BudgetPart(Part):
    amount = Amount(above_zero=True, required=True)
    period = Choice(Period, required=True, allow_none=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Budget:
        return Budget(**values)


class CommissionPart(Part):
    level_1 = fields.Nested(EarnsPart, required=True)
    level_2 = fields.Nested(LevelTwoPart, required=True, allow_none=True)
    rules = several_parts(RulePart, RULES_MAX)
    tiers = fields.Nested(TiersPart, allow_none=True, load_default=None)
    recurring = fields.Nested(RecurringPart, allow_none=True, load_default=None)
    bonus = fields.Nested(BonusPart, allow_none=True, load_default=None)
    boosts = several_parts(BoostPart, BOOSTS_MAX)
    caps = fields.Nested(CapsPart, load_default=Caps)
    budget = fields.Nested(BudgetPart, allow_none=True, load_default=None)
    per_lead = Amount(above_zero=True, allow_none=True, load_default=None)
    per_click = Amount(above_zero=True, fine=True, allow_none=True, load_default=None)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> CommissionTerms:
        rules, boosts = tuple(values.pop("rules")), tuple(values.pop("boosts"))
        terms = CommissionTerms(rules=rules, boosts=boosts, **values)
        refuse_together(terms_checks.what_does_not_fit(terms))
        return terms


def commission_document(terms: CommissionTerms) -> dict[str, Any]:
    """The part of the document, every setting written out."""
    level_2, recurring, bonus = terms.level_2, terms.recurring, terms.bonus
    cap, budget = terms.caps.per_period, terms.budget
    return {
        "level_1": _earns(terms.level_1),
        "level_2": level_2 and {"of": level_2.of.value, "rate_ppm": level_2.rate_ppm},
        "rules": [
            {"name": rule.name, "when": _when(rule.when), "earns": _earns(rule.earns)}
            for rule in terms.rules
        ],
        "tiers": terms.tiers and tiers_document(terms.tiers),
        "recurring": recurring
        and {"months": recurring.months, "earns": recurring.earns and _earns(recurring.earns)},
        "bonus": bonus and {"amount": bonus.amount.decimal, "first_of": bonus.first_of.value},
        "boosts": [_boost(boost) for boost in terms.boosts],
        "caps": {
            "per_order": _amount(terms.caps.per_order),
            "per_period": cap and {"amount": cap.amount.decimal, "period": cap.period.value},
        },
        "budget": budget
        and {
            "amount": budget.amount.decimal,
            "period": budget.period and budget.period.value,
        },
        "per_lead": _amount(terms.per_lead),
        "per_click": _amount(terms.per_click),
    }


def _earns(rate: Percent | Fixed | PerItem) -> dict[str, Any]:
    if isinstance(rate, Percent):
        return {"kind": "percent", "rate_ppm": rate.rate_ppm}
    kind = "fixed" if isinstance(rate, Fixed) else "per_item"
    return {"kind": kind, "amount": rate.amount.decimal}


def _when(when: When) -> dict[str, Any]:
    """The conditions that are named, and those alone."""
    named = {
        **who_document(when.who),
        "products": sorted(when.products),
        "categories": sorted(when.categories),
        "customer": when.customer and when.customer.value,
        "from": when.begins and moment_json(when.begins),
        "until": when.ends and moment_json(when.ends),
    }
    return {name: value for name, value in named.items() if value}


def _boost(boost: Boost) -> dict[str, Any]:
    more = {"add_ppm": boost.add_ppm} if boost.add_ppm else {"times_ppm": boost.times_ppm}
    return {
        "name": boost.name,
        **who_document(boost.who),
        "from": moment_json(boost.begins),
        "until": moment_json(boost.ends),
        **more,
    }


def _amount(amount: Money | None) -> str | None:
    return None if amount is None else amount.decimal
