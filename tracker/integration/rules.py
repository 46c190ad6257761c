"""What the facts of an integration mean: lines of a checklist, a canary's alarm (pure).

Docs: docs/integration.md, "Looking at your integration".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

PIXEL_FRESH: Final = timedelta(hours=48)
"""A site without a visitor for two days is worth a look."""
LANDED_FRESH: Final = timedelta(days=7)
ORDERS_FRESH: Final = timedelta(days=7)
REFUSED_LATELY: Final = timedelta(hours=24)
CANARY_LATE: Final = timedelta(minutes=20)
"""A canary runs every five minutes: after so long its worker or scheduler stands still."""
AHEAD_MAX: Final = timedelta(seconds=30)
"""A server's clock that runs further ahead sends orders out of the future."""
UNCONFIRMED_PPM_MAX: Final = 200_000
UNCONFIRMED_LEAST: Final = 3
ALARM_AFTER: Final = 2
"""Runs in a row: one alone may be a restart."""
FIELDS_SHOWN_MAX: Final = 3
FIELDS_CHARS_MAX: Final = 200
_FIELD: Final = re.compile(r"[a-z_][a-z0-9_.]{0,59}")
_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.|$)")


class Fact(StrEnum):
    """What is noticed of a site."""

    PIXEL = "pixel"
    """A page fetched the pixel that is installed."""
    OLD_PIXEL = "old_pixel"
    """A page asked for a version that is not."""
    REPORTED = "reported"
    """A page reported an order, or whatever else the pixel says."""
    LANDED = "landed"
    """A page had a click token that is ours."""
    BAD_CLICK_TOKEN = "bad_click_token"  # noqa: S105 -- the name of a fact
    ORDER_TOKEN = "order_token"  # noqa: S105 -- as above
    """A signed order token was believed."""
    BAD_ORDER_TOKEN = "bad_order_token"  # noqa: S105 -- as above


class State(StrEnum):
    """How a line stands. GREY: nothing is wrong, and nothing is known."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    GREY = "grey"


class Check(StrEnum):
    """The lines of the checklist, in their order."""

    PIXEL = "pixel"
    LANDING = "landing"
    REPORTS = "reports"
    API_ORDERS = "api_orders"
    WEBHOOK_ORDERS = "webhook_orders"
    CONFIRMATION = "confirmation"
    ORDER_TOKENS = "order_tokens"
    CLOCK = "clock"
    REFUSED = "refused"
    CANARY = "canary"


class Finding(StrEnum):
    """What a line found; each has a sentence, and those that are not well a way to mend."""

    WELL = "well"
    NEVER = "never"
    TESTED = "tested"
    LONG_AGO = "long_ago"
    OLD_VERSION = "old_version"
    BAD_SIGNATURE = "bad_signature"
    UNCONFIRMED = "unconfirmed"
    AHEAD = "ahead"
    SOME = "some"
    SINCE_LAST = "since_last"
    BROKEN = "broken"
    LATE = "late"
    OFF = "off"
    WAITS = "waits"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: how it stands, what was found, and when."""

    check: Check
    state: State
    finding: Finding
    at: datetime | None = None
    values: dict[str, Any] = field(default_factory=dict)
    """What the sentence names beside the time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A fact of one site."""

    last_at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """A host and what was seen of it."""

    host: str
    named: bool
    """Whether it is one of the program's sites."""
    main: bool
    """Whether links lead there by themselves."""
    seen: dict[Fact, Seen]


@dataclass(frozen=True, slots=True)
class Orders:
    """The program's last orders, summed."""

    orders: int = 0
    last_api: datetime | None = None
    last_api_with_click: datetime | None = None
    last_api_test: datetime | None = None
    last_webhook: datetime | None = None
    last_browser: datetime | None = None
    unconfirmed: int = 0
    ahead: timedelta = timedelta(0)
    """How far the last servers' orders were placed in our future, at most."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused calls of the last day."""

    calls: int = 0
    last_at: datetime | None = None
    last_code: str = ""


@dataclass(frozen=True, slots=True)
class CanaryState:
    """What the checklist reads of a canary that is on."""

    on_since: datetime
    last_run_at: datetime | None
    last_well_at: datetime | None
    broken_since: datetime | None
    step: str = ""
    problem: str = ""


def site_lines(site: Site, *, now: datetime) -> list[Line]:
    """The lines of one site."""
    return [_pixel(site, now), _landing(site, now), _reports(site)]


def program_lines(
    *,
    orders: Orders,
    tokens: dict[Fact, Seen],
    refused: Refused,
    canary: CanaryState | None,
    now: datetime,
) -> list[Line]:
    """The lines of a program; `tokens` are the facts of order tokens on whichever site."""
    return [
        _api(orders, now),
        _webhook(orders),
        _confirmation(orders),
        _order_tokens(tokens),
        _clock(orders),
        _refused(refused, orders),
        _canary(canary, now),
    ]


def worst(lines: Iterable[Line]) -> State:
    """The state that a list is summed up by; GREY for an empty one."""
    found = {line.state for line in lines}
    order = (State.RED, State.AMBER, State.GREEN)
    return next((state for state in order if state in found), State.GREY)


def _pixel(site: Site, now: datetime) -> Line:
    seen, old = site.seen.get(Fact.PIXEL), site.seen.get(Fact.OLD_PIXEL)
    # A report shows that the pixel runs there, whatever a cache keeps from us.
    other = site.seen.get(Fact.REPORTED)
    lately = max((one.last_at for one in (seen, other) if one), default=None)
    if old is not None and (lately is None or old.last_at > lately):
        return Line(Check.PIXEL, State.RED, Finding.OLD_VERSION, old.last_at,
                    {"version": old.detail})  # fmt: skip
    if lately is None:
        state = State.RED if site.main else State.GREY
        return Line(Check.PIXEL, state, Finding.NEVER)
    values = {"version": seen.detail if seen else ""}
    if now - lately > PIXEL_FRESH:
        return Line(Check.PIXEL, State.AMBER, Finding.LONG_AGO, lately, values)
    return Line(Check.PIXEL, State.GREEN, Finding.WELL, lately, values)


def _landing(site: Site, now: datetime) -> Line:
    landed, bad = site.seen.get(Fact.LANDED), site.seen.get(Fact.BAD_CLICK_TOKEN)
    if bad is not None and (landed is None or bad.last_at > landed.last_at):
        return Line(Check.LANDING, State.RED, Finding.BAD_SIGNATURE, bad.last_at,
                    {"problem": bad.detail})  # fmt: skip
    if landed is None:
        return Line(Check.LANDING, State.AMBER if site.main else State.GREY, Finding.NEVER)
    if now - landed.last_at > LANDED_FRESH:
        return Line(Check.LANDING, State.AMBER, Finding.LONG_AGO, landed.last_at)
    return Line(Check.LANDING, State.GREEN, Finding.WELL, landed.last_at)


def _reports(site: Site) -> Line:
    seen = site.seen.get(Fact.REPORTED)
    if seen is None:
        return Line(Check.REPORTS, State.GREY, Finding.NEVER)
    return Line(Check.REPORTS, State.GREEN, Finding.WELL, seen.last_at)


def _api(orders: Orders, now: datetime) -> Line:
    last = orders.last_api
    if last is None:
        if orders.last_api_test is not None:
            return Line(Check.API_ORDERS, State.AMBER, Finding.TESTED, orders.last_api_test)
        # A shop system's webhook does what the API would.
        state = State.GREY if orders.last_webhook else State.RED
        return Line(Check.API_ORDERS, state, Finding.NEVER)
    if now - last > ORDERS_FRESH:
        return Line(Check.API_ORDERS, State.AMBER, Finding.LONG_AGO, last)
    return Line(Check.API_ORDERS, State.GREEN, Finding.WELL, last)


def _webhook(orders: Orders) -> Line:
    if orders.last_webhook is None:
        return Line(Check.WEBHOOK_ORDERS, State.GREY, Finding.NEVER)
    return Line(Check.WEBHOOK_ORDERS, State.GREEN, Finding.WELL, orders.last_webhook)


def _confirmation(orders: Orders) -> Line:
    if not orders.orders:
        return Line(Check.CONFIRMATION, State.GREY, Finding.NEVER)
    many = orders.unconfirmed * 1_000_000 > orders.orders * UNCONFIRMED_PPM_MAX
    values = {"count": orders.unconfirmed, "orders": orders.orders}
    if many and orders.unconfirmed >= UNCONFIRMED_LEAST:
        return Line(Check.CONFIRMATION, State.AMBER, Finding.UNCONFIRMED, None, values)
    return Line(Check.CONFIRMATION, State.GREEN, Finding.WELL, None, values)


def _order_tokens(tokens: dict[Fact, Seen]) -> Line:
    good, bad = tokens.get(Fact.ORDER_TOKEN), tokens.get(Fact.BAD_ORDER_TOKEN)
    if bad is not None and (good is None or bad.last_at > good.last_at):
        return Line(Check.ORDER_TOKENS, State.RED, Finding.BAD_SIGNATURE, bad.last_at,
                    {"problem": bad.detail})  # fmt: skip
    if good is None:
        return Line(Check.ORDER_TOKENS, State.GREY, Finding.NEVER)
    return Line(Check.ORDER_TOKENS, State.GREEN, Finding.WELL, good.last_at)


def _clock(orders: Orders) -> Line:
    if orders.last_api is None and orders.last_webhook is None:
        return Line(Check.CLOCK, State.GREY, Finding.NEVER)
    if orders.ahead > AHEAD_MAX:
        values = {"seconds": int(orders.ahead.total_seconds())}
        return Line(Check.CLOCK, State.AMBER, Finding.AHEAD, None, values)
    return Line(Check.CLOCK, State.GREEN, Finding.WELL)


def _refused(refused: Refused, orders: Orders) -> Line:
    if not refused.calls or refused.last_at is None:
        return Line(Check.REFUSED, State.GREEN, Finding.NEVER)
    values = {"count": refused.calls, "code": refused.last_code}
    taken = max(filter(None, (orders.last_api, orders.last_webhook)), default=None)
    if taken is None or refused.last_at > taken:
        return Line(Check.REFUSED, State.RED, Finding.SINCE_LAST, refused.last_at, values)
    return Line(Check.REFUSED, State.AMBER, Finding.SOME, refused.last_at, values)


def _canary(canary: CanaryState | None, now: datetime) -> Line:
    if canary is None:
        return Line(Check.CANARY, State.GREY, Finding.OFF)
    if canary.broken_since is not None:
        values = {"step": canary.step, "problem": canary.problem}
        return Line(Check.CANARY, State.RED, Finding.BROKEN, canary.broken_since, values)
    last = canary.last_run_at or canary.on_since
    if now - last > CANARY_LATE:
        return Line(Check.CANARY, State.AMBER, Finding.LATE, last)
    if canary.last_well_at is None:
        return Line(Check.CANARY, State.GREY, Finding.WAITS, canary.on_since)
    return Line(Check.CANARY, State.GREEN, Finding.WELL, canary.last_well_at)


class News(StrEnum):
    """What a run of the canary changes for people."""

    BROKEN = "broken"
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Health:
    """Of a canary: failures in a row, and since when it counts as broken."""

    failures: int
    broken_since: datetime | None


def after_run(
    before: Health, *, well: bool, first_failure_at: datetime
) -> tuple[Health, News | None]:
    """The canary after one more run, and what people are told.

    `first_failure_at` is when the present row of failures began; this run, where there is none.
    """
    if well:
        return Health(0, None), News.WELL if before.broken_since else None
    failures = before.failures + 1
    if before.broken_since is not None or failures < ALARM_AFTER:
        return Health(failures, before.broken_since), None
    return Health(failures, first_failure_at), News.BROKEN


def fields_said(errors: Sequence[tuple[str, str]]) -> str:
    """`total.amount: not_a_decimal`, the first few; positions in lists are `*`.

    Who sends a field that is none of ours may have named it after a person: what does not look
    like a field of ours is a question mark.
    """
    said = dict.fromkeys(
        f"{_NUMBER.sub('*', name) if _FIELD.fullmatch(name) else '?'}: {code}"
        for name, code in errors
    )
    return ", ".join(list(said)[:FIELDS_SHOWN_MAX])[:FIELDS_CHARS_MAX]
