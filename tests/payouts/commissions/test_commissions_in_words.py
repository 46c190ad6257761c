"""The examples of docs/rules.md, "Levels", are read out of the page and computed.

A fenced block of `key: value` lines is one example; the word behind the fence says of what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commission_world import (
    AT,
    amount,
    credit,
    fixed,
    item,
    per_item,
    percent,
    rub,
    rule,
    sale,
    terms,
    tiers,
)

from affiliate.core.money import Money
from affiliate.programs.terms import (
    Apply,
    Bonus,
    BonusFor,
    Boost,
    Caps,
    Customer,
    LevelTwo,
    Measure,
    Of,
    Period,
    PeriodCap,
    Rate,
    Recurring,
    Tiers,
    Who,
)
from payouts.commissions.budgets import Due, within_budget
from payouts.commissions.counted import clicks_commission, lead_commissions
from payouts.commissions.rules import Earned, commissions_of
from payouts.commissions.sale import Subscription
from payouts.commissions.tiers import TierSale, make_up_reversal, tier_make_up

PAGE = Path(__file__).resolve().parents[3] / "docs" / "rules.md"
PAID: dict[str, Any] = {"enrollment_id": 1, "rule_version_id": 1, "currency": "RUB"}
DAY = timedelta(days=1)

Lines = list[tuple[str, str]]


def section() -> str:
    """The text under "## Levels"."""
    found = re.search(r"^## Levels\n(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, "docs/rules.md has a section Levels"
    return found[1]


def examples() -> Iterator[tuple[str, str, Lines]]:
    """Each example with its heading and kind."""
    heading = "Levels"
    for match in re.finditer(
        r"^### ([^\n]+)$|^```([a-z-]+)\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL
    ):
        if match[1]:
            heading = match[1]
            continue
        lines = [
            tuple(part.strip() for part in line.split(":", 1)) for line in match[3].split("\n")
        ]
        yield heading, match[2], [line for line in lines if len(line) == 2]  # type: ignore[misc]


EXAMPLES = list(examples())


def test_every_heading_has_an_example() -> None:
    headings = ["Levels", *re.findall(r"^### (.+)$", section(), re.MULTILINE)]
    assert headings == list(dict.fromkeys(heading for heading, _, _ in EXAMPLES))
    assert len(re.findall(r"^```", section(), re.MULTILINE)) == 2 * len(EXAMPLES)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [(kind, lines) for _, kind, lines in EXAMPLES],
    ids=[f"{heading}-{i}" for i, (heading, _, _) in enumerate(EXAMPLES)],
)
def test_an_example_of_the_page_comes_out_as_written(kind: str, lines: Lines) -> None:
    KINDS[kind](lines)


def _commission(lines: Lines) -> None:
    of: dict[str, Any] = {"rules": (), "boosts": (), "caps": Caps()}
    whole: dict[str, Any] = {"items": (), "net": None}
    theirs: dict[str, Any] = {}
    shares, expected = ["1"], {}
    for key, value in lines:
        if key.startswith("rule "):
            of["rules"] += (_rule(key.removeprefix("rule "), value),)
        elif key in ("level 1 earns", "level 2 earns"):
            expected[int(key[6])] = [_earned(each) for each in value.split(", ")]
        elif key == "shares":
            shares = value.split(", ")
        elif key == "sold before":
            theirs["volume"] = value
        elif key == "recruiter buys":
            theirs["recruiter_buys_by"] = "email"
        elif key == "earned before":
            theirs["earned_in_period"] = rub(value)
        elif key == "item":
            sku, category, pieces, net = value.split(", ")
            whole["items"] += (item(sku, net, category, int(pieces.split()[0])),)
        elif key in ("net", "placed", "first payment"):
            whole |= _of_the_order(key, value)
        else:
            of |= _term(key, value, of)
    if "volume" in theirs:
        orders = of["tiers"].measure is Measure.ORDERS
        theirs["volume"] = int(theirs["volume"]) if orders else rub(theirs["volume"]).micros
    bonus = {"first_of_customer": "bonus" in of}
    credits = [
        credit(terms(**of), number, share, recruiter_id=99, **theirs)
        for number, share in enumerate(shares, 1)
    ]
    found = commissions_of(sale(whole.pop("net"), *credits, **whole, **bonus))
    for level in (1, 2):
        assert [amount(each) for each in found if each.level == level] == expected.get(level, [])


def _earned(text: str) -> str:
    """An amount as the engine prints it, or the reason for which there is none."""
    return text if text.isidentifier() else rub(text).decimal


def _of_the_order(key: str, value: str) -> dict[str, Any]:
    if key == "net":
        return {"net": value}
    if key == "placed":
        return {"placed_at": datetime.fromisoformat(value)}
    return {"subscription": Subscription(2, datetime.fromisoformat(value))}


def _term(key: str, value: str, of: dict[str, Any]) -> dict[str, Any]:
    if key == "level 1":
        return {"level_1": _rate(value)}
    if key == "level 2":
        rate, _, what = value.partition(" of the ")
        return {"level_2": LevelTwo(Of(what), _rate(rate).rate_ppm)}  # type: ignore[union-attr]
    if key == "tiers":
        return {"tiers": _tiers(value)}
    if key == "later payments":
        rate, _, months = value.partition(" for ")
        return {"recurring": Recurring(int(months.split()[0]), _rate(rate))}
    if key == "boost":
        more = value.endswith(" more")
        rate_ppm = percent(value.removesuffix(" more").removesuffix(" %")).rate_ppm
        what = {"add_ppm": rate_ppm} if more else {"times_ppm": rate_ppm}
        return {"boosts": (*of["boosts"], Boost(value, Who(), AT - DAY, AT + DAY, **what))}
    if key == "bonus":
        return {"bonus": Bonus(rub(value), BonusFor.CUSTOMER)}
    if key == "cap":
        limit, _, per = value.partition(" a")
        if per == "n order":
            return {"caps": Caps(rub(limit), of["caps"].per_period)}
        return {"caps": Caps(of["caps"].per_order, PeriodCap(rub(limit), Period(per.strip())))}
    raise ValueError(f"the page says {key!r}, which no example knows")


def _rate(text: str) -> Rate:
    if text.startswith("fixed "):
        return fixed(text.removeprefix("fixed "))
    if text.startswith("per item "):
        return per_item(text.removeprefix("per item "))
    assert text.endswith(" %"), text
    return percent(text.removesuffix(" %"))


def _rule(name: str, text: str) -> Any:
    found = re.fullmatch(
        r"(?P<rate>.+? %|fixed \S+|per item \S+)"
        r"(?: for affiliate (?P<affiliate>\d+))?(?: for group (?P<group>\S+))?"
        r"(?: for product (?P<product>\S+))?(?: for category (?P<category>\S+))?"
        r"(?: for (?P<customer>new|existing) customers)?"
        r"(?: from (?P<begins>\S+) to (?P<ends>\S+))?",
        text,
    )
    assert found is not None, text
    named: dict[str, Any] = {}
    for word, key in (("group", "groups"), ("product", "products"), ("category", "categories")):
        if found[word]:
            named[key] = [found[word]]
    if found["affiliate"]:
        named["enrollments"] = [int(found["affiliate"])]
    if found["customer"]:
        named["customer"] = Customer(found["customer"])
    if found["begins"]:
        named |= {key: datetime.fromisoformat(found[key]) for key in ("begins", "ends")}
    return rule(name, _rate(found["rate"]), **named)


def _tiers(text: str) -> Tiers:
    parts = text.split(", ")
    bands = [tuple(part.removesuffix(" %").split(" at ")) for part in parts if " at " in part]
    words = [part for part in parts if " at " not in part]
    apply = {"marginal": Apply.MARGINAL, "whole period": Apply.WHOLE_PERIOD}[words[0]]
    measure = Measure(words[1]) if words[1:] else Measure.SALES
    return tiers(*bands, apply=apply, measure=measure)  # type: ignore[arg-type]


def _make_up(lines: Lines) -> None:
    of = _tiers(dict(lines)["tiers"])
    orders = [value.split(" earned ") for key, value in lines if key == "order"]
    sales = [TierSale(rub(base), rub(earned)) for base, earned in orders]
    volume = sum(sale.base.micros for sale in sales)
    found = tier_make_up(of, **PAID, volume=volume, sales=sales)
    assert amount(found) == _earned(dict(lines)["make-up"])
    already = rub("0")
    for refunded, taken_back in zip(
        [value for key, value in lines if key == "refunded later"],
        [value for key, value in lines if key == "taken back"],
        strict=True,
    ):
        back, first = rub(refunded.removesuffix(" of the first")), sales[0]
        left = TierSale(
            first.base - back, first.earned - first.earned.fraction(back.micros, first.base.micros)
        )
        assert isinstance(found, Earned)
        taken = make_up_reversal(
            frozen=found.amount, rate_ppm=found.rate_ppm or 0, sales=[left, *sales[1:]],
            already=already,
        )  # fmt: skip
        assert taken == rub(taken_back)
        already += taken


def _lead(lines: Lines) -> None:
    said = dict(lines)
    credits = [
        credit(
            replace(terms(), per_lead=rub(said["each"]), caps=_caps(said)), number, share,
            earned_in_period=_before(said),
        )
        for number, share in enumerate(said.get("shares", "1").split(", "), 1)
    ]  # fmt: skip
    found = lead_commissions(credits, currency="RUB")
    assert [amount(one) for one in found] == [_earned(one) for one in said["earns"].split(", ")]


def _clicks(lines: Lines) -> None:
    said = dict(lines)
    found = clicks_commission(
        rub(said["each"]), unique_clicks=int(said["clicks"]),
        before=int(said.get("booked before", 0)), cap=_caps(said).per_period,
        earned_in_period=_before(said), **PAID,
    )  # fmt: skip
    assert amount(found) == _earned(said["earns"])


def _caps(said: dict[str, str]) -> Caps:
    return _term("cap", said["cap"], {"caps": Caps()})["caps"] if "cap" in said else Caps()


def _before(said: dict[str, str]) -> Money | None:
    return rub(said["earned before"]) if "earned before" in said else None


def _budget(lines: Lines) -> None:
    said = {key: [rub(each) for each in value.split(", ")] for key, value in lines}
    due = [Due(number, AT, each) for number, each in enumerate(said["due"])]
    found = within_budget(due, budget=said["budget"][0], released=rub("0"))
    assert [due[number].amount for number in found.released] == said["released"]
    assert [due[number].amount for number in found.waiting] == said["waiting"]


KINDS: dict[str, Callable[[Lines], None]] = {
    "commission": _commission,
    "make-up": _make_up,
    "lead": _lead,
    "clicks": _clicks,
    "budget": _budget,
}
