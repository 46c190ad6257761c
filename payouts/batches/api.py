"""API v1: balances, withdrawals and batches (docs/api.md, "Money").

Batches are read only here: approval happens on the finance desk, in a browser session.
"""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response, current_app

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, MoneyField, Text, moment_json, money_json
from affiliate.core.ids import public_id, row_id
from affiliate.core.paging import (
    CURSOR_CHARS_MAX,
    ROWS_MAX,
    PageOut,
    PageQuery,
    link_to,
    page,
    row_after,
)
from affiliate.people import access, ids
from affiliate.people.access import api_scope
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.queries import (
    BatchView,
    ItemView,
    batch_view,
    batches_of,
    items_of,
    money_of,
)
from payouts.batches.withdraw import withdraw
from payouts.rails.registry import rails

BATCH, ITEM, WITHDRAWAL = "bat", "pay", "wd"
"""Prefixes of public ids."""

affiliates = api.api_blueprint(
    "affiliate_money", "/api/v1/affiliates", "What an affiliate has and asks to be paid"
)
batches = api.api_blueprint("batches", "/api/v1/batches", "Payout batches, to read")


class OpenWithdrawalOut(ma.Schema):
    """A withdrawal that is under way."""

    id = ma.fields.String(metadata={"examples": ["wd_4Lk9"]})
    amount = MoneyField()
    requested_at = MomentField()
    deadline_at = MomentField(metadata={"description": "Until when it is to be paid"})


class BalanceOut(ma.Schema):
    """Where an affiliate's money stands."""

    pending = MoneyField(metadata={"description": "Earned, in its hold period"})
    available = MoneyField(metadata={"description": "Can be withdrawn; negative after refunds"})
    in_payout = MoneyField(metadata={"description": "Reserved for a payout that is under way"})
    paid = MoneyField(metadata={"description": "Paid so far"})
    next_release_at = MomentField(allow_none=True)
    next_payout_at = MomentField(metadata={"description": "The next weekly payout"})
    withdrawal = ma.fields.Nested(OpenWithdrawalOut, allow_none=True)


class WithdrawalIn(ma.Schema):
    """Pay now; without an amount all whole units that are available."""

    amount = MoneyField(load_default=None)


class WithdrawalOut(OpenWithdrawalOut):
    """The withdrawal as it was accepted."""

    status = ma.fields.Constant("open")
    batch = ma.fields.String()


class BatchesQuery(PageQuery):
    """One page, newest first."""

    before = Text(
        load_default=None,
        chars_max=CURSOR_CHARS_MAX,
        metadata={"deprecated": True, "description": "The older name of `after`"},
    )


class BatchOut(ma.Schema):
    """A payout batch."""

    id = ma.fields.String(metadata={"examples": ["bat_7Qk2"]})
    number = ma.fields.Integer()
    kind = ma.fields.String(validate=ma.validate.OneOf(["weekly", "on_demand"]))
    rail = ma.fields.String()
    status = ma.fields.String()
    total = MoneyField()
    count = ma.fields.Integer()
    paid = MoneyField()
    created_at = MomentField()
    due_at = MomentField(allow_none=True)
    approved_at = MomentField(allow_none=True)
    done_at = MomentField(allow_none=True)


class ItemOut(ma.Schema):
    """One payout of a batch."""

    id = ma.fields.String()
    affiliate = ma.fields.String()
    amount = MoneyField()
    status = ma.fields.String()
    reason = ma.fields.String(allow_none=True)
    paid_at = MomentField(allow_none=True)


class BatchWithItemsOut(BatchOut):
    """A batch with its payouts; `next_item` goes into `after`."""

    items = ma.fields.List(ma.fields.Nested(ItemOut))
    next_item = ma.fields.String(allow_none=True)


class BatchesOut(PageOut):
    """A page, newest first."""

    batches = ma.fields.List(ma.fields.Nested(BatchOut))


class ItemsQuery(PageQuery):
    """One page of a batch's payouts."""

    limit = ma.fields.Integer(load_default=ROWS_MAX, validate=ma.validate.Range(1, ROWS_MAX))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources to the API."""
    api.register(app, affiliates)
    api.register(app, batches)


@affiliates.get("/<affiliate>/balance")
@api_scope("affiliates:read", own="own:read")
@affiliates.response(200, BalanceOut)
def balance(affiliate: str) -> Response:
    """Pending, available, in payout and paid, and what comes next."""
    session = db.session()
    enrollment_id, currency = _enrollment(affiliate)
    found = money_of(
        session, enrollment_id=enrollment_id, currency=currency, now=clock.now(session)
    )
    held, open_ = found.balances, found.open_withdrawal
    return api.answer(
        {
            "pending": money_json(held.pending),
            "available": money_json(held.available),
            "in_payout": money_json(held.in_payout),
            "paid": money_json(held.paid),
            "next_release_at": found.next_release_at and moment_json(found.next_release_at),
            "next_payout_at": moment_json(found.next_payout_at),
            "withdrawal": open_
            and {
                "id": public_id(WITHDRAWAL, open_.id),
                "amount": money_json(open_.amount),
                "requested_at": moment_json(open_.requested_at),
                "deadline_at": moment_json(open_.deadline_at),
            },
        }
    )


@affiliates.post("/<affiliate>/withdrawals")
@api_scope("withdrawals:write")
@affiliates.arguments(WithdrawalIn)
@affiliates.response(201, WithdrawalOut)
def request_withdrawal(values: dict[str, Any], affiliate: str) -> Response:
    """Reserve the money; finance approves it, and it is paid within 24 hours."""
    session = db.session()
    enrollment_id, _ = _enrollment(affiliate)
    settings: Settings = current_app.extensions["kopeck.settings"]
    made = withdraw(
        session,
        enrollment_id=enrollment_id,
        amount=values["amount"],
        requested_by=None,
        by=access.api_key().label,
        rails=rails(settings),
        now=clock.now(session),
    )
    session.commit()
    return api.answer(
        {
            "id": public_id(WITHDRAWAL, made.withdrawal_id),
            "status": "open",
            "amount": money_json(made.amount),
            "requested_at": moment_json(made.requested_at),
            "deadline_at": moment_json(made.deadline_at),
            "batch": public_id(BATCH, made.batch_id),
        },
        201,
    )


@batches.get("")
@api_scope("batches:read")
@batches.arguments(BatchesQuery, location="query")
@batches.response(200, BatchesOut)
def listing(query: dict[str, Any]) -> Response:
    """The program's batches, newest first."""
    limit = query["limit"]
    after = row_after(BATCH, query)
    found = batches_of(
        db.session(),
        program_ids=[access.api_key().program_id],
        rows_max=limit + 1,
        before_id=row_after(BATCH, query, "before") if after is None else after,
    )
    return page(
        "batches", found, limit=limit, cursor=lambda one: public_id(BATCH, one.id), write=_batch
    )


@batches.get("/<batch>")
@api_scope("batches:read")
@batches.arguments(ItemsQuery, location="query")
@batches.response(200, BatchWithItemsOut)
def show(query: dict[str, Any], batch: str) -> Response:
    """A batch and its payouts."""
    session = db.session()
    found = batch_view(session, batch_id=row_id(BATCH, batch))
    if found.program_id != access.api_key().program_id:
        raise NotFound
    limit = query["limit"]
    items = items_of(
        session, batch_id=found.id, rows_max=limit + 1, after_id=row_after(ITEM, query) or 0
    )
    following = public_id(ITEM, items[limit - 1].id) if len(items) > limit else None
    listed = [_item(each) for each in items[:limit]]
    body = {**_batch(found), "items": listed, "next_item": following}
    return api.answer(body, 200, link_to(following))


def _enrollment(affiliate: str) -> tuple[int, str]:
    """The enrollment behind `aff_…` in the key's program, and its currency; NotFound."""
    row = db.session.execute(
        sa.select(Enrollment.id, Program.currency)
        .join(Program, Program.id == Enrollment.program_id)
        .where(
            Enrollment.id == access.enrollment_named(affiliate),
            Enrollment.program_id == access.api_key().program_id,
        )
    ).one_or_none()
    if row is None:
        raise NotFound
    return row[0], row[1]


def _batch(view: BatchView) -> dict[str, Any]:
    return {
        "id": public_id(BATCH, view.id),
        "number": view.number,
        "kind": view.kind,
        "rail": view.rail,
        "status": view.status,
        "total": money_json(view.total),
        "count": view.count,
        "paid": money_json(view.paid),
        "created_at": moment_json(view.created_at),
        "due_at": view.due_at and moment_json(view.due_at),
        "approved_at": view.approved_at and moment_json(view.approved_at),
        "done_at": view.done_at and moment_json(view.done_at),
    }


def _item(view: ItemView) -> dict[str, Any]:
    return {
        "id": public_id(ITEM, view.id),
        "affiliate": ids.public(view.enrollment_id),
        "amount": money_json(view.amount),
        "status": view.status,
        "reason": view.reason,
        "paid_at": view.paid_at and moment_json(view.paid_at),
    }
