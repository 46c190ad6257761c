"""Reasons of payouts in words: one sentence for each code of the closed enums."""

from __future__ import annotations

from payouts.batches.locks import LockReason, OpenLock
from payouts.batches.on_time import Measured
from payouts.batches.rules import ItemReason, NotDue
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
            "Another account was named after approval. It is never redirected: let it go to the "
            "approved one, or hold it, and the next batch pays to the new account."
        ),
        ItemReason.COOLING_OFF: _(
            "A safety wait: the account was named lately in place of another one."
        ),
        ItemReason.PAYEE_STOPPED: _(
            "Disowned: somebody said that they had not named this account. Look at it first."
        ),
        ItemReason.PAYEE_NOT_READY: _(
            "The affiliate's account cannot receive money yet; asked again every few minutes."
        ),
        ItemReason.ON_HOLD: _("Finance holds this affiliate's payouts back."),
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
        ItemReason.SET_ASIDE: _(
            "Sending it failed inside Kopeck several times, so it was set aside; the log says "
            "why. Look it up at the provider, then give its id, allow a new attempt or hold it."
        ),
        ItemReason.TRY_AGAIN: _("A person allowed a new attempt."),
        ItemReason.FILE_NOT_SENT: _("The file that it was in never reached the bank."),
        ItemReason.CAME_BACK: _("It was paid and came back; the money is in the balance."),
    }.get(ItemReason(code), code)


def lock_sentence(lock: OpenLock) -> str:
    """Why no payout leaves."""
    return {
        LockReason.INTEGRITY: _("An audit of the books found a contradiction."),
        LockReason.RESTORED_BACKUP: _(
            "The database was restored from a backup: payouts sent since it was taken are not "
            "in it."
        ),
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
        "unsettle": _("Came back"),
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


def measured() -> dict[Measured, str]:
    """What each figure of punctuality is about, in the order in which they are shown."""
    return {
        Measured.WITHDRAWAL: _("Withdrawals, from the request"),
        Measured.WEEKLY: _("Weekly payouts, from the payout hour"),
        Measured.ORDER: _("Orders, from the purchase to the money"),
    }


def not_due(why: NotDue) -> str:
    """Why somebody with a balance is not in a weekly batch."""
    return {
        NotDue.NOTHING_PAYABLE: _("Less than the smallest coin; it stays and adds up."),
        NotDue.NEGATIVE_BALANCE: _(
            "Below zero after refunds; the next earnings come first to zero."
        ),
        NotDue.ON_HOLD: _("Finance holds their payouts back."),
        NotDue.ON_REQUEST: _("They chose to be paid when they ask."),
        NotDue.BELOW_OWN_MINIMUM: _("Below the minimum that they set for themselves."),
        NotDue.NO_PAYEE_ACCOUNT: _("They have not named an account."),
        NotDue.PAYEE_NOT_READY: _("Their account cannot receive money yet."),
        NotDue.NOT_ACTIVE: _("They are suspended, or not a member yet."),
    }[why]
