"""A transfer as the provider shows it becomes what we know: mirrored, settled, reversed.

Called for events, by the catch-up and by the reconciliation, in any order and any number of times.
Rule: docs/reliability.md, "Reconciliation".
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.money import Money
from payouts.batches.claims import succeed
from payouts.batches.fence import installation_key
from payouts.batches.intents import add_attempt
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.reverse import came_back, reverse_item
from payouts.batches.rules import ItemReason
from payouts.provider import differences
from payouts.provider.models import SeenTransfer
from payouts.provider.rules import (
    Adopted,
    DifferenceKind,
    Known,
    KnownAttempt,
    Matched,
    Settles,
    judge,
)
from payouts.rails.protocol import Transfer

ACTOR = "system:reconciliation"

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What followed from seeing an object."""

    NOT_OURS = "not_ours"
    """Another program of the merchant's, or another installation, made it."""
    NOTHING_NEW = "nothing_new"
    SETTLED = "settled"
    """An item was found to be paid."""
    REVERSED = "reversed"
    """Money came back and is owed again."""
    DIFFERS = "differs"
    """Written down, and payouts are locked."""
    ACCEPTED = "accepted"
    """Differs, as a person has accepted."""
    NOTED = "noted"
    GONE = "gone"
    """The provider has no such object any more, or shows it to us no more."""
    IGNORED = "ignored"
    """Of a type that Kopeck does not act on."""


def see_transfer(
    session: Session, *, rail: str, seen: Transfer, now: datetime, real_now: datetime
) -> Outcome:
    """Take in a transfer; the item stays locked to the end of the transaction."""
    if seen.installation != installation_key(session):
        return Outcome.NOT_OURS
    item = _lock(session, seen.item_id)
    _mirror(session, rail, seen, real_now)
    verdict = judge(seen, _known(session, item, seen.id), rail=rail)
    if item is None or isinstance(verdict, DifferenceKind):
        kind = verdict if isinstance(verdict, DifferenceKind) else DifferenceKind.UNKNOWN_ITEM
        return _differs(session, rail, seen, item, kind, now, real_now)
    if not isinstance(verdict, Matched):
        _settle(session, item, seen, verdict, now, real_now)
    is_back = _take_in(session, item, seen, now)
    differences.gone(session, rail=rail, subject=seen.id, real_now=real_now)
    if is_back:
        return Outcome.REVERSED
    return Outcome.NOTHING_NEW if isinstance(verdict, Matched) else Outcome.SETTLED


def _lock(session: Session, item_id: int | None) -> PayoutItem | None:
    return session.scalars(
        sa.select(PayoutItem)
        .where(PayoutItem.id == item_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _known(session: Session, item: PayoutItem | None, transfer_id: str) -> Known | None:
    if item is None:
        return None
    batch = session.get_one(PayoutBatch, item.batch_id, populate_existing=True)
    attempts = session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id == item.id)
        .order_by(PayoutAttempt.number)
        .execution_options(populate_existing=True)
    )
    of_other = sa.exists().where(
        PayoutAttempt.transfer_id == transfer_id, PayoutAttempt.item_id != item.id
    )
    return Known(
        status=item.status,
        batch_status=batch.status,
        rail=batch.rail,
        amount=Money(item.amount_micros, item.currency),
        destination=item.destination,
        attempts=tuple(KnownAttempt(a.number, a.status, a.transfer_id) for a in attempts),
        transfer_of_other=bool(session.scalar(sa.select(of_other))),
    )


def _mirror(session: Session, rail: str, seen: Transfer, real_now: datetime) -> None:
    row = insert(SeenTransfer).values(
        rail=rail,
        id=seen.id,
        item_id=seen.item_id,
        attempt=seen.attempt,
        amount_micros=seen.amount.micros,
        reversed_micros=seen.reversed.micros,
        currency=seen.amount.currency,
        destination=seen.destination,
        created_at=seen.created_at,
        seen_at=real_now,
    )
    # What has come back never goes away again, so an answer that was overtaken changes nothing.
    session.execute(
        row.on_conflict_do_update(
            index_elements=["rail", "id"],
            set_={
                "reversed_micros": sa.func.greatest(
                    SeenTransfer.reversed_micros, row.excluded.reversed_micros
                ),
                "seen_at": sa.func.greatest(SeenTransfer.seen_at, row.excluded.seen_at),
            },
        )
    )


def _settle(
    session: Session,
    item: PayoutItem,
    seen: Transfer,
    verdict: Settles | Adopted,
    now: datetime,
    real_now: datetime,
) -> None:
    """The item was paid: nothing is sent for it any more, whoever was about to."""
    attempt = session.scalars(
        sa.select(PayoutAttempt).where(
            PayoutAttempt.item_id == item.id, PayoutAttempt.number == verdict.number
        )
    ).one_or_none()
    old = {"status": item.status, "attempt": attempt.status if attempt else None}
    if attempt is None:
        told = {"group": seen.group, "installation": seen.installation}
        attempt = add_attempt(
            session, item=item, key=f"po:{seen.installation}", told=told,
            real_now=min(seen.created_at, real_now), number=verdict.number,
        )  # fmt: skip
    succeed(session, item=item, attempt=attempt, transfer_id=seen.id, now=now)
    audit.record(
        session, actor=ACTOR, action="item.found_paid", subject=f"item:{item.id}", now=now,
        scope=session.get_one(PayoutBatch, item.batch_id).program_id, old=old,
        new={"transfer": seen.id, "attempt": verdict.number},
    )  # fmt: skip
    log.info("payout.found_paid", item=item.id, transfer=seen.id, attempt=verdict.number)


def _take_in(session: Session, item: PayoutItem, seen: Transfer, now: datetime) -> bool:
    """Book what has come back and was not booked; True when there was something."""
    back, before = seen.reversed, Money(came_back(session, item_id=item.id), item.currency)
    if back <= before:
        return False
    amount = back - before
    # All that is back so far makes the reference: a part that is told of twice is booked once.
    reverse_item(
        session, item=item, amount=amount, reference=f"{seen.id}:{back.micros}",
        reason="The provider took the transfer back.", now=now,
    )  # fmt: skip
    item.reason = ItemReason.CAME_BACK.value
    session.flush()
    audit.record(
        session, actor=ACTOR, action="item.came_back", subject=f"item:{item.id}", now=now,
        scope=session.get_one(PayoutBatch, item.batch_id).program_id,
        new={"transfer": seen.id, "amount": str(amount), "back_so_far": str(back)},
    )  # fmt: skip
    return True


def _differs(
    session: Session,
    rail: str,
    seen: Transfer,
    item: PayoutItem | None,
    kind: DifferenceKind,
    now: datetime,
    real_now: datetime,
) -> Outcome:
    detail = (
        f"Transfer {seen.id} of {seen.created_at:%Y-%m-%d %H:%M} UTC moved {seen.amount} to "
        f"{seen.destination} for item {seen.item_id} ({seen.group})."
    )
    if item is not None:
        amount = Money(item.amount_micros, item.currency)
        detail += (
            f" Here item {item.id} is {item.status}, {amount} to {item.destination}, "
            f"in batch {item.batch_id}."
        )
    is_open = differences.note(
        session,
        rail=rail,
        kind=kind,
        subject=seen.id,
        item_id=None if item is None else item.id,
        detail=detail,
        now=now,
        real_now=real_now,
    )
    return Outcome.DIFFERS if is_open else Outcome.ACCEPTED
