"""Compare the provider's list of transfers with our attempts, in both directions.

What can be settled without a doubt is settled: an attempt without an answer whose transfer is
there. Anything else is a named difference that locks payouts and waits for a person.
Rule: docs/reliability.md, "Reconciliation".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.money import Money
from payouts.batches.fence import installation_key
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider import differences
from payouts.provider.models import ProviderAccount, Reconciliation, SeenTransfer
from payouts.provider.rules import DifferenceKind
from payouts.provider.transfers import Outcome, see_transfer
from payouts.rails.protocol import Provider, RailAway, Transfer

BATCH: Final = "system:batch"
"""Who asks before a batch."""
OVERLAP: Final = timedelta(hours=48)
"""What was compared is compared again for so long: lists lag, answers come late."""
SHORT_OVERLAP: Final = timedelta(hours=1)
"""Before a batch, when the daily comparison stands behind it."""
AT_ONCE: Final = 100
MISSING_MAX: Final = 1_000
AHEAD_MAX: Final = 10_000_000
"""Ids that a restored database may be behind; more is somebody's edited metadata."""
_GROUP: Final = re.compile(r"kopeck_[0-9a-f]+_batch_([0-9]{1,17})")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Comparing:
    """All that a comparison needs of the outside."""

    sessions: sessionmaker[Session]
    provider: Provider
    now: Callable[[Session], datetime]
    real_now: Callable[[], datetime]

    @property
    def rail(self) -> str:
        return self.provider.name


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison found."""

    status: str
    """clean, differs or failed."""
    covers_from: datetime
    covers_until: datetime
    transfers: int
    settled: int
    open_differences: int
    error: str = ""

    @property
    def clean(self) -> bool:
        return self.status == "clean"


def reconcile(run: Comparing, *, by: str, overlap: timedelta = OVERLAP) -> Compared:
    """Compare everything since the last comparison, less an overlap.

    Each transfer is taken in by a transaction of its own, so that a comparison that dies has
    done what it did. Only one that read the list to its end moves the point from which the next
    one starts. Never raises RailAway: a comparison without an answer is written down as failed.
    """
    began = run.real_now()
    since = _since(run, began, overlap)
    listed = settled = 0
    error = ""
    try:
        if not pin_account(run):
            error = DifferenceKind.OTHER_ACCOUNT.value
        else:
            for transfers in _chunks(run.provider.transfers_since(since)):
                ours, found = _take_in(run, transfers)
                listed, settled = listed + ours, settled + found
            settled += _ask_for_unseen(run, began)
            settled += _judge_again(run)
    except RailAway as away:
        error = str(away)
        log.warning("payout.reconciliation_failed", rail=run.rail, error=error)
    return _write(run, by, since, began, listed, settled, error)


def pin_account(run: Comparing) -> bool:
    """Whether the API key is of the account that payouts are made from; the first one is.

    False: it is another's, and payouts are locked. Raises RailAway.
    """
    account = run.provider.own_account()
    with run.sessions.begin() as session:
        row = insert(ProviderAccount).values(rail=run.rail, account=account, seen_at=run.real_now())
        session.execute(row.on_conflict_do_nothing())
        own = session.scalars(
            sa.select(ProviderAccount.account).where(ProviderAccount.rail == run.rail)
        ).one()
        if own == account:
            run.provider.pin(own)
            differences.gone_by_kind(
                session, rail=run.rail, kind=DifferenceKind.OTHER_ACCOUNT, real_now=run.real_now()
            )
            return True
        differences.note(
            session,
            rail=run.rail,
            kind=DifferenceKind.OTHER_ACCOUNT,
            subject=account,
            item_id=None,
            detail=f"The API key is of account {account}; payouts were made from {own}.",
            now=run.now(session),
            real_now=run.real_now(),
        )
        return False


def last_reconciliation(session: Session, *, rail: str) -> Reconciliation | None:
    """The newest comparison that read the list to its end."""
    return session.scalars(
        sa.select(Reconciliation)
        .where(Reconciliation.rail == rail, Reconciliation.status != "failed")
        .order_by(Reconciliation.covers_until.desc(), Reconciliation.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _since(run: Comparing, began: datetime, overlap: timedelta) -> datetime:
    with run.sessions() as session:
        last = last_reconciliation(session, rail=run.rail)
        if last is not None:
            return min(last.covers_until, began) - overlap
        first = session.scalar(
            sa.select(sa.func.min(PayoutAttempt.first_sent_at))
            .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
            .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
            .where(PayoutBatch.rail == run.rail)
        )
    return min(first or began, began) - OVERLAP


def _chunks(transfers: Iterable[Transfer]) -> Iterable[list[Transfer]]:
    rest = iter(transfers)
    while chunk := list(islice(rest, AT_ONCE)):
        yield chunk


def _take_in(run: Comparing, transfers: list[Transfer]) -> tuple[int, int]:
    """How many of them are ours, and how many settled an item. What is known is passed over."""
    with run.sessions() as session:
        own = installation_key(session)
        session.commit()
        ours = [transfer for transfer in transfers if transfer.installation == own]
        known = _known(session, run.rail, ours)
    settled = 0
    for transfer in ours:
        if known.get(transfer.id) == transfer.reversed.micros:
            continue
        settled += _see(run, transfer) is Outcome.SETTLED
    return len(ours), settled


def _known(session: Session, rail: str, ours: list[Transfer]) -> dict[str, int]:
    """Of these, the transfers that an attempt succeeded with, and what came back of each by then.

    Nothing but a transfer's reversal changes afterwards; amount and destination were compared.
    """
    rows = session.execute(
        sa.select(SeenTransfer.id, SeenTransfer.reversed_micros)
        .join(PayoutAttempt, PayoutAttempt.transfer_id == SeenTransfer.id)
        .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
        .where(
            SeenTransfer.rail == rail,
            SeenTransfer.id.in_([transfer.id for transfer in ours]),
            SeenTransfer.item_id == PayoutItem.id,
            SeenTransfer.amount_micros == PayoutItem.amount_micros,
            SeenTransfer.currency == PayoutItem.currency,
            SeenTransfer.destination == PayoutItem.destination,
        )
    )
    return dict(rows.all())


def _see(run: Comparing, transfer: Transfer) -> Outcome:
    with run.sessions.begin() as session:
        outcome = see_transfer(
            session, rail=run.rail, seen=transfer, now=run.now(session), real_now=run.real_now()
        )
        if outcome in (Outcome.DIFFERS, Outcome.ACCEPTED):
            _stay_ahead(session, transfer)
    return outcome


def _ask_for_unseen(run: Comparing, began: datetime) -> int:
    """Attempts that succeeded with a transfer that the list did not show: asked for by its id."""
    with run.sessions() as session:
        rows = session.execute(
            sa.select(PayoutAttempt.transfer_id, PayoutItem.id, PayoutAttempt.amount_micros,
                      PayoutAttempt.currency)
            .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
            .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
            .outerjoin(
                SeenTransfer,
                sa.and_(SeenTransfer.rail == run.rail,
                        SeenTransfer.id == PayoutAttempt.transfer_id),
            )
            .where(
                PayoutBatch.rail == run.rail,
                PayoutAttempt.status == "succeeded",
                PayoutAttempt.last_tried_at <= began,
                SeenTransfer.id.is_(None),
            )
            .order_by(PayoutAttempt.id)
            .limit(MISSING_MAX)
        ).all()  # fmt: skip
    settled = 0
    for transfer_id, item_id, micros, currency in rows:
        assert transfer_id is not None, "an attempt that succeeded has its transfer"
        found = run.provider.transfer(transfer_id)
        if found is not None:
            settled += _see_named(run, found, item_id) is Outcome.SETTLED
            continue
        with run.sessions.begin() as session:
            differences.note(
                session,
                rail=run.rail,
                kind=DifferenceKind.MISSING_TRANSFER,
                subject=transfer_id,
                item_id=item_id,
                detail=f"Item {item_id}, {Money(micros, currency)}, stands as paid by "
                f"{transfer_id}; the provider has no such transfer.",
                now=run.now(session),
                real_now=run.real_now(),
            )
    return settled


def _see_named(run: Comparing, found: Transfer, item_id: int) -> Outcome:
    """A transfer that an item names: one that is not this installation's cannot have paid it."""
    outcome = _see(run, found)
    if outcome is Outcome.NOT_OURS:
        with run.sessions.begin() as session:
            differences.note(
                session,
                rail=run.rail,
                kind=DifferenceKind.OTHER_CONTENT,
                subject=found.id,
                item_id=item_id,
                detail=f"Item {item_id} stands as paid by {found.id}, a transfer of "
                f"{found.amount} to {found.destination} that this installation did not make.",
                now=run.now(session),
                real_now=run.real_now(),
            )
    return outcome


def _judge_again(run: Comparing) -> int:
    """Open differences about transfers: what a person put right in the meantime is closed."""
    with run.sessions() as session:
        subjects = [
            row.subject
            for row in differences.open_differences(session, rail=run.rail)
            if row.kind != DifferenceKind.OTHER_ACCOUNT
        ]
    settled = 0
    for subject in subjects:
        found = run.provider.transfer(subject)
        if found is not None:
            settled += _see(run, found) is Outcome.SETTLED
    return settled


def _stay_ahead(session: Session, transfer: Transfer) -> None:
    """A restored database would give out ids that the provider has seen: it goes on behind them.

    Keys, groups and metadata are made of these ids. A second item of one id would be answered
    with the first one's transfer.
    """
    group = _GROUP.fullmatch(transfer.group)
    seen = {"payout_items": transfer.item_id, "payout_batches": int(group[1]) if group else None}
    for table, number in seen.items():
        if number is None:
            continue
        sequence = session.scalar(sa.select(sa.func.pg_get_serial_sequence(table, "id")))
        last = session.scalar(sa.text(f"SELECT last_value FROM {sequence}"))  # noqa: S608 -- ours
        if last < number <= last + AHEAD_MAX:
            session.execute(sa.select(sa.func.setval(sequence, number)))
            log.warning("payout.ids_moved_ahead", table=table, last=last, now=number)


def _write(
    run: Comparing, by: str, since: datetime, began: datetime, listed: int, settled: int, error: str
) -> Compared:
    with run.sessions.begin() as session:
        still_open = len(differences.open_differences(session, rail=run.rail))
        status = "failed" if error else "differs" if still_open else "clean"
        last = session.scalars(
            sa.select(Reconciliation)
            .where(Reconciliation.rail == run.rail)
            .order_by(Reconciliation.id.desc())
            .limit(1)
        ).one_or_none()
        if last is not None and by == last.by == BATCH and status == last.status == "clean":
            # A batch whose payees are not ready begins every few minutes; the row is drawn out.
            last.covers_until, last.ended_at = max(began, last.covers_until), run.real_now()
            last.transfers, last.settled = listed, last.settled + settled
            return Compared(status, since, began, listed, settled, still_open, error)
        session.add(
            Reconciliation(
                rail=run.rail,
                status=status,
                covers_from=since,
                covers_until=began,
                ended_at=run.real_now(),
                transfers=listed,
                settled=settled,
                by=by,
                error=error or None,
            )
        )
    return Compared(status, since, began, listed, settled, still_open, error)
