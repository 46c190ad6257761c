"""Lists of orders and refunds, and every decision about an order, as the API answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.fields import moment_json, money_json
from affiliate.core.money import Money, total
from affiliate.programs.models import RuleVersion
from payouts.commissions.models import Commission
from payouts.commissions.rows import commissions_for_many
from tracker.attribution.models import Decision
from tracker.attribution.subject import REFERENCE, reference_of
from tracker.orders.models import Order, Refund
from tracker.orders.present import attribution_json, shares_json

ORDER: Final = "ord"
REFUND: Final = "rfd"
"""What public ids of orders and refunds begin with."""

OrderRow = tuple[Order, Decision | None]
RefundRow = tuple[Refund, str, str]
"""A refund, the shop's id of its order, and its currency."""


class Credit(StrEnum):
    """Whether an order is credited, or waits for a person."""

    ATTRIBUTED = "attributed"
    UNATTRIBUTED = "unattributed"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a list shows; what is none does not matter. Times are half open."""

    status: str | None = None
    credit: Credit | None = None
    enrollment_id: int | None = None
    """Credited to them: at level 1."""
    placed_from: datetime | None = None
    placed_to: datetime | None = None
    updated_since: datetime | None = None


def orders_page(
    session: Session,
    *,
    program_id: int,
    wanted: OrderFilter,
    before_id: int | None,
    rows_max: int,
) -> Sequence[OrderRow]:
    """Orders of a program with their live decisions, the last reported first."""
    query = (
        sa.select(Order, Decision)
        .outerjoin(Decision, sa.and_(Decision.order_id == Order.id, Decision.voided_at.is_(None)))
        .where(Order.program_id == program_id, *_conditions(wanted))
        .order_by(Order.id.desc())
        .limit(rows_max)
        .execution_options(populate_existing=True)
    )
    if before_id is not None:
        query = query.where(Order.id < before_id)
    return [(order, decision) for order, decision in session.execute(query)]


def orders_json(session: Session, rows: Sequence[OrderRow]) -> list[dict[str, Any]]:
    """The orders of a list; their commissions are asked for at once."""
    earned = commissions_for_many(session, references=[reference_of(o.id) for o, _ in rows])
    return [
        {
            "order_id": order.order_id,
            "status": order.status,
            "source": order.source,
            "placed_at": moment_json(order.placed_at),
            "received_at": moment_json(order.received_at),
            "confirmed_at": order.confirmed_at and moment_json(order.confirmed_at),
            "cancelled_at": order.cancelled_at and moment_json(order.cancelled_at),
            **{
                name: money_json(Money(getattr(order, f"{name}_micros"), order.currency))
                for name in ("total", "net", "refunded")
            },
            "coupon": order.coupon,
            "outcome": decision and decision.outcome,
            "reason": decision and decision.reason,
            "review": decision.review_reason if decision and not order.review_outcome else None,
            "shares": shares_json(decision.shares) if decision else [],
            "commission": money_json(
                total(
                    (row.left for row in earned[reference_of(order.id)]),
                    order.converted_to or order.currency,
                )
            ),
        }
        for order, decision in rows
    ]


def decisions_json(session: Session, *, program_id: int, order_id: str) -> list[dict[str, Any]]:
    """Every decision about an order, the last first, the traces in words too; none: no order."""
    rows = session.execute(
        sa.select(
            Decision,
            RuleVersion.number,
            RuleVersion.terms["attribution"]["model"].astext,
        )
        .join(Order, Order.id == Decision.order_id)
        .join(RuleVersion, RuleVersion.id == Decision.rule_version_id)
        .where(Order.program_id == program_id, Order.order_id == order_id)
        .order_by(Decision.number.desc())
        .execution_options(populate_existing=True)
    )
    return [
        {
            "number": decision.number,
            "decided_at": moment_json(decision.decided_at),
            "voided_at": decision.voided_at and moment_json(decision.voided_at),
            "void_reason": decision.void_reason,
            "review": decision.review_reason,
            **attribution_json(
                {
                    name: getattr(decision, name)
                    for name in ("outcome", "reason", "shares", "trace")
                },
                model=model,
                rule_version=number,
                in_words=True,
            ),
        }
        for decision, number, model in rows
    ]


def refunds_page(
    session: Session,
    *,
    program_id: int,
    order_id: str | None = None,
    refund_id: str | None = None,
    received_from: datetime | None = None,
    received_to: datetime | None = None,
    before_id: int | None = None,
    rows_max: int,
) -> Sequence[RefundRow]:
    """Refunds of a program or of one order, the last first; NotFound for an unknown order."""
    query = (
        sa.select(Refund, Order.order_id, Order.currency)
        .join(Order, Order.id == Refund.order_id)
        .where(Order.program_id == program_id)
        .order_by(Refund.id.desc())
        .limit(rows_max)
    )
    if order_id is not None:
        mine = (Order.program_id == program_id) & (Order.order_id == order_id)
        if session.scalar(sa.select(Order.id).where(mine)) is None:
            raise NotFound("No order with this id was reported in this program.")
        query = query.where(Order.order_id == order_id)
    if refund_id is not None:
        query = query.where(Refund.refund_id == refund_id)
    if received_from is not None:
        query = query.where(Refund.received_at >= received_from)
    if received_to is not None:
        query = query.where(Refund.received_at < received_to)
    if before_id is not None:
        query = query.where(Refund.id < before_id)
    return [(refund, order, currency) for refund, order, currency in session.execute(query)]


def _conditions(wanted: OrderFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.status is not None:
        found.append(Order.status == wanted.status)
    if wanted.credit is Credit.REVIEW:
        found += [Decision.review_reason.is_not(None), Order.review_outcome.is_(None)]
    elif wanted.credit is not None:
        found.append(Decision.outcome == wanted.credit.value)
    if wanted.enrollment_id is not None:
        found.append(Order.id.in_(_credited_to(wanted.enrollment_id)))
    if wanted.placed_from is not None:
        found.append(Order.placed_at >= wanted.placed_from)
    if wanted.placed_to is not None:
        found.append(Order.placed_at < wanted.placed_to)
    if wanted.updated_since is not None:
        found.append(Order.id.in_(_changed_since(wanted.updated_since)))
    return found


def _credited_to(enrollment_id: int) -> sa.Select[int]:
    number = sa.func.substr(Commission.reference, len(REFERENCE) + 1)
    of_order = Commission.reference.startswith(REFERENCE)
    return sa.select(sa.case((of_order, sa.cast(number, sa.BigInteger)))).where(
        Commission.enrollment_id == enrollment_id,
        Commission.level == 1,
        Commission.voided_at.is_(None),
        of_order,
    )


def _changed_since(moment: datetime) -> sa.CompoundSelect[int]:
    """Orders of which something was written since: each part by an index of its own.

    A column with the time of the last change would be one more index that each order pays for.
    """
    later = Order.confirmed_at > Order.received_at
    return sa.union(
        sa.select(Order.id).where(Order.received_at >= moment),
        sa.select(Order.id).where(Order.confirmed_at >= moment, later),
        sa.select(Order.id).where(Order.cancelled_at >= moment),
        sa.select(Order.id).where(Order.reviewed_at >= moment),
        sa.select(Decision.order_id).where(Decision.decided_at >= moment, Decision.number > 1),
        sa.select(Refund.order_id).where(Refund.received_at >= moment),
    )
