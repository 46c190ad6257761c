"""A person asks the provider what became of a payout, on the desk of those in question.

All transfers to its account since the first try are listed. One that bears our metadata is the
payout's; one of the same amount that bears nobody's may have lost it, so events, those that were
stored and those that the provider lists, say whether a key of the payout made it. What is found is
taken in as the reconciliation takes it in; what is not found changes nothing. Never sends.
Rule: docs/reliability.md, "The payout protocol".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import committed
from affiliate.core.errors import Conflict, NotFound, Phrase
from affiliate.core.money import Money
from payouts.batches.cancel import finish_batch
from payouts.batches.fence import installation_key
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.review import NotWaitingForAPerson
from payouts.provider.models import ProviderEvent
from payouts.provider.reconcile import Comparing, pin_account
from payouts.provider.rules import DifferenceKind
from payouts.provider.transfers import Outcome, see_transfer
from payouts.rails.protocol import RailAway, Transfer

IN_QUESTION: Final = ("sending", "unknown", "needs_review")
LOOK_BACK: Final = timedelta(hours=1)
"""Before the first try: the provider's clock is another one."""
NEVER_SENT: Final = timedelta(days=7)
"""How far back is looked for an item that was set aside before its first attempt."""
TRANSFERS_MAX: Final = 1_000
EVENTS_MAX: Final = 2_000
SHOWN_MAX: Final = 20
SETTLING: Final = timedelta(hours=1)
"""After the last try nothing found says little: lists lag, and a call may still be under way."""
CREATED: Final = "transfer.created"
ACTION: Final = "item.look_up"

log = structlog.get_logger(__name__)


class NotSureYet(Conflict):
    code = "not_sure_yet"
    title = "Nobody can be sure yet that nothing was sent."


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What a look at the provider came to."""

    away: str = ""
    """Why the provider did not answer, in its code; then nothing below is known."""
    transfer: Transfer | None = None
    """The item's own."""
    outcome: Outcome | None = None
    """What followed from it."""
    others: tuple[Transfer, ...] = ()
    """Transfers to the same account in that time which are not this item's, newest first."""
    others_in_all: int = 0
    doubtful: tuple[str, ...] = ()
    """Those among them that are of the same amount and of no payout of ours: a person may have made
    one for this payout at the provider."""
    safe_from: datetime | None = None
    """Real time from which nothing found says that nothing was sent; none: it does now."""

    @property
    def settled(self) -> bool:
        return self.outcome in (Outcome.SETTLED, Outcome.NOTHING_NEW, Outcome.REVERSED)

    @property
    def nothing(self) -> bool:
        """The provider answered, and has no transfer for it."""
        return not self.away and self.transfer is None


@dataclass(frozen=True, slots=True)
class _Item:
    id: int
    batch_id: int
    program_id: int
    destination: str
    amount: Money
    installation: str
    attempts: tuple[tuple[int, str], ...]
    """Number and key of each."""
    since: datetime
    told: tuple[str, ...]
    """Transfers that stored events of its keys are about."""
    last_tried_at: datetime | None
    """Of the attempt that is not over."""


def look_up(run: Comparing, *, item_id: int, by_user_id: int) -> LookedUp:
    """Ask the provider about an item in question; it is closed where its transfer is found.

    Never raises RailAway. Raises NotFound, NotWaitingForAPerson for an item that is not in
    question.
    """
    item = committed(run.sessions, lambda session: _read(session, run, item_id))
    try:
        if not pin_account(run):
            return LookedUp(away=DifferenceKind.OTHER_ACCOUNT.value)
        listed = _listed(run, item)
        found = next((each for each in listed if _is_of(each, item)), None)
        doubtful = [each.id for each in listed if _is_doubtful(each, item)]
        found = found or _by_key(run, item, doubtful)
    except RailAway as away:
        log.warning("payout.look_up_failed", rail=run.rail, item=item_id, error=str(away))
        return LookedUp(away=str(away))
    outcome = committed(
        run.sessions, lambda session: _take_in(session, run, item, found, by_user_id)
    )
    # By itself: whoever locks a batch locks it before its items.
    committed(
        run.sessions,
        lambda session: finish_batch(session, batch_id=item.batch_id, now=run.now(session)),
    )
    others = [each for each in listed if found is None or each.id != found.id]
    return LookedUp(
        transfer=found,
        outcome=outcome,
        others=tuple(others[:SHOWN_MAX]),
        others_in_all=len(others),
        doubtful=() if found is not None else tuple(doubtful),
        safe_from=_safe_from(item, run.real_now()),
    )


def refuse_unsure(looked: LookedUp, *, seen: Collection[str]) -> None:
    """Before a person allows a new attempt: only a whole look that found nothing lets it.

    `seen` are the ids of the doubtful transfers that the person was shown. Raises NotSureYet.
    """
    if looked.away:
        raise NotSureYet(
            Phrase(
                "The provider does not answer (%(code)s), so nobody can be sure that nothing was "
                "sent. Allow a new attempt when it answers.",
                code=looked.away,
            )
        )
    if looked.transfer is not None:
        raise NotSureYet("The provider has a transfer for this payout; nothing is sent again.")
    if not set(looked.doubtful) <= set(seen):
        raise NotSureYet(
            "A transfer of this amount that is no payout of Kopeck's went to the account: look "
            "at it before you allow a new attempt."
        )
    if looked.safe_from is not None:
        raise NotSureYet(
            Phrase(
                "The last try was less than an hour ago and may not be listed yet. Allow a new "
                "attempt from %(at)s UTC.",
                at=f"{looked.safe_from:%H:%M}",
            )
        )


def _read(session: Session, run: Comparing, item_id: int) -> _Item:
    item = session.get(PayoutItem, item_id)
    if item is None:
        raise NotFound
    if item.status not in IN_QUESTION:
        raise NotWaitingForAPerson
    attempts = session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id == item_id)
        .order_by(PayoutAttempt.number)
    ).all()
    begun = min((each.first_sent_at for each in attempts), default=run.real_now() - NEVER_SENT)
    keys = [each.idempotency_key for each in attempts]
    return _Item(
        id=item.id,
        batch_id=item.batch_id,
        program_id=session.get_one(PayoutBatch, item.batch_id).program_id,
        destination=item.destination,
        amount=Money(item.amount_micros, item.currency),
        installation=installation_key(session),
        attempts=tuple((each.number, each.idempotency_key) for each in attempts),
        since=begun - LOOK_BACK,
        told=tuple(session.scalars(events_of(run.rail, keys, begun - LOOK_BACK))),
        last_tried_at=max(
            (each.last_tried_at for each in attempts if each.status in ("sent", "unknown")),
            default=None,
        ),
    )


def events_of(rail: str, keys: Sequence[str], since: datetime) -> sa.Select[str]:
    """What stored events of these keys are about."""
    return sa.select(ProviderEvent.object_id).where(
        ProviderEvent.rail == rail,
        ProviderEvent.idempotency_key.in_(keys),
        ProviderEvent.idempotency_key != "",
        ProviderEvent.type == CREATED,
        ProviderEvent.created_at >= since,
    )


def _listed(run: Comparing, item: _Item) -> list[Transfer]:
    listed = run.provider.transfers_since(item.since, destination=item.destination)
    found = list(islice(listed, TRANSFERS_MAX + 1))
    if len(found) > TRANSFERS_MAX:
        raise RailAway("list_too_long")
    return found


def _is_of(transfer: Transfer, item: _Item) -> bool:
    return transfer.installation == item.installation and transfer.item_id == item.id


def _is_doubtful(transfer: Transfer, item: _Item) -> bool:
    return transfer.amount == item.amount and transfer.installation != item.installation


def _by_key(run: Comparing, item: _Item, doubtful: Sequence[str]) -> Transfer | None:
    """By the key of the request that made it, whatever became of its metadata since."""
    keys = {key: number for number, key in item.attempts}
    for transfer_id, number in _told(run, item, keys, doubtful):
        found = run.provider.transfer(transfer_id)
        if found is not None:
            own = item.installation
            return replace(found, installation=own, item_id=item.id, attempt=number)
    return None


def _told(
    run: Comparing, item: _Item, keys: dict[str, int], doubtful: Sequence[str]
) -> Iterator[tuple[str, int | None]]:
    for transfer_id in item.told:
        yield transfer_id, None
    if not doubtful:
        return  # Nothing went to the account that could be it.
    for event in islice(run.provider.events_since(item.since), EVENTS_MAX):
        if event.type == CREATED and event.idempotency_key in keys:
            yield event.object_id, keys[event.idempotency_key]


def _take_in(
    session: Session, run: Comparing, item: _Item, found: Transfer | None, by_user_id: int
) -> Outcome | None:
    now, outcome = run.now(session), None
    if found is not None:
        outcome = see_transfer(session, rail=run.rail, seen=found, now=now, real_now=run.real_now())
    audit.record(
        session, actor=f"user:{by_user_id}", action=ACTION, subject=f"item:{item.id}", now=now,
        scope=item.program_id,
        new={"transfer": None if found is None else found.id,
             "outcome": "not_found" if outcome is None else outcome.value},
    )  # fmt: skip
    return outcome


def _safe_from(item: _Item, real_now: datetime) -> datetime | None:
    if item.last_tried_at is None or real_now - item.last_tried_at >= SETTLING:
        return None
    return item.last_tried_at + SETTLING
