"""Reasons of payouts in words: one sentence for each code of the closed enums."""

from __future__ import annotations

from payouts.batches.locks import LockReason, OpenLock
from payouts.batches.rules import ItemReason
from tracker.desks.words import _


def item_reason(code: str | None) -> str:
    """Why an item was taken out, failed or waits; empty without a reason."""
    if not code:
        return ""
    return {
        ItemReason.HELD_BEFORE_APPROVAL: _("Held before approval; the money is back."),
        ItemReason.HELD_AFTER_APPROVAL: _("Held after approval; the money is back."),
        ItemReason.BATCH_CANCELLED: _("The batch was cancelled; the money is back."),
        ItemReason.REFUSED: _("The provider said no; the money is back in the balance."),
        ItemReason.NOT_ACTIVE: _("The affiliate is not active; it waits until they are."),
        ItemReason.PAYEE_CHANGED: _(
            "Another account was named after approval. It is never redirected: hold it, and the "
            "next batch pays to the new account."
        ),
        ItemReason.PAYEE_NOT_READY: _(
            "The affiliate's account cannot receive money yet; asked again every few minutes."
        ),
        ItemReason.NO_FUNDS: _(
            "The balance at the provider does not cover it; tried again when it does."
        ),
        ItemReason.RAIL_REFUSES_US: _("The provider refuses our key; check the settings."),
        ItemReason.PROVIDER_BUSY: _("The provider is busy; tried again shortly."),
        ItemReason.NO_ANSWER: _("Sent, and no answer came; asked again under the same key."),
        ItemReason.NOT_FOUND: _(
            "No answer came, and the provider lists no such transfer. Look it up there, then "
            "give its id or allow a new attempt."
        ),
        ItemReason.TRY_AGAIN: _("A person allowed a new attempt."),
        ItemReason.CAME_BACK: _(
            "The provider took the transfer back, in whole or in part. What came back is in the "
            "affiliate's balance again and goes out with the next payout."
        ),
    }.get(ItemReason(code), code)


def lock_sentence(lock: OpenLock) -> str:
    """Why no payout leaves."""
    return {
        LockReason.INTEGRITY: _("An audit of the books found a contradiction."),
        LockReason.RESTORED_BACKUP: _(
            "The database was restored from a backup: payouts sent since it was taken are not "
            "in it."
        ),
        LockReason.RECONCILIATION: _("The provider's books and ours differ."),
        LockReason.BY_HAND: _("A person stopped payouts."),
    }[lock.reason]


def attempt_status(status: str) -> str:
    """What became of a try to send."""
    return {
        "sent": _("Sent, waiting for the answer."),
        "unknown": _("Sent; no clear answer. It is asked again under the same key."),
        "succeeded": _("The money left."),
        "failed": _("A definite no: nothing moved."),
    }.get(status, status)


def entry_kind(kind: str) -> str:
    """What a transaction of the ledger did."""
    return {
        "earn": _("Earned"),
        "release": _("Released"),
        "void": _("Voided"),
        "claw_back": _("Taken back by a refund"),
        "bonus": _("Bonus"),
        "adjust": _("Adjusted"),
        "write_off": _("Written off"),
        "reserve": _("Reserved for the payout"),
        "return": _("Returned to the balance"),
        "settle": _("Paid"),
        "reversal": _("Came back"),
    }.get(kind, kind)


def account_kind(kind: str) -> str:
    """Where money stands in the ledger."""
    return {
        "expense": _("program's expense"),
        "cash": _("paid out"),
        "pending": _("pending"),
        "available": _("available"),
        "in_payout": _("in payout"),
    }.get(kind, kind)
