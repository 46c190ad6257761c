"""The integration: a live checklist by site, test orders, canary, refused calls, browsers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from flask import Flask, current_app, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.money import MICROS, Money
from affiliate.people import access, navigation
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from tracker.clicks.testing import path_of
from tracker.desks.acting import Answer, act
from tracker.desks.manage import integration_words as told
from tracker.desks.manage import people, sentences
from tracker.desks.manage.blueprint import (
    READERS,
    actors,
    manage,
    page,
    place,
    readers,
    require_acting,
)
from tracker.desks.manage.refusal_words import refusal
from tracker.desks.words import _
from tracker.integration import canary, reading
from tracker.integration.jobs import walk_canaries
from tracker.integration.models import TestOrder
from tracker.integration.rules import Line, Site, State, program_lines, site_lines, worst
from tracker.integration.trying import TEST_AFFILIATE
from tracker.integration.words import where_it_broke

PATH: Final = "/manage/integration"
REFUSED_SHOWN: Final = 200
FILTER_CHARS_MAX: Final = 64
TESTER: Final = 0
"""Number of the affiliate who exists for a test alone; no enrollment has it."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A part of the checklist: a site's, or what is the program's as a whole."""

    site: Site | None
    lines: list[Line]

    @property
    def state(self) -> State:
        return worst(self.lines)


def set_up(app: Flask) -> None:
    """Show in the menu how many canaries have alarmed."""
    navigation.count(app, PATH, _alarms)


@manage.get("/integration")
@readers
def integration() -> str:
    """The checklist, what to embed and to call, the canary, the last test orders."""
    return integration_page()


@manage.get("/integration/checklist")
@readers
def integration_checklist() -> str:
    """The checklist alone, asked for again every few seconds."""
    here = place()
    return page("_integration_checklist", here, **_checklist(db.session(), here.required))


@manage.get("/integration/tests")
@readers
def integration_tests() -> Answer:
    """The last test orders, once there is a newer one than `newest`; until then 204."""
    here = place()
    program, session = here.required, db.session()
    rows = reading.test_orders(session, program.id)
    if str(rows[0].id if rows else 0) == request.args.get("newest"):
        return "", 204
    tests = [_tested(session, each) for each in rows]
    return page("_integration_tests", here, program=program, tests=tests)


@manage.get("/integration/refused")
@readers
def refused_calls() -> str:
    """What was refused, the newest first."""
    here = place()
    program, session = here.required, db.session()
    caller, code = (
        request.args.get(name, "").replace("\0", "")[:FILTER_CHARS_MAX]
        for name in ("caller", "code")
    )
    callers, codes = reading.refusal_choices(session, program.id)
    rows = reading.refused_calls(
        session, program.id, caller=caller, code=code, rows_max=REFUSED_SHOWN
    )
    return page(
        "integration_refused", here, program=program, rows=rows, by=caller, code=code,
        callers=callers, codes=codes, rows_max=REFUSED_SHOWN, told=told, refusal=refusal,
    )  # fmt: skip


@manage.get("/integration/browsers")
@readers
def browser_costs() -> str:
    """What browsers and blockers cost, by browser."""
    here = place()
    program, session = here.required, db.session()
    costs = reading.browser_costs(session, program.id, now=clock.now(session))
    return page(
        "integration_browsers", here, program=program, costs=costs, days=reading.COST_DAYS,
        most=reading.COST_ORDERS_MAX, known=[cost for cost in costs if cost.family],
        reports=sum(cost.orders - cost.silent for cost in costs), told=told,
    )  # fmt: skip


@manage.post("/integration/canary")
@actors
def switch_canary() -> Answer:
    """Switch it on or off; on already: let it walk now."""
    here = place()
    program = here.required
    require_acting(program.id)
    by, on = access.actor().user_id, request.form.get("what") != "off"

    def verb(session: Session, now: Any) -> None:
        if on:
            canary.switch_on(
                session, program_id=program.id, settings=_settings(), by=by, now=now,
                real=clock.real_now(),
            )  # fmt: skip
            walk_canaries.after_commit(session)
        else:
            canary.switch_off(session, program_id=program.id, by=by, now=now)

    done = _("The canary is on its way.") if on else _("The canary is off; its key is revoked.")
    back = url_for("manage.integration", program=program.slug)
    return act(verb, done=done, back=back, page=integration_page)


def integration_page() -> str:
    """The page of the program that the reader looks at."""
    here = place()
    if here.program is None:
        return page("integration", here, program=None)
    session, program, settings = db.session(), here.program, _settings()
    now = clock.now(session)
    bird = reading.canary_of(session, program.id)
    return page(
        "integration",
        here,
        **_checklist(session, program),
        public_url=settings.public_url,
        test_link=settings.public_url + path_of(program.slug),
        curl=told.curl(settings.public_url, program.currency, now),
        pixel=told.pixel(settings.public_url, program.slug),
        page_order=told.page_order(program.currency),
        canary=bird if bird is not None and bird.off_since is None else None,
        runs=[
            (run, where_it_broke(run.step, run.problem, run.detail), sum(run.millis.values()))
            for run in reading.canary_runs(session, program.id)
        ],
        every=canary.EVERY,
        tests=[_tested(session, each) for each in reading.test_orders(session, program.id)],
    )


def _checklist(session: Session, program: Program) -> dict[str, Any]:
    now = clock.now(session)
    sites = [
        Lines(site, site_lines(site, now=now)) for site in reading.sites_seen(session, program)
    ]
    whole = program_lines(
        orders=reading.orders_seen(session, program.id),
        tokens=reading.order_tokens_seen(session, program.id),
        refused=reading.refused_lately(session, program.id, now=now),
        canary=reading.canary_state(session, program.id),
        now=now,
    )
    parts = [*sites, Lines(None, whole)]
    return {
        "program": program,
        "parts": parts,
        "state": worst(line for part in parts for line in part.lines),
        "told": told,
        "now": now,
    }


def _tested(session: Session, test: TestOrder) -> dict[str, Any]:
    """A test order as the page tells it."""
    answer = test.answer
    attribution = answer.get("attribution", {})
    lines = [_with_number(line) for line in attribution.get("trace", [])]
    numbers = {line["enrollment_id"] for line in lines if "enrollment_id" in line}
    commissions = answer.get("commissions", [])
    named = {_number(each["affiliate"]) for each in commissions}
    names = people.names_of(session, (numbers | named) - {TESTER})
    names[TESTER] = _("the test affiliate")
    return {
        "row": test,
        "total": _money(answer["total"]),
        "why": sentences.reason(attribution.get("reason")),
        "commissions": [
            (names.get(_number(each["affiliate"]), each["affiliate"]), each["level"],
             _money(each["amount"]))
            for each in commissions
        ],
        "trace": sentences.trace(lines, names),
    }  # fmt: skip


def _with_number(line: dict[str, Any]) -> dict[str, Any]:
    """A line of an answer's trace as a decision keeps it: with a number in place of the id."""
    rest = {key: value for key, value in line.items() if key not in ("affiliate", "text")}
    named = line.get("affiliate")
    return rest if named is None else {**rest, "enrollment_id": _number(named)}


def _number(affiliate: str) -> int:
    return TESTER if affiliate == TEST_AFFILIATE else people_ids.enrollment_of(affiliate)


def _money(said: dict[str, str]) -> Money:
    return Money(int(Decimal(said["amount"]) * MICROS), said["currency"])


def _alarms() -> tuple[int, bool]:
    mine = {program.slug for program in access.programs_of(*READERS)}
    broken = mine.intersection(canary.broken_programs(db.session()))
    return len(broken), bool(broken)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
