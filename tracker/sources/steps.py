"""Do what a webhook asks, step by step, by the same verbs as the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.fields import load, shop_id
from affiliate.links.models import Coupon
from tracker.attribution.asking import fold_coupon
from tracker.orders.cancellation import cancel_order
from tracker.orders.disputes import close_dispute, open_dispute
from tracker.orders.intake import report_order
from tracker.orders.models import Order
from tracker.orders.models import Refund as RefundRow
from tracker.orders.records import find_order
from tracker.orders.refunds import refund_order
from tracker.orders.rules import OrderReportIn, Outcome, RefundIn
from tracker.orders.rules import Source as Reporter
from tracker.orders.schemas import OrderIn, RefundInSchema
from tracker.sources.connect import public
from tracker.sources.models import Source, SourceDelivery, SourceReference
from tracker.sources.rules import (
    Because,
    Cancel,
    Dispute,
    Done,
    Link,
    Refund,
    RefundFailed,
    Report,
    Step,
    sequence_of,
)

_OUTCOMES = {
    Outcome.CREATED: Done.REPORTED,
    Outcome.SUPERSEDED_BROWSER: Done.CONFIRMED_CLAIM,
    Outcome.EVIDENCE_ADDED: Done.KNOWN,
    Outcome.REPLAY: Done.KNOWN,
    Outcome.CONFLICT: Done.OTHER_CONTENT,
}
_order, _refund = OrderIn(), RefundInSchema()


class UnknownReference(Exception):
    """The step is about a payment of which no order has come yet."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(reference)


class ForAPerson(Exception):
    """The step cannot be taken by a machine; `why` is what became of it once a person has."""

    def __init__(self, why: Done, order_id: str) -> None:
        self.why, self.order_id = why, order_id
        super().__init__(why.value)


@dataclass(frozen=True, slots=True)
class Stepping:
    """What every step needs."""

    session: Session
    source: Source
    now: datetime
    real_now: datetime
    accepted: bool = False
    """A person has looked at the total and the time and takes them as they are."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step did to which order."""

    order_id: str
    did: Done | Because


def take(at: Stepping, step: Step) -> Stepped:
    """Do one step. Raises UnknownReference and what the orders' verbs raise."""
    match step:
        case Report():
            return _report(at, step)
        case Refund():
            return _give_back(at, step)
        case RefundFailed():
            return _refund_failed(at, step)
        case Cancel():
            return _cancel(at, step)
        case Dispute():
            return _dispute(at, step)
        case Link():
            return _link(at, step)


def order_of(document: Any) -> OrderReportIn:
    """An order's document through the API's door. Raises Invalid with each field."""
    found: OrderReportIn = load(_order, dict(document))
    return found


def refund_of(document: Any) -> RefundIn:
    """A refund's document through the API's door. Raises Invalid with each field."""
    found: RefundIn = load(_refund, dict(document))
    return found


def _report(at: Stepping, step: Report) -> Stepped:
    document = dict(step.document)
    if step.coupons:
        document["coupon"] = _known_coupon(at, step.coupons)
    if step.renewal is not None:
        first = _first_paid_at(at, step.renewal.subscription)
        document["subscription"] = {
            "id": step.renewal.subscription,
            "sequence": sequence_of(step.renewal, first),
        }
    report = order_of(document)
    known = find_order(
        at.session, program_id=at.source.program_id, order_id=report.order_id, lock=False
    )
    # Of an order that is taken only the content is compared; its refunds must not wait for a person
    # whenever it comes again.
    taken = known is not None and known.source != Reporter.BROWSER
    reported = report_order(
        at.session,
        program_id=at.source.program_id,
        report=report,
        source=Reporter.WEBHOOK,
        reported_by=f"source:{public(at.source.id)}",
        now=at.now,
        may_import=at.accepted,
        may_mismatch=at.accepted or taken,
    )
    for reference in step.references:
        _remember(at, reference, report.order_id)
    return Stepped(report.order_id, _OUTCOMES[reported.outcome])


def _known_coupon(at: Stepping, codes: tuple[str, ...]) -> str:
    """The first code of the order that somebody's coupon has; else the first."""
    folded = {fold_coupon(code): code for code in reversed(codes)}
    known = set(
        at.session.scalars(
            sa.select(Coupon.code).where(
                Coupon.program_id == at.source.program_id, Coupon.code.in_(folded)
            )
        )
    )
    return next((code for code in codes if fold_coupon(code) in known), codes[0])[:64]


def _first_paid_at(at: Stepping, subscription: str) -> datetime | None:
    """When the first payment of a subscription that we know was made."""
    found: datetime | None = at.session.scalar(
        sa.select(sa.func.min(Order.placed_at)).where(
            Order.program_id == at.source.program_id,
            Order.subscription["id"].astext == subscription,
            Order.subscription["sequence"].astext == "1",
        )
    )
    return found


def _give_back(at: Stepping, step: Refund) -> Stepped:
    order_id = step.order_id or _named(at, step.reference)
    refunded = refund_order(
        at.session,
        program_id=at.source.program_id,
        order_id=shop_id(order_id, "order_id"),
        refund=refund_of(step.document),
        now=at.now,
        grows=step.grows,
    )
    if refunded.replayed:
        return Stepped(order_id, Done.KNOWN)
    parked = refunded.refund_row_id is None
    return Stepped(order_id, Done.REFUND_PARKED if parked else Done.REFUNDED)


def _refund_failed(at: Stepping, step: RefundFailed) -> Stepped:
    """What was taken back for it stays taken back until a person has seen to it: commissions may
    have been paid out less by now. Raises ForAPerson."""
    named = at.session.get(SourceReference, (at.source.id, step.reference))
    if named is None:
        return Stepped("", Because.REFUND_NOT_FINAL)
    order = find_order(at.session, program_id=at.source.program_id, order_id=named.order_id)
    taken = order is not None and at.session.scalar(
        sa.select(
            sa.exists().where(RefundRow.order_id == order.id, RefundRow.refund_id == step.refund_id)
        )
    )
    if not taken:
        return Stepped(named.order_id, Because.REFUND_NOT_FINAL)
    if not at.accepted:
        raise ForAPerson(Done.REFUND_FAILED, named.order_id)
    return Stepped(named.order_id, Done.REFUND_FAILED)


def _cancel(at: Stepping, step: Cancel) -> Stepped:
    order_id, program_id = shop_id(step.order_id, "order_id"), at.source.program_id
    known = find_order(at.session, program_id=program_id, order_id=order_id, lock=False)
    claimed = step.may_return and known is not None and known.status == "unconfirmed"
    if not step.was_paid and (known is None or claimed):
        return Stepped(order_id, Because.NEVER_PAID)
    done = cancel_order(
        at.session,
        program_id=program_id,
        order_id=order_id,
        reason=step.reason,
        by=f"source:{public(at.source.id)}",
        now=at.now,
    )
    did = {True: Done.CANCELLED, False: Done.KNOWN, None: Done.CANCELLATION_PARKED}[done]
    return Stepped(order_id, did)


def _dispute(at: Stepping, step: Dispute) -> Stepped:
    order_id = _named(at, step.reference)
    program_id, dispute_id = at.source.program_id, step.dispute_id
    if step.lost is None:
        done = open_dispute(
            at.session, program_id=program_id, order_id=order_id, dispute_id=dispute_id, now=at.now
        )
        return Stepped(order_id, Done.DISPUTED if done else Done.KNOWN)
    done = close_dispute(
        at.session, program_id=program_id, order_id=order_id, dispute_id=dispute_id,
        lost=step.amount if step.lost else None, now=at.now,
    )  # fmt: skip
    ended = Done.DISPUTE_LOST if step.lost else Done.DISPUTE_WON
    return Stepped(order_id, ended if done else Done.KNOWN)


def _link(at: Stepping, step: Link) -> Stepped:
    order_id = _named(at, step.known_as)
    _remember(at, step.reference, order_id)
    return Stepped(order_id, Done.LINKED)


def _named(at: Stepping, reference: str) -> str:
    """The order that a payment or invoice is of. Raises UnknownReference."""
    found = at.session.get(SourceReference, (at.source.id, reference))
    if found is None:
        raise UnknownReference(reference)
    return found.order_id


def _remember(at: Stepping, reference: str, order_id: str) -> None:
    """Keep what an order is also called, and let go on what waited for it."""
    at.session.execute(
        insert(SourceReference)
        .values(source_id=at.source.id, reference=reference[:255], order_id=order_id)
        .on_conflict_do_nothing()
    )
    at.session.execute(
        sa.update(SourceDelivery)
        .where(
            SourceDelivery.source_id == at.source.id,
            SourceDelivery.processed_at.is_(None),
            SourceDelivery.waits_for == reference,
            SourceDelivery.next_try_at > at.real_now,
        )
        .values(next_try_at=at.real_now)
        .execution_options(synchronize_session=False)
    )
