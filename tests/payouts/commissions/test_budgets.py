"""What of the commissions that are due a program's budget lets go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from commission_world import AT, MICRO, rub, sum_of
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import Money
from payouts.commissions.budgets import Due, within_budget


def due(id_: int, amount: str, after: timedelta = timedelta(0)) -> Due:
    return Due(id_, AT + after, rub(amount))


@pytest.mark.parametrize(
    ("queue", "released", "going", "waiting", "left"),
    [
        # 40 + 60 = 100: just there.
        ([due(1, "40"), due(2, "60")], "0", (1, 2), (), "0"),
        ([due(1, "40"), due(2, "60.000001")], "0", (1,), (2,), "60"),
        ([due(1, "40"), due(2, "60")], "0.000001", (1,), (2,), "59.999999"),
        # By the instant, then by id, in whatever order they come.
        ([due(3, "60"), due(2, "60", MICRO), due(1, "60", MICRO)], "0", (3,), (1, 2), "40"),
        # Nobody is overtaken: the 10 behind it waits, though it would fit.
        ([due(1, "70"), due(2, "40"), due(3, "10")], "0", (1,), (2, 3), "30"),
        # What no full budget pays waits alone and is in nobody's way.
        ([due(1, "100.000001"), due(2, "40")], "0", (2,), (1,), "60"),
        # Nothing is left to release of it: it goes at any time.
        ([due(1, "70"), due(2, "40"), due(3, "0")], "0", (1, 3), (2,), "30"),
        # All is spent, or more: a budget may have been lowered.
        ([due(1, "1")], "100", (), (1,), "0"),
        ([due(1, "1")], "130", (), (1,), "-30"),
        ([], "0", (), (), "100"),
    ],
)
def test_whole_commissions_go_in_their_order_while_they_fit(
    queue: list[Due],
    released: str,
    going: tuple[int, ...],
    waiting: tuple[int, ...],
    left: str,
) -> None:
    found = within_budget(queue, budget=rub("100"), released=rub(released))
    assert (found.released, found.waiting, found.left) == (going, waiting, rub(left))


@given(
    st.lists(st.tuples(st.integers(0, 150 * 10**6), st.integers(0, 3)), max_size=12),
    st.integers(0, 10**8),
)
def test_a_budget_is_never_passed_and_nobody_is_lost(
    queue: list[tuple[int, int]], released: int
) -> None:
    every = [
        Due(i, AT + MICRO * after, Money(micros, "RUB")) for i, (micros, after) in enumerate(queue)
    ]
    budget, before = rub("100"), Money(released, "RUB")
    found = within_budget(every, budget=budget, released=before)
    going = sum_of(one.amount for one in every if one.id in found.released)
    assert going <= budget - before
    assert found.left == budget - before - going
    assert sorted((*found.released, *found.waiting)) == [one.id for one in every]
    assert within_budget(reversed(every), budget=budget, released=before) == found
