"""/api/v1/customers: buyers of the shop: whose they are, and their erasure."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.api import answer, api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import MomentField, MoneyField, ShopId, Text, moment_json, money_json
from affiliate.core.fields import shop_id as read_shop_id
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.core.paging import PageOut, PageQuery, page_together, row_after
from affiliate.people import ids
from affiliate.people.access import api_key, api_scope
from tracker.attribution.models import CustomerBinding
from tracker.orders.keys import order_keys
from tracker.orders.listing import ORDER
from tracker.orders.models import Customer, Order
from tracker.personal.customers import Buyer, NobodyKnown, erase_customer

EMAIL_CHARS_MAX: Final = 254

blueprint = api_blueprint("customers", "/api/v1/customers", "Buyers of the shop")


class BoundToOut(ma.Schema):
    """The affiliate to whom the buyer stays, by the rules of an order."""

    affiliate = ma.fields.String()
    order_id = ma.fields.String(metadata={"description": "The order that bound them"})
    since = MomentField()
    ends_at = MomentField(allow_none=True, metadata={"description": "null: for life"})


class CustomerOrderOut(ma.Schema):
    """An order of the buyer's."""

    order_id = ma.fields.String()
    status = ma.fields.String()
    placed_at = MomentField()
    total = MoneyField()


class CustomerOut(PageOut):
    """What we keep of a buyer besides hashes, and a page of their orders."""

    customer_id = ma.fields.String()
    first_ordered_at = MomentField(allow_none=True)
    bound_to = ma.fields.Nested(BoundToOut, allow_none=True)
    orders = ma.fields.List(ma.fields.Nested(CustomerOrderOut))


class ErasureIn(ma.Schema):
    """Who: by your id, by their mail address, or by both, since an order that was reported with
    the one alone is not found by the other."""

    customer_id = ShopId(load_default=None)
    email = Text(load_default=None, empty=False, chars_max=EMAIL_CHARS_MAX)

    @ma.validates_schema
    def _names_somebody(self, values: dict[str, Any], **_: Any) -> None:
        if values.get("customer_id") is None and values.get("email") is None:
            raise ma.ValidationError("Give customer_id, email or both.", "customer_id")


class ErasedOut(ma.Schema):
    """Of how many it was erased."""

    customers = ma.fields.Integer()
    orders = ma.fields.Integer()
    leads = ma.fields.Integer()


@blueprint.get("/<customer_id>")
@api_scope("customers:read")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, CustomerOut)
@blueprint.alt_response(404, "NOT_FOUND")
def show(query: dict[str, Any], customer_id: str) -> Response:
    """A buyer by your own id: whose they are, and their orders, the last first."""
    session = db.session()
    found = _customer(session, read_shop_id(customer_id, "customer_id"))
    wanted = sa.select(Order).where(Order.customer_id == found.id)
    after, limit = row_after(ORDER, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Order.id < after)
    orders = session.scalars(wanted.order_by(Order.id.desc()).limit(limit + 1)).all()
    return page_together(
        "orders",
        orders,
        limit=limit,
        cursor=lambda order: public_id(ORDER, order.id),
        write=lambda shown: [_order(order) for order in shown],
        beside={
            "customer_id": found.shop_id,
            "first_ordered_at": found.first_ordered_at and moment_json(found.first_ordered_at),
            "bound_to": _bound_to(session, found),
        },
    )


@blueprint.post("/erasures")
@api_scope("customers:erase")
@blueprint.arguments(ErasureIn)
@blueprint.response(200, ErasedOut)
@blueprint.alt_response(404, "NOT_FOUND")
def erase(values: dict[str, Any]) -> Response:
    """Erase a buyer for good: ids, hashes, what reports said of them. Orders and what they earned
    stay. 404 `no_such_customer` for one who is not known, also the second time."""
    session, key = db.session(), api_key()
    done = erase_customer(
        session,
        program_id=key.program_id,
        buyer=Buyer(values["customer_id"], values["email"]),
        keys=order_keys(),
        by=key.label,
        now=clock.now(session),
    )
    session.commit()
    return answer({"customers": done.customers, "orders": done.orders, "leads": done.leads})


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource."""
    register(app, blueprint)


def _customer(session: Session, shop_id: str) -> Customer:
    found = session.scalar(
        sa.select(Customer).where(
            Customer.program_id == api_key().program_id, Customer.shop_id == shop_id
        )
    )
    if found is None:
        raise NobodyKnown
    return found


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "status": order.status,
        "placed_at": moment_json(order.placed_at),
        "total": money_json(Money(order.total_micros, order.currency)),
    }


def _bound_to(session: Session, customer: Customer) -> dict[str, Any] | None:
    """The live binding, unless it has ended by now."""
    row = session.execute(
        sa.select(CustomerBinding, Order.order_id)
        .join(Order, Order.id == CustomerBinding.order_id)
        .where(
            CustomerBinding.customer_id == customer.id,
            CustomerBinding.voided_at.is_(None),
            sa.func.coalesce(CustomerBinding.ends_at > clock.now(session), sa.true()),
        )
    ).one_or_none()
    if row is None:
        return None
    binding, order_id = row
    return {
        "affiliate": ids.public(binding.enrollment_id),
        "order_id": order_id,
        "since": moment_json(binding.bound_at),
        "ends_at": binding.ends_at and moment_json(binding.ends_at),
    }
