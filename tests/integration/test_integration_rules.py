"""The lines of the checklist, the canary's alarm, browsers: boundaries in tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tracker.integration.browsers import Cost, browser_family, costs_of
from tracker.integration.rules import (
    AHEAD_MAX,
    LANDED_FRESH,
    ORDERS_FRESH,
    PIXEL_FRESH,
    CanaryState,
    Check,
    Fact,
    Finding,
    Health,
    Line,
    News,
    Orders,
    Refused,
    Seen,
    Site,
    State,
    after_run,
    fields_said,
    program_lines,
    site_lines,
    worst,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def site(*, main: bool = True, **seen: timedelta | tuple[timedelta, str]) -> Site:
    """A site with facts so long ago."""
    facts = {
        Fact(name): Seen(NOW - (ago[0] if isinstance(ago, tuple) else ago),
                         ago[1] if isinstance(ago, tuple) else "")
        for name, ago in seen.items()
    }  # fmt: skip
    return Site("shop.example", True, main, facts)


def line_of(check: Check, found: Site | Orders, **more: object) -> tuple[State, Finding]:
    if isinstance(found, Site):
        lines = site_lines(found, now=NOW)
    else:
        given = {"tokens": {}, "refused": Refused(), "canary": None, "now": NOW, **more}
        lines = program_lines(orders=found, **given)  # type: ignore[arg-type]
    [line] = [line for line in lines if line.check is check]
    return line.state, line.finding


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (site(), (State.RED, Finding.NEVER)),
        (site(main=False), (State.GREY, Finding.NEVER)),
        (site(pixel=PIXEL_FRESH), (State.GREEN, Finding.WELL)),
        (site(pixel=PIXEL_FRESH + SECOND), (State.AMBER, Finding.LONG_AGO)),
        (site(pixel=2 * SECOND, old_pixel=SECOND), (State.RED, Finding.OLD_VERSION)),
        (site(pixel=SECOND, old_pixel=2 * SECOND), (State.GREEN, Finding.WELL)),
        (site(reported=SECOND), (State.GREEN, Finding.WELL)),
    ],
)
def test_the_pixel_of_a_site(found: Site, expected: tuple[State, Finding]) -> None:
    assert line_of(Check.PIXEL, found) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (site(), (State.AMBER, Finding.NEVER)),
        (site(main=False), (State.GREY, Finding.NEVER)),
        (site(landed=LANDED_FRESH), (State.GREEN, Finding.WELL)),
        (site(landed=LANDED_FRESH + SECOND), (State.AMBER, Finding.LONG_AGO)),
        (
            site(landed=2 * SECOND, bad_click_token=(SECOND, "bad_signature")),
            (State.RED, Finding.BAD_SIGNATURE),
        ),
        (
            site(landed=SECOND, bad_click_token=(2 * SECOND, "bad_signature")),
            (State.GREEN, Finding.WELL),
        ),
    ],
)
def test_click_tokens_of_a_site(found: Site, expected: tuple[State, Finding]) -> None:
    assert line_of(Check.LANDING, found) == expected


@pytest.mark.parametrize(
    ("check", "orders", "expected"),
    [
        (Check.API_ORDERS, Orders(), (State.RED, Finding.NEVER)),
        (Check.API_ORDERS, Orders(1, last_webhook=NOW), (State.GREY, Finding.NEVER)),
        (Check.API_ORDERS, Orders(last_api_test=NOW), (State.AMBER, Finding.TESTED)),
        (Check.API_ORDERS, Orders(1, NOW, last_api_test=NOW), (State.GREEN, Finding.WELL)),
        (Check.API_ORDERS, Orders(1, NOW - ORDERS_FRESH), (State.GREEN, Finding.WELL)),
        (Check.API_ORDERS, Orders(1, NOW - ORDERS_FRESH - SECOND), (State.AMBER, Finding.LONG_AGO)),
        (Check.WEBHOOK_ORDERS, Orders(1, last_webhook=NOW), (State.GREEN, Finding.WELL)),
        (Check.CONFIRMATION, Orders(), (State.GREY, Finding.NEVER)),
        # 20 % of 15 are 3: exactly the limit is no sign yet; 4 of 15 are.
        (Check.CONFIRMATION, Orders(15, unconfirmed=3), (State.GREEN, Finding.WELL)),
        (Check.CONFIRMATION, Orders(15, unconfirmed=4), (State.AMBER, Finding.UNCONFIRMED)),
        (Check.CONFIRMATION, Orders(2, unconfirmed=2), (State.GREEN, Finding.WELL)),
        (Check.CLOCK, Orders(1), (State.GREY, Finding.NEVER)),
        (Check.CLOCK, Orders(1, NOW, ahead=AHEAD_MAX), (State.GREEN, Finding.WELL)),
        (Check.CLOCK, Orders(1, NOW, ahead=AHEAD_MAX + SECOND), (State.AMBER, Finding.AHEAD)),
        (Check.REFUSED, Orders(), (State.GREEN, Finding.NEVER)),
    ],
)
def test_orders_of_a_program(check: Check, orders: Orders, expected: tuple[State, Finding]) -> None:
    assert line_of(check, orders) == expected


@pytest.mark.parametrize(
    ("last_api", "expected"),
    [
        (None, (State.RED, Finding.SINCE_LAST)),
        (NOW - 2 * SECOND, (State.RED, Finding.SINCE_LAST)),
        (NOW - SECOND, (State.AMBER, Finding.SOME)),
    ],
)
def test_refused_calls_are_red_until_an_order_is_taken(
    last_api: datetime | None, expected: tuple[State, Finding]
) -> None:
    refused = Refused(3, NOW - SECOND, "invalid")
    assert line_of(Check.REFUSED, Orders(1, last_api), refused=refused) == expected


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        (None, (State.GREY, Finding.OFF)),
        (CanaryState(NOW, None, None, None), (State.GREY, Finding.WAITS)),
        (CanaryState(NOW, NOW, NOW, None), (State.GREEN, Finding.WELL)),
        (CanaryState(NOW, NOW, NOW, NOW, "api", "no_key"), (State.RED, Finding.BROKEN)),
        (CanaryState(NOW - timedelta(hours=1), None, None, None), (State.AMBER, Finding.LATE)),
    ],
)
def test_the_canarys_line(canary: CanaryState | None, expected: tuple[State, Finding]) -> None:
    assert line_of(Check.CANARY, Orders(), canary=canary) == expected


def test_order_tokens_by_the_newest() -> None:
    good, bad = Seen(NOW), Seen(NOW - SECOND, "The signed order token is expired.")
    both = {Fact.ORDER_TOKEN: good, Fact.BAD_ORDER_TOKEN: bad}
    assert line_of(Check.ORDER_TOKENS, Orders(), tokens=both) == (State.GREEN, Finding.WELL)
    alone = {Fact.BAD_ORDER_TOKEN: bad}
    assert line_of(Check.ORDER_TOKENS, Orders(), tokens=alone)[0] is State.RED


def test_a_list_is_as_well_as_its_worst_line() -> None:
    lines = [Line(Check.PIXEL, state, Finding.WELL) for state in (State.GREEN, State.AMBER)]
    assert worst(lines) is State.AMBER
    assert worst([]) is State.GREY


BEGAN = NOW - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("before", "well", "after", "news"),
    [
        (Health(0, None), True, Health(0, None), None),
        (Health(0, None), False, Health(1, None), None),
        (Health(1, None), True, Health(0, None), None),
        (Health(1, None), False, Health(2, BEGAN), News.BROKEN),
        (Health(2, BEGAN), False, Health(3, BEGAN), None),
        (Health(3, BEGAN), True, Health(0, None), News.WELL),
    ],
)
def test_the_second_failure_alarms_once_and_the_next_success_says_so(
    before: Health, well: bool, after: Health, news: News | None
) -> None:
    assert after_run(before, well=well, first_failure_at=BEGAN) == (after, news)


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/141.0 Safari/537.36", "Chrome"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/141.0 Safari/537.36 Edg/141.0", "Edge"),
        ("Mozilla/5.0 (iPhone) AppleWebKit/605 Version/18.0 Mobile/15E148 Safari/604.1", "Safari"),
        ("Mozilla/5.0 (iPhone) AppleWebKit/605 CriOS/141.0 Mobile/15E148 Safari/604.1", "Chrome"),
        ("Mozilla/5.0 (Linux; Android 14) SamsungBrowser/27.0 Chrome/125.0", "Samsung Internet"),
        ("Mozilla/5.0 (iPhone) AppleWebKit/605 Mobile/15E148 [FBAN/FBIOS;FBAV/500]", "in_app"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/A; wv) Chrome/141.0 Mobile", "in_app"),
        ("curl/8", "other"),
        ("", "other"),
    ],
)
def test_families_of_browsers(agent: str, family: str) -> None:
    assert browser_family(agent) == family


def test_costs_are_summed_by_the_browser_of_the_click() -> None:
    firefox, chrome = "Firefox/140.0", "Chrome/141.0"
    rows = [
        (firefox, False, True), (firefox, False, False), (firefox, True, True),
        (chrome, True, True), (None, False, False), (None, True, False),
    ]  # fmt: skip
    assert costs_of(rows) == [
        Cost("Firefox", orders=3, silent=2, kept=1),
        Cost("Chrome", orders=1, silent=0, kept=0),
        Cost("", orders=2, silent=1, kept=0),
    ]
    assert [cost.silent_ppm for cost in costs_of(rows)] == [666_666, 0, 500_000]


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([("total.amount", "not_a_decimal")], "total.amount: not_a_decimal"),
        ([("items.0.price", "a"), ("items.17.price", "a")], "items.*.price: a"),
        ([("Anna.Smith@example.com", "unknown_field")], "?: unknown_field"),
        ([("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")], "a: 1, b: 2, c: 3"),
        ([], ""),
    ],
)
def test_fields_are_named_and_nothing_that_may_be_a_person(
    errors: list[tuple[str, str]], said: str
) -> None:
    assert fields_said(errors) == said
