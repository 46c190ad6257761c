"""/api/v1/orders: reports, confirmations, refunds, cancellations of a program's orders."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from flask import Flask, Response, current_app, request
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.api import answer, api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import shop_id
from affiliate.people.access import api_key, api_scope
from affiliate.people.sent_keys import ApiKeyIdentity
from tracker.integration.trying import try_order
from tracker.orders import plain
from tracker.orders.cancellation import cancel_order
from tracker.orders.confirmation import confirm_order
from tracker.orders.intake import report_order
from tracker.orders.present import (
    find_order_json,
    find_refund_json,
    new_order_json,
    order_json,
)
from tracker.orders.refunds import refund_order
from tracker.orders.refusals import OrderConflict
from tracker.orders.rules import OrderReportIn, Outcome, RefundIn, Source, TestReport
from tracker.orders.schemas import (
    CancellationIn,
    ConfirmationIn,
    OrderOrTestIn,
    OrderOut,
    ParkedOut,
    RefundInSchema,
    RefundOut,
)
from tracker.orders.units import in_one_unit

REPLAYED: Final = {"Idempotent-Replayed": "true"}

blueprint = api_blueprint("orders", "/api/v1/orders", "Orders, whose they are and what they earned")


@blueprint.post("")
@api_scope("orders:write")
@blueprint.arguments(OrderOrTestIn)
@blueprint.response(201, OrderOut)
@blueprint.alt_response(200, schema=OrderOut, description="The same report again, or a test")
@blueprint.alt_response(409, "CONFLICT")
def report(order: OrderReportIn | TestReport) -> Response:
    """Report an order.

    201: created, or put in the place of a browser's unconfirmed report. 200: the same id and
    content again. 409 `order_conflict`: the id with other content. With `"test": true` the order
    is tried and not taken: 200 with what it would have earned.
    """
    key = api_key()
    if isinstance(order, TestReport):
        return _tried(order.report, key)

    def work(session: Session) -> tuple[Outcome, dict[str, Any]]:
        now = clock.now(session)
        reported = report_order(
            session,
            program_id=key.program_id,
            report=order,
            source=Source.API,
            reported_by=key.label,
            now=now,
            may_import="orders:import" in key.scopes,
        )
        if reported.outcome is Outcome.CONFLICT:
            return reported.outcome, {}
        if reported.new is not None:
            return reported.outcome, new_order_json(reported.new, now)
        body = order_json(session, order_row_id=reported.order_row_id, now=now)
        return reported.outcome, body

    outcome, body = in_one_unit(work)
    if outcome is Outcome.CONFLICT:
        raise OrderConflict
    if outcome is Outcome.REPLAY:
        return answer(body, 200, REPLAYED)
    current_app.extensions[plain.EXTENSION].remember(request.headers["Authorization"], key)
    return answer(body, 201)


@blueprint.get("/<order_id>")
@api_scope("orders:read")
@blueprint.response(200, OrderOut)
@blueprint.alt_response(404, "NOT_FOUND")
def show(order_id: str) -> Response:
    """The order as sent, its attribution with every check, its commissions and refunds."""
    session = db.session()
    return answer(
        find_order_json(
            session,
            program_id=api_key().program_id,
            order_id=shop_id(order_id, "order_id"),
            now=clock.now(session),
        )
    )


@blueprint.post("/<order_id>/confirmation")
@api_scope("orders:write")
@blueprint.arguments(ConfirmationIn, required=False)
@blueprint.response(200, OrderOut)
@blueprint.alt_response(202, schema=ParkedOut, description="Kept until the order is known")
@blueprint.alt_response(409, "CONFLICT")
def confirm(body: dict[str, Any], order_id: str) -> Response:
    """Confirm an order that only a browser reported; kept when it is not known yet."""
    key, known_id = api_key(), shop_id(order_id, "order_id")

    def work(session: Session) -> Response:
        now = clock.now(session)
        done = confirm_order(
            session,
            program_id=key.program_id,
            order_id=known_id,
            total=body["total"],
            by="api",
            now=now,
        )
        return _after(session, done, "confirmation_parked", key.program_id, known_id, now)

    return in_one_unit(work)


@blueprint.post("/<order_id>/cancellation")
@api_scope("orders:write")
@blueprint.arguments(CancellationIn, required=False)
@blueprint.response(200, OrderOut)
@blueprint.alt_response(202, schema=ParkedOut, description="Kept until the order is known")
def cancel(body: dict[str, Any], order_id: str) -> Response:
    """Void everything that the order earned; kept when it is not known yet."""
    key, known_id = api_key(), shop_id(order_id, "order_id")

    def work(session: Session) -> Response:
        now = clock.now(session)
        done = cancel_order(
            session,
            program_id=key.program_id,
            order_id=known_id,
            reason=body["reason"],
            by=key.label,
            now=now,
        )
        return _after(session, done, "cancellation_parked", key.program_id, known_id, now)

    return in_one_unit(work)


@blueprint.post("/<order_id>/refunds")
@api_scope("orders:write")
@blueprint.arguments(RefundInSchema)
@blueprint.response(201, RefundOut)
@blueprint.alt_response(200, schema=RefundOut, description="The same refund again")
@blueprint.alt_response(202, schema=ParkedOut, description="Kept until the order is known")
@blueprint.alt_response(409, "CONFLICT")
def refund(body: RefundIn, order_id: str) -> Response:
    """Take the commissions of an order back in proportion to what the buyer got back."""
    key, known_id = api_key(), shop_id(order_id, "order_id")

    def work(session: Session) -> Response:
        refunded = refund_order(
            session,
            program_id=key.program_id,
            order_id=known_id,
            refund=body,
            now=clock.now(session),
        )
        if refunded.refund_row_id is None:
            return _parked("refund_parked", known_id, replayed=refunded.replayed)
        shown = find_refund_json(session, refund_row_id=refunded.refund_row_id)
        return answer(shown, 200, REPLAYED) if refunded.replayed else answer(shown, 201)

    return in_one_unit(work)


def _tried(order: OrderReportIn, key: ApiKeyIdentity) -> Response:
    """What a test order would be answered."""

    def work(session: Session) -> dict[str, Any]:
        return try_order(
            session,
            program_id=key.program_id,
            report=order,
            source=Source.API,
            reported_by=key.label,
            now=clock.now(session),
            may_import="orders:import" in key.scopes,
        )

    return answer({"test": True, **in_one_unit(work)}, 200)


def set_up(app: Flask, settings: Settings) -> None:
    """Add the resource, and before it what takes plain orders."""
    register(app, blueprint)
    plain.set_up(app, settings)


def _after(
    session: Session,
    done: bool | None,
    parked_as: str,
    program_id: int,
    order_id: str,
    now: datetime,
) -> Response:
    if done is None:
        return _parked(parked_as, order_id, replayed=False)
    shown = find_order_json(session, program_id=program_id, order_id=order_id, now=now)
    return answer(shown, 200, None if done else REPLAYED)


def _parked(status: str, order_id: str, *, replayed: bool) -> Response:
    body = {
        "status": status,
        "order_id": order_id,
        "detail": "No server has reported this order yet; the call is applied when it comes.",
    }
    return answer(body, 202, REPLAYED if replayed else None)
