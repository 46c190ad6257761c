"""What holds of every attribution, whatever was known of the order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affiliate.core.money import PPM, Money
from affiliate.programs.terms import (
    EVIDENCE_DEFAULT,
    AttributionTerms,
    CouponPolicy,
    CustomerPolicy,
    Evidence,
    ExcludedSources,
    Model,
    Position,
    Who,
    WindowFor,
)
from tests.attribution.cases import ORDER, PLACED, TERMS, bound, click, coupon, email, visit
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    Candidate,
    OrderFacts,
    Step,
    Unattributed,
    attribute,
)
from tracker.attribution.snapshot import (
    candidates_from,
    facts_from,
    share_document,
    snapshot_of,
    trace_document,
)
from tracker.clicks.rules import DropReason

# Values are cheap, but many machines are busy: how long an example takes says nothing.
often = settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# A value is read out of one drawn number: a draw for each of its fields made an example cost
# ten times as much. Lists of them still shrink.
seeds = st.integers(0, 2**32)
microseconds = st.integers(-400 * 10**6, 45 * 86_400 * 10**6).map(
    lambda count: timedelta(microseconds=count)
)
DAYS = [timedelta(0), timedelta(days=1), timedelta(days=30)]
HOSTS = ["blog.example", "coupons.example", "a.shop.example"]
ANYTHING: dict[str, Callable[[Random], Any]] = {
    "genuine": lambda chance: chance.random() < 0.9,
    "in_program": lambda chance: chance.random() < 0.9,
    "active": lambda chance: chance.random() < 0.9,
    "loaded": lambda chance: chance.random() < 0.5,
    "unrecorded": lambda chance: chance.random() < 0.1,
    "paid_search": lambda chance: chance.random() < 0.1,
    "group": lambda chance: chance.choice(["vip", "new"]),
    "buyer_by": lambda chance: chance.choice([None, None, None, *BuyerBy]),
    "disabled_at": lambda chance: PLACED - age(chance),
    "valid_until": lambda chance: PLACED - age(chance),
    "drop": lambda chance: chance.choice([None] * 6 + list(DropReason)),
    "referrer_host": lambda chance: chance.choice(HOSTS),
}


def age(chance: Random) -> timedelta:
    minutes = timedelta(minutes=chance.randint(-10, 45 * 24 * 60))
    return chance.choice([*DAYS, minutes, minutes, minutes])


def candidate(seed: int) -> Candidate:
    chance = Random(seed)
    who, ago = chance.randint(1, 4), age(chance)
    more = {name: make(chance) for name, make in ANYTHING.items() if chance.random() < 0.2}
    make = chance.choice([click, click, click, visit, bound, email, None])
    return make(ago, who, **more) if make else coupon(who, **more)


def order_of_evidence(chance: Random) -> tuple[tuple[Evidence, ...], ...]:
    kinds = list(Evidence)
    chance.shuffle(kinds)
    ends = sorted({chance.randint(1, len(kinds)) for _ in range(3)})
    return tuple(tuple(kinds[start:end]) for start, end in pairwise([0, *ends]))


def some_terms(seed: int) -> AttributionTerms:
    chance = Random(seed)
    first = chance.randint(0, PPM)
    return AttributionTerms(
        model=chance.choice(list(Model)),
        window=timedelta(days=chance.randint(1, 40)),
        coupon=chance.choice(list(CouponPolicy)),
        existing_customer=chance.choice(list(CustomerPolicy)),
        self_purchase=chance.choice(list(CustomerPolicy)),
        position=chance.choice([Position(), Position(first, chance.randint(0, PPM - first))]),
        half_life=timedelta(microseconds=chance.randint(1, 60 * 86_400 * 10**6)),
        windows=chance.choice(
            [(), (WindowFor(Who(frozenset({"vip"}), frozenset({2})), timedelta(days=35)),)]
        ),
        evidence=chance.choice([EVIDENCE_DEFAULT, order_of_evidence(chance)]),
        coupon_share_ppm=chance.choice([0, PPM, chance.randint(0, PPM)]),
        seconds_min=chance.choice([0, 5, 86_400]),
        excluded=chance.choice(
            [ExcludedSources(), ExcludedSources(frozenset({HOSTS[1], ".shop.example"}), True)]
        ),
    )


def some_order(seed: int) -> OrderFacts:
    chance = Random(seed)
    return OrderFacts(
        placed_at=PLACED,
        customer_since=chance.choice([None, PLACED - age(chance)]),
        says_new=chance.choice([None, True, False]),
        program_closed=chance.random() < 0.05,
        review_declined=chance.random() < 0.1,
        assigned_to=7 if chance.random() < 0.1 else None,
    )


rules, orders = seeds.map(some_terms), seeds.map(some_order)
evidence = st.lists(seeds.map(candidate), max_size=7)
whos = st.integers(1, 4)
ages = seeds.map(lambda seed: age(Random(seed)))


def shares_of(found: Attribution | Unattributed) -> Any:
    return found.shares if isinstance(found, Attribution) else ()


@often
@given(orders, evidence, rules, seeds)
def test_the_order_of_candidates_does_not_change_the_answer(
    order: OrderFacts, known: list[Candidate], terms: AttributionTerms, seed: int
) -> None:
    shuffled = list(known)
    Random(seed).shuffle(shuffled)
    assert attribute(order, shuffled, terms) == attribute(order, known, terms)


spoilt = st.sampled_from(
    [
        {"genuine": False},
        {"in_program": False},
        {"active": False},
        {"drop": DropReason.BOT},
        {"at": PLACED - timedelta(days=41)},
        {"at": PLACED + timedelta(minutes=5, microseconds=1)},
        {"disabled_at": PLACED - timedelta(days=50)},
    ]
)


@often
@given(orders, evidence, rules, whos, ages, spoilt)
def test_a_candidate_that_is_removed_does_not_change_the_shares(
    order: OrderFacts,
    known: list[Candidate],
    terms: AttributionTerms,
    who: int,
    ago: timedelta,
    spoilt: dict[str, Any],
) -> None:
    terms = replace(terms, windows=())
    extra = click(ago, who, **{"click_id": "an extra one", **spoilt})
    before, after = attribute(order, known, terms), attribute(order, [*known, extra], terms)
    assert shares_of(after) == shares_of(before)
    told = [line.outcome for line in after.trace if line.click_id == "an extra one"]
    assert told == [Step.LOST if order.assigned_to else Step.REMOVED]


@often
@given(evidence, rules, st.lists(st.builds(bound, ages, whos) | st.builds(email, ages, whos)))
def test_evidence_of_a_later_step_does_not_change_the_shares(
    known: list[Candidate], terms: AttributionTerms, later: list[Candidate]
) -> None:
    """A click that passes every check is among what is known, and clicks are the first step."""
    terms = replace(terms, evidence=EVIDENCE_DEFAULT)
    known = [*known, click(timedelta(hours=1), 4, click_id="passes")]
    if terms.coupon is CouponPolicy.LOSES:
        later = [*later, coupon(3)]
    before, after = attribute(ORDER, known, terms), attribute(ORDER, [*known, *later], terms)
    assert isinstance(before, Attribution)
    assert shares_of(after) == before.shares


@often
@given(orders, evidence, rules)
def test_shares_sum_to_exactly_one_and_are_told_in_the_trace(
    order: OrderFacts, known: list[Candidate], terms: AttributionTerms
) -> None:
    found = attribute(order, known, terms)
    if isinstance(found, Unattributed):
        assert all(line.outcome is Step.REMOVED for line in found.trace)
        return
    assert sum(share.weight for share in found.shares) == 1
    assert all(share.weight > 0 for share in found.shares)
    told: dict[int | None, Fraction] = {}
    for line in found.trace:
        if line.outcome is Step.WON:
            told[line.enrollment_id] = told.get(line.enrollment_id, Fraction(0)) + (
                line.weight or 0
            )
    assert told == {share.enrollment_id: share.weight for share in found.shares}
    if order.assigned_to is None:
        alive = {one.enrollment_id for one in known if one.active and one.genuine}
        assert set(told) <= alive


@often
@given(evidence, rules, st.integers(0, 10**12))
def test_an_amount_split_by_the_shares_is_the_whole_amount(
    known: list[Candidate], terms: AttributionTerms, micros: int
) -> None:
    found = attribute(ORDER, [*known, click(timedelta(hours=1), 4)], replace(terms, windows=()))
    weights = [share.weight for share in shares_of(found)]
    if not weights:
        return
    parts = Money(micros, "RUB").allocate(weights)
    assert sum(part.micros for part in parts) == micros
    assert all(
        abs(part.micros - micros * weight) < 1 for part, weight in zip(parts, weights, strict=True)
    )


@often
@given(orders, evidence, rules)
def test_a_stored_snapshot_replays_to_the_same_answer(
    order: OrderFacts, known: list[Candidate], terms: AttributionTerms
) -> None:
    stored = json.loads(json.dumps(snapshot_of(order, known)))
    assert facts_from(stored) == order
    assert list(candidates_from(stored)) == known
    again = attribute(facts_from(stored), candidates_from(stored), terms)
    found = attribute(order, known, terms)
    assert again == found
    documents = [share_document(share) for share in shares_of(found)]
    assert sum(Fraction(json.loads(json.dumps(d))["weight"]) for d in documents) in (0, 1)
    json.dumps([trace_document(line) for line in found.trace])


@often
@given(st.lists(microseconds, min_size=2, max_size=12), st.integers(1, 10**14))
def test_under_time_decay_a_later_touch_never_weighs_less(
    agos: Sequence[timedelta], half_life: int
) -> None:
    terms = replace(
        TERMS,
        model=Model.TIME_DECAY,
        window=timedelta(days=50),
        half_life=timedelta(microseconds=half_life),
    )
    known = [click(ago, n) for n, ago in enumerate(agos, 1)]
    known = [one for one in known if one.at is not None and one.at <= PLACED] or known[:0]
    found = attribute(ORDER, known, terms)
    weights = {share.enrollment_id: share.weight for share in shares_of(found)}
    by_age = sorted(known, key=lambda one: one.at or PLACED)
    for older, younger in pairwise(by_age):
        assert weights.get(older.enrollment_id or 0, 0) <= weights.get(
            younger.enrollment_id or 0, 0
        )
