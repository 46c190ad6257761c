"""The result of a trial as its page shows it: amounts, names and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.money import PPM, Money, divide_half_even, minor_unit_micros
from affiliate.core.pages import MINUS, money
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from tracker.attribution import words
from tracker.desks.account.filters import grown, number
from tracker.desks.manage.blueprint import ORDER
from tracker.desks.manage.replay_lists import days_of
from tracker.desks.manage.replay_picture import Picture, Slot, picture
from tracker.desks.words import _, ngettext
from tracker.replay.models import RuleReplay

ENDS_SHOWN: Final = 15
"""So many of those who gain most, and as many of those who lose most, stand on the page."""
EXAMPLES_SHOWN: Final = 20
NAMES_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Sides:
    """What was booked, and what it would be."""

    booked: Money
    would: Money

    @property
    def difference(self) -> Money:
        return self.would - self.booked

    @property
    def shown(self) -> Shown:
        return Shown(*map(rounded, (self.booked, self.would, self.difference)))


@dataclass(frozen=True, slots=True)
class Shown:
    """The same in whole smallest units: what stands on the page; the file has all digits."""

    booked: Money
    would: Money
    difference: Money


@dataclass(frozen=True, slots=True)
class Person:
    """What changes for one affiliate."""

    public: str
    name: str
    sides: Sides
    gained: int
    """Orders of which they would have credit and have none."""
    lost: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why credit would be gained or lost, and how often."""

    text: str
    orders: int


@dataclass(frozen=True, slots=True)
class Credit:
    """Somebody's part of an order."""

    public: str
    name: str
    part: str
    """Empty: the whole order."""


@dataclass(frozen=True, slots=True)
class Example:
    """An order that would earn otherwise."""

    public: str
    order_id: str
    placed_at: datetime
    before: list[Credit]
    after: list[Credit]
    sides: Sides
    changes_hands: bool
    why: list[str]


@dataclass(frozen=True, slots=True)
class Result:
    """What a trial found."""

    headline: str
    orders: int
    changed: int
    changed_hands: int
    cost: Sides
    levels: list[tuple[str, Sides]]
    picture: Picture
    currency: str
    people: list[Person]
    """By what they would have more, the most first; in the middle some may be left out."""
    touched: int
    """Of whom money or credit would differ."""
    gain: int
    """Who would have more, and below who less."""
    lose: int
    keep: int
    gained: list[Reason]
    lost: list[Reason]
    examples: list[Example]
    """Those of which most money moves, the most first."""
    examples_hidden: int
    """How many more of them are kept."""

    @property
    def nothing_changes(self) -> bool:
        return not (self.changed or self.touched)

    @property
    def people_hidden(self) -> int:
        return self.touched - len(self.people)

    @property
    def share(self) -> str:
        """`+12.3%` of what was booked; empty where nothing was, or nothing differs."""
        return _share(self.cost)

    def shown(self, slot: Slot) -> Shown:
        """The amounts of a place of the picture."""
        return _sides({"booked": slot.booked, "would": slot.would}, self.currency).shown


def read(
    session: Session, trial: RuleReplay, program: Program, *, all_examples: bool = False
) -> Result:
    """Everything that the page shows; the trial is done."""
    document = trial.result
    assert document is not None, "a trial that is done has a result"
    currency = program.currency
    touched = [each for each in _sorted(document["affiliates"]) if _is_touched(each[1])]
    shown = _ends(touched)
    examples = document["examples"][: None if all_examples else EXAMPLES_SHOWN]
    named = _names(session, {who for who, _each in shown} | _people_of(examples))
    cost = _sides(document["cost"], currency)
    days = {
        date.fromisoformat(day): (pair["booked"], pair["would"])
        for day, pair in document["days"].items()
    }
    return Result(
        headline=headline(document, currency),
        orders=document["orders"],
        changed=document["changed"],
        changed_hands=document["changed_hands"],
        cost=cost,
        levels=list(_levels(document["by_level"], currency)),
        picture=picture(days, *days_of(trial.begins, trial.ends, program.time_zone)),
        currency=currency,
        people=[_person(who, each, named, currency) for who, each in shown],
        touched=len(touched),
        gain=sum(each["would"] > each["booked"] for _who, each in touched),
        lose=sum(each["would"] < each["booked"] for _who, each in touched),
        keep=len(document["affiliates"]) - len(touched),
        gained=[_reason(each) for each in document["reasons"] if each["gains"]],
        lost=[_reason(each) for each in document["reasons"] if not each["gains"]],
        examples=[_example(each, named, currency) for each in examples],
        examples_hidden=len(document["examples"]) - len(examples),
    )


def everybody(trial: RuleReplay, currency: str) -> Iterator[Person]:
    """All affiliates who have or would have something, by what they would have more.

    Part by part out of the session of whoever takes the next one: a file is sent after its view
    has given its own back.
    """
    found = _sorted((trial.result or {}).get("affiliates", {}))
    for at in range(0, len(found), NAMES_AT_ONCE):
        part = found[at : at + NAMES_AT_ONCE]
        named = _names(db.session(), {who for who, _each in part})
        yield from (_person(who, each, named, currency) for who, each in part)


def rounded(amount: Money) -> Money:
    """To the currency's smallest unit, half to even; for showing alone."""
    unit = minor_unit_micros(amount.currency)
    return Money(divide_half_even(amount.micros, unit) * unit, amount.currency)


def headline(document: Mapping[str, Any], currency: str) -> str:
    """The result in one sentence."""
    if not document["orders"] and not any(document["cost"].values()):
        return _("No order was placed in these days, so that there was nothing to try.")
    orders = ngettext(
        "%(count)s order", "%(count)s orders", document["orders"], count=number(document["orders"])
    )
    moved = document["changed_hands"]
    hands = (
        ngettext(
            "%(count)s would change hands", "%(count)s would change hands", moved,
            count=number(moved),
        )
        if moved
        else _("none would change hands")
    )  # fmt: skip
    cost = _sides(document["cost"], currency)
    by = cost.difference
    if not by:
        values = {"amount": money(rounded(cost.would)), "orders": orders, "hands": hands}
        return _(
            "The draft would have cost the same, %(amount)s, for %(orders)s; %(hands)s.", **values
        )
    share = f" ({_share(cost)})" if _share(cost) else ""
    values = {
        "amount": money(_size(by)),
        "share": share,
        "orders": orders,
        "hands": hands,
    }
    if by.micros > 0:
        return _(
            "The draft would have cost %(amount)s more%(share)s for %(orders)s; %(hands)s.",
            **values,
        )
    return _(
        "The draft would have cost %(amount)s less%(share)s for %(orders)s; %(hands)s.", **values
    )


def _size(by: Money) -> Money:
    """How much, without its sign; where rounding would leave nothing, all of its digits."""
    size = by if by.micros > 0 else -by
    return rounded(size) or size


def _share(cost: Sides) -> str:
    booked, by = cost.booked.micros, cost.difference.micros
    if booked <= 0 or not by:
        return ""
    told = grown(divide_half_even(abs(by) * PPM, booked))
    return f"{'+' if by > 0 else MINUS}{told}"


def _levels(by_level: Mapping[str, Any], currency: str) -> Iterator[tuple[str, Sides]]:
    names = {
        "level_1": _("Level 1"),
        "level_2": _("Level 2"),
        "make_up": _("Make-up of whole periods"),
    }
    for name, pair in by_level.items():
        if name != "make_up" or any(pair.values()):  # Few programs have such tiers.
            yield names[name], _sides(pair, currency)


def _sorted(affiliates: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """By what each would have more, the most first."""
    found = [(int(who), each) for who, each in affiliates.items()]
    return sorted(found, key=lambda each: (each[1]["booked"] - each[1]["would"], each[0]))


def _is_touched(each: Mapping[str, int]) -> bool:
    """Whether their money or their credit would differ."""
    return bool(each["booked"] != each["would"] or each["orders_gained"] or each["orders_lost"])


def _ends(touched: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Who gains most and who loses most."""
    if len(touched) <= 2 * ENDS_SHOWN:
        return touched
    return [*touched[:ENDS_SHOWN], *touched[-ENDS_SHOWN:]]


def _person(who: int, each: Mapping[str, Any], named: Mapping[int, str], currency: str) -> Person:
    public = people_ids.public(who)
    return Person(
        public,
        named.get(who, public),
        _sides(each, currency),
        each["orders_gained"],
        each["orders_lost"],
    )


def _reason(each: Mapping[str, Any]) -> Reason:
    if each["reason"]:
        told = words.reason(each["reason"])
    elif each["gains"]:
        told = _("nothing in the earlier decision speaks against them.")
    else:
        told = _("the order is divided in other parts.")
    return Reason(told[:1].upper() + told[1:], each["orders"])


def _example(each: Mapping[str, Any], named: Mapping[int, str], currency: str) -> Example:
    before, after = _weights(each["before"]), _weights(each["after"])
    booked, would = (
        Money(sum(one["micros"] for one in each[side]), currency) for side in ("booked", "would")
    )
    return Example(
        public=ids.public_id(ORDER, each["order_row_id"]),
        order_id=each["order_id"],
        placed_at=datetime.fromisoformat(each["placed_at"]),
        before=_credits(before, named),
        after=_credits(after, named),
        sides=Sides(booked, would),
        changes_hands=before != after,
        why=[_why(one, before, after, named) for one in each["why"]],
    )


def _credits(weights: Mapping[int, str], named: Mapping[int, str]) -> list[Credit]:
    found = []
    for who, weight in weights.items():
        public = people_ids.public(who)
        part = "" if Fraction(weight) == 1 else words.weight(weight)
        found.append(Credit(public, named.get(who, public), part))
    return found


def _why(
    each: Mapping[str, Any],
    before: Mapping[int, str],
    after: Mapping[int, str],
    named: Mapping[int, str],
) -> str:
    """Why somebody would have more or less of the credit."""
    who = each["enrollment_id"]
    name = named.get(who, people_ids.public(who))
    line = words.sentence(each["line"]) if each["line"] else ""
    if who not in before:
        gains = _("%(name)s would be credited.", name=name)
        return gains + " " + _("So far: %(why)s", why=line) if line else gains
    by_draft = " " + _("By the draft: %(why)s", why=line) if line else ""
    if who not in after:
        return _("%(name)s would not be credited.", name=name) + by_draft
    parts = {"before": words.weight(before[who]), "after": words.weight(after[who])}
    told = _("The part of %(name)s would be %(after)s instead of %(before)s.", name=name, **parts)
    return told + by_draft if Fraction(after[who]) < Fraction(before[who]) else told


def _weights(stored: Mapping[str, str]) -> dict[int, str]:
    return {int(who): weight for who, weight in stored.items()}


def _people_of(examples: Iterable[Mapping[str, Any]]) -> set[int]:
    return {int(who) for each in examples for side in ("before", "after") for who in each[side]}


def _names(session: Session, wanted: set[int]) -> dict[int, str]:
    query = (
        sa.select(Enrollment.id, Affiliate.name)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Enrollment.id.in_(wanted))
    )
    return {row.id: row.name for row in session.execute(query)}


def _sides(pair: Mapping[str, int], currency: str) -> Sides:
    return Sides(Money(pair["booked"], currency), Money(pair["would"], currency))
