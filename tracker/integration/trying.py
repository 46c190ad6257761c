"""Test orders: the way of a real one to its end, in a transaction that is never committed.

What a test order would earn is not worked out beside the intake but by it: the same reading,
attribution, commissions and ledger, in a session of its own that is always rolled back. With the
transaction go its mails and its rows; jobs are woken by commits alone. What stays is one row that
says what would have been (docs/decisions/0038-integration-desk.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import session_for
from affiliate.core.errors import TooMany
from affiliate.links.models import Link
from affiliate.people.ids import public
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs.models import Program
from tracker.clicks.testing import TEST_LINK_ID
from tracker.clicks.tokens import BadToken, ClickToken, mint, read
from tracker.integration.marks import is_canarys
from tracker.integration.models import TestOrder
from tracker.orders.browser import REPORTER, report_from_browser
from tracker.orders.intake import report_order
from tracker.orders.keys import application_settings, order_keys
from tracker.orders.present import find_order_json
from tracker.orders.refusals import OrderConflict
from tracker.orders.rules import OrderReportIn, Outcome, Source

TEST_AFFILIATE: Final = "test"
"""Whom a test order names that came by the test link, in the place of an affiliate's id."""
LOCK_MS: Final = 2_000
"""A test waits for nobody longer: what it waits for is real."""
TESTS_PER_HOUR_MAX: Final = 500
"""Of a program's pages, and as many of its servers; more than these are no tests."""
KEPT: Final = ("status", "source", "placed_at", "total", "net", "converted", "attribution",
               "commissions")  # fmt: skip
"""Of an answer: neither its items nor what the shop wrote along."""


class TooManyTests(TooMany):
    code = "too_many_test_orders"
    title = "So many test orders came in the last hour that no more are taken; wait a little."


def try_order(
    session: Session,
    *,
    program_id: int,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    now: datetime,
    token: str | None = None,
    may_import: bool = False,
) -> dict[str, Any]:
    """What the order would be answered, as GET /orders/{order_id} says it.

    `session` gets the one row that stays. Raises whatever a real report would: Invalid,
    TotalMismatch, OrderConflict, OrderTokenRefused; and TooManyTests.
    """
    if not _is_canarys(session, program_id, report.order_id):
        _check_pace(session, program_id, source, now)
    with session_for(session.get_bind())() as unkept:  # type: ignore[arg-type]
        try:
            answer = _taken(unkept, program_id, report, source, reported_by, now, token, may_import)
        finally:
            unkept.rollback()
    session.add(
        TestOrder(
            program_id=program_id,
            order_id=report.order_id,
            source=source.value,
            reported_by=reported_by,
            received_at=now,
            answer={name: answer[name] for name in KEPT if name in answer},
        )
    )
    session.flush()
    return answer


def try_browser_order(
    session: Session, *, program_id: int, report: OrderReportIn, token: str | None, now: datetime
) -> dict[str, Any]:
    """The same of what a page reports."""
    return try_order(
        session, program_id=program_id, report=report, source=Source.BROWSER,
        reported_by=REPORTER, token=token, now=now,
    )  # fmt: skip


def _taken(
    session: Session,
    program_id: int,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    now: datetime,
    token: str | None,
    may_import: bool,
) -> dict[str, Any]:
    """Take it for real; the caller rolls back."""
    session.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
    report, tester = _with_tester(session, program_id, report)
    if source is Source.BROWSER:
        outcome = report_from_browser(
            session, program_id=program_id, report=report, token=token, now=now
        )
    else:
        outcome = report_order(
            session, program_id=program_id, report=report, source=source,
            reported_by=reported_by, now=now, may_import=may_import,
        ).outcome  # fmt: skip
    if outcome is Outcome.CONFLICT:
        raise OrderConflict
    session.flush()
    answer = find_order_json(session, program_id=program_id, order_id=report.order_id, now=now)
    renamed: dict[str, Any] = _renamed(answer, public(tester)) if tester else answer
    return renamed


def _with_tester(
    session: Session, program_id: int, report: OrderReportIn
) -> tuple[OrderReportIn, int | None]:
    """The report with the tokens of test clicks as those of an affiliate's who exists until the
    rollback, and the enrollment; none where it has no such token."""
    keys = order_keys().clicks
    read_ones = [read(each, keys) for each in report.clicks]
    tested = [
        one for one in read_ones if not isinstance(one, BadToken) and one.link_id == TEST_LINK_ID
    ]
    if not tested:
        return report, None
    link = _tester(session, program_id, clicked_at=min(one.clicked_at for one in tested))
    clicks = [
        _token_of(one, link.id) if one in tested else each
        for each, one in zip(report.clicks, read_ones, strict=True)
    ]
    return replace(report, clicks=tuple(clicks)), link.enrollment_id


def _token_of(token: ClickToken | BadToken, link_id: int) -> str:
    """A test click's token for another link. It says `unrecorded`: its row will never come."""
    assert isinstance(token, ClickToken)
    visitor = token.visitor_id.bytes if token.visitor_id else bytes(16)
    key = order_keys().clicks[0]
    return mint(key, token.click_id.bytes, link_id, visitor, unrecorded=True)


def _tester(session: Session, program_id: int, *, clicked_at: datetime) -> Link:
    """An affiliate of the program with a link, older than the click; nobody ever sees them."""
    program = session.get_one(Program, program_id)
    since = min(program.created_at, clicked_at - timedelta(days=1))
    name = f"test-{secrets.token_hex(12)}"
    user = User(email=f"{name}@test.invalid", name=name, fs_uniquifier=name, created_at=since)
    session.add(user)
    session.flush()
    affiliate = Affiliate(user_id=user.id, name=name, created_at=since)
    session.add(affiliate)
    session.flush()
    enrollment = Enrollment(
        program_id=program_id, affiliate_id=affiliate.id, status=Status.ACTIVE.value, answers={},
        applied_at=since, decided_at=since, approved_at=since,
    )  # fmt: skip
    session.add(enrollment)
    session.flush()
    link = Link(
        program_id=program_id, enrollment_id=enrollment.id, code=name,
        destination=program.landing_url, created_at=since,
    )  # fmt: skip
    session.add(link)
    session.flush()
    return link


def _renamed(value: Any, name: str) -> Any:
    """The answer with the test's own affiliate under their public name."""
    if isinstance(value, dict):
        return {key: _renamed(each, name) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_renamed(each, name) for each in value]
    return TEST_AFFILIATE if value == name else value


def _is_canarys(session: Session, program_id: int, order_id: str) -> bool:
    """Whether the canary sends it; an id that it has sent before is somebody's who read it."""
    if not is_canarys(order_id, application_settings().keys("canary-order")):
        return False
    known = sa.exists().where(TestOrder.program_id == program_id, TestOrder.order_id == order_id)
    return session.scalar(sa.select(~known)) is True


def _check_pace(session: Session, program_id: int, source: Source, now: datetime) -> None:
    """Pages and servers are counted apart: strangers must not stop the shop's own tests."""
    newest = (
        sa.select(TestOrder.received_at)
        .where(TestOrder.program_id == program_id, TestOrder.source == source.value)
        .order_by(TestOrder.id.desc())
        .offset(TESTS_PER_HOUR_MAX - 1)
        .limit(1)
    )
    oldest = session.scalar(newest)
    if oldest is not None and now - oldest < timedelta(hours=1):
        raise TooManyTests
