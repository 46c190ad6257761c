"""Tables of payouts: periods, batches, items, attempts, withdrawals, payee accounts, locks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model

SAME_ACCOUNT = r"regexp_replace(lower(destination), '[^[:alnum:]]', '', 'g')"
"""Two destinations with the same letters and digits are one account, however it is typed."""


class PayeeAccount(Model):
    """Where an affiliate's money of one rail goes. A change makes a new row."""

    __tablename__ = "payee_accounts"
    __table_args__ = (
        sa.Index(
            "uq_payee_accounts_live", "affiliate_id", "rail", unique=True,
            postgresql_where=sa.text("replaced_at IS NULL"),
        ),
        sa.Index("ix_payee_accounts_affiliate_id", "affiliate_id", "rail"),
        sa.Index("ix_payee_accounts_same", sa.text(f"({SAME_ACCOUNT})")),
        sa.Index("ix_payee_accounts_destination", "destination"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"))
    rail: Mapped[str]
    destination: Mapped[str]
    """What the rail sends to: a connected account id, an account number, a free text."""
    ready_at: Mapped[datetime | None]
    """When the rail said that it can be paid to."""
    created_at: Mapped[datetime]
    replaced_at: Mapped[datetime | None]
    pays_from: Mapped[datetime | None]
    """Business time at which its cooling-off period ends; none: there is none."""
    named_by: Mapped[str | None]
    """Who named it, as the audit log calls them: `user:17`."""
    named_network: Mapped[str | None]
    """Keyed hash of the network it was named from: equal marks are one network."""
    named_browser: Mapped[str | None]
    """known, new or unknown: whether the affiliate had used that browser for a day."""
    state: Mapped[dict[str, Any] | None]
    """What the provider said last of an account that it onboards (rails.protocol.AccountState)."""
    asked_at: Mapped[datetime | None]
    """Real time at which that was asked: an answer to an earlier question changes nothing."""


class PayoutPeriod(Model):
    """One week of one program's payouts on one rail: the row that makes the batch once."""

    __tablename__ = "payout_periods"
    __table_args__ = (sa.UniqueConstraint("program_id", "currency", "rail", "key"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    currency: Mapped[str]
    rail: Mapped[str]
    key: Mapped[str]
    """Date of the payout day in the program's zone, `2026-11-23`."""
    due_at: Mapped[datetime]
    """The scheduled local weekday and hour, as an instant."""
    drafted_at: Mapped[datetime | None]
    """When its batch was drafted; also set where nothing was due."""


class PayoutBatch(Model):
    """A list of payouts that finance approves as one."""

    __tablename__ = "payout_batches"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('weekly', 'on_demand')", name="kind_known"),
        sa.CheckConstraint(
            "status IN ('draft', 'frozen', 'approved', 'paying', 'done', 'cancelled')",
            name="status_known",
        ),
        sa.CheckConstraint("(kind = 'weekly') = (period_id IS NOT NULL)", name="weekly_has_period"),
        sa.CheckConstraint(
            "status NOT IN ('approved', 'paying', 'done') OR "
            "(approved_at IS NOT NULL AND approved_hash IS NOT NULL "
            "AND approved_total_micros IS NOT NULL AND approved_count IS NOT NULL)",
            name="approval_complete",
        ),
        sa.CheckConstraint(
            "num_nonnulls(paused_at, paused_by, pause_reason) IN (0, 3)", name="pause_complete"
        ),
        sa.UniqueConstraint("program_id", "number"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … within the program."""
    kind: Mapped[str]
    period_id: Mapped[int | None] = mapped_column(sa.ForeignKey("payout_periods.id"), unique=True)
    currency: Mapped[str]
    rail: Mapped[str]
    status: Mapped[str]
    """draft → frozen → approved → paying → done; draft and frozen → cancelled."""
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None: the scheduler."""
    created_at: Mapped[datetime]
    frozen_at: Mapped[datetime | None]
    hash: Mapped[str | None]
    """SHA-256 over (item, enrollment, amount, destination, reserve) of every live item."""
    approved_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    approved_at: Mapped[datetime | None]
    approved_hash: Mapped[str | None]
    approved_total_micros: Mapped[int | None]
    approved_count: Mapped[int | None] = mapped_column(sa.Integer)
    approval_policy: Mapped[str | None]
    """four_eyes, or the explicit policy under which it went without (policies.ApprovedBy)."""
    policy_id: Mapped[int | None] = mapped_column(sa.ForeignKey("payout_policies.id"))
    """The program's rules of approval as they were then; none: it had set none."""
    signatures_needed: Mapped[int | None] = mapped_column(sa.Integer)
    """How many it needed when it was approved; none: approved before signatures were rows."""
    not_automatic: Mapped[str | None]
    """Why a small withdrawal waits for a person (policies.NotAutomatic); decided once."""
    cancelled_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    """Since when a person has stopped it: no new attempt begins until they resume it."""
    paused_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    pause_reason: Mapped[str | None]
    done_at: Mapped[datetime | None]


class BatchMaker(Model):
    """Whoever changed a batch or asked for its withdrawal: none of them may approve it."""

    __tablename__ = "batch_makers"

    batch_id: Mapped[int] = mapped_column(
        sa.ForeignKey("payout_batches.id"), primary_key=True, autoincrement=False
    )
    user_id: Mapped[int] = mapped_column(
        sa.ForeignKey("users.id"), primary_key=True, autoincrement=False
    )
    did: Mapped[str]
    at: Mapped[datetime]


class BatchSignature(Model):
    """Somebody's yes to a batch of exactly this hash."""

    __tablename__ = "batch_signatures"
    __table_args__ = (
        sa.Index(
            "uq_batch_signatures_live", "batch_id", "user_id", unique=True,
            postgresql_where=sa.text("voided_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_batches.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    hash: Mapped[str]
    signed_at: Mapped[datetime]
    factor_at: Mapped[datetime | None]
    """Real time at which they last gave their second factor; none: signed by no page."""
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    """hold_item: the batch is another one; signer_left: they may not approve any more."""


class PayoutItem(Model):
    """One payout to one enrollment."""

    __tablename__ = "payout_items"
    __table_args__ = (
        sa.UniqueConstraint("batch_id", "enrollment_id"),
        sa.CheckConstraint("amount_micros > 0", name="amount_positive"),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'unknown', 'paid', 'failed', 'needs_review', "
            "'cancelled', 'reversed')",
            name="status_known",
        ),
        sa.Index("ix_payout_items_enrollment_id", "enrollment_id"),
        sa.Index(
            "ix_payout_items_to_move", "next_try_at",
            postgresql_where=sa.text("status IN ('queued', 'sending', 'unknown')"),
        ),
        sa.Index(
            "ix_payout_items_paid", "paid_at", postgresql_where=sa.text("status = 'paid'")
        ),
        sa.Index(
            "ix_payout_items_failed", "finished_at", postgresql_where=sa.text("status = 'failed'")
        ),
        sa.Index(
            "ix_payout_items_in_doubt", "id",
            postgresql_where=sa.text("status IN ('unknown', 'needs_review')"),
        ),
        # What a worker claims next: the items of a large batch that are paid are not read again.
        sa.Index(
            "ix_payout_items_moving", "batch_id", "id",
            postgresql_where=sa.text("status IN ('queued', 'sending', 'unknown')"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_batches.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    currency: Mapped[str]
    amount_micros: Mapped[int]
    """Whole minor units of the rail's granularity."""
    destination: Mapped[str]
    """As frozen and approved; a later change of account does not redirect it."""
    status: Mapped[str]
    reserve_transaction_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("ledger_transactions.id"), unique=True
    )
    settle_transaction_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("ledger_transactions.id"), unique=True
    )
    next_try_at: Mapped[datetime | None]
    """Real time at which the sweeper may move it again."""
    reason: Mapped[str | None]
    """Why it was taken out, failed or waits for a person (closed enum)."""
    raised: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How often moving it raised; too often sets it aside."""
    paid_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    released_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """Who let it go to the approved destination although another was named since."""
    released_at: Mapped[datetime | None]


class PayoutAttempt(Model):
    """One try to send an item, written and committed before the provider is called."""

    __tablename__ = "payout_attempts"
    __table_args__ = (
        sa.UniqueConstraint("item_id", "number"),
        sa.CheckConstraint(
            "status IN ('sent', 'unknown', 'succeeded', 'failed')", name="status_known"
        ),
        sa.Index(
            "uq_payout_attempts_live", "item_id", unique=True,
            postgresql_where=sa.text("status <> 'failed'"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    item_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_items.id"))
    number: Mapped[int] = mapped_column(sa.Integer)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    params: Mapped[dict[str, Any]]
    """What is sent, stored so that a retry is the same to the byte."""
    request_hash: Mapped[str]
    amount_micros: Mapped[int]
    currency: Mapped[str]
    destination: Mapped[str]
    status: Mapped[str]
    first_sent_at: Mapped[datetime]
    """Real time: the life of the provider's key is counted from it."""
    tries: Mapped[int] = mapped_column(sa.Integer, server_default="1")
    last_tried_at: Mapped[datetime]
    transfer_id: Mapped[str | None] = mapped_column(unique=True)
    """The provider's id, or the reference that a person typed."""
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]
    missed_at: Mapped[datetime | None]
    """Real time of the first look-up that found nothing after the key's life was over."""
    finished_at: Mapped[datetime | None]


class Withdrawal(Model):
    """An affiliate's request to be paid now; its clock runs 24 hours."""

    __tablename__ = "withdrawals"
    __table_args__ = (
        sa.CheckConstraint("amount_micros > 0", name="amount_positive"),
        sa.Index(
            "uq_withdrawals_open", "enrollment_id", "currency", unique=True,
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
        sa.Index("ix_withdrawals_enrollment_id", "enrollment_id", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    currency: Mapped[str]
    amount_micros: Mapped[int]
    requested_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None: by the shop's API key."""
    requested_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    """24 hours after the request and the length of every pause that is over."""
    paused_at: Mapped[datetime | None]
    """Since when the clock stands still; none while it runs."""
    paused_for: Mapped[str | None]
    """What it waits for meanwhile: an ItemReason of `clocks.PAUSING`."""
    item_id: Mapped[int | None] = mapped_column(sa.ForeignKey("payout_items.id"), unique=True)
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    """paid, returned (balance restored) or cancelled."""


class PayoutReversal(Model):
    """Money of a paid item that came back, whole or in part."""

    __tablename__ = "payout_reversals"
    __table_args__ = (
        sa.UniqueConstraint("item_id", "reference"),
        sa.CheckConstraint("amount_micros > 0", name="amount_positive"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    item_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_items.id"))
    reference: Mapped[str]
    """The bank's or the provider's own of the return."""
    amount_micros: Mapped[int]
    reason: Mapped[str]
    """In the bank's or provider's words."""
    transaction_id: Mapped[int] = mapped_column(
        sa.ForeignKey("ledger_transactions.id"), unique=True
    )
    at: Mapped[datetime]


class PayoutChoice(Model):
    """How an affiliate wants to be paid in a program. No row: weekly, whatever there is."""

    __tablename__ = "payout_choices"
    __table_args__ = (sa.CheckConstraint("minimum_micros >= 0", name="minimum_not_negative"),)

    enrollment_id: Mapped[int] = mapped_column(
        sa.ForeignKey("enrollments.id"), primary_key=True, autoincrement=False
    )
    on_request: Mapped[bool]
    """True: weekly batches leave the balance alone, only withdrawals take of it."""
    minimum_micros: Mapped[int]
    """Weekly batches wait until this much can be paid; their own wish, never a rule of ours."""
    chosen_at: Mapped[datetime]


class PayoutHold(Model):
    """Finance holds an affiliate's payouts back until somebody lifts it."""

    __tablename__ = "payout_holds"
    __table_args__ = (
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_by IS NULL AND lift_reason IS NULL)",
            name="lift_complete",
        ),
        sa.Index(
            "uq_payout_holds_open", "enrollment_id", unique=True,
            postgresql_where=sa.text("lifted_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    reason: Mapped[str]
    """Finance's own words; the affiliate reads only that payouts are held."""
    held_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    held_at: Mapped[datetime]
    lifted_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    lifted_at: Mapped[datetime | None]
    lift_reason: Mapped[str | None]


class BatchAbsence(Model):
    """Somebody with a balance who was not put into a weekly batch, and why."""

    __tablename__ = "batch_absences"

    batch_id: Mapped[int] = mapped_column(
        sa.ForeignKey("payout_batches.id"), primary_key=True, autoincrement=False
    )
    enrollment_id: Mapped[int] = mapped_column(
        sa.ForeignKey("enrollments.id"), primary_key=True, autoincrement=False
    )
    reason: Mapped[str]
    """A NotDue."""
    available_micros: Mapped[int]
    """The balance as it was then; negative where refunds took more than was left."""


class WithdrawalPause(Model):
    """A time that did not count against a withdrawal's deadline, and why."""

    __tablename__ = "withdrawal_pauses"
    __table_args__ = (sa.CheckConstraint("ended_at >= began_at", name="ends_after_begin"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    withdrawal_id: Mapped[int] = mapped_column(sa.ForeignKey("withdrawals.id"), index=True)
    reason: Mapped[str]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime]


class PayoutPunctuality(Model):
    """How punctually a program has paid, of one kind; written anew every hour."""

    __tablename__ = "payout_punctuality"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('withdrawal', 'weekly', 'order')", name="kind_known"),
    )

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    kind: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    until: Mapped[datetime]
    count: Mapped[int]
    on_time: Mapped[int | None]
    """None for orders: nothing was promised."""
    median_s: Mapped[int | None]
    worst_s: Mapped[int | None]


class PayoutLock(Model):
    """While one is open no payout leaves: an audit failure, a restored backup."""

    __tablename__ = "payout_locks"
    __table_args__ = (
        sa.Index(
            "uq_payout_locks_open", "reason", unique=True,
            postgresql_where=sa.text("lifted_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    reason: Mapped[str]
    detail: Mapped[str]
    locked_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None]


class Installation(Model):
    """Who we are to the providers: part of every idempotency key. A single row.

    Kept in the database, so that a restored backup makes the same keys again and the
    provider answers them with what it did the first time.
    """

    __tablename__ = "payout_installation"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str]
    """Random, made at the first use: `k3f9c2…`."""


class Pace(Model):
    """When the next call to a rail's provider may start: one pace for all workers."""

    __tablename__ = "payout_paces"

    rail: Mapped[str] = mapped_column(primary_key=True)
    next_at: Mapped[datetime]
    """Real time."""
