"""A draft over history: what it would have paid, beside what was booked.

Every order is decided anew out of what was read of it then; tiers, caps and first orders are
simulated from the beginning of their period on. What was never read cannot be tried: clicks
beyond the window of their day, buyers who would have been bound. A program's budget holds
money back and changes no amount, so that it is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.programs.rule_versions import RuleVersionInForce
from affiliate.programs.terms import Terms
from payouts.commissions.standing import SALES
from tracker.attribution.rules import Attribution
from tracker.replay.comparison import Change, Comparison
from tracker.replay.history import PastOrder, Span, count, orders
from tracker.replay.make_ups import MakeUps
from tracker.replay.reckoning import Reckoned, amount_of, attributed, earned
from tracker.replay.volumes import ComesBack, Sale, Volumes, begins_of

_SOLD_BEFORE: Final = f"""
    SELECT DISTINCT c.enrollment_id FROM commissions c
    WHERE c.program_id = CAST(%(program_id)s AS bigint) AND c.level = 1 AND c.voided_at IS NULL
      AND c.base_micros > 0 AND c.placed_at < %(begins)s AND {SALES}
"""  # noqa: S608 -- the part is a constant, every value is bound
_MADE_UP: Final = """
    SELECT enrollment_id, placed_at, amount_micros - reversed_micros FROM commissions
    WHERE program_id = CAST(%(program_id)s AS bigint) AND voided_at IS NULL
      AND placed_at >= %(begins)s AND placed_at < %(ends)s
      AND split_part(reference, ':', 1) = 'tier'
      AND amount_micros > reversed_micros
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trial is, in orders."""

    done: int
    total: int


def trial(
    session: Session,
    span: Span,
    terms: Terms,
    *,
    now: datetime,
    tell: Callable[[Progress], None] = lambda _: None,
    told: Callable[[Change], None] | None = None,
) -> Comparison:
    """Try `terms` on the orders of `span`; reads alone.

    `tell` is told after each batch how far it is, `told` every order that would differ.
    Make-ups are those of periods that are over by `now`.
    """
    draft = RuleVersionInForce(0, 0, terms, span.begins)
    warm = replace(span, begins=begins_of(terms.commission, span.begins, span.zone))
    volumes = Volumes(terms.commission, span.zone, _sold_before(session, warm))
    result = Comparison(span.zone, told)
    progress = Progress(0, count(session, warm))
    tell(progress)
    make_ups = MakeUps(terms, span.zone)
    for batch in orders(session, warm):
        for past in batch:
            again = _tried(past, draft, volumes)
            _note_tiers(make_ups, past, again)
            if past.subject.placed_at >= span.begins:
                result.add(past, again)
        progress = replace(progress, done=progress.done + len(batch))
        tell(progress)
    _make_up(session, span, result, make_ups, volumes, now)
    return result


def _note_tiers(make_ups: MakeUps, past: PastOrder, again: Reckoned) -> None:
    net, refunded_net = past.subject.net, min(past.refunded_net, past.subject.net)
    if past.cancelled_at is not None or net.micros <= 0:
        return
    for found in again.found:
        if found.level == 1:
            amount = amount_of(found)
            make_ups.add(
                found.enrollment_id,
                past.subject.placed_at,
                found.trace,
                base=found.base,
                amount=amount,
                base_back=found.base.fraction(refunded_net.micros, net.micros),
                back=amount.fraction(refunded_net.micros, net.micros),
            )


def _make_up(
    session: Session,
    span: Span,
    result: Comparison,
    make_ups: MakeUps,
    volumes: Volumes,
    now: datetime,
) -> None:
    """The make-ups of periods whose last instant lies in the span, on both sides."""
    zone = ZoneInfo(span.zone)
    volumes.pass_until(now)
    for made in make_ups.over(volumes, now=now):
        if span.begins <= made.at < span.ends:
            on = made.at.astimezone(zone).date()
            result.add_make_up(made.enrollment_id, on, would=made.amount.micros)
    for who, placed_at, kept_micros in rows(session, _MADE_UP, span.values()):
        on = placed_at.astimezone(zone).date()
        result.add_make_up(who, on, booked=int(kept_micros))


def _tried(past: PastOrder, draft: RuleVersionInForce, volumes: Volumes) -> Reckoned:
    gathered, verdict = attributed(past, draft)
    if not volumes.asked or not isinstance(verdict, Attribution):
        return earned(past, draft, gathered, verdict, {})
    placed_at, net = past.subject.placed_at, past.subject.net
    volumes.pass_until(past.decided_at)
    standings = {
        share.enrollment_id: volumes.before(share.enrollment_id, placed_at, net.currency)
        for share in verdict.shares
    }
    again = earned(past, draft, gathered, verdict, standings)
    back = [ComesBack(at, micros) for at, micros in past.refunds]
    if past.cancelled_at is not None:
        back.append(ComesBack(past.cancelled_at, 0, cancelled=True))
    for found in again.found:
        if found.level == 1:
            sale = Sale(found.enrollment_id, found.base, amount_of(found))
            volumes.let_in(sale, placed_at=placed_at, net=net, back=back)
    return again


def _sold_before(session: Session, span: Span) -> list[int]:
    values = {"program_id": span.program_id, "begins": span.begins}
    return [who for (who,) in rows(session, _SOLD_BEFORE, values)]
