"""Whether the provider's books are ours: the last comparisons, and what differs with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import flash, redirect, render_template, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock, ids
from affiliate.core.db import db
from affiliate.people import access
from payouts.batches.locks import open_locks
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.provider.jobs import providers, reconcile_now
from payouts.provider.models import Difference, ProviderEvent, Reconciliation
from payouts.provider.rules import DifferenceKind
from tracker.desks.finance import sentences
from tracker.desks.finance.blueprint import ITEM, allowed, desk, finance
from tracker.desks.words import _

COMPARISONS_SHOWN_MAX = 10
RESOLVED_SHOWN_MAX = 20
PAUSE_S = 60
"""Between two comparisons that a person asks for: each reads the provider's whole list."""


@dataclass(frozen=True)
class DifferenceLine:
    """A difference as its reader may see it."""

    row: Difference
    item: str | None
    """The payout's page, when it is of a program of the reader's."""

    @property
    def kind(self) -> DifferenceKind:
        return DifferenceKind(self.row.kind)


@finance.get("/reconciliation")
@allowed
def reconciliation() -> str:
    """The last comparisons with each provider, and what waits for a person."""
    session = db.session()
    open_ = _lines(session, Difference.resolved_at.is_(None), Difference.id)
    resolved = _lines(
        session, Difference.resolved_at.is_not(None), Difference.resolved_at.desc()
    )[:RESOLVED_SHOWN_MAX]  # fmt: skip
    # Two questions, of an index each: there is an event for everything that Stripe ever did.
    waiting = session.scalar(
        sa.select(sa.func.count())
        .select_from(ProviderEvent)
        .where(ProviderEvent.processed_at.is_(None))
    )
    newest = session.scalar(sa.select(sa.func.max(ProviderEvent.received_at)))
    return render_template(
        "tracker/finance/reconciliation.html",
        comparisons=session.scalars(
            sa.select(Reconciliation)
            .order_by(Reconciliation.id.desc())
            .limit(COMPARISONS_SHOWN_MAX)
        ).all(),
        open=open_,
        resolved=resolved,
        locks=open_locks(session),
        configured=[each.name for each in providers()],
        events_waiting=waiting,
        newest_event=newest,
        now=clock.real_now(),
        words=sentences,
    )


@finance.post("/reconciliation")
@allowed
def comparison() -> Response:
    """Compare now; the page shows it once it is done. Not again within a minute of the last."""
    lately = clock.real_now() - timedelta(seconds=PAUSE_S)
    newest = sa.select(Reconciliation.id).where(Reconciliation.ended_at > lately).limit(1)
    if db.session.scalar(newest) is not None:
        flash(_("A comparison has just ended; it is the first of the list."), "info")
    elif reconcile_now.wake(access.actor().user_id):
        flash(_("The comparison has begun; reload this page in a moment."), "success")
    else:
        flash(_("The queue does not answer; the daily comparison is made all the same."), "warning")
    return redirect(url_for("finance.reconciliation"), 303)


def _lines(session: Session, condition: sa.ColumnElement[bool], order: Any) -> list[DifferenceLine]:
    """Differences about items of the reader's programs, and those about no item that we know."""
    mine = set(desk().programs)
    rows = session.execute(
        sa.select(Difference, PayoutBatch.program_id)
        .outerjoin(PayoutItem, PayoutItem.id == Difference.item_id)
        .outerjoin(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(condition)
        .order_by(order)
    )
    return [
        DifferenceLine(row, None if program is None else ids.public_id(ITEM, row.item_id))
        for row, program in rows
        if program is None or program in mine
    ]
