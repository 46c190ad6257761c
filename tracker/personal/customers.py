"""Erase a buyer of a program's shop: ids, keyed hashes, and what their orders' reports said.

The orders stay with their amounts, decisions and click tokens, whose they are with them: they are
the books of others. What the shop's `metadata` and reasons hold nobody here knows, so it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import be_patient
from affiliate.core.errors import NotFound
from tracker.leads.models import Lead
from tracker.orders.keys import Keys
from tracker.orders.models import Customer, Order, OrderReport, ParkedCall, Refund
from tracker.sources.again import forget_bodies_of

ACTION: Final = "customer.erase"
STATEMENT_S: Final = 600
"""Orders that only a browser reported name their buyer in no column: all are looked through."""
SIDES: Final = ("server", "browser")
"""Whose reports the evidence of an order or lead is of."""
GONE: Final = {"customer": None, "visitor": None, "network": None}
"""What of a report's evidence says who bought, and in which browser and network."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """By what the shop calls the buyer: its own id, an address, or both."""

    customer_id: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Erased:
    """How much was erased."""

    customers: int
    orders: int
    leads: int


class NobodyKnown(NotFound):
    code = "no_such_customer"
    title = "No order, lead or customer of this program is known by that."


def erase_customer(
    session: Session, *, program_id: int, buyer: Buyer, keys: Keys, by: str, now: datetime
) -> Erased:
    """Erase a buyer and everything that says which orders and leads were theirs.

    A later order of theirs is one of a new buyer: what bound them to an affiliate is over. One
    that comes at this very moment may keep its name: then the command is given again.
    Raises NobodyKnown.
    """
    be_patient(session, statement_s=STATEMENT_S)
    emails = keys.email_hashes_of(buyer.email) if buyer.email else frozenset()
    rows = _customers(session, program_id, buyer, emails)
    orders = session.scalars(
        sa.select(Order)
        .where(
            Order.program_id == program_id,
            sa.or_(Order.customer_id.in_(rows), _named_in(Order.evidence, buyer, emails)),
        )
        .order_by(Order.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    leads = session.scalars(
        sa.select(Lead)
        .where(Lead.program_id == program_id, _named_in(Lead.evidence, buyer, emails))
        .order_by(Lead.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if not rows and not orders and not leads:
        raise NobodyKnown
    for order in orders:
        order.evidence, order.details = _without_buyer(order.evidence), {}
    for lead in leads:
        lead.evidence, lead.details = _without_buyer(lead.evidence), {}
        lead.cancel_reason = None
    session.flush()
    _forget_reports(session, program_id, orders)
    forget_bodies_of(
        session,
        program_id=program_id,
        order_ids=[order.order_id for order in orders],
        email=buyer.email,
    )
    session.execute(
        sa.update(Customer).where(Customer.id.in_(rows)).values(shop_id=None, email_hash=None)
    )
    audit.record(
        session, actor=by, action=ACTION, subject=f"program:{program_id}", scope=program_id,
        new={"customers": len(rows), "orders": len(orders), "leads": len(leads)}, now=now,
    )  # fmt: skip
    return Erased(len(rows), len(orders), len(leads))


def _customers(
    session: Session, program_id: int, buyer: Buyer, emails: frozenset[bytes]
) -> Sequence[int]:
    """The rows that the buyer is known by. Not locked: orders are first, as the intake has it."""
    known_by = []
    if buyer.customer_id is not None:
        known_by.append(Customer.shop_id == buyer.customer_id)
    if emails:
        known_by.append(Customer.email_hash.in_(emails))
    return session.scalars(
        sa.select(Customer.id)
        .where(Customer.program_id == program_id, sa.or_(sa.false(), *known_by))
        .order_by(Customer.id)
    ).all()


def _named_in(
    evidence: sa.orm.InstrumentedAttribute[dict[str, Any]], buyer: Buyer, emails: frozenset[bytes]
) -> sa.ColumnElement[bool]:
    """SQL: a server's or a browser's report names the buyer."""
    named: list[sa.ColumnElement[bool]] = [sa.false()]
    for side in SIDES:
        if buyer.customer_id is not None:
            named.append(evidence[side, "customer", "id"].astext == buyer.customer_id)
        if emails:
            hashes = [each.hex() for each in emails]
            named.append(evidence[side, "customer", "email"].astext.in_(hashes))
    return sa.or_(*named)


def _without_buyer(evidence: dict[str, Any]) -> dict[str, Any]:
    """What servers and browsers brought, without who bought; a manager's word stays."""
    return {
        side: {**brought, **GONE} if side in SIDES and brought else brought
        for side, brought in evidence.items()
    }


def _forget_reports(session: Session, program_id: int, orders: Sequence[Order]) -> None:
    ids = [order.id for order in orders]
    reports = session.scalars(sa.select(OrderReport).where(OrderReport.order_id.in_(ids)))
    for report in reports:
        report.body = {**report.body, "customer": None, "visitor": None, "metadata": {}}
    session.flush()
    session.execute(sa.update(Refund).where(Refund.order_id.in_(ids)).values(reason=None))
    for refund in session.scalars(sa.select(Refund).where(Refund.order_id.in_(ids))):
        refund.body = {**refund.body, "reason": None}
    parked = sa.select(ParkedCall).where(
        ParkedCall.program_id == program_id,
        ParkedCall.order_id.in_([order.order_id for order in orders]),
    )
    for call in session.scalars(parked):
        call.body = {**call.body, "reason": None} if "reason" in call.body else call.body
    session.flush()
