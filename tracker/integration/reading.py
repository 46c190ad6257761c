"""What the desk shows of an integration, read out of its tables and the program's orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.links.destinations import deep_link
from affiliate.programs.models import Program
from tracker.attribution.models import Decision
from tracker.clicks.models import Click
from tracker.clicks.tokens import clicked_at_of, is_click_id
from tracker.integration.browsers import Cost, costs_of
from tracker.integration.marks import PREFIX as CANARYS
from tracker.integration.models import (
    Canary,
    CanaryRun,
    IntegrationFact,
    RefusedCall,
    TestOrder,
)
from tracker.integration.rules import (
    REFUSED_LATELY,
    CanaryState,
    Fact,
    Orders,
    Refused,
    Seen,
    Site,
)
from tracker.orders.models import Order
from tracker.orders.rules import Source

ORDERS_READ: Final = 200
"""The newest of a program: what the checklist says of orders it says of these."""
COST_DAYS: Final = 30
COST_ORDERS_MAX: Final = 20_000
TESTS_SHOWN: Final = 20
RUNS_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Sites:
    """Where a program sells."""

    landing: str
    """The host that its links lead to by themselves, with its port where that is no usual one."""
    allowed: tuple[str, ...]

    def allow(self, host: str) -> bool:
        """Whether a page of this host is one of the program's."""
        if host == self.landing:
            return True
        # Whether the page was http does not matter here, but where it lies.
        return deep_link(f"https://{host}/", self.allowed, plain_loopback=True) is not None


def sites_of(program: Program) -> Sites:
    """The sites of a program."""
    parts = urlsplit(program.landing_url)
    host = parts.hostname or ""
    landing = f"{host}:{parts.port}" if parts.port else host
    return Sites(landing, tuple(program.allowed_sites))


def sites_seen(session: Session, program: Program) -> list[Site]:
    """The program's sites, the landing page's first, then others that were seen."""
    sites = sites_of(program)
    found: dict[str, dict[Fact, Seen]] = {sites.landing: {}}
    for site in sites.allowed:
        if not site.startswith(".") and site != sites.landing.partition(":")[0]:
            found.setdefault(site, {})
    rows = session.scalars(
        sa.select(IntegrationFact)
        .where(IntegrationFact.program_id == program.id, IntegrationFact.host != "")
        .order_by(IntegrationFact.host)
        .execution_options(populate_existing=True)
    )
    for row in rows:
        found.setdefault(row.host, {})[Fact(row.fact)] = Seen(row.last_at, row.detail)
    return [
        Site(host, sites.allow(host), host == sites.landing, seen) for host, seen in found.items()
    ]


def order_tokens_seen(session: Session, program_id: int) -> dict[Fact, Seen]:
    """The newest good and the newest bad order token on whichever site."""
    rows = session.execute(
        sa.select(IntegrationFact.fact, IntegrationFact.last_at, IntegrationFact.detail)
        .where(
            IntegrationFact.program_id == program_id,
            IntegrationFact.fact.in_((Fact.ORDER_TOKEN.value, Fact.BAD_ORDER_TOKEN.value)),
        )
        .order_by(IntegrationFact.last_at)
    )
    return {Fact(fact): Seen(at, detail) for fact, at, detail in rows}


def orders_seen(session: Session, program_id: int) -> Orders:
    """The newest orders of a program, summed."""
    clicks = sa.func.jsonb_array_length(
        sa.func.coalesce(Order.evidence["server"]["clicks"], sa.text("'[]'::jsonb"))
    )
    newest = (
        sa.select(
            Order.source,
            Order.status,
            Order.received_at,
            (Order.placed_at - Order.received_at).label("ahead"),
            (clicks > 0).label("with_click"),
            Order.evidence.has_key("browser").label("by_browser"),
        )
        .where(Order.program_id == program_id)
        .order_by(Order.placed_at.desc())
        .limit(ORDERS_READ)
        .cte("newest")
    )
    by_api = newest.c.source == Source.API.value
    of = sa.func.max(newest.c.received_at)
    row = session.execute(
        sa.select(
            sa.func.count(),
            of.filter(by_api),
            of.filter(by_api & newest.c.with_click),
            of.filter(newest.c.source == Source.WEBHOOK.value),
            of.filter(newest.c.by_browser),
            sa.func.count().filter(newest.c.status == "unconfirmed"),
            sa.func.max(newest.c.ahead).filter(newest.c.source != Source.BROWSER.value),
        )
    ).one()
    ahead = row[6] if row[6] is not None else timedelta(0)
    tested_at = session.scalar(
        sa.select(sa.func.max(TestOrder.received_at)).where(
            TestOrder.program_id == program_id,
            TestOrder.source == Source.API.value,
            ~TestOrder.order_id.startswith(CANARYS),
        )
    )
    return Orders(
        row[0], row[1], row[2], tested_at, row[3], row[4], row[5], max(ahead, timedelta(0))
    )


def refused_lately(session: Session, program_id: int, *, now: datetime) -> Refused:
    """The refused calls of the last day, and the last one."""
    lately = (RefusedCall.program_id == program_id) & (RefusedCall.last_at > now - REFUSED_LATELY)
    calls = session.scalar(sa.select(sa.func.sum(RefusedCall.calls)).where(lately))
    if not calls:
        return Refused()
    last = session.execute(
        sa.select(RefusedCall.last_at, RefusedCall.code)
        .where(lately)
        .order_by(RefusedCall.last_at.desc())
        .limit(1)
    ).one()
    return Refused(int(calls), last.last_at, last.code)


def refused_calls(
    session: Session, program_id: int, *, caller: str = "", code: str = "", rows_max: int
) -> Sequence[RefusedCall]:
    """The newest rows of the log, by caller or code."""
    query = sa.select(RefusedCall).where(RefusedCall.program_id == program_id)
    if caller:
        query = query.where(RefusedCall.caller == caller)
    if code:
        query = query.where(RefusedCall.code == code)
    query = query.order_by(RefusedCall.last_at.desc(), RefusedCall.id.desc()).limit(rows_max)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def refusal_choices(session: Session, program_id: int) -> tuple[list[str], list[str]]:
    """The callers and the codes that the log has."""

    def distinct(column: Any) -> list[str]:
        mine = sa.select(column).where(RefusedCall.program_id == program_id)
        return list(session.scalars(mine.distinct().order_by(column)))

    return distinct(RefusedCall.caller), distinct(RefusedCall.code)


def canary_of(session: Session, program_id: int) -> Canary | None:
    """The canary's row; None where it was never on."""
    return session.get(Canary, program_id, populate_existing=True)


def canary_state(session: Session, program_id: int) -> CanaryState | None:
    """What the checklist reads of a canary; None where it is off."""
    canary = canary_of(session, program_id)
    if canary is None or canary.off_since is not None:
        return None
    runs = canary_runs(session, program_id, rows_max=1)
    last = runs[0] if runs and runs[0].begun_at >= canary.on_since else None
    return CanaryState(
        canary.on_since,
        last.begun_at if last else None,
        canary.last_well_at,
        canary.broken_since,
        (last.step or "") if last else "",
        (last.problem or "") if last else "",
    )


def canary_runs(
    session: Session, program_id: int, *, rows_max: int = RUNS_SHOWN
) -> Sequence[CanaryRun]:
    """Its last runs, newest first."""
    return session.scalars(
        sa.select(CanaryRun)
        .where(CanaryRun.program_id == program_id)
        .order_by(CanaryRun.id.desc())
        .limit(rows_max)
    ).all()


def test_orders(session: Session, program_id: int) -> Sequence[TestOrder]:
    """The last test orders, newest first; the canary's stand with its walks."""
    return session.scalars(
        sa.select(TestOrder)
        .where(TestOrder.program_id == program_id, ~TestOrder.order_id.startswith(CANARYS))
        .order_by(TestOrder.id.desc())
        .limit(TESTS_SHOWN)
    ).all()


def browser_costs(session: Session, program_id: int, *, now: datetime) -> list[Cost]:
    """By browser: the orders of the last days, and of how many its pixel said nothing.

    The browser is that of the click which the order was credited to: it is known whether or not
    the pixel reported, so that both sides of the share are counted alike.
    """
    taken = session.execute(
        sa.select(
            Order.evidence.has_key("browser"),
            Decision.outcome == "attributed",
            Decision.shares,
        )
        .outerjoin(Decision, (Decision.order_id == Order.id) & Decision.voided_at.is_(None))
        .where(
            Order.program_id == program_id,
            Order.placed_at >= now - timedelta(days=COST_DAYS),
            Order.cancelled_at.is_(None),
        )
        .order_by(Order.placed_at.desc())
        .limit(COST_ORDERS_MAX)
    ).all()
    orders = [(_click_of(shares), reported, bool(credited)) for reported, credited, shares in taken]
    agents = _agents(session, {click for click, *_ in orders if click is not None})
    return costs_of(
        (agents.get(click) if click else None, reported, credited)
        for click, reported, credited in orders
    )


def _click_of(shares: list[dict[str, Any]] | None) -> UUID | None:
    """The last click that an order is credited to."""
    for share in reversed(shares or ()):
        if share.get("click_id"):
            click = UUID(share["click_id"])
            return click if is_click_id(click) else None
    return None


def _agents(session: Session, clicks: set[UUID]) -> dict[UUID, str]:
    """The agents of clicks; the time within their ids says in which partition each lies."""
    if not clicks:
        return {}
    ids = sorted(clicks)
    wanted = sa.select(
        sa.func.unnest(sa.cast(ids, sa.ARRAY(sa.Uuid))).label("click_id"),
        sa.func.unnest(
            sa.cast([clicked_at_of(each) for each in ids], sa.ARRAY(sa.DateTime(timezone=True)))
        ).label("clicked_at"),
    ).subquery()
    rows = session.execute(
        sa.select(Click.click_id, Click.agent).join(
            wanted,
            (Click.click_id == wanted.c.click_id) & (Click.clicked_at == wanted.c.clicked_at),
        )
    )
    return {row.click_id: row.agent for row in rows}
