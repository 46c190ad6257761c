"""What pages say about webhooks and postbacks: events, states, and why nothing arrived."""

from __future__ import annotations

from affiliate.core.fetch import Trouble
from affiliate.webhooks.endpoints import DisabledFor
from affiliate.webhooks.reading import Listed, State
from affiliate.webhooks.rules import DeliveryTrouble, EventType
from tracker.desks.words import _


def event_names() -> dict[str, str]:
    """Each event in words."""
    return {
        EventType.ORDER_CREATED: _("An order is taken"),
        EventType.ORDER_CONFIRMED: _("An order is confirmed"),
        EventType.ORDER_CHANGED: _("The shop's report replaces a page's"),
        EventType.ORDER_CANCELLED: _("An order is cancelled"),
        EventType.ORDER_REFUNDED: _("Money of an order goes back"),
        EventType.ATTRIBUTION_CHANGED: _("It is decided again whose an order is"),
        EventType.COMMISSION_EARNED: _("A commission is earned"),
        EventType.COMMISSION_RELEASED: _("A commission is available"),
        EventType.COMMISSION_REDUCED: _("A refund reduces a commission"),
        EventType.COMMISSION_VOIDED: _("A commission is void"),
        EventType.AFFILIATE_APPLIED: _("Somebody applies"),
        EventType.AFFILIATE_APPROVED: _("An affiliate is let in"),
        EventType.AFFILIATE_REJECTED: _("An application is turned down"),
        EventType.AFFILIATE_SUSPENDED: _("An affiliate is suspended"),
        EventType.AFFILIATE_REINSTATED: _("A suspension ends"),
        EventType.AFFILIATE_CLOSED: _("An affiliate leaves"),
        EventType.WITHDRAWAL_REQUESTED: _("A withdrawal is asked for"),
        EventType.BATCH_APPROVED: _("A payout batch is approved"),
        EventType.PAYOUT_PAID: _("A payout is paid"),
        EventType.PAYOUT_FAILED: _("A payout is refused"),
        EventType.PAYOUT_RETURNED: _("Paid money comes back"),
        EventType.TEST: _("A test"),
    }


def states() -> dict[State, tuple[str, str]]:
    """Where a delivery stands: in a word, and its tone."""
    return {
        State.WAITING: (_("waits"), "warning"),
        State.DELIVERED: (_("delivered"), "success"),
        State.FAILED: (_("given up"), "danger"),
    }


def why_disabled() -> dict[str, str]:
    """Why an address is told nothing."""
    return {
        DisabledFor.PERSON: _("It is switched off: nothing is sent there."),
        DisabledFor.FAILING: _("It only failed for five days, so nothing is sent there any more."),
        DisabledFor.GONE: _("It answered that it is gone (410), so nothing is sent there."),
    }


def troubles() -> dict[str, str]:
    """Why there was no answer, and what to do."""
    return {
        Trouble.NOT_ALLOWED: _("The address is not one that is asked: https, and no other port."),
        Trouble.NO_SUCH_HOST: _("There is no such host. Look for a slip in the address."),
        Trouble.PRIVATE: _("The host leads into a private network, where nothing is sent."),
        Trouble.UNREACHABLE: _("The host does not answer, or not with a certificate of its own."),
        Trouble.TOO_SLOW: _("There was no answer within 15 seconds."),
        DeliveryTrouble.SECRET_LOST: _("The secret cannot be read any more. Make a new one."),
        DeliveryTrouble.BROKEN: _("Something went wrong here. It is tried again."),
    }


def answered(status: int | None, trouble: str | None) -> str:
    """What came of an attempt, in one line."""
    if status is None:
        return troubles().get(trouble or "", _("no answer"))
    if 300 <= status < 400:
        return _(
            "%(status)s: it leads on to another address, and nothing is followed", status=status
        )
    return str(status)


def last_answer(listed: Listed) -> str:
    """The same of a delivery's last attempt."""
    if listed.status is None and listed.trouble is None:
        return _("not sent yet")
    return answered(listed.status, listed.trouble)
