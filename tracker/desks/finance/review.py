"""What is known of payouts in question: attempts, keys, answers, events, who asked last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.audit import AuditEntry
from affiliate.people.models import User
from payouts.batches.intents import KEY_LIFE_H
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider.look_up import ACTION, IN_QUESTION
from payouts.provider.models import ProviderEvent
from payouts.provider.rules import DifferenceKind
from payouts.rails.protocol import provider
from tracker.desks.finance.blueprint import ITEM, known_rails
from tracker.desks.finance.questions import Stuck, stuck_items
from tracker.desks.words import _


@dataclass(frozen=True)
class Look:
    """The last time that a person asked the provider."""

    at: datetime
    by: str
    outcome: str


@dataclass
class Known:
    """What is known of one payout in question."""

    item: PayoutItem
    rail: str
    asks: bool
    """Whether there is a provider to ask."""
    attempt: PayoutAttempt | None = None
    """The one that is not over, else the last."""
    attempts: int = 0
    events: list[ProviderEvent] = field(default_factory=list)
    """Events that its keys caused, oldest first."""
    look: Look | None = None

    @property
    def public(self) -> str:
        return ids.public_id(ITEM, self.item.id)

    @property
    def key_until(self) -> datetime | None:
        """Until when the same key is sent again; afterwards only a look-up can tell."""
        if self.attempt is None or self.attempt.status == "failed":
            return None
        return self.attempt.first_sent_at + timedelta(hours=KEY_LIFE_H)


@dataclass(frozen=True)
class Question:
    """A payout on the desk, with what is known of it."""

    stuck: Stuck
    known: Known


def questions_of(session: Session, *, program_ids: Collection[int]) -> list[Question]:
    """Payouts whose outcome is unknown or that were set aside, those for a person first."""
    stuck = [
        each
        for each in stuck_items(session, program_ids=program_ids)
        if each.item.status in IN_QUESTION
    ]
    known = _known(session, [each.item for each in stuck])
    return [Question(each, known[each.item.id]) for each in stuck]


def known_of(session: Session, *, item: PayoutItem) -> Known | None:
    """What is known of the payout; none when it is not in question."""
    if item.status not in IN_QUESTION:
        return None
    return _known(session, [item])[item.id]


def away_in_words(code: str) -> str:
    """Why the provider could not be asked."""
    if code == DifferenceKind.OTHER_ACCOUNT:
        return _("The API key is of another account than payouts were made from.")
    if code == "list_too_long":
        return _("The provider lists too many transfers to this account; look it up there.")
    return _("The provider does not answer now (%(code)s). Nothing has changed.", code=code)


def look_in_words(look: Look) -> str:
    """What came of the last look."""
    if look.outcome == "not_found":
        return _("asked by %(name)s, no transfer was found", name=look.by)
    return _("asked by %(name)s, a transfer was found", name=look.by)


def whose(transfer_item: int | None) -> str:
    """What another transfer to the account paid, as far as it says."""
    if transfer_item is None:
        return _("none of Kopeck's payouts")
    return _("payout %(item)s", item=ids.public_id(ITEM, transfer_item))


def _known(session: Session, items: Sequence[PayoutItem]) -> dict[int, Known]:
    rails, item_ids = known_rails(), [item.id for item in items]
    batches = dict(
        session.execute(
            sa.select(PayoutBatch.id, PayoutBatch.rail).where(
                PayoutBatch.id.in_({item.batch_id for item in items})
            )
        ).all()
    )
    found = {}
    for item in items:
        rail = rails.get(batches[item.batch_id])
        asks = rail is not None and provider(rail) is not None
        found[item.id] = Known(item, batches[item.batch_id], asks)
    owners = _add_attempts(session, found, item_ids)
    _add_events(session, found, owners)
    _add_looks(session, found)
    return found


def _add_attempts(
    session: Session, found: dict[int, Known], item_ids: list[int]
) -> dict[str, Known]:
    """Whose each key is."""
    owners = {}
    rows = session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id.in_(item_ids))
        .order_by(PayoutAttempt.number)
        .execution_options(populate_existing=True)
    )
    for row in rows:
        known = found[row.item_id]
        known.attempts += 1
        if known.attempt is None or known.attempt.status == "failed":
            known.attempt = row
        owners[row.idempotency_key] = known
    return owners


def _add_events(session: Session, found: dict[int, Known], owners: dict[str, Known]) -> None:
    if not owners:
        return
    rows = session.scalars(
        sa.select(ProviderEvent)
        .where(
            ProviderEvent.rail.in_({known.rail for known in found.values()}),
            ProviderEvent.idempotency_key.in_(owners),
            ProviderEvent.idempotency_key != "",
        )
        .order_by(ProviderEvent.received_at)
    )
    for row in rows:
        owners[row.idempotency_key].events.append(row)


def _add_looks(session: Session, found: dict[int, Known]) -> None:
    subjects = {f"item:{item_id}": known for item_id, known in found.items()}
    rows = session.scalars(
        sa.select(AuditEntry)
        .where(AuditEntry.subject.in_(subjects), AuditEntry.action == ACTION)
        .order_by(AuditEntry.id)
    ).all()
    names = _names(session, {row.actor.removeprefix("user:") for row in rows})
    for row in rows:
        outcome = str((row.new or {}).get("outcome", ""))
        subjects[row.subject].look = Look(row.at, names[row.actor.removeprefix("user:")], outcome)


def _names(session: Session, user_ids: set[str]) -> defaultdict[str, str]:
    rows = session.execute(
        sa.select(User.id, User.name, User.email).where(
            User.id.in_([int(each) for each in user_ids if each.isdigit()])
        )
    )
    named: defaultdict[str, str] = defaultdict(str)
    named.update({str(row.id): row.name or row.email for row in rows})
    return named
