"""Which version rules somebody's commission at an instant: boundaries in tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moments import NOW

from affiliate.programs.standing import (
    Assigned,
    Because,
    Edition,
    Member,
    Said,
    Standing,
    standing,
)

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
JOINED = NOW + DAY
TWO_AT, THREE_AT = NOW + 10 * DAY, NOW + 20 * DAY
ONE, TWO, THREE = Edition(1, 1, NOW), Edition(2, 2, TWO_AT), Edition(3, 3, THREE_AT)
KEEPS = replace(TWO, grandfathers=True)
KEEPS_A_WHILE = replace(KEEPS, grandfather_until=NOW + 25 * DAY)
CLOSES = NOW + 17 * DAY
ME = Member(JOINED)
DECLINES = Member(JOINED, CLOSES, {2: Said.DECLINED})


def own(id_: int, version: int, begins: datetime, ends: datetime | None = None) -> Assigned:
    return Assigned(id_, version, True, begins, ends)


def group(id_: int, version: int, begins: datetime, ends: datetime | None = None) -> Assigned:
    return Assigned(id_, version, False, begins, ends)


def on(*assigned: Assigned) -> Member:
    return replace(ME, assigned=assigned)


FROM, UNTIL = NOW + 12 * DAY, NOW + 15 * DAY
PLAIN = [ONE, TWO, THREE]

TABLE = {
    "before the first version, the first": (PLAIN, ME, NOW - DAY, 1, "in_force"),
    "silence: a microsecond before the new one": (PLAIN, ME, TWO_AT - TICK, 1, "in_force"),
    "silence: exactly at the new one": (PLAIN, ME, TWO_AT, 2, "in_force"),
    "silence: the one after it": (PLAIN, ME, THREE_AT, 3, "in_force"),
    "of two at one instant the higher number": (
        [ONE, TWO, replace(THREE, effective_at=TWO_AT)], ME, TWO_AT, 3, "in_force"),
    "accepted: not before it takes effect": (
        PLAIN, replace(ME, answers={2: Said.ACCEPTED}), TWO_AT - TICK, 1, "in_force"),
    "accepted: from its instant": (
        PLAIN, replace(ME, answers={2: Said.ACCEPTED}), TWO_AT, 2, "in_force"),
    "declined: nothing yet before its instant": (PLAIN, DECLINES, TWO_AT - TICK, 1, "in_force"),
    "declined: the old one from its instant": (PLAIN, DECLINES, TWO_AT, 1, "declined"),
    "declined: a microsecond before it closes": (PLAIN, DECLINES, CLOSES - TICK, 1, "declined"),
    "declined: a later version changes nothing": (PLAIN, DECLINES, THREE_AT, 1, "declined"),
    "declined the third: the second stays": (
        PLAIN, Member(JOINED, NOW + 27 * DAY, {3: Said.DECLINED}), THREE_AT, 2, "declined"),
    "let in exactly at its instant: the new one": (
        [ONE, KEEPS], Member(TWO_AT), TWO_AT, 2, "in_force"),
    "let in a microsecond before: keeps": (
        [ONE, KEEPS], Member(TWO_AT - TICK), TWO_AT, 1, "grandfathered"),
    "keeps: before its instant there is nothing to keep": (
        [ONE, KEEPS], ME, TWO_AT - TICK, 1, "in_force"),
    "keeps for good, against later versions too": (
        [ONE, KEEPS, THREE], ME, NOW + 4_000 * DAY, 1, "grandfathered"),
    "keeps for good, but accepted a later one": (
        [ONE, KEEPS, THREE], replace(ME, answers={3: Said.ACCEPTED}), THREE_AT, 3, "in_force"),
    "accepted the one that would have let them keep": (
        [ONE, KEEPS], replace(ME, answers={2: Said.ACCEPTED}), TWO_AT, 2, "in_force"),
    "keeps until: a microsecond before": (
        [ONE, KEEPS_A_WHILE, THREE], ME, NOW + 25 * DAY - TICK, 1, "grandfathered"),
    "keeps until: exactly then, the one in force": (
        [ONE, KEEPS_A_WHILE, THREE], ME, NOW + 25 * DAY, 3, "in_force"),
    "two promises: the longer one": (
        [ONE, KEEPS_A_WHILE, replace(THREE, grandfathers=True)], ME, NOW + 99 * DAY, 1,
        "grandfathered"),
    "a shorter promise does not shorten": (
        [ONE, KEEPS, replace(THREE, grandfathers=True, grandfather_until=NOW + 21 * DAY)], ME,
        NOW + 22 * DAY, 1, "grandfathered"),
    "a promise that was over before the next one": (
        [ONE, replace(KEEPS, grandfather_until=THREE_AT), replace(THREE, grandfathers=True)], ME,
        THREE_AT, 2, "grandfathered"),
    "kept, then declined": (
        [ONE, KEEPS, THREE], Member(JOINED, NOW + 27 * DAY, {3: Said.DECLINED}), THREE_AT, 1,
        "declined"),
    "assigned: a microsecond before": (
        PLAIN, on(own(1, 1, FROM, UNTIL)), FROM - TICK, 2, "in_force"),
    "assigned: exactly from": (PLAIN, on(own(1, 1, FROM, UNTIL)), FROM, 1, "assigned"),
    "assigned: a microsecond before until": (
        PLAIN, on(own(1, 1, FROM, UNTIL)), UNTIL - TICK, 1, "assigned"),
    "assigned: exactly until": (PLAIN, on(own(1, 1, FROM, UNTIL)), UNTIL, 2, "in_force"),
    "assigned without an end": (PLAIN, on(own(1, 1, FROM)), NOW + 999 * DAY, 1, "assigned"),
    "assigned a version that is not in force yet": (PLAIN, on(own(1, 3, NOW)), NOW, 3, "assigned"),
    "the group's: exactly from": (PLAIN, on(group(1, 1, FROM, UNTIL)), FROM, 1, "group"),
    "the group's: exactly until": (PLAIN, on(group(1, 1, FROM, UNTIL)), UNTIL, 2, "in_force"),
    "the affiliate's before the group's later one": (
        PLAIN, on(own(1, 1, FROM), group(2, 3, FROM)), FROM, 1, "assigned"),
    "of two of the affiliate's the later one": (
        PLAIN, on(own(2, 3, FROM), own(1, 1, FROM)), FROM, 3, "assigned"),
    "of two of the group's the later one": (
        PLAIN, on(group(1, 1, FROM), group(2, 3, FROM)), FROM, 3, "group"),
    "of an own one that is over and the group's": (
        PLAIN, on(own(1, 1, FROM, UNTIL), group(2, 3, FROM)), UNTIL, 3, "group"),
    "assigned goes before keeping": (
        [ONE, KEEPS], on(own(1, 2, FROM, UNTIL)), FROM, 2, "assigned"),
    "assigned goes before what declining left": (
        PLAIN, replace(DECLINES, assigned=[own(1, 3, FROM)]), FROM, 3, "assigned"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_version_of_each_instant(case: str) -> None:
    editions, member, at, version, because = TABLE[case]
    found = standing(at, editions, member)
    assert (found.version_id, found.because.value) == (version, because)


@pytest.mark.parametrize(
    ("at", "closed"), [(CLOSES - TICK, False), (CLOSES, True), (CLOSES + DAY, True)]
)
def test_an_enrollment_is_closed_from_its_last_instant_on(at: datetime, closed: bool) -> None:
    assert standing(at, PLAIN, DECLINES).closed is closed


@pytest.mark.parametrize(
    ("editions", "member", "until"),
    [
        (PLAIN, ME, None),
        ([ONE, KEEPS], ME, None),
        ([ONE, KEEPS_A_WHILE], ME, NOW + 25 * DAY),
        (PLAIN, DECLINES, CLOSES),
        (PLAIN, on(own(1, 1, FROM, UNTIL)), UNTIL),
    ],
)
def test_how_long_it_stays_is_told(
    editions: list[Edition], member: Member, until: datetime | None
) -> None:
    assert standing(FROM, editions, member).until == until


def test_a_program_without_rules_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="never without rules"):
        standing(NOW, [], ME)


moments = st.integers(0, 40).map(lambda days: NOW + days * DAY)
editions_ = st.lists(
    st.tuples(st.integers(1, 30), st.booleans(), st.one_of(st.none(), st.integers(1, 9))),
    min_size=1, max_size=6,
).map(
    lambda found: [ONE]
    + [
        Edition(
            n, n, NOW + day * DAY, keeps,
            NOW + (day + more) * DAY if keeps and more else None,
        )
        for n, (day, keeps, more) in enumerate(found, 2)
    ]
)  # fmt: skip
answers_ = st.dictionaries(st.integers(1, 7), st.sampled_from(Said), max_size=4)
assigned_ = st.lists(
    st.tuples(st.integers(1, 7), st.booleans(), moments, st.one_of(st.none(), st.integers(1, 9))),
    max_size=4,
).map(
    lambda found: [
        Assigned(n, version, own_, begins, begins + days * DAY if days else None)
        for n, (version, own_, begins, days) in enumerate(found, 1)
    ]
)


@given(editions_, moments, answers_, assigned_, moments, st.randoms())
def test_neither_order_nor_what_comes_later_changes_the_version_of_an_instant(
    editions: list[Edition],
    joined: datetime,
    answers: dict[int, Said],
    assigned: list[Assigned],
    at: datetime,
    chance: object,
) -> None:
    """What takes effect or begins after an instant says nothing about it."""
    member = Member(joined, None, answers, assigned)
    found = standing(at, editions, member)
    shuffled = list(editions)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert standing(at, shuffled, member) == found
    by_then = [one for one in editions if one.effective_at <= at] or [ONE]
    known = {id_: said for id_, said in answers.items() if id_ in {one.id for one in by_then}}
    began = [one for one in assigned if one.begins <= at]
    assert standing(at, by_then, Member(joined, None, known, began)) == found


@given(editions_, moments, moments)
def test_whoever_says_nothing_where_nothing_is_kept_is_under_what_is_in_force(
    editions: list[Edition], joined: datetime, at: datetime
) -> None:
    plain = [replace(one, grandfathers=False, grandfather_until=None) for one in editions]
    last = max(
        (one for one in plain if one.effective_at <= at),
        key=lambda one: (one.effective_at, one.number),
    )
    assert standing(at, plain, Member(joined)) == Standing(last.id, Because.IN_FORCE)
