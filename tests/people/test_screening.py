"""What an application says for and against itself."""

from __future__ import annotations

from typing import Any

import pytest

from affiliate.people.screening import AUDIENCE_POINTS, POINTS, Signal, screen, site_of

BARE: dict[str, Any] = {
    "channels": ["blog"],
    "how": "A blog.",
    "audience": "under_1000",
    "site": "",
}


def points(changes: dict[str, Any] | None = None, **who: Any) -> dict[Signal, int]:
    found = screen(
        {**BARE, **(changes or {})},
        **{
            "email": "a@mail.example",
            "verified": False,
            "recruited": False,
            "site_known": False,
            **who,
        },
    )
    assert found.points == min(100, max(0, sum(one.points for one in found.seen)))
    return {one.signal: one.points for one in found.seen}


def test_little_told_is_little_shown() -> None:
    assert points() == {Signal.AUDIENCE: 5}


@pytest.mark.parametrize(("audience", "expected"), AUDIENCE_POINTS.items())
def test_reach_has_its_points(audience: str, expected: int) -> None:
    assert points({"audience": audience}) == {Signal.AUDIENCE: expected}


@pytest.mark.parametrize(
    ("changes", "who", "signal"),
    [
        ({}, {"verified": True}, Signal.VERIFIED),
        ({}, {"recruited": True}, Signal.RECRUITED),
        ({"site": "https://lamps.example"}, {}, Signal.SITE),
        ({"how": "x" * 100}, {}, Signal.TOLD_SOME),
        ({"how": "x" * 300}, {}, Signal.TOLD_IN_FULL),
        ({"channels": ["blog", "cashback"]}, {}, Signal.TAKES_CREDIT),
        ({"channels": ["coupons"]}, {}, Signal.TAKES_CREDIT),
    ],
)
def test_each_signal_counts_once(
    changes: dict[str, Any], who: dict[str, Any], signal: Signal
) -> None:
    assert points(changes, **who) == {Signal.AUDIENCE: 5, signal: POINTS[signal]}


def test_an_address_of_the_site_and_a_site_that_is_known() -> None:
    site = {"site": "https://blog.lamps.example/tea"}
    assert Signal.OWN_DOMAIN in points(site, email="anna@lamps.example")
    assert Signal.OWN_DOMAIN not in points(site, email="anna@amps.example")
    assert Signal.OWN_DOMAIN not in points(site, email="anna@example")
    assert points(site, site_known=True)[Signal.SITE_KNOWN] < 0
    assert Signal.SITE_KNOWN not in points(site_known=True)


def test_points_end_at_nothing_and_at_a_hundred() -> None:
    all_good = {"site": "https://lamps.example", "how": "x" * 400, "audience": "more"}
    best = screen(
        {**BARE, **all_good}, email="a@lamps.example", verified=True, recruited=True,
        site_known=False,
    )  # fmt: skip
    assert best.points == 100
    worst = screen(
        {**BARE, "channels": ["coupons"], "site": "https://lamps.example"},
        email="a@b.example", verified=False, recruited=False, site_known=True,
    )  # fmt: skip
    assert worst.points == 0


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("https://www.Lamps.example/Blog/", "lamps.example/blog"),
        ("http://lamps.example", "lamps.example"),
        ("https://lamps.example:8443/a?b=c#d", "lamps.example/a"),
        ("", ""),
        ("no address", ""),
        ("https://[::1", ""),
    ],
)
def test_a_site_is_compared_by_host_and_path(site: str, expected: str) -> None:
    assert site_of({"site": site}) == expected


def test_answers_of_somebody_who_moved_in_say_nothing() -> None:
    found = screen({}, email="", verified=False, recruited=False, site_known=False)
    assert (found.seen, found.points) == ((), 0)
