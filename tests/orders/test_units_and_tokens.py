"""The unit of work after a deadlock, and the documented way to sign an order."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.clock import ClockOffset
from affiliate.core.money import Money
from tests.orders.shop_world import World
from tracker.orders import order_tokens
from tracker.orders.order_tokens import OrderToken, TokenProblem
from tracker.orders.rules import OrderReportIn
from tracker.orders.units import TRIES_MAX, in_one_unit

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
KEY = b"0123456789abcdef0123456789abcdef"
REPORT = OrderReportIn("A-1", NOW, Money.parse("4490.00", "RUB"))


def _failing(session: Session, sqlstate: str) -> None:
    session.execute(sa.insert(ClockOffset).values(id=1, seconds=1))
    session.execute(
        sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{sqlstate}'; END $$")
    )


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_the_whole_unit_runs_again_after_a_deadlock(app: Flask, sqlstate: str) -> None:
    tries: list[int] = []

    def work(session: Session) -> str:
        tries.append(1)
        if len(tries) < TRIES_MAX:
            _failing(session, sqlstate)
        session.execute(sa.insert(ClockOffset).values(id=1, seconds=1))
        return "done"

    with app.app_context():
        assert in_one_unit(work) == "done"
    assert len(tries) == TRIES_MAX


@pytest.mark.parametrize(("sqlstate", "tries_max"), [("40P01", TRIES_MAX), ("23514", 1)])
def test_a_unit_that_cannot_succeed_leaves_nothing(
    app: Flask, session: Session, sqlstate: str, tries_max: int
) -> None:
    tries: list[int] = []

    def work(opened: Session) -> None:
        tries.append(1)
        _failing(opened, sqlstate)

    with app.app_context(), pytest.raises(sa.exc.DBAPIError):
        in_one_unit(work)
    assert len(tries) == tries_max
    assert session.scalar(sa.select(sa.func.count()).select_from(ClockOffset)) == 0


def test_the_documented_function_makes_a_token_that_is_believed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "integration.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    token = names["order_token"](KEY.hex(), "A-1", "4490.00", "3500.00", "RUB")
    read = order_tokens.read(token, report=REPORT, keys=[KEY], now=datetime.now(UTC))
    assert isinstance(read, OrderToken)
    assert read.net == Money.parse("3500.00", "RUB")


@pytest.mark.parametrize(
    ("age", "believed"),
    [
        (timedelta(0), True),
        (timedelta(hours=24), True),
        (timedelta(hours=24, seconds=1), False),
        (-timedelta(minutes=5), True),
        (-timedelta(minutes=5, seconds=1), False),
    ],
)
def test_an_order_token_lives_a_day(age: timedelta, believed: bool) -> None:
    token = order_tokens.mint(
        KEY, order_id="A-1", total=REPORT.total, net=REPORT.total, signed_at=NOW - age
    )
    read = order_tokens.read(token, report=REPORT, keys=[KEY], now=NOW)
    assert read is TokenProblem.EXPIRED if not believed else isinstance(read, OrderToken)


def test_an_older_key_still_verifies() -> None:
    token = order_tokens.mint(
        KEY, order_id="A-1", total=REPORT.total, net=REPORT.total, signed_at=NOW
    )
    read = order_tokens.read(token, report=REPORT, keys=[b"newer", KEY], now=NOW)
    assert isinstance(read, OrderToken)


def test_who_cancelled_and_why_stands_in_the_audit_log(world: World) -> None:
    world.post(world.order())
    world.post({"reason": "out of stock"}, "/A-10042/cancellation")
    [entry] = world.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "order.cancel")
    )
    assert (entry.reason, entry.scope) == ("out of stock", world.program.id)
    assert entry.actor.startswith("key:kpk_")
