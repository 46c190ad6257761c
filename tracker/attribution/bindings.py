"""Buyers who stay with an affiliate: bound by a credited order, let go when its credit falls.

Rule: docs/rules.md, "Bound customers".
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.terms_document import load
from tracker.attribution.models import CustomerBinding, Decision
from tracker.attribution.rules import Kind, bound_until
from tracker.orders.models import Order

# Two orders of one buyer may come at once: the unique index lets one of them bind.
_BIND: Final = sa.text(
    """
    INSERT INTO customer_bindings
        (program_id, customer_id, enrollment_id, order_id, bound_at, ends_at, created_at)
    VALUES (:program_id, :customer_id, :enrollment_id, :order_id, :bound_at, :ends_at, :now)
    ON CONFLICT (customer_id) WHERE voided_at IS NULL DO NOTHING
    """
)


def bind_customer(session: Session, *, order_row_id: int, now: datetime) -> None:
    """Bind the buyer of a confirmed order to whom it credits most, where its rules bind.

    A buyer who is bound stays bound: a later order of another affiliate changes nothing before
    the end. Equal shares: the affiliate of the first touch. What only a binding credited does
    not bind anew. Safe to run twice.
    """
    found = session.execute(
        sa.select(
            Order.program_id,
            Order.customer_id,
            Order.placed_at,
            Decision.shares,
            RuleVersion.terms,
            Program.currency,
        )
        .join(Decision, Decision.order_id == Order.id)
        .join(RuleVersion, RuleVersion.id == Decision.rule_version_id)
        .join(Program, Program.id == Order.program_id)
        .where(
            Order.id == order_row_id,
            Order.status == "confirmed",
            Order.customer_id.is_not(None),
            Decision.voided_at.is_(None),
            Decision.outcome == "attributed",
        )
    ).one_or_none()
    if found is None:
        return
    binding = load(found.terms, found.currency).attribution.binding
    share = _binding_share(found.shares)
    if binding is None or share is None:
        return
    session.execute(
        sa.update(CustomerBinding)
        .where(
            CustomerBinding.customer_id == found.customer_id,
            CustomerBinding.voided_at.is_(None),
            CustomerBinding.ends_at <= found.placed_at,
        )
        .values(voided_at=now)
    )
    session.execute(
        _BIND,
        {
            "program_id": found.program_id,
            "customer_id": found.customer_id,
            "enrollment_id": share["enrollment_id"],
            "order_id": order_row_id,
            "bound_at": found.placed_at,
            "ends_at": bound_until(found.placed_at, binding.months),
            "now": now,
        },
    )


def let_go_of_customer(session: Session, *, order_row_id: int, now: datetime) -> None:
    """The order's credit has fallen, and with it what it bound."""
    session.execute(
        sa.update(CustomerBinding)
        .where(CustomerBinding.order_id == order_row_id, CustomerBinding.voided_at.is_(None))
        .values(voided_at=now)
    )


def _binding_share(shares: list[dict[str, Any]]) -> dict[str, Any] | None:
    brought = [share for share in shares if share["evidence"] != Kind.BOUND_CUSTOMER]
    return max(brought, key=lambda share: Fraction(share["weight"]), default=None)
