"""Tables of what orders earned, by day: summed ahead, so that a quarter is read in no time.

An order costs nothing here when it comes: `order_sums.add_up` adds whole orders to the days
some seconds later, and whoever asks before reads them themselves. What changes later (a
void, a release, a refund, a new decision) is written by triggers into `order_changes` as the
difference that it makes, and added up as well. Rule: docs/statistics.md, "Where it is kept".
"""

from __future__ import annotations

from datetime import date
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class OrderSums:
    """What commissions of a day amount to; in `order_changes` by how much they changed."""

    orders: Mapped[int] = mapped_column(server_default="0")
    """Live level-1 commissions: orders credited, also with nothing."""
    released_orders: Mapped[int] = mapped_column(server_default="0")
    """Of them those whose commission was released."""
    refused_orders: Mapped[int] = mapped_column(server_default="0")
    """Credited once and taken away for good: VoidReason, without a replaced decision."""
    value_micros: Mapped[int] = mapped_column(server_default="0")
    """Net amount of the orders credited, before refunds."""
    earned_micros: Mapped[int] = mapped_column(server_default="0")
    """Level 1 as earned, before refunds."""
    reversed_micros: Mapped[int] = mapped_column(server_default="0")
    """Of it, taken back by refunds."""
    released_micros: Mapped[int] = mapped_column(server_default="0")
    """Of what refunds left, released."""
    earned_2_micros: Mapped[int] = mapped_column(server_default="0")
    reversed_2_micros: Mapped[int] = mapped_column(server_default="0")
    released_2_micros: Mapped[int] = mapped_column(server_default="0")


SUMS: Final = (
    "orders",
    "released_orders",
    "refused_orders",
    "value_micros",
    "earned_micros",
    "reversed_micros",
    "released_micros",
    "earned_2_micros",
    "reversed_2_micros",
    "released_2_micros",
)


class OrderDay(OrderSums, Model):
    """What the orders that an affiliate was credited with on one of the program's days earned."""

    __tablename__ = "order_days"
    __table_args__ = (sa.Index("ix_order_days_program_id_day", "program_id", "day"),)

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    """On which the orders were placed."""
    program_id: Mapped[int]


class ProgramOrderDay(OrderSums, Model):
    """The same of a whole program."""

    __tablename__ = "program_order_days"

    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)


class OrderChange(OrderSums, Model):
    """By how much a change of a commission changes its day; written by triggers alone."""

    __tablename__ = "order_changes"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    order_id: Mapped[int]
    program_id: Mapped[int]
    enrollment_id: Mapped[int]
    day: Mapped[date]


class OrderSumsMark(Model):
    """How far orders are added up: one row."""

    __tablename__ = "order_sums_marks"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    added_order_id: Mapped[int] = mapped_column(server_default="0")
    """Every order up to this number is in the days."""
    next_order_id: Mapped[int | None]
    """How far the next run may go once nobody can still be writing an order below it."""
    next_xid: Mapped[int | None]
    """The transaction before which all must have ended for that."""
