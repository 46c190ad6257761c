"""Orders: search, the full trace of each in sentences, confirm, review and cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.money import Money
from affiliate.people import access
from affiliate.people import ids as people_ids
from payouts.commissions.rows import (
    commissions_for,
    commissions_for_many,
    reversals_of,
)
from tracker.attribution.assignment import assignment_in
from tracker.attribution.models import Decision
from tracker.attribution.subject import ReviewOutcome, reference_of
from tracker.desks.acting import Answer, act, reason_said
from tracker.desks.conversions import converted_of
from tracker.desks.manage import people, sentences
from tracker.desks.manage.blueprint import (
    ORDER,
    actors,
    manage,
    order_row,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.decided import (
    ROWS_MAX,
    TO_REVIEW,
    Search,
    commission_told,
    credited,
    decision_told,
    everybody,
    person,
    search_asked,
    waits_for_review,
)
from tracker.desks.manage.health import overview_page
from tracker.desks.words import _
from tracker.orders.assign import assign_order, withdraw_assignment
from tracker.orders.cancellation import cancel_order
from tracker.orders.confirmation import confirm_by_person
from tracker.orders.effects import refunds_of
from tracker.orders.models import Order, OrderReport, ParkedCall
from tracker.orders.review import review_order

STATUSES = ("unconfirmed", "confirmed", "cancelled")


@manage.get("/orders")
@readers
def orders() -> str:
    """The program's orders, newest first, by id, status or credit."""
    here = place()
    program = here.required
    search = search_asked(STATUSES, order_row)
    found = _rows(db.session(), program.id, search)
    shown = found[:ROWS_MAX]
    more = len(found) > ROWS_MAX
    return page(
        "orders",
        here,
        rows=_described(db.session(), shown),
        words=sentences,
        **search.told("manage.orders", ids.public_id(ORDER, shown[-1][0].id) if more else None),
    )


@manage.get("/orders/<order>")
@readers
def order(order: str) -> str:
    """An order with everything that was ever decided about it."""
    return order_page(order_row(order))


@manage.post("/orders/<order>/confirmation")
@actors
def confirm(order: str) -> Answer:
    """Confirm a browser's order: from now on it may be released."""
    found = _mine(order)
    overview = request.form.get("from") == "overview"
    return act(
        lambda session, now: confirm_by_person(
            session,
            program_id=found.program_id,
            order_id=found.order_id,
            user_id=access.actor().user_id,
            now=now,
        ),
        done=_("Order %(order)s is confirmed.", order=found.order_id),
        back=url_for("manage.overview") if overview else url_for("manage.order", order=order),
        page=overview_page if overview else lambda: order_page(order_row(order)),
    )


@manage.post("/orders/<order>/release")
@actors
def release(order: str) -> Answer:
    """Let the suspicious click behind an order stand."""
    return _review(order, ReviewOutcome.RELEASED, _("The order is released."))


@manage.post("/orders/<order>/refusal")
@actors
def decline(order: str) -> Answer:
    """Do not let it stand: the order is decided anew without it."""
    return _review(
        order, ReviewOutcome.DECLINED, _("The click is declined; the order is decided anew.")
    )


@manage.post("/orders/<order>/assignment")
@actors
def assign(order: str) -> Answer:
    """Give the order to an affiliate: all that others earned of it goes back."""
    found = _mine(order)
    return act(
        lambda session, now: assign_order(
            session,
            program_id=found.program_id,
            order_id=found.order_id,
            enrollment_id=_named_affiliate(request.form.get("affiliate", "")),
            reason=request.form.get("reason", ""),
            by=access.actor().label,
            now=now,
        ),
        done=_("The order is theirs now; it was decided anew."),
        back=url_for("manage.order", order=order),
        page=lambda: order_page(order_row(order)),
    )


@manage.post("/orders/<order>/assignment/withdrawal")
@actors
def unassign(order: str) -> Answer:
    """Let the rules decide the order again."""
    found = _mine(order)
    return act(
        lambda session, now: withdraw_assignment(
            session,
            program_id=found.program_id,
            order_id=found.order_id,
            reason=request.form.get("reason", ""),
            by=access.actor().label,
            now=now,
        ),
        done=_("The rules have decided the order again."),
        back=url_for("manage.order", order=order),
        page=lambda: order_page(order_row(order)),
    )


@manage.post("/orders/<order>/cancellation")
@actors
def cancel(order: str) -> Answer:
    """Cancel an order: both levels are taken back."""
    found = _mine(order)
    return act(
        lambda session, now: cancel_order(
            session,
            program_id=found.program_id,
            order_id=found.order_id,
            reason=reason_said(),
            by=access.actor().label,
            now=now,
        ),
        done=_("Order %(order)s is cancelled; what it earned is taken back.", order=found.order_id),
        back=url_for("manage.order", order=order),
        page=lambda: order_page(order_row(order)),
    )


def _review(order: str, outcome: ReviewOutcome, done: str) -> Answer:
    found = _mine(order)
    return act(
        lambda session, now: review_order(
            session,
            program_id=found.program_id,
            order_id=found.order_id,
            outcome=outcome,
            reason=reason_said(),
            by=access.actor().label,
            now=now,
        ),
        done=done,
        back=url_for("manage.order", order=order),
        page=lambda: order_page(order_row(order)),
    )


def order_page(row_id: int) -> str:
    """The page of an order of one of the reader's programs; NotFound otherwise."""
    session = db.session()
    found = session.get(Order, row_id, populate_existing=True)
    if found is None:
        raise NotFound
    here = place_of(found.program_id)
    reference = reference_of(found.id)
    decisions = session.scalars(
        sa.select(Decision).where(Decision.order_id == found.id).order_by(Decision.number.desc())
    ).all()
    earned = commissions_for(session, reference=reference)
    names = people.names_of(session, everybody(decisions, earned))
    return page(
        "order",
        here,
        public=ids.public_id(ORDER, found.id),
        order=found,
        amounts=_amounts(found),
        conversion=converted_of(session, found),
        decisions=[decision_told(decision, names) for decision in decisions],
        commissions=[
            commission_told(session, row, names)
            for row in sorted(earned, key=lambda row: (-row.decision, row.level, row.id))
        ],
        reversals=reversals_of(session, reference=reference),
        refunds=[
            {
                "id": refund.refund_id,
                "amount": Money(refund.amount_micros, found.currency),
                "net": Money(refund.net_micros, found.currency),
                "reason": refund.reason,
                "at": refund.received_at,
                "reference": f"refund:{refund.id}",
            }
            for refund in refunds_of(session, order_row_id=found.id)
        ],
        reports=session.scalars(
            sa.select(OrderReport)
            .where(OrderReport.order_id == found.id)
            .order_by(OrderReport.id.desc())
        ).all(),
        parked=session.scalars(
            sa.select(ParkedCall)
            .where(ParkedCall.program_id == found.program_id, ParkedCall.order_id == found.order_id)
            .order_by(ParkedCall.id.desc())
        ).all(),
        assignment=_assignment(session, found),
        confirmed_by=_confirmed_by(session, found.confirmed_by),
        reviewed_by=person(session, found.reviewed_by),
        to_review=waits_for_review(found.review_outcome, decisions),
        words=sentences,
    )


def _rows(session: Session, program_id: int, search: Search) -> list[tuple[Order, Decision | None]]:
    query = (
        sa.select(Order, Decision)
        .outerjoin(Decision, sa.and_(Decision.order_id == Order.id, Decision.voided_at.is_(None)))
        .where(Order.program_id == program_id)
        .order_by(Order.id.desc())
        .limit(ROWS_MAX + 1)
    )
    if search.text:
        query = query.where(Order.order_id == search.text)
    if search.status:
        query = query.where(Order.status == search.status)
    if search.credit == TO_REVIEW:
        query = query.where(Decision.review_reason.is_not(None), Order.review_outcome.is_(None))
    elif search.credit:
        query = query.where(Decision.outcome == search.credit)
    if search.before_id is not None:
        query = query.where(Order.id < search.before_id)
    return [(order, decision) for order, decision in session.execute(query)]


def _described(
    session: Session, rows: Sequence[tuple[Order, Decision | None]]
) -> list[dict[str, Any]]:
    earned = commissions_for_many(session, references=[reference_of(o.id) for o, _d in rows])
    wanted = {share["enrollment_id"] for _o, d in rows if d for share in d.shares}
    names = people.names_of(session, wanted)
    return [
        {
            "public": ids.public_id(ORDER, order.id),
            "order": order,
            "total": Money(order.total_micros, order.currency),
            "decision": decision,
            "credited": credited(decision, names),
            "commission": Money(
                sum(row.left.micros for row in earned[reference_of(order.id)]),
                order.converted_to or order.currency,
            ),
        }
        for order, decision in rows
    ]


def _amounts(order: Order) -> dict[str, Money]:
    names = (
        "total", "discount", "tax", "shipping", "fees", "credits", "net", "refunded",
        "refunded_net",
    )  # fmt: skip
    return {name: Money(getattr(order, f"{name}_micros"), order.currency) for name in names}


def _confirmed_by(session: Session, actor: str | None) -> str | None:
    """A person by name, else which report of the order was believed."""
    return None if actor is None else sentences.confirmed(person(session, actor) or actor)


def _assignment(session: Session, order: Order) -> dict[str, Any] | None:
    """Who gave the order to whom, and why."""
    word = assignment_in(order.evidence)
    if word is None:
        return None
    return {"row": word, "by": person(session, word.by)}


def _named_affiliate(text: str) -> int:
    """`aff_…` as the form has it."""
    try:
        return people_ids.enrollment_of(text.strip())
    except NotFound:
        message = _("Write the affiliate's id as it stands on their page: aff_7Qk2.")
        raise Invalid.field("affiliate", "not_an_affiliate", message) from None


def _mine(order: str) -> Order:
    """The order that a form is about, in a program in which the reader may act."""
    found = db.session.get(Order, order_row(order))
    if found is None:
        raise NotFound
    require_acting(found.program_id)
    return found
