"""What requests notice in passing: kept in memory, written after the answer has left.

No request waits for it and none fails by it. A fact of a site is written at most once a minute
and process; refused calls of one kind and minute are one row, whatever the flood. What a process
has not written yet dies with it: these are signs for a person, no books.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from flask import Flask, current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import clock, metrics
from affiliate.core.db import db, session_for
from affiliate.people.models import ApiKey
from affiliate.programs.models import Program
from tracker.integration.models import IntegrationFact, RefusedCall
from tracker.integration.reading import sites_of
from tracker.integration.rules import Fact

EXTENSION: Final = "kopeck.integration_notebook"
FACT_EVERY_S: Final = 60.0
WRITE_EVERY_S: Final = 2.0
PAUSE_S: Final = 30.0
"""After a failure to write: a database that is away is not asked by every request."""
FACTS_WAITING_MAX: Final = 500
FACTS_REMEMBERED_MAX: Final = 5_000
CALLS_WAITING_MAX: Final = 500
CALLS_PER_MINUTE_MAX: Final = 60
"""Rows of one program and minute that a process begins; further kinds are only counted."""
STRANGERS_MAX: Final = 20
"""Hosts of a program that are none of its sites: more than these are inventions."""
HOSTS_MAX: Final = 200
"""Hosts below `.site` of a program, whoever named them: a Referer is anybody's to write."""
STATEMENT_MS: Final = 2_000
UNLISTED: Final = metrics.declare(
    "kopeck_refused_calls_unlisted", "Refused calls beyond what the log keeps of one minute."
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Noticed:
    """A fact of a site. Without a program: of every program that sells there."""

    program: str | None
    """Its slug, as the page said it."""
    host: str
    fact: Fact
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """Refused calls that are one row: alike in everything but when they came."""

    program: str | int | None
    """Slug or number; None: the program of the key."""
    prefix: str
    """Of the key; empty where none was sent."""
    route: str
    status: int
    code: str
    fields: str
    caller: str = "browser"
    """Who called without a key."""


@dataclass(slots=True)
class _Calls:
    """How many of a kind wait to be written, and the last one."""

    calls: int
    last_at: datetime
    request_id: str
    order_id: str | None


class Notebook:
    """One process's; `flush` is called when `due`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: dict[Noticed, datetime] = {}
        self._noticed: dict[tuple[str | None, str, Fact], float] = {}
        self._calls: dict[tuple[Kind, datetime], _Calls] = {}
        self._minute: datetime | None = None
        self._begun: dict[str | int | None, int] = {}
        self._not_before = 0.0

    def notice(self, seen: Noticed) -> None:
        """Keep a fact, unless the same was kept within the last minute."""
        key, now_s = (seen.program, seen.host, seen.fact), time.monotonic()
        if now_s - self._noticed.get(key, -FACT_EVERY_S) < FACT_EVERY_S:
            return
        with self._lock:
            if len(self._facts) >= FACTS_WAITING_MAX:
                return
            if len(self._noticed) >= FACTS_REMEMBERED_MAX:
                self._noticed.clear()
            self._noticed[key] = now_s
            self._facts[seen] = clock.real_now()

    def refused(self, kind: Kind, *, request_id: str, order_id: str | None) -> None:
        """Count a refused call."""
        now = clock.real_now()
        minute = now.replace(second=0, microsecond=0)
        with self._lock:
            waiting = self._calls.get((kind, minute))
            if waiting is None:
                if not self._may_begin(kind, minute):
                    metrics.count(UNLISTED)
                    return
                waiting = self._calls[kind, minute] = _Calls(0, now, request_id, order_id)
            waiting.calls += 1
            waiting.last_at, waiting.request_id, waiting.order_id = now, request_id, order_id

    def due(self) -> bool:
        """Whether something waits and may be written now."""
        return bool(self._facts or self._calls) and time.monotonic() >= self._not_before

    def flush(self, engine: sa.Engine) -> None:
        """Write what waits, in a transaction of its own. Never raises: it is lost instead."""
        with self._lock:
            facts, self._facts = self._facts, {}
            calls, self._calls = self._calls, {}
            self._not_before = time.monotonic() + WRITE_EVERY_S
        if not facts and not calls:
            return
        try:
            with session_for(engine)() as session, session.begin():
                session.execute(sa.text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
                write(session, facts, calls)
        except sa.exc.SQLAlchemyError as error:
            self._not_before = time.monotonic() + PAUSE_S
            self._noticed.clear()  # The next request notices it again.
            log.warning("integration.unwritten", error=type(error).__name__)

    def _may_begin(self, kind: Kind, minute: datetime) -> bool:
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        whose = kind.program or kind.prefix
        begun = self._begun[whose] = self._begun.get(whose, 0) + 1
        return begun <= CALLS_PER_MINUTE_MAX and len(self._calls) < CALLS_WAITING_MAX


def notebook(app: Flask | None = None) -> Notebook:
    """The one of this process's application."""
    found: Notebook = (app or current_app).extensions[EXTENSION]
    return found


def flush(app: Flask) -> None:
    """Write what this process has noticed so far."""
    with app.app_context():
        notebook(app).flush(db.engine)


def write(
    session: Session,
    facts: dict[Noticed, datetime],
    calls: dict[tuple[Kind, datetime], _Calls],
) -> None:
    """Put facts and refused calls where they belong; what belongs to no program is dropped.

    Both were timed by the machine's clock; rows have business time.
    """
    ahead = clock.now(session) - clock.real_now()
    programs = list(session.scalars(sa.select(Program).order_by(Program.id)))
    for seen, at in facts.items():
        for program in _programs_of(seen, programs):
            _write_fact(session, program, seen, at + ahead)
    slugs = {program.slug: program.id for program in programs}
    prefixes = _programs_of_keys(session, {kind.prefix for kind, _ in calls if kind.prefix})
    # In one order, so that two processes wait for each other and never in a circle.
    rows = [
        (program_id, kind, minute + ahead, waiting)
        for (kind, minute), waiting in calls.items()
        if (program_id := _program_of(kind, slugs, prefixes)) is not None
    ]
    for program_id, kind, minute, waiting in sorted(rows, key=lambda row: (row[0], repr(row[1]))):
        _write_calls(session, program_id, kind, minute, waiting, ahead)


def _programs_of(seen: Noticed, programs: Iterable[Program]) -> list[Program]:
    if seen.program is not None:
        return [program for program in programs if program.slug == seen.program]
    return [program for program in programs if sites_of(program).allow(seen.host)]


def _write_fact(session: Session, program: Program, seen: Noticed, at: datetime) -> None:
    if seen.host and _is_one_too_many(session, program, seen.host):
        return
    row = insert(IntegrationFact).values(
        program_id=program.id, host=seen.host, fact=seen.fact.value, first_at=at, last_at=at,
        detail=seen.detail,
    )  # fmt: skip
    # Another process may have written the same a moment ago.
    minute = sa.literal(timedelta(seconds=FACT_EVERY_S), sa.Interval)
    is_news = IntegrationFact.last_at < row.excluded.last_at - minute
    is_other = IntegrationFact.detail != row.excluded.detail
    is_later = IntegrationFact.last_at <= row.excluded.last_at
    session.execute(
        row.on_conflict_do_update(
            index_elements=["program_id", "host", "fact"],
            set_={"last_at": row.excluded.last_at, "detail": row.excluded.detail},
            where=is_news | (is_other & is_later),
        )
    )


def _is_one_too_many(session: Session, program: Program, host: str) -> bool:
    sites = sites_of(program)
    if host == sites.landing or host in sites.allowed:
        return False
    known = set(
        session.scalars(
            sa.select(IntegrationFact.host).where(IntegrationFact.program_id == program.id)
        )
    )
    if host in known:
        return False
    allowed = sites.allow(host)
    alike = [one for one in known if one and sites.allow(one) == allowed]
    return len(alike) >= (HOSTS_MAX if allowed else STRANGERS_MAX)


def _programs_of_keys(session: Session, prefixes: set[str]) -> dict[str, int]:
    if not prefixes:
        return {}
    found = session.execute(
        sa.select(ApiKey.prefix, ApiKey.program_id).where(ApiKey.prefix.in_(prefixes))
    )
    return {row.prefix: row.program_id for row in found}


def _program_of(kind: Kind, slugs: dict[str, int], prefixes: dict[str, int]) -> int | None:
    if kind.prefix:
        return prefixes.get(kind.prefix)
    if isinstance(kind.program, int):
        return kind.program
    return slugs.get(kind.program or "")


def _write_calls(
    session: Session,
    program_id: int,
    kind: Kind,
    minute: datetime,
    waiting: _Calls,
    ahead: timedelta,
) -> None:
    values: dict[str, Any] = {
        "program_id": program_id,
        "minute": minute.replace(second=0, microsecond=0),
        "route": kind.route,
        "caller": f"kpk_{kind.prefix}" if kind.prefix else kind.caller,
        "status": kind.status,
        "code": kind.code,
        "fields": kind.fields,
    }
    row = insert(RefusedCall).values(
        **values, calls=waiting.calls, last_at=waiting.last_at + ahead,
        request_id=waiting.request_id, order_id=waiting.order_id,
    )  # fmt: skip
    session.execute(
        row.on_conflict_do_update(
            index_elements=list(values),
            set_={
                "calls": RefusedCall.calls + row.excluded.calls,
                "last_at": sa.func.greatest(RefusedCall.last_at, row.excluded.last_at),
                "request_id": row.excluded.request_id,
                "order_id": row.excluded.order_id,
            },
        )
    )
