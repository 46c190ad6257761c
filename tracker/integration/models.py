"""Tables of what is known of a shop's integration. Nothing of money or credit reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from tracker.integration.rules import Fact

FACTS_KNOWN = f"fact IN ({', '.join(repr(fact.value) for fact in Fact)})"


class IntegrationFact(Model):
    """Something that was seen of a program's integration, and when last; one row a site."""

    __tablename__ = "integration_facts"
    __table_args__ = (sa.CheckConstraint(FACTS_KNOWN, name="fact_known"),)

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    host: Mapped[str] = mapped_column(primary_key=True)
    """The site's host as the browser named it, in lower case; empty where none was named."""
    fact: Mapped[str] = mapped_column(primary_key=True)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    """To the minute or so: it is written at most once a minute and process."""
    detail: Mapped[str] = mapped_column(server_default="")
    """Which version of the pixel, or why a token was not believed."""


class RefusedCall(Model):
    """Calls of one minute that were refused for one reason; no body and no value of a field."""

    __tablename__ = "refused_calls"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "minute", "route", "caller", "status", "code", "fields"),
        sa.CheckConstraint("calls > 0", name="calls_positive"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    minute: Mapped[datetime]
    route: Mapped[str]
    """`POST /api/v1/orders/<order_id>/refunds`: the rule, not the address."""
    caller: Mapped[str]
    """`kpk_ab12cd34` or `browser`."""
    status: Mapped[int]
    code: Mapped[str]
    fields: Mapped[str]
    """`total.amount: not_a_decimal`, the first few; names that are none of ours are left out."""
    calls: Mapped[int]
    """How many; of a flood at least so many."""
    last_at: Mapped[datetime]
    request_id: Mapped[str]
    """Of the last one."""
    order_id: Mapped[str | None]
    """Of the last one, where it names an order."""


class TestOrder(Model):
    """A test order: what it would have earned. It is no order, and nothing is owed for it."""

    __tablename__ = "test_orders"
    __test__ = False  # It is none of pytest's.
    __table_args__ = (
        sa.CheckConstraint("source IN ('api', 'browser')", name="source_known"),
        sa.Index("ix_test_orders_program_id", "program_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    order_id: Mapped[str]
    source: Mapped[str]
    reported_by: Mapped[str]
    """`key:kpk_ab12` or `browser`."""
    received_at: Mapped[datetime]
    answer: Mapped[dict[str, Any]]
    """Of what the API would answer: amounts, attribution with its trace, commissions."""


class Canary(Model):
    """The canary of a program: it clicks and orders in test mode, over and over."""

    __tablename__ = "canaries"

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    api_key_id: Mapped[int] = mapped_column(sa.ForeignKey("api_keys.id"))
    """Its own key; the secret is derived from the installation's, and stored nowhere."""
    on_since: Mapped[datetime]
    off_since: Mapped[datetime | None]
    """None while it is on."""
    switched_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    next_run_at: Mapped[datetime]
    """Real time: a moved demo clock must not wake it."""
    failures: Mapped[int] = mapped_column(server_default="0")
    """Runs in a row that did not come through."""
    broken_since: Mapped[datetime | None]
    """When the first of them was, once there are enough of them for an alarm."""
    last_well_at: Mapped[datetime | None]


class CanaryRun(Model):
    """One walk of a canary: how long each step took, and where it ended."""

    __tablename__ = "canary_runs"
    __table_args__ = (
        sa.CheckConstraint("(step IS NULL) = (problem IS NULL)", name="broken_at_a_step"),
        sa.Index("ix_canary_runs_program_id", "program_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    begun_at: Mapped[datetime]
    millis: Mapped[dict[str, Any]]
    """Milliseconds by step, of those that were begun."""
    step: Mapped[str | None]
    """Where it broke; none: it came through."""
    problem: Mapped[str | None]
    detail: Mapped[str] = mapped_column(server_default="")
    """The status or the code that came instead."""
