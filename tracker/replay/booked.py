"""The standing audit: history by the rules it was under gives what the books hold.

Every decision keeps what was read for it, so that the same pure rules must say the same again:
whose order it is, for how much of it, what each level earned by which rule, and what refunds
took back. Where they do not, somebody changed a row, or a rule changed under history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.models import Program
from affiliate.programs.rule_versions import RuleVersionInForce, by_ids
from payouts.commissions.rules import Earned, NotEarned, reversal
from tracker.attribution.models import Decision
from tracker.attribution.rules import Attribution
from tracker.attribution.snapshot import share_document
from tracker.replay.history import Booked, PastOrder, Span, latest, orders
from tracker.replay.reckoning import Reckoned, amount_of, as_booked

ALL_MAX: Final = 20_000
"""So many live decisions of a program are looked at in every audit; of more only the latest and a
slice, and each of them once in so many hours as there are slices."""
LATEST: Final = timedelta(days=2)
SLICES: Final = 24 * 7
_HOUR: Final = timedelta(hours=1)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the books hold something else than the rules give."""

    past: PastOrder
    what: str
    """`shares`, or of a commission `level 1 of enrollment 5: amount_micros`."""
    booked: Any
    replayed: Any

    def row(self) -> dict[str, Any]:
        """As the audit shows it."""
        return {
            "reference": self.past.subject.reference,
            "decision": self.past.number,
            "what": self.what,
            "booked": self.booked,
            "replayed": self.replayed,
        }


def differences(batches: Iterable[list[PastOrder]], session: Session) -> Iterator[Difference]:
    """Everything in which the books differ from what their own rules give."""
    known: dict[int, RuleVersionInForce] = {}
    for batch in batches:
        named = {past.rule_version_id for past in batch}
        named |= {each.rule_version_id for past in batch for each in past.booked}
        if missing := named - known.keys():
            known |= by_ids(session, missing)
        for past in batch:
            try:
                yield from of_order(past, known)
            except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
                # A row that cannot be read is a finding, and no reason to stop looking.
                yield Difference(past, "cannot be replayed", None, repr(error))


def of_order(past: PastOrder, versions: Mapping[int, RuleVersionInForce]) -> Iterator[Difference]:
    """The differences of one order; `versions` are those it names."""
    if past.cancelled_at is not None:
        return
    again = as_booked(past, versions)
    verdict = again.verdict
    shares = [share_document(each) for each in verdict.shares] if isinstance(
        verdict, Attribution
    ) else []  # fmt: skip
    if shares != past.shares:
        yield Difference(past, "shares", past.shares, shares)
        return
    yield from _commissions(past, again)


def _commissions(past: PastOrder, again: Reckoned) -> Iterator[Difference]:
    booked = {
        (each.level, each.enrollment_id, each.via_enrollment_id): each for each in past.booked
    }
    replayed = {
        (each.level, each.enrollment_id, each.via_enrollment_id): _booked(past, each)
        for each in again.found
    }
    for key in sorted({*booked, *replayed}, key=repr):
        level, who, via = key
        name = f"level {level} of enrollment {who}" + (f" via {via}" if via else "")
        have, given = booked.get(key), replayed.get(key)
        if have is None or given is None:
            yield Difference(past, name, have, given)
            continue
        for field in Booked.__slots__:
            if getattr(have, field) != getattr(given, field):
                yield Difference(
                    past, f"{name}: {field}", getattr(have, field), getattr(given, field)
                )


def _whose(found: Booked | Earned | NotEarned) -> tuple[int, int, int | None]:
    return found.level, found.enrollment_id, found.via_enrollment_id


def _booked(past: PastOrder, found: Earned | NotEarned) -> Booked:
    """What the books should hold of it, its refunds included."""
    net, refunded_net = past.subject.net, min(past.refunded_net, past.subject.net)
    amount = amount_of(found)
    return Booked(
        level=found.level,
        enrollment_id=found.enrollment_id,
        via_enrollment_id=found.via_enrollment_id,
        rule_version_id=found.rule_version_id,
        decision=past.number,
        base_micros=found.base.micros,
        rate_ppm=found.rate_ppm,
        amount_micros=amount.micros,
        reversed_micros=reversal(
            frozen=amount, refunded_net=refunded_net, net=net, already=amount - amount
        ).micros,
        refunded_base_micros=(
            found.base.fraction(refunded_net.micros, net.micros).micros if net.micros > 0 else 0
        ),
        rule=found.rule,
    )


def standing_audit(session: Session, real_now: datetime) -> Iterator[dict[str, Any]]:
    """The audit's check over every program, lazily: whoever has seen enough stops reading."""
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        span = Span(program.id, program.currency, program.time_zone, _BEGINNING, _END)
        for each in differences(_to_look_at(session, span, real_now), session):
            yield each.row()


def _to_look_at(session: Session, span: Span, real_now: datetime) -> Iterator[list[PastOrder]]:
    few = sa.select(sa.literal(1)).select_from(Decision).limit(ALL_MAX + 1).subquery()
    if (session.scalar(sa.select(sa.func.count()).select_from(few)) or 0) <= ALL_MAX:
        return orders(session, span)
    newest = session.scalar(sa.select(sa.func.max(Decision.decided_at))) or _BEGINNING
    slice_ = (real_now - _BEGINNING) // _HOUR % SLICES
    return latest(session, span, since=newest - LATEST, slices=SLICES, slice_=slice_)
