"""API v1: withdrawals and balances of everybody in the program (docs/api.md, "Money")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response
from sqlalchemy.orm import Session

from affiliate.core import api
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import (
    OPTIONAL,
    MomentField,
    MoneyField,
    Text,
    moment_json,
    money_json,
)
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
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.api import BATCH, ITEM, WITHDRAWAL
from payouts.batches.models import PayoutItem, Withdrawal
from payouts.ledger.balances import balances_of

OPEN = "open"
STATUSES = (OPEN, "paid", "returned", "cancelled")

blueprint = api.api_blueprint("withdrawals", "/api/v1/withdrawals", "Withdrawals")
affiliates = api.api_blueprint(
    "affiliate_withdrawals", "/api/v1/affiliates", "Withdrawals of an affiliate"
)
all_balances = api.api_blueprint("balances", "/api/v1/balances", "Where everybody's money stands")


class OwnWithdrawalsQuery(PageQuery):
    """One page; `open`, or how they ended."""

    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf(STATUSES))


class WithdrawalsQuery(OwnWithdrawalsQuery):
    """One page; of one affiliate or of all."""

    affiliate = Text(load_default=None, chars_max=CURSOR_CHARS_MAX)


class ListedWithdrawalOut(ma.Schema):
    """A request to be paid now, and what became of it."""

    id = ma.fields.String(metadata={"examples": ["wd_4Lk9"]})
    affiliate = ma.fields.String()
    amount = MoneyField()
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    requested_at = MomentField()
    deadline_at = MomentField(metadata={"description": "Until when it is to be paid"})
    paused_at = MomentField(
        allow_none=True, metadata={"description": "Since when the clock stands still"}
    )
    closed_at = MomentField(allow_none=True)
    batch = ma.fields.String(allow_none=True)
    payout = ma.fields.String(allow_none=True, metadata={"description": "Its item of the batch"})
    reason = ma.fields.String(
        metadata=OPTIONAL | {"description": "What holds it; not for own keys"}
    )


class ListedWithdrawalsOut(PageOut):
    """A page, newest first."""

    withdrawals = ma.fields.List(ma.fields.Nested(ListedWithdrawalOut))


class AffiliateBalanceOut(ma.Schema):
    """Where an affiliate's money stands."""

    affiliate = ma.fields.String()
    pending = MoneyField()
    available = MoneyField(metadata={"description": "Can be negative after refunds"})
    in_payout = MoneyField()
    paid = MoneyField()


class BalancesOut(PageOut):
    """A page, in the order of enrollment."""

    balances = ma.fields.List(ma.fields.Nested(AffiliateBalanceOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources to the API."""
    for each in (blueprint, affiliates, all_balances):
        api.register(app, each)


@blueprint.get("")
@api_scope("withdrawals:read")
@blueprint.arguments(WithdrawalsQuery, location="query")
@blueprint.response(200, ListedWithdrawalsOut)
def listing(query: dict[str, Any]) -> Response:
    """Withdrawals of the program."""
    affiliate = row_in(ids.PREFIX, "affiliate", query["affiliate"])
    return _page(query, affiliate)


@blueprint.get("/<withdrawal>")
@api_scope("withdrawals:read", own="own:read")
@blueprint.response(200, ListedWithdrawalOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(withdrawal: str) -> Response:
    """A withdrawal as it stands."""
    number = row_id(WITHDRAWAL, withdrawal)
    own = access.api_key().enrollment_id
    query = _query().where(Withdrawal.id == number)
    if own is not None:
        query = query.where(Withdrawal.enrollment_id == own)
    row = db.session.execute(query).one_or_none()
    if row is None:
        raise NotFound
    return api.answer(_out(*row))


@affiliates.get("/<affiliate>/withdrawals")
@api_scope("withdrawals:read", own="own:read")
@affiliates.arguments(OwnWithdrawalsQuery, location="query")
@affiliates.response(200, ListedWithdrawalsOut)
@affiliates.alt_response(404, "NOT_FOUND")
def of_affiliate(query: dict[str, Any], affiliate: str) -> Response:
    """The affiliate's withdrawals."""
    found = enrollments.in_program(
        db.session(),
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    )
    return _page(query, found.id)


@all_balances.get("")
@api_scope("withdrawals:read")
@all_balances.arguments(PageQuery, location="query")
@all_balances.response(200, BalancesOut)
def balances(query: dict[str, Any]) -> Response:
    """Balances of the program's affiliates, those of nothing among them."""
    session, limit = db.session(), query["limit"]
    program = session.get_one(Program, access.api_key().program_id)
    wanted = sa.select(Enrollment.id).where(Enrollment.program_id == program.id)
    after = row_after(ids.PREFIX, query)
    if after is not None:
        wanted = wanted.where(Enrollment.id > after)
    found = session.scalars(wanted.order_by(Enrollment.id).limit(limit + 1)).all()
    return page_together(
        "balances",
        found,
        limit=limit,
        cursor=ids.public,
        write=lambda shown: _balances(session, shown, program.currency),
    )


def _balances(session: Session, numbers: Sequence[int], currency: str) -> list[dict[str, Any]]:
    held = balances_of(session, enrollment_ids=numbers, currency=currency)
    return [
        {
            "affiliate": ids.public(number),
            "pending": money_json(held[number].pending),
            "available": money_json(held[number].available),
            "in_payout": money_json(held[number].in_payout),
            "paid": money_json(held[number].paid),
        }
        for number in numbers
    ]


def _page(query: dict[str, Any], enrollment_id: int | None) -> Response:
    wanted, status = _query(), query["status"]
    if enrollment_id is not None:
        wanted = wanted.where(Withdrawal.enrollment_id == enrollment_id)
    if status is not None:
        wanted = wanted.where(
            Withdrawal.closed_at.is_(None) if status == OPEN else Withdrawal.outcome == status
        )
    after, limit = row_after(WITHDRAWAL, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Withdrawal.id < after)
    rows = db.session.execute(wanted.order_by(Withdrawal.id.desc()).limit(limit + 1)).all()
    return page(
        "withdrawals",
        rows,
        limit=limit,
        cursor=lambda row: public_id(WITHDRAWAL, row[0].id),
        write=lambda row: _out(*row),
    )


def _query() -> sa.Select[Withdrawal, PayoutItem | None]:
    return (
        sa.select(Withdrawal, PayoutItem)
        .join(Enrollment, Enrollment.id == Withdrawal.enrollment_id)
        .outerjoin(PayoutItem, PayoutItem.id == Withdrawal.item_id)
        .where(Enrollment.program_id == access.api_key().program_id)
        .execution_options(populate_existing=True)
    )


def _out(row: Withdrawal, item: PayoutItem | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": public_id(WITHDRAWAL, row.id),
        "affiliate": ids.public(row.enrollment_id),
        "amount": money_json(Money(row.amount_micros, row.currency)),
        "status": row.outcome or OPEN,
        "requested_at": moment_json(row.requested_at),
        "deadline_at": moment_json(row.deadline_at),
        "paused_at": row.paused_at and moment_json(row.paused_at),
        "closed_at": row.closed_at and moment_json(row.closed_at),
        "batch": item and public_id(BATCH, item.batch_id),
        "payout": item and public_id(ITEM, item.id),
    }
    # Some reasons are finance's own; the affiliate's pages tell those that are theirs in words.
    if access.api_key().enrollment_id is None and item is not None and item.reason is not None:
        shown["reason"] = item.reason
    return shown
