"""API v1: commissions of everybody in the program, one of them told in full, and an affiliate's
orders without their buyers (docs/api.md, "Commissions")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Response
from sqlalchemy.orm import aliased

from affiliate.core import api, clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import OPTIONAL, MomentField, MoneyField, Text, moment_json, money_json
from affiliate.core.ids import public_id, row_id
from affiliate.core.money import Money
from affiliate.core.paging import (
    CURSOR_CHARS_MAX,
    PageOut,
    PageQuery,
    page,
    page_together,
    row_after,
    row_in,
)
from affiliate.people import access, enrollments, ids
from affiliate.people.access import api_scope
from affiliate.programs.models import RuleVersion
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.rows import CommissionRow, Status, as_row
from tracker.desks.account.api import PREFIX, EarnedCommissionOut, earned_json
from tracker.desks.account.orders import order_number
from tracker.desks.sources import sources
from tracker.orders.models import Order
from tracker.orders.present import commission_json
from tracker.orders.schemas import CommissionOut

all_commissions = api.api_blueprint(
    "all_commissions", "/api/v1/commissions", "What the program's affiliates earned"
)
affiliates = api.api_blueprint(
    "affiliate_orders", "/api/v1/affiliates", "Orders that an affiliate earned by"
)


class AllCommissionsQuery(PageQuery):
    """One page; the filters hold together. Earned `from` (in) `to` (not in)."""

    affiliate = Text(load_default=None, chars_max=CURSOR_CHARS_MAX)
    status = ma.fields.Enum(Status, by_value=True, load_default=None)
    level = ma.fields.Integer(load_default=None, validate=ma.validate.OneOf([1, 2]))
    earned_from = MomentField(load_default=None, data_key="from")
    earned_to = MomentField(load_default=None, data_key="to")


class AffiliatesCommissionOut(EarnedCommissionOut):
    """One commission, and whose it is."""

    affiliate = ma.fields.String()


class AllCommissionsOut(PageOut):
    """A page, newest first."""

    commissions = ma.fields.List(ma.fields.Nested(AffiliatesCommissionOut))


class TakenBackOut(ma.Schema):
    """What one refund took back."""

    amount = MoneyField()
    at = MomentField()


class ToldCommissionOut(CommissionOut):
    """A commission with every step of its computation."""

    id = ma.fields.String()
    kind = ma.fields.String()
    source = ma.fields.String()
    earned_at = MomentField()
    steps = ma.fields.List(ma.fields.Dict())
    taken_back = ma.fields.List(ma.fields.Nested(TakenBackOut))


class OwnOrderOut(ma.Schema):
    """An order as its affiliate may see it: what it brought, and nothing of the buyer."""

    order_id = ma.fields.String()
    placed_at = MomentField()
    order_status = ma.fields.String()
    net = MoneyField(metadata=OPTIONAL | {"description": "Of one's own sale; not of a recruit's"})
    level = ma.fields.Integer()
    commission = ma.fields.String()
    status = ma.fields.Enum(Status, by_value=True)
    amount = MoneyField()
    taken_back = MoneyField()
    available_at = MomentField()
    waits_for = ma.fields.String(allow_none=True)


class OwnOrdersOut(PageOut):
    """A page, newest first."""

    orders = ma.fields.List(ma.fields.Nested(OwnOrderOut))


@all_commissions.get("")
@api_scope("commissions:read")
@all_commissions.arguments(AllCommissionsQuery, location="query")
@all_commissions.response(200, AllCommissionsOut)
def listing(query: dict[str, Any]) -> Response:
    """Commissions of the program, of both levels."""
    limit = query["limit"]
    wanted = (
        sa.select(Commission)
        .where(Commission.program_id == access.api_key().program_id, *_conditions(query))
        .order_by(Commission.id.desc())
        .limit(limit + 1)
    )
    return page_together(
        "commissions",
        [as_row(row) for row in db.session.scalars(wanted)],
        limit=limit,
        cursor=lambda row: public_id(PREFIX, row.id),
        write=_named,
    )


@all_commissions.get("/<commission>")
@api_scope("commissions:read", own="own:read")
@all_commissions.response(200, ToldCommissionOut)
@all_commissions.alt_response(404, "NOT_FOUND")
def one(commission: str) -> Response:
    """A commission with every step of its computation and what refunds took back."""
    session, key = db.session(), access.api_key()
    found = session.get(Commission, row_id(PREFIX, commission), populate_existing=True)
    if found is None or found.program_id != key.program_id:
        raise NotFound
    if key.enrollment_id not in (None, found.enrollment_id):
        raise NotFound
    number = session.scalar(
        sa.select(RuleVersion.number).where(RuleVersion.id == found.rule_version_id)
    )
    row = as_row(found)
    source = sources(session, [row.reference])[row.reference]
    shown = commission_json(row, number or 0, clock.now(session))
    return api.answer(
        {
            **shown,
            "id": public_id(PREFIX, row.id),
            "kind": source.kind.value,
            "source": source.text,
            "earned_at": moment_json(row.earned_at),
            "steps": list(row.trace),
            "taken_back": _taken_back(found),
        }
    )


@affiliates.get("/<affiliate>/orders")
@api_scope("commissions:read", own="own:read")
@affiliates.arguments(PageQuery, location="query")
@affiliates.response(200, OwnOrdersOut)
@affiliates.alt_response(404, "NOT_FOUND")
def orders(query: dict[str, Any], affiliate: str) -> Response:
    """Orders that the affiliate is credited with or earned by, one line a commission.

    A commission whose decision was replaced by one that credits them again is left out.
    """
    session = db.session()
    enrollment = enrollments.in_program(
        session,
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    )
    newer = aliased(Commission)
    after, limit = row_after(PREFIX, query), query["limit"]
    wanted = (
        sa.select(Commission, Order)
        .join(Order, Order.id == order_number())
        .where(
            Commission.enrollment_id == enrollment.id,
            sa.true() if after is None else Commission.id < after,
            ~sa.exists().where(
                newer.reference == Commission.reference,
                newer.level == Commission.level,
                newer.enrollment_id == Commission.enrollment_id,
                newer.decision > Commission.decision,
            ),
        )
        .order_by(Commission.id.desc())
        .execution_options(populate_existing=True)
    )
    return page(
        "orders",
        session.execute(wanted.limit(limit + 1)).all(),
        limit=limit,
        cursor=lambda row: public_id(PREFIX, row[0].id),
        write=lambda row: _order(*row),
    )


def _named(rows: Sequence[CommissionRow]) -> list[dict[str, Any]]:
    """Each with what it was earned by and whose it is."""
    named = sources(db.session(), [row.reference for row in rows])
    return [
        {**earned_json(row, named[row.reference]), "affiliate": ids.public(row.enrollment_id)}
        for row in rows
    ]


def _order(commission: Commission, order: Order) -> dict[str, Any]:
    row = as_row(commission)
    shown = {
        "order_id": order.order_id,
        "placed_at": moment_json(order.placed_at),
        "order_status": order.status,
        "level": row.level,
        "commission": public_id(PREFIX, row.id),
        "status": row.status.value,
        "amount": money_json(row.amount),
        "taken_back": money_json(row.reversed),
        "available_at": moment_json(row.available_at),
        "waits_for": row.waits_for,
    }
    if row.level == 1:
        shown["net"] = money_json(Money(order.net_micros, order.currency))
    return shown


def _conditions(query: dict[str, Any]) -> Iterator[sa.ColumnElement[bool]]:
    after = row_after(PREFIX, query)
    if after is not None:
        yield Commission.id < after
    affiliate = row_in(ids.PREFIX, "affiliate", query["affiliate"])
    if affiliate is not None:
        yield Commission.enrollment_id == affiliate
    if query["level"] is not None:
        yield Commission.level == query["level"]
    if query["status"] is not None:
        yield _STATUS[query["status"]]
    if query["earned_from"] is not None:
        yield Commission.earned_at >= query["earned_from"]
    if query["earned_to"] is not None:
        yield Commission.earned_at < query["earned_to"]


_LIVE = Commission.voided_at.is_(None)
_EARNED = sa.and_(_LIVE, Commission.amount_micros > 0)
_LEFT = sa.and_(_EARNED, Commission.reversed_micros < Commission.amount_micros)
_STATUS: dict[Status, sa.ColumnElement[bool]] = {
    Status.VOIDED: ~_LIVE,
    Status.NOT_EARNED: sa.and_(_LIVE, Commission.amount_micros == 0),
    Status.REVERSED: sa.and_(_EARNED, Commission.reversed_micros == Commission.amount_micros),
    Status.AVAILABLE: sa.and_(_LEFT, Commission.released_at.is_not(None)),
    Status.PENDING: sa.and_(_LEFT, Commission.released_at.is_(None)),
}
"""The same as CommissionRow.status says; a test holds them together."""


def _taken_back(found: Commission) -> list[dict[str, Any]]:
    rows = db.session.scalars(
        sa.select(CommissionReversal)
        .where(CommissionReversal.commission_id == found.id)
        .order_by(CommissionReversal.id)
    )
    return [
        {
            "amount": money_json(Money(row.amount_micros, found.currency)),
            "at": moment_json(row.reversed_at),
        }
        for row in rows
    ]
