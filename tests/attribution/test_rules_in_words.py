"""The examples of docs/rules.md, "Whose order it is": the page says what the engine does.

A block fenced as `attribution` is an example. Its lines: `rules` and `order` set something,
a name and what that affiliate did, `credit`, `why`, `held`, `existing` and `of <amount>` say
what comes of it. A line that is not understood fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from affiliate.core.money import Money
from affiliate.programs.terms import (
    CouponPolicy,
    CustomerPolicy,
    Evidence,
    ExcludedSources,
    Model,
    Position,
    Who,
    WindowFor,
)
from tests.attribution.cases import ORDER, PLACED, TERMS, bound, click, coupon, email
from tracker.attribution.passing import CHECKS
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    Candidate,
    Check,
    Kind,
    Reason,
    Step,
    attribute,
    bound_until,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "rules.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Whose order it is") : PAGE.index("## Which clicks count")]
EXAMPLES = re.findall(r"^```attribution\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)
NAMES = ("Anna", "Boris", "Clara", "Dora")


@dataclass
class Example:
    """What a block sets and what it says will come of it."""

    terms: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)
    known: list[Candidate] = field(default_factory=list)
    credit: dict[str, Fraction] | Reason | None = None
    why: set[tuple[str, Reason]] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    existing: set[str] = field(default_factory=set)
    amounts: dict[str, dict[str, str]] = field(default_factory=dict)


def number_of(name: str) -> int:
    return NAMES.index(name) + 1


def duration(text: str) -> timedelta:
    """`2 days`, `30 days + 1 microsecond`."""
    found = timedelta()
    for part in text.split(" + "):
        count, unit = part.split()
        found += timedelta(**{unit.rstrip("s") + "s": int(count)})
    return found


def moment(text: str) -> datetime:
    """`2 days before`, `1 microsecond after` the order."""
    ago, word = text.rsplit(maxsplit=1)
    assert word in {"before", "after"}, text
    return PLACED - duration(ago) if word == "before" else PLACED + duration(ago)


def ppm(text: str) -> int:
    return int(text.removesuffix(" %")) * 10_000


def read_rules(text: str, into: dict[str, Any]) -> None:
    position = Position()
    for setting in text.split(", "):
        name, _, value = setting.partition(" ")
        if name == "model":
            into["model"] = Model(value)
        elif setting.startswith("window of "):
            group, length = value.removeprefix("of ").split(" ", 1)
            into["windows"] = (WindowFor(Who(frozenset({group})), duration(length)),)
        elif name == "window":
            into["window"] = duration(value)
        elif name == "half-life":
            into["half_life"] = duration(value)
        elif name == "coupon":
            policy, _, share = value.partition(" ")
            into["coupon"] = CouponPolicy(policy)
            if share:
                into["coupon_share_ppm"] = ppm(share)
        elif name in {"first", "last"}:
            position = replace(position, **{f"{name}_ppm": ppm(value)})
            into["position"] = position
        elif name == "existing":
            into["existing_customer"] = CustomerPolicy(value)
        elif name == "seconds":
            into["seconds_min"] = int(value)
        elif name == "excluded":
            into["excluded"] = ExcludedSources(frozenset({value}))
        elif name == "evidence":
            steps = [step.split(" + ") for step in value.split(" > ")]
            into["evidence"] = tuple(tuple(Evidence(kind) for kind in step) for step in steps)
        else:
            pytest.fail(f"rules that nobody understands: {setting}")


def read_order(text: str, into: dict[str, Any]) -> None:
    if text == "declined":
        into["review_declined"] = True
    elif text.startswith("customer since "):
        into["customer_since"] = moment(text.removeprefix("customer since "))
    elif text.startswith("assigned to "):
        into["assigned_to"] = number_of(text.removeprefix("assigned to "))
    else:
        pytest.fail(f"an order that nobody understands: {text}")


def read_candidate(who: int, text: str) -> Candidate:
    did, *more = text.split(", ")
    word, _, when = did.partition(" ")
    make = {"clicked": click, "bound": bound, "address": email}.get(word)
    found = make(PLACED - moment(when), who) if make else coupon(who)
    assert make or did == "coupon", did
    for one in more:
        if one.startswith("group "):
            found = replace(found, group=one.removeprefix("group "))
        elif one.startswith("from "):
            found = replace(found, referrer_host=one.removeprefix("from "))
        elif one.startswith("until "):
            found = replace(found, valid_until=moment(one.removeprefix("until ")))
        elif one.startswith("is the buyer by "):
            found = replace(found, buyer_by=BuyerBy(one.removeprefix("is the buyer by ")))
        else:
            pytest.fail(f"a candidate that nobody understands: {one}")
    return found


def read_credit(text: str) -> dict[str, Fraction] | Reason:
    if text.startswith("nobody: "):
        return Reason(text.removeprefix("nobody: "))
    return {name: Fraction(part) for name, part in (one.split() for one in text.split(", "))}


def read(block: str) -> Example:
    found = Example()
    for line in block.splitlines():
        word, text = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        if word == "rules":
            read_rules(text, found.terms)
        elif word == "order":
            read_order(text, found.order)
        elif word in NAMES:
            found.known.append(read_candidate(number_of(word), text))
        elif word == "credit":
            found.credit = read_credit(text)
        elif word == "why":
            found.why = {(n, Reason(r)) for n, r in (one.split() for one in text.split(", "))}
        elif word in {"held", "existing"}:
            setattr(found, word, set(text.split(", ")))
        elif word.startswith("of "):
            parts = (one.split() for one in text.split(", "))
            found.amounts[word.removeprefix("of ")] = {part[0]: part[1] for part in parts}
        else:
            pytest.fail(f"a line that nobody understands: {line}")
    return found


@pytest.mark.parametrize("block", EXAMPLES)
def test_an_example_of_the_page_comes_out_as_it_says(block: str) -> None:
    said = read(block)
    found = attribute(replace(ORDER, **said.order), said.known, replace(TERMS, **said.terms))
    lost = {
        (NAMES[(line.enrollment_id or 0) - 1], line.reason)
        for line in found.trace
        if line.outcome in {Step.LOST, Step.REMOVED}
    }
    assert said.why <= lost
    if not isinstance(found, Attribution):
        assert found.reason is said.credit
        return
    shares = {NAMES[share.enrollment_id - 1]: share for share in found.shares}
    assert {name: share.weight for name, share in shares.items()} == said.credit
    assert {name for name, share in shares.items() if share.review_reason} == said.held
    assert {name for name, share in shares.items() if share.existing_customer} == said.existing
    for amount, parts in said.amounts.items():
        split = Money.parse(amount, "RUB").allocate([share.weight for share in found.shares])
        assert dict(zip(shares, split, strict=True)) == {
            name: Money(round(Fraction(part) * 1_000_000), "RUB") for name, part in parts.items()
        }


def test_the_page_has_an_example_of_every_model_and_policy() -> None:
    examples = [read(block) for block in EXAMPLES]
    assert len(examples) >= 25
    said = [value for one in examples for value in one.terms.values()]
    assert set(Model) <= set(said)
    assert {CouponPolicy.WINS, CouponPolicy.SHARES, CustomerPolicy.REFUSES} <= set(said)


def test_the_page_names_the_checks_in_their_order_and_the_binding_of_january() -> None:
    assert re.findall(r"^\d+\. `(\w+)`:", SECTION, flags=re.MULTILINE) == [
        check.value for check, _ in CHECKS
    ]
    assert "bound on 31 January for a month, until 28 February" in " ".join(SECTION.split())
    end = bound_until(datetime(2026, 1, 31, 9, 30, tzinfo=UTC), 1)
    assert end == datetime(2026, 2, 28, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bound_at", "months", "end"),
    [
        ("2026-01-15", 1, "2026-02-15"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2027-12-31", 2, "2028-02-29"),  # a leap year
        ("2026-11-30", 1, "2026-12-30"),
        ("2026-12-01", 12, "2027-12-01"),
        ("2026-12-01", 1, "2027-01-01"),
        ("2026-05-31", 25, "2028-06-30"),
    ],
)
def test_a_binding_ends_so_many_calendar_months_later(bound_at: str, months: int, end: str) -> None:
    at = datetime.fromisoformat(f"{bound_at}T07:15:00.000001+00:00")
    assert bound_until(at, months) == datetime.fromisoformat(f"{end}T07:15:00.000001+00:00")


def test_a_binding_for_life_has_no_end() -> None:
    assert bound_until(PLACED, None) is None


def test_the_api_names_every_code_of_a_trace() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    section = page[page.index("### What a trace says") : page.index("A commission's `waits_for`")]
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", section))))
    every = [*Kind, *Check, *Step, *Reason, *BuyerBy]
    assert {code.value for code in every} <= said
