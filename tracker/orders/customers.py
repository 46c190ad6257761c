"""Remember who bought: the shop's id or the keyed hash of an address, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

MERGED: Final = """
    ON CONFLICT (program_id, shop_id) DO UPDATE SET
        email_hash = coalesce(excluded.email_hash, customers.email_hash),
        first_ordered_at = least(excluded.first_ordered_at, customers.first_ordered_at)
"""
"""What one more order of a buyer with a shop's id changes."""
_WITH_ID: Final = sa.text(
    f"""
    WITH buyer AS (
        INSERT INTO customers (program_id, shop_id, email_hash, first_ordered_at)
        VALUES (:program_id, :shop_id, :email_hash, :placed_at) {MERGED} RETURNING id
    )
    UPDATE orders SET customer_id = (SELECT id FROM buyer) WHERE id = :order_row_id
    """  # noqa: S608 -- the part is a constant of this module, every value is bound
)
_BY_EMAIL: Final = sa.text(
    """
    WITH known AS (
        UPDATE customers SET first_ordered_at = least(first_ordered_at, :placed_at)
        WHERE id = (SELECT min(id) FROM customers
                    WHERE program_id = :program_id AND email_hash = :email_hash)
        RETURNING id
    ), made AS (
        INSERT INTO customers (program_id, email_hash, first_ordered_at)
        SELECT :program_id, :email_hash, :placed_at WHERE NOT EXISTS (SELECT FROM known)
        RETURNING id
    )
    UPDATE orders SET customer_id = (SELECT id FROM known UNION ALL SELECT id FROM made)
    WHERE id = :order_row_id
    """
).bindparams(
    sa.bindparam("placed_at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("email_hash", type_=sa.LargeBinary),
)

_WITHOUT: Final = sa.text(
    """
    UPDATE customers SET first_ordered_at = (
        SELECT min(placed_at) FROM orders
        WHERE customer_id = :customer_id AND id <> :order_row_id
    ) WHERE id = :customer_id
    """
)


def forget_customer(session: Session, *, order_row_id: int, customer_id: int | None) -> None:
    """Count the buyer's first order without this one, which is about to be decided again."""
    if customer_id is not None:
        values = {"customer_id": customer_id, "order_row_id": order_row_id}
        session.execute(_WITHOUT, values)


def remember_customer(
    session: Session,
    *,
    program_id: int,
    order_row_id: int,
    customer: Mapping[str, Any] | None,
    placed_at: datetime,
) -> None:
    """Tie the order to its buyer; only confirmed orders make somebody a customer.

    Two first orders of one guest at the same instant may make two rows; the earliest of
    both counts wherever customers are read.
    """
    customer = customer or {}
    email = customer.get("email")
    values = {
        "program_id": program_id,
        "order_row_id": order_row_id,
        "email_hash": bytes.fromhex(email) if email else None,
        "placed_at": placed_at,
    }
    if customer.get("id"):
        session.execute(_WITH_ID, {**values, "shop_id": customer["id"]})
    elif email:
        session.execute(_BY_EMAIL, values)
