"""/api/v1/orders, to read: lists, what was decided of each, refunds."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from flask import Flask, Response

from affiliate.core.api import answer, api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, MoneyField, Text, shop_id
from affiliate.core.ids import public_id
from affiliate.core.paging import (
    CURSOR_CHARS_MAX,
    PageOut,
    PageQuery,
    page,
    page_together,
    row_after,
    row_in,
)
from affiliate.people import ids
from affiliate.people.access import api_key, api_scope
from tracker.orders.listing import (
    ORDER,
    REFUND,
    Credit,
    OrderFilter,
    decisions_json,
    orders_json,
    orders_page,
    refunds_page,
)
from tracker.orders.present import refund_json
from tracker.orders.schemas import AttributionOut, RefundOut, ShareOut

STATUSES: Final = ("unconfirmed", "confirmed", "cancelled")

blueprint = api_blueprint("order_lists", "/api/v1/orders", "Orders, to read")
refunds = api_blueprint("refunds", "/api/v1/refunds", "Refunds, to read")


class OrdersQuery(PageQuery):
    """One page; the filters hold together. Times are half open: `from` is in, `to` is not."""

    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf(STATUSES))
    credit = ma.fields.Enum(Credit, by_value=True, load_default=None)
    affiliate = Text(load_default=None, chars_max=CURSOR_CHARS_MAX)
    placed_from = MomentField(load_default=None, data_key="from")
    placed_to = MomentField(load_default=None, data_key="to")
    updated_since = MomentField(load_default=None)


class ListedOrderOut(ma.Schema):
    """An order in a list; by itself it has items, trace, commissions and refunds as well."""

    order_id = ma.fields.String()
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    source = ma.fields.String()
    placed_at = MomentField()
    received_at = MomentField()
    confirmed_at = MomentField(allow_none=True)
    cancelled_at = MomentField(allow_none=True)
    total = MoneyField()
    net = MoneyField()
    refunded = MoneyField()
    coupon = ma.fields.String(allow_none=True)
    outcome = ma.fields.String(
        allow_none=True, validate=ma.validate.OneOf(["attributed", "unattributed"])
    )
    reason = ma.fields.String(allow_none=True, metadata={"description": "Why to nobody"})
    review = ma.fields.String(
        allow_none=True, metadata={"description": "Why a person has to look at it"}
    )
    shares = ma.fields.List(ma.fields.Nested(ShareOut))
    commission = MoneyField(metadata={"description": "Of both levels, less what was taken back"})


class OrdersOut(PageOut):
    """A page, the last reported first."""

    orders = ma.fields.List(ma.fields.Nested(ListedOrderOut))


class DecisionOut(AttributionOut):
    """One decision about the order; at most one is live."""

    number = ma.fields.Integer()
    decided_at = MomentField()
    voided_at = MomentField(allow_none=True)
    void_reason = ma.fields.String(allow_none=True)
    review = ma.fields.String(allow_none=True)


class DecisionsOut(ma.Schema):
    """Every decision, the last first."""

    attributions = ma.fields.List(ma.fields.Nested(DecisionOut))


class RefundsQuery(PageQuery):
    """One page; of what was received `from` (in) `to` (not in)."""

    received_from = MomentField(load_default=None, data_key="from")
    received_to = MomentField(load_default=None, data_key="to")


class RefundsOut(PageOut):
    """A page, the last received first."""

    refunds = ma.fields.List(ma.fields.Nested(RefundOut))


@blueprint.get("")
@api_scope("orders:read")
@blueprint.arguments(OrdersQuery, location="query")
@blueprint.response(200, OrdersOut)
def listing(query: dict[str, Any]) -> Response:
    """Orders of the program: by status, credit, affiliate, time, and what changed since."""
    session, limit = db.session(), query["limit"]
    found = orders_page(
        session,
        program_id=api_key().program_id,
        wanted=OrderFilter(
            status=query["status"],
            credit=query["credit"],
            enrollment_id=row_in(ids.PREFIX, "affiliate", query["affiliate"]),
            placed_from=query["placed_from"],
            placed_to=query["placed_to"],
            updated_since=query["updated_since"],
        ),
        before_id=row_after(ORDER, query),
        rows_max=limit + 1,
    )
    return page_together(
        "orders",
        found,
        limit=limit,
        cursor=lambda row: public_id(ORDER, row[0].id),
        write=lambda shown: orders_json(session, shown),
    )


@blueprint.get("/<order_id>/attributions")
@api_scope("orders:read")
@blueprint.response(200, DecisionsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def attributions(order_id: str) -> Response:
    """Whose it is and why, with every check, and what was decided before."""
    found = decisions_json(
        db.session(), program_id=api_key().program_id, order_id=shop_id(order_id, "order_id")
    )
    if not found:
        raise NotFound("No order with this id was reported in this program.")
    return answer({"attributions": found})


@blueprint.get("/<order_id>/refunds")
@api_scope("orders:read")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, RefundsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def refunds_of_order(query: dict[str, Any], order_id: str) -> Response:
    """Refunds of an order."""
    return _refunds(query, order_id=shop_id(order_id, "order_id"))


@blueprint.get("/<order_id>/refunds/<refund_id>")
@api_scope("orders:read")
@blueprint.response(200, RefundOut)
@blueprint.alt_response(404, "NOT_FOUND")
def refund(order_id: str, refund_id: str) -> Response:
    """One refund as it was applied."""
    found = refunds_page(
        db.session(),
        program_id=api_key().program_id,
        order_id=shop_id(order_id, "order_id"),
        refund_id=shop_id(refund_id, "refund_id"),
        rows_max=1,
    )
    if not found:
        raise NotFound("No refund with this id was applied to this order.")
    return answer(refund_json(*found[0]))


@refunds.get("")
@api_scope("orders:read")
@refunds.arguments(RefundsQuery, location="query")
@refunds.response(200, RefundsOut)
def all_refunds(query: dict[str, Any]) -> Response:
    """Refunds of the program's orders."""
    return _refunds(query, received_from=query["received_from"], received_to=query["received_to"])


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources."""
    register(app, blueprint)
    register(app, refunds)


def _refunds(query: dict[str, Any], **which: Any) -> Response:
    session, limit = db.session(), query["limit"]
    found = refunds_page(
        session,
        program_id=api_key().program_id,
        before_id=row_after(REFUND, query),
        rows_max=limit + 1,
        **which,
    )
    return page(
        "refunds",
        found,
        limit=limit,
        cursor=lambda row: public_id(REFUND, row[0].id),
        write=lambda row: refund_json(*row),
    )
