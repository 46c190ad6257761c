"""The loader's verdict on credited clicks: good clears the wait, bad decides anew.

A decision is made on the signed token before the click's row is there. If no row came in
time, the token stands. A verdict of a flood neither voids nor clears: the order waits for a
person. An order of nobody that names only its visitor is decided again when that visitor's
clicks are loaded. Rule: docs/rules.md, "When you get it".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from payouts.commissions.rules import VoidReason
from tracker.attribution.decide import decide_again, update_wait
from tracker.attribution.models import Decision
from tracker.attribution.rules import CLOCK_SKEW_MAX
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.rules import DropReason, credits, needs_review
from tracker.orders.models import Order
from tracker.orders.records import program_facts, subject_of

CHECK_ROWS_MAX: Final = 200
LET_GO_ROWS_MAX: Final = 5_000
VISITOR_CLICKS_BACK: Final = timedelta(days=1)
"""How old a click may be that was not loaded when its visitor's order came."""
UUID_FORM: Final = "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
"""A visitor of the shop's own is none of ours, and no reason for PostgreSQL to complain."""

# Every click that has a part in a share, those besides the one that the share names too.
_CREDITED: Final = """jsonb_array_elements(d.shares) s
        CROSS JOIN LATERAL jsonb_array_elements(
            jsonb_build_array(s) || coalesce(s -> 'other_clicks', '[]'::jsonb)) k"""
# Only what can be acted on: a click that has arrived, or a time that is over. So decisions
# that still wait never stand before those that do not.
_DUE: Final = f"""
    SELECT d.id, d.{{column}} AS row_id, d.decided_at FROM {{decisions}} d
    WHERE d.click_check_due_at IS NOT NULL AND d.voided_at IS NULL
      AND (d.decided_at, d.id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS bigint))
      AND (d.outcome = 'attributed' AND d.click_check_due_at <= :now OR EXISTS (
        SELECT FROM {_CREDITED}
        JOIN clicks c ON c.click_id = CAST(k ->> 'click_id' AS uuid)
                     AND c.clicked_at = CAST(k ->> 'clicked_at' AS timestamptz))
        OR d.outcome = 'unattributed' AND d.click_check_due_at > :now AND EXISTS (
        SELECT FROM {{things}} o
        JOIN clicks c ON c.program_id = o.program_id
                     AND c.visitor_id = CAST(substring(coalesce(
                            nullif(o.evidence #>> '{{{{server,visitor}}}}', ''),
                            o.evidence #>> '{{{{browser,visitor}}}}') FROM :visitor_id) AS uuid)
                     AND c.clicked_at BETWEEN o.placed_at - CAST(:window AS interval)
                                          AND o.placed_at + CAST(:skew AS interval)
        WHERE o.id = d.{{column}}
          AND NOT d.snapshot -> 'candidates' @> jsonb_build_array(
                jsonb_build_object('click_id', CAST(c.click_id AS text)))))
    ORDER BY d.decided_at, d.id LIMIT :rows_max
    """  # noqa: S608 -- the part is a constant of this module, every value is bound
# Nothing hangs on these but the next look at them, so that no order is locked for it.
_LET_GO: Final = """
    UPDATE {decisions} SET click_check_due_at = NULL
    WHERE id IN (
        SELECT id FROM {decisions}
        WHERE click_check_due_at <= :now AND voided_at IS NULL AND outcome = 'unattributed'
        ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED)
    """
_VERDICTS: Final = f"""
    SELECT c.click_id IS NOT NULL AS loaded, c.reason
    FROM {{decisions}} d CROSS JOIN {_CREDITED}
    LEFT JOIN clicks c ON c.click_id = CAST(k ->> 'click_id' AS uuid)
                      AND c.clicked_at = CAST(k ->> 'clicked_at' AS timestamptz)
    WHERE d.id = :decision_id AND k ->> 'click_id' IS NOT NULL
    """  # noqa: S608 -- as above

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """What has decisions that wait for clicks: orders, or what is decided as they are."""

    thing: Any
    """The model of what is decided: `program_id`, `placed_at`, `evidence`, `review_outcome`."""
    decision: Any
    """The model of its decisions (`tracker.attribution.models.Decided`)."""
    column: str
    """The decisions' column that names the row."""
    name: str
    """The thing's column with the shop's id, for the log."""
    decide_again: Callable[[Session, Any, VoidReason, datetime], None]
    update_wait: Callable[[Session, Any, datetime], None]

    @property
    def of_row(self) -> Any:
        return getattr(self.decision, self.column)

    def sql(self, statement: str) -> sa.TextClause:
        """A statement of this module about these tables."""
        return sa.text(
            statement.format(
                decisions=self.decision.__tablename__,
                things=self.thing.__tablename__,
                column=self.column,
            )
        )

    @property
    def due(self) -> Any:
        return self.sql(_DUE).columns(
            sa.column("id", sa.BigInteger),
            sa.column("row_id", sa.BigInteger),
            sa.column("decided_at", sa.DateTime(timezone=True)),
        )


def check_clicks(
    session: Session,
    *,
    now: datetime,
    rows_max: int = CHECK_ROWS_MAX,
    of: Checked | None = None,
) -> int:
    """Look up the verdicts that decisions wait for, of orders where nothing else is named.

    Returns how many decisions moved.

    Orders that somebody holds right now, and those whose check raises, are left for the
    next run; the others go on, however many of them stand in front: at least `rows_max` of
    those that can move do.
    """
    of = of or ORDERS
    moved = 0
    page: dict[str, Any] = {"after_at": "-infinity", "after_id": 0}
    session.execute(of.sql(_LET_GO), {"now": now, "rows_max": LET_GO_ROWS_MAX})
    values = {
        "now": now,
        "rows_max": rows_max,
        "visitor_id": UUID_FORM,
        "window": VISITOR_CLICKS_BACK,
        "skew": CLOCK_SKEW_MAX,
    }
    while moved < rows_max:
        due = session.execute(of.due, {**values, **page}).all()
        moved += _settle_all(session, of, due, now)
        if len(due) < rows_max:
            break
        page = {"after_at": due[-1].decided_at, "after_id": due[-1].id}
    return moved


def _settle_all(session: Session, of: Checked, due: Sequence[Any], now: datetime) -> int:
    """Act on those whose orders can be had, in the orders' sequence."""
    moved = 0
    for decision_id, row_id, _ in sorted(due, key=lambda row: row.row_id):
        thing = session.scalar(
            sa.select(of.thing)
            .where(of.thing.id == row_id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if thing is None:
            continue
        try:
            with session.begin_nested():
                moved += _settle(session, of, thing, decision_id, now)
        except BaseTimeoutException:
            raise
        except Exception:
            log.exception("decision.check_failed", **_named(of, thing))
    return moved


def _settle(session: Session, of: Checked, thing: Any, decision_id: int, now: datetime) -> bool:
    """Act on one decision of a locked order, if it is still the live one."""
    decision = of.decision
    live = session.execute(
        sa.select(decision.click_check_due_at, decision.outcome, decision.review_reason).where(
            decision.id == decision_id, decision.voided_at.is_(None)
        )
    ).one_or_none()
    if live is None or live.click_check_due_at is None:
        return False
    due_at = live.click_check_due_at
    if live.outcome == "unattributed":
        return _settle_visitor(session, of, thing, now)
    declined = thing.review_outcome == ReviewOutcome.DECLINED
    verdicts = session.execute(of.sql(_VERDICTS), {"decision_id": decision_id}).all()
    if any(_bad(verdict, declined=declined) for verdict in verdicts):
        log.info("decision.click_invalid", **_named(of, thing))
        of.decide_again(session, thing, VoidReason.CLICK_INVALID, now)
        return True
    if due_at > now and not all(verdict.loaded for verdict in verdicts):
        return False
    reason = next(
        (v.reason for v in verdicts if v.reason and needs_review(DropReason(v.reason))), None
    )
    if reason is not None:
        log.info("decision.to_review", reason=reason, **_named(of, thing))
    session.execute(
        sa.update(decision)
        .where(decision.id == decision_id)
        .values(click_check_due_at=None, review_reason=reason or live.review_reason)
    )
    of.update_wait(session, thing, now)
    return True


def _settle_visitor(session: Session, of: Checked, thing: Any, now: datetime) -> bool:
    """Decide an order of nobody again, once, with what its visitor's clicks say by now."""
    log.info("decision.visitor_loaded", **_named(of, thing))
    of.decide_again(session, thing, VoidReason.DECISION_REPLACED, now)
    session.execute(
        sa.update(of.decision)
        .where(
            of.of_row == thing.id,
            of.decision.voided_at.is_(None),
            of.decision.outcome == "unattributed",
        )
        .values(click_check_due_at=None)
    )
    return True


def _named(of: Checked, thing: Any) -> dict[str, str]:
    return {of.name: getattr(thing, of.name)}


def _bad(verdict: Any, *, declined: bool) -> bool:
    if verdict.reason is None or credits(DropReason(verdict.reason)):
        return False
    return declined or not needs_review(DropReason(verdict.reason))


def _decide_order_again(session: Session, order: Order, reason: VoidReason, now: datetime) -> None:
    facts = program_facts(session, order.program_id)
    decide_again(session, order=subject_of(order, facts), reason=reason, now=now)


def _update_order_wait(session: Session, order: Order, now: datetime) -> None:
    update_wait(session, order_row_id=order.id, confirmed=order.status != "unconfirmed", now=now)


ORDERS: Final = Checked(
    thing=Order,
    decision=Decision,
    column="order_id",
    name="order_id",
    decide_again=_decide_order_again,
    update_wait=_update_order_wait,
)
