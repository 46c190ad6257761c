"""An order as the API answers it: as sent, whose it is and why, what it earned, its refunds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.exchange import ExchangeRate
from affiliate.core.fields import moment_json, money_json
from affiliate.core.money import PPM, Money
from affiliate.people.ids import public
from affiliate.programs.models import Program, RuleVersion
from affiliate.rates.models import DatedRate
from payouts.commissions.rows import CommissionRow, commissions_for, when_available
from tracker.attribution import words
from tracker.attribution.models import Decision
from tracker.attribution.subject import reference_of
from tracker.orders.effects import refunds_of
from tracker.orders.intake import NewOrder
from tracker.orders.models import Order, Refund

_LAST_DECISION = (
    sa.select(Decision.id)
    .where(Decision.order_id == Order.id)
    .order_by(Decision.number.desc())
    .limit(1)
    .correlate(Order)
    .scalar_subquery()
)
_ORDER = (
    sa.select(
        Order,
        Program.slug,
        Decision.number,
        Decision.outcome,
        Decision.reason,
        Decision.shares,
        Decision.trace,
        Decision.rule_version_id,
        RuleVersion.number.label("rule_version"),
        RuleVersion.terms["attribution"]["model"].astext.label("model"),
        DatedRate.valid_from,
    )
    .join(Program, Program.id == Order.program_id)
    .join(Decision, Decision.id == _LAST_DECISION)
    .join(RuleVersion, RuleVersion.id == Decision.rule_version_id)
    .outerjoin(DatedRate, DatedRate.id == Order.exchange_rate_id)
    .execution_options(populate_existing=True)
)
_AMOUNTS = ("total", "net", "refunded", "discount", "tax", "shipping", "fees", "credits")
_COLUMNS = (
    *("order_id", "status", "source", "placed_at", "currency", "tax_included", "items", "coupon"),
    *("subscription", "details", *(f"{name}_micros" for name in _AMOUNTS)),
    *("converted_to", "rate_scaled", "converted_net_micros"),
)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an answer is made of: read, or just written."""

    order: Mapping[str, Any]
    """Columns of its row."""
    program: str
    decision: Mapping[str, Any]
    """Columns of the last decision's row."""
    model: str
    rule_version: int
    """Number of the version by whose attribution terms it was decided."""
    earned: Sequence[CommissionRow]
    numbers: Mapping[int, int]
    """Of the versions by which commissions are reckoned, where they are others; by row."""
    refunds: Sequence[Refund] = ()
    rate_from: date | None = None
    """The day of the rate by which it was converted."""


def order_json(session: Session, *, order_row_id: int, now: datetime) -> dict[str, Any]:
    """The order as it stands now; the trace in codes alone."""
    return _document(_read(session, Order.id == order_row_id), now, in_words=False)


def new_order_json(new: NewOrder, now: datetime) -> dict[str, Any]:
    """The same of an order that the caller has just written, without reading it again."""
    shown = _Shown(
        order={**new.order, "refunded_micros": 0},
        program=new.program.slug,
        decision=new.decision,
        model=new.version.terms.attribution.model.value,
        rule_version=new.version.number,
        earned=new.earned,
        numbers={version.id: version.number for version in new.versions.values()},
        rate_from=new.exchange.known.valid_from if new.exchange and new.exchange.known else None,
    )
    return _document(shown, now, in_words=False)


def find_order_json(
    session: Session, *, program_id: int, order_id: str, now: datetime
) -> dict[str, Any]:
    """The order by the shop's id, the trace in words too; NotFound where there is none."""
    mine = (Order.program_id == program_id) & (Order.order_id == order_id)
    return _document(_read(session, mine), now, in_words=True)


def refund_json(refund: Refund, order_id: str, currency: str) -> dict[str, Any]:
    """A refund as it was applied."""
    return {
        "refund_id": refund.refund_id,
        "order_id": order_id,
        "amount": money_json(Money(refund.amount_micros, currency)),
        "net": money_json(Money(refund.net_micros, currency)),
        "reason": refund.reason,
        "received_at": moment_json(refund.received_at),
    }


def find_refund_json(session: Session, *, refund_row_id: int) -> dict[str, Any]:
    """A refund by its row."""
    refund, order_id, currency = session.execute(
        sa.select(Refund, Order.order_id, Order.currency)
        .join(Order, Order.id == Refund.order_id)
        .where(Refund.id == refund_row_id)
    ).one()
    return refund_json(refund, order_id, currency)


def _read(session: Session, condition: sa.ColumnElement[bool]) -> _Shown:
    row = session.execute(_ORDER.where(condition)).one_or_none()
    if row is None:
        raise NotFound("No order with this id was reported in this program.")
    order: Order = row.Order
    earned = commissions_for(session, reference=reference_of(order.id))
    return _Shown(
        order={name: getattr(order, name) for name in _COLUMNS},
        program=row.slug,
        decision=dict(row._mapping),
        model=row.model,
        rule_version=row.rule_version,
        earned=earned,
        numbers=version_numbers(session, earned, row.rule_version_id),
        refunds=refunds_of(session, order_row_id=order.id) if order.refunded_micros else (),
        rate_from=row.valid_from,
    )


def version_numbers(
    session: Session, earned: Sequence[CommissionRow], decided_by: int
) -> dict[int, int]:
    """Numbers of the versions by which commissions are reckoned, where they are others."""
    others = {found.rule_version_id for found in earned} - {decided_by}
    if not others:
        return {}
    query = sa.select(RuleVersion.id, RuleVersion.number).where(RuleVersion.id.in_(others))
    return {row.id: row.number for row in session.execute(query)}


def _document(shown: _Shown, now: datetime, *, in_words: bool) -> dict[str, Any]:
    order = shown.order
    currency = order["currency"]
    amounts = {name: order[f"{name}_micros"] for name in _AMOUNTS}
    return {
        "order_id": order["order_id"],
        "status": order["status"],
        "program": shown.program,
        "source": order["source"],
        "placed_at": moment_json(order["placed_at"]),
        **{name: money_json(Money(micros, currency)) for name, micros in amounts.items()},
        **_converted(shown),
        "tax_included": order["tax_included"],
        "items": [_item(item, currency) for item in order["items"]],
        "coupon": order["coupon"],
        "subscription": order["subscription"],
        "metadata": order["details"],
        "attribution": attribution_json(
            shown.decision, model=shown.model, rule_version=shown.rule_version, in_words=in_words
        ),
        "commissions": [
            commission_json(
                found, shown.numbers.get(found.rule_version_id, shown.rule_version), now
            )
            for found in shown.earned
            if found.decision == shown.decision["number"]
        ],
        "refunds": [refund_json(refund, order["order_id"], currency) for refund in shown.refunds],
    }


def _converted(shown: _Shown) -> dict[str, Any]:
    """How the net became the commissions' base; nothing for an order in the program's currency."""
    order = shown.order
    target, scaled = order.get("converted_to"), order.get("rate_scaled")
    if target is None:
        return {}
    if scaled is None or shown.rate_from is None:
        return {"converted": {"currency": target, "waits_for": "exchange_rate"}}
    return {
        "converted": {
            "currency": target,
            "net": money_json(Money(order["converted_net_micros"], target)),
            "rate": ExchangeRate(order["currency"], target, scaled).decimal,
            "rate_from": shown.rate_from.isoformat(),
        }
    }


def _item(item: Mapping[str, Any], currency: str) -> dict[str, Any]:
    named = {key: item[key] for key in ("sku", "name", "category", "quantity")}
    return {**named, "price": money_json(Money(item["price_micros"], currency))}


def attribution_json(
    decision: Mapping[str, Any], *, model: str, rule_version: int, in_words: bool
) -> dict[str, Any]:
    """A decision's row as the API answers it, with the number of the version that decided."""
    found = {
        "outcome": decision["outcome"],
        "reason": decision["reason"],
        "model": model,
        "rule_version": rule_version,
        "shares": shares_json(decision["shares"]),
        "trace": _trace(decision["trace"], in_words=in_words),
    }
    return {key: value for key, value in found.items() if value is not None}


def shares_json(shares: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """To whom a decision gives the credit, by what, and which part of it."""
    return [_share(share) for share in shares]


def _share(share: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "affiliate": public(share["enrollment_id"]),
        "weight": share["weight"],
        "evidence": share["evidence"],
        "click_id": share["click_id"],
    }
    return {key: value for key, value in found.items() if value is not None}


def _trace(trace: Sequence[Mapping[str, Any]], *, in_words: bool) -> list[dict[str, Any]]:
    result = []
    for line in trace:
        shown = {key: value for key, value in line.items() if key != "enrollment_id"}
        if "enrollment_id" in line:
            shown["affiliate"] = public(line["enrollment_id"])
        if in_words:
            shown["text"] = words.sentence(line)
        result.append(shown)
    return result


def commission_json(found: CommissionRow, rule_version: int, now: datetime) -> dict[str, Any]:
    """A commission; optional members are left out where they say nothing."""
    when = when_available(found, now)
    shown: dict[str, Any] = {
        "affiliate": public(found.enrollment_id),
        "level": found.level,
        "base": money_json(found.base),
        "rate": None if found.rate_ppm is None else _rate(found.rate_ppm),
        "amount": money_json(found.amount),
        "status": found.status.value,
        "available_at": moment_json(when.at),
        "waits_for": when.waits_for,
        "rule": found.rule,
        "rule_version": rule_version,
    }
    if found.via_enrollment_id is not None:
        shown["via"] = public(found.via_enrollment_id)
        shown["of"] = next((step["of"] for step in found.trace if "of" in step), None)
    if found.reversed:
        shown["reversed"] = money_json(found.reversed)
    if found.reason is not None:
        shown["reason"] = found.reason.value
    if found.void_reason is not None:
        shown["reason"] = found.void_reason.value
        shown["waits_for"] = None
    return shown


def _rate(rate_ppm: int) -> str:
    whole, fraction = divmod(rate_ppm, PPM)
    return f"{whole}.{fraction:06d}"
