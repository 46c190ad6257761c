"""What must be so at the end of a run, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.models import Program
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.draft import schedule_of
from payouts.batches.locks import LockReason, open_locks
from payouts.batches.rules import periods_due
from payouts.ledger.balances import balances
from tests.payouts.simulation.provider import Provider, Transfer

if TYPE_CHECKING:
    from tests.payouts.simulation.house import House
    from tests.payouts.simulation.town import Town

OPEN = ("queued", "sending", "unknown", "needs_review")
FINAL = ("paid", "failed", "cancelled")


class Ended(Protocol):
    """A run at its end: a simulation, or a scene told by hand."""

    house: House
    town: Town
    provider: Provider
    promised: list[int]
    violations: list[str]

    @property
    def now(self) -> datetime: ...


@dataclass(frozen=True)
class Item:
    """An item as the oracle reads it."""

    id: int
    enrollment_id: int
    status: str
    reason: str | None
    amount: Money
    destination: str
    transfer_id: str | None
    attempts: int
    first_sent_at: datetime | None
    """Of its live attempt."""


_ITEMS = sa.text(
    """
    SELECT i.id, i.enrollment_id, i.status, i.reason, i.amount_micros, i.currency, i.destination,
           max(a.transfer_id) FILTER (WHERE a.status = 'succeeded') AS transfer_id,
           count(a.id) AS attempts,
           max(a.first_sent_at) FILTER (WHERE a.status <> 'failed') AS first_sent_at
    FROM payout_items i LEFT JOIN payout_attempts a ON a.item_id = i.id
    GROUP BY i.id ORDER BY i.id
    """
)


def items_of(session: Session) -> dict[int, Item]:
    """Every item by its id."""
    return {
        row.id: Item(
            row.id, row.enrollment_id, row.status, row.reason,
            Money(row.amount_micros, row.currency), row.destination, row.transfer_id,
            row.attempts, row.first_sent_at,
        )
        for row in session.execute(_ITEMS)
    }  # fmt: skip


def waiting_items(session: Session, *statuses: str) -> dict[int, Item]:
    """Items that are not at their end."""
    wanted = statuses or OPEN
    return {key: item for key, item in items_of(session).items() if item.status in wanted}


def judge(ended: Ended) -> list[str]:
    """Every sentence says what is not as it must be; none: the run is sound."""
    with ended.town.sessions() as session:
        items = items_of(session)
        found = [
            *ended.violations,
            *ended.house.surprises,
            *payments(ended.provider, items),
            *_ends(ended, items),
            *_balances(ended, session),
            *_withdrawals(ended, session),
            *periods(session, ended.now),
            *_locks(session),
            *audit(ended, session),
        ]
    return list(dict.fromkeys(found))


UNSEALED = "L12"
"""Nobody seals here: what is booked has no seal, however long the simulated time."""


def audit(ended: Ended, session: Session) -> list[str]:
    """Every check of the books; in one trip, and one by one where that finds something."""
    books, now = ended.house.books, ended.now
    checks = [each for each in CHECKS if each.name != UNSEALED]
    slow = [each for each in checks if not isinstance(each.query, str)]
    broken = books.breaks(checks, now)
    asked = [each for each in checks if each.name in broken]
    return [str(each) for each in run(session, [*asked, *slow], real_now=now)]


def payments(provider: Provider, items: dict[int, Item]) -> list[str]:
    """At most one transfer an item, to whom and how much was approved; paid means paid."""
    found = []
    made = provider.by_item()
    for item_id, transfers in made.items():
        if len(transfers) > 1:
            found.append(f"item {item_id} was paid {len(transfers)} times")
        if item_id not in items:
            found.append(f"item {item_id} was paid and is nowhere")
    for item in items.values():
        transfers = made.get(item.id, [])
        if item.status == "paid" and not transfers:
            found.append(f"item {item.id} is called paid, and was not")
        if transfers and item.status in ("failed", "cancelled"):
            found.append(f"item {item.id} was paid and is called {item.status}")
        found += [text for each in transfers for text in _differs(item, each)]
    paid = Counter[str]()
    for item in items.values():
        if item.status == "paid":
            paid[item.amount.currency] += item.amount.micros
    sent = Counter[str]()
    for transfer in provider.transfers:
        sent[transfer.order.amount.currency] += transfer.order.amount.micros
    if paid != sent:
        found.append(f"transfers are {dict(sent)}, paid items {dict(paid)}")
    return found


def _differs(item: Item, transfer: Transfer) -> list[str]:
    found = []
    if transfer.order.amount != item.amount:
        found.append(f"item {item.id} of {item.amount} was paid {transfer.order.amount}")
    if transfer.order.destination != item.destination:
        found.append(f"item {item.id} went to {transfer.order.destination}")
    if item.transfer_id not in (None, transfer.id):
        found.append(f"item {item.id} names {item.transfer_id}, not {transfer.id}")
    return found


def _ends(ended: Ended, items: dict[int, Item]) -> list[str]:
    """Every item is at its end, or with a person for a reason that needs one."""
    found = []
    made = ended.provider.by_item()
    for item in items.values():
        if item.status == "needs_review":
            found += [f"item {item.id} {text}" for text in _needless(ended, item, made)]
        elif item.status not in FINAL:
            found.append(f"item {item.id} is still {item.status} ({item.reason})")
    return found


def _needless(ended: Ended, item: Item, made: dict[int, list[Transfer]]) -> list[str]:
    found = []
    if item.id in made:
        found.append("is on the desk though the provider lists its transfer")
    if item.first_sent_at is None or ended.now - item.first_sent_at < timedelta(hours=23):
        found.append("is on the desk though its key still lives")
    return found


def _balances(ended: Ended, session: Session) -> list[str]:
    """What each affiliate has earned is what they were paid and what they are owed."""
    found = []
    for enrollment_id, micros in ended.town.earned().items():
        sums = balances(session, enrollment_id=enrollment_id, currency="EUR")
        booked = (sums.owed + sums.paid).micros
        if booked != micros:
            found.append(f"enrollment {enrollment_id} earned {micros}, booked are {booked}")
    return found


def _withdrawals(ended: Ended, session: Session) -> list[str]:
    rows = session.execute(sa.text("SELECT id, closed_at FROM withdrawals")).all()
    known = {row.id for row in rows}
    lost = [each for each in ended.promised if each not in known]
    return [f"withdrawal {each} was promised and is lost" for each in lost]


def periods(session: Session, now: datetime) -> list[str]:
    """Every payout day that has come was drafted, once."""
    found = []
    for program in session.scalars(sa.select(Program)):
        due = periods_due(schedule_of(program), after=program.created_at, until=now)
        rows = session.execute(
            sa.text(
                "SELECT p.key, p.drafted_at IS NOT NULL AS drafted FROM payout_periods p "
                "WHERE p.program_id = :program"
            ),
            {"program": program.id},
        ).all()
        keys = Counter(row.key for row in rows)
        found += [f"the week of {key} stands {n} times" for key, n in keys.items() if n > 1]
        found += [f"the week of {each.key} was missed" for each in due if each.key not in keys]
        found += [f"the week of {row.key} was not drafted" for row in rows if not row.drafted]
    return found


def _locks(session: Session) -> list[str]:
    return [
        f"payouts are locked: {each.detail}"
        for each in open_locks(session)
        if each.reason is not LockReason.RESTORED_BACKUP
    ]
