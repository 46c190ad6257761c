"""Tables of what providers say: events, transfers, accounts, bank payouts, what they said of a
batch before it was signed; and of comparing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from affiliate.core.money import Money


class ProviderAccount(Model):
    """Whose money a rail moves: the merchant's account, as its API key said at the first run."""

    __tablename__ = "provider_accounts"

    rail: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    seen_at: Mapped[datetime]
    """Real time of the first run."""


class ProviderEvent(Model):
    """An event that a provider told of, once, however often and in which order it came.

    Its content is not kept: it is the object's state of then, and holds data of persons.
    """

    __tablename__ = "provider_events"
    __table_args__ = (
        sa.Index(
            "ix_provider_events_waiting", "next_try_at",
            postgresql_where=sa.text("processed_at IS NULL"),
        ),
        sa.Index(
            "ix_provider_events_idempotency_key", "idempotency_key",
            postgresql_where=sa.text("idempotency_key <> ''"),
        ),
        sa.Index("ix_provider_events_received_at", "received_at"),
    )  # fmt: skip

    rail: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    """The provider's: `evt_…`."""
    type: Mapped[str]
    account: Mapped[str]
    """The payee's account that it is of; empty for the merchant's own."""
    object_id: Mapped[str]
    """What it is about; asked of the provider before anything follows from it."""
    idempotency_key: Mapped[str]
    """Of the request that caused it; empty where none did."""
    came_by: Mapped[str]
    """webhook, or list where it was found by catching up."""
    created_at: Mapped[datetime]
    """By the provider's clock."""
    received_at: Mapped[datetime]
    """Real time, as all below."""
    next_try_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last try did not end."""
    processed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    """What followed (closed enum)."""


class EventCursor(Model):
    """Up to when the events of an account were listed."""

    __tablename__ = "provider_event_cursors"

    rail: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    """Empty for the merchant's own."""
    listed_until: Mapped[datetime]
    """Real time at which the last whole listing began."""


class SeenTransfer(Model):
    """The mirror: a transfer of this installation, as the provider last showed it."""

    __tablename__ = "provider_transfers"
    __table_args__ = (sa.Index("ix_provider_transfers_item_id", "item_id"),)

    rail: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[int | None]
    """As its metadata says; no foreign key, for it may be an item that this database lost."""
    attempt: Mapped[int | None]
    amount_micros: Mapped[int]
    reversed_micros: Mapped[int]
    """What has come back so far; never falls."""
    currency: Mapped[str]
    destination: Mapped[str]
    created_at: Mapped[datetime]
    """By the provider's clock."""
    seen_at: Mapped[datetime]
    """Real time."""


class SeenAccount(Model):
    """A payee's account as the provider last showed it: what is missing until it can be paid."""

    __tablename__ = "provider_payee_accounts"

    rail: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    ready: Mapped[bool]
    disabled_reason: Mapped[str]
    """The provider's code; `gone` for an account that is closed to us; empty while ready."""
    due: Mapped[str]
    """What the provider still wants to know, its codes by commas."""
    asked_at: Mapped[datetime]
    """Real time at which the question began: an answer to an older question changes nothing."""


class SeenBankPayout(Model):
    """What a payee's account sent on to their bank. Information: nothing is ever paid for it."""

    __tablename__ = "provider_bank_payouts"
    __table_args__ = (sa.Index("ix_provider_bank_payouts_account", "account", "created_at"),)

    rail: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    amount_micros: Mapped[int]
    currency: Mapped[str]
    status: Mapped[str]
    """pending, in_transit, paid, failed, canceled."""
    failure: Mapped[str]
    """The bank's reason in the provider's code."""
    arrives_at: Mapped[datetime]
    created_at: Mapped[datetime]
    """By the provider's clock."""
    seen_at: Mapped[datetime]
    """Real time."""

    @property
    def amount(self) -> Money:
        return Money(self.amount_micros, self.currency)


class Reconciliation(Model):
    """One comparison of the provider's list with our attempts, in both directions."""

    __tablename__ = "reconciliations"
    __table_args__ = (
        sa.CheckConstraint("status IN ('clean', 'differs', 'failed')", name="status_known"),
        sa.Index("ix_reconciliations_rail", "rail", "covers_until"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    rail: Mapped[str]
    status: Mapped[str]
    """clean, differs, or failed where the list could not be read to its end."""
    covers_from: Mapped[datetime]
    covers_until: Mapped[datetime]
    """Real time at which it began: the next one goes on from here, with an overlap."""
    ended_at: Mapped[datetime]
    transfers: Mapped[int]
    """How many of ours the provider listed."""
    settled: Mapped[int]
    """Items that it found paid and that we did not know to be."""
    by: Mapped[str]
    """Who asked: `system:schedule`, `system:batch`, `cli`, `user:17`."""
    error: Mapped[str | None]


class Difference(Model):
    """Where the provider's books and ours contradict each other; open, it locks payouts."""

    __tablename__ = "provider_differences"
    __table_args__ = (
        sa.UniqueConstraint("rail", "kind", "subject"),
        sa.Index(
            "ix_provider_differences_open", "rail",
            postgresql_where=sa.text("resolved_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    rail: Mapped[str]
    kind: Mapped[str]
    subject: Mapped[str]
    """The transfer's id; of an account its id."""
    item_id: Mapped[int | None]
    detail: Mapped[str]
    """Both sides in figures, for a person."""
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]
    """`cli` or a user who accepted it; `system:reconciliation` when it was gone."""
    why: Mapped[str | None]


class BatchRehearsal(Model):
    """What the rail said of a batch that waits for approval. Information: nothing depends on it."""

    __tablename__ = "batch_rehearsals"
    __table_args__ = (sa.Index("ix_batch_rehearsals_batch_id", "batch_id", "id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_batches.id"))
    hash: Mapped[str]
    """Of the batch as it was then: after a hold it is said of another one."""
    asked_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    began_at: Mapped[datetime]
    """Real time of the first look; a large batch is asked about in several."""
    asked_at: Mapped[datetime]
    """Real time of this look."""
    away: Mapped[str]
    """Why the provider did not answer, in its code; empty while it does."""
    funds_micros: Mapped[int | None]
    """What could be sent then; none where nobody knows."""
    promised_micros: Mapped[int]
    """Approved on the same rail in the same currency and not sent yet."""
    payouts: Mapped[int] = mapped_column(sa.Integer)
    asked: Mapped[int] = mapped_column(sa.Integer)
    """How many of them were looked at so far, the largest first."""
    objections: Mapped[list[list[Any]]] = mapped_column(JSONB)
    """The first of them: item, reason (rails.rehearsal.Objection), the provider's own code."""
    objections_in_all: Mapped[int] = mapped_column(sa.Integer)
