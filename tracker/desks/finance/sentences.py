"""Reasons of payouts in words: one sentence for each code of the closed enums."""

from __future__ import annotations

from affiliate.core.pages import moment
from payouts.batches.locks import LockReason, OpenLock
from payouts.batches.on_time import Measured
from payouts.batches.rules import ItemReason, NotDue
from payouts.provider.rules import DifferenceKind
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
        ItemReason.CAME_BACK: _(
            "It came back from the bank or the provider, in whole or in part. What came back is in "
            "the affiliate's balance again and goes out with the next payout."
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


def lock_told(lock: OpenLock) -> str:
    """The same with what was noted, as sentences, and since when it holds."""
    noted = lock.detail.strip()
    if noted and noted[-1] not in ".!?…":
        noted += "."
    since = _("Since %(at)s.", at=moment(lock.locked_at))
    return " ".join(filter(None, (lock_sentence(lock), noted, since)))


def difference(kind: DifferenceKind) -> str:
    """How the provider's books and ours contradict each other."""
    return {
        DifferenceKind.UNKNOWN_ITEM: _("A transfer for a payout that is not in this database."),
        DifferenceKind.OTHER_CONTENT: _(
            "A transfer with another amount, currency or account than its payout."
        ),
        DifferenceKind.SECOND_TRANSFER: _("A second transfer for a payout that was paid."),
        DifferenceKind.OTHER_ITEM: _(
            "A transfer that stands here as the payment of another payout."
        ),
        DifferenceKind.NOT_APPROVED: _("A transfer for a batch that is not approved here."),
        DifferenceKind.RETURNED: _(
            "A transfer for a payout whose money is back in the balance here."
        ),
        DifferenceKind.CONTRADICTION: _("A payout that stands as paid by no attempt."),
        DifferenceKind.MISSING_TRANSFER: _(
            "A payout that stands as paid by a transfer which the provider does not have."
        ),
        DifferenceKind.OTHER_ACCOUNT: _("The API key belongs to another account."),
    }[kind]


def remedy(kind: DifferenceKind) -> str:
    """What a person does about it, before accepting it."""
    took = _(
        "The affiliate has this money. Take it from their balance by a correction, or take the "
        "transfer back at the provider."
    )
    return {
        DifferenceKind.UNKNOWN_ITEM: took,
        DifferenceKind.OTHER_CONTENT: _(
            "Find out who made or changed it. What was paid too much is taken back at the "
            "provider or from the balance by a correction."
        ),
        DifferenceKind.SECOND_TRANSFER: took,
        DifferenceKind.OTHER_ITEM: _(
            "Somebody typed this transfer's id for the other payout. Find the transfer that paid "
            "that one; if there is none, one of both affiliates is still to be paid."
        ),
        DifferenceKind.NOT_APPROVED: _(
            "After a restore: unlock despite this difference and approve the batch as it was "
            "approved then. Before anything of it is sent it is compared again, and this payout is "
            "found paid."
        ),
        DifferenceKind.RETURNED: took,
        DifferenceKind.CONTRADICTION: _("Let `kopeck audit` say which rows contradict each other."),
        DifferenceKind.MISSING_TRANSFER: _(
            "Ask whoever typed the reference. If nothing was paid, credit the affiliate by a "
            "correction."
        ),
        DifferenceKind.OTHER_ACCOUNT: _(
            "Set the key of the account that payouts were made from. If the merchant has moved "
            "to another one, accept this once no payout waits for its answer."
        ),
    }[kind]


def bank_status(status: str) -> str:
    """Where a payee's own payout to their bank stands."""
    return {
        "pending": _("begun"),
        "in_transit": _("on its way"),
        "paid": _("arrived"),
        "failed": _("failed at the bank"),
        "canceled": _("called off"),
    }.get(status, status)


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
