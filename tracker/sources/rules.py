"""What a shop system's webhook asks of us, as values (pure).

Each system has a module that reads a body into `Changes` or `Ignored`: tracker.sources.shopify,
woocommerce, stripe_events, generic. What it cannot read it refuses with an Invalid that names the
field of the body. Rule: docs/shops/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from affiliate.core.money import Money

SEQUENCE_MAX: Final = 10_000
DELIVERY_ID_CHARS_MAX: Final = 255
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""As old as a state can be: that of a body which does not say when it was."""


class Kind(StrEnum):
    """The systems."""

    SHOPIFY = "shopify"
    WOOCOMMERCE = "woocommerce"
    STRIPE = "stripe"
    GENERIC = "generic"


class State(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    DONE = "done"
    IGNORED = "ignored"
    HELD = "held"
    """A person has to look at it."""
    REFUSED = "refused"


class Because(StrEnum):
    """Why a delivery changes nothing."""

    TEST_ORDER = "test_order"
    NOT_PAID = "not_paid"
    NEVER_PAID = "never_paid"
    """Cancelled before it was paid, and nobody has reported it."""
    NOTHING_REFUNDED = "nothing_refunded"
    REFUND_NOT_FINAL = "refund_not_final"
    REFUND_COMES_ALONE = "refund_comes_alone"
    FIRST_INVOICE = "first_invoice"
    NO_SUBSCRIPTION = "no_subscription"
    OTHER_TOPIC = "other_topic"
    OLDER_STATE = "older_state"
    UNKNOWN_REFERENCE = "unknown_reference"
    """It is about a payment of which no order has come within days."""


class Done(StrEnum):
    """What a step did."""

    REPORTED = "reported"
    CONFIRMED_CLAIM = "confirmed_claim"
    """The order was a browser's claim; the shop's amounts took its place."""
    KNOWN = "known"
    OTHER_CONTENT = "other_content"
    """The order was reported with other content; the first report stands."""
    REFUNDED = "refunded"
    REFUND_PARKED = "refund_parked"
    CANCELLED = "cancelled"
    CANCELLATION_PARKED = "cancellation_parked"
    REFUND_FAILED = "refund_failed"
    """A refund that had been taken for given back failed; a person has seen to it."""
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    LINKED = "linked"


@dataclass(frozen=True, slots=True)
class Renewal:
    """Which stretch of a subscription an order pays for; in seconds since 1970."""

    subscription: str
    begins_at_s: int
    lasts_s: int


@dataclass(frozen=True, slots=True)
class Report:
    """An order, as `POST /api/v1/orders` takes it."""

    order_id: str
    document: Mapping[str, Any]
    coupons: tuple[str, ...] = ()
    """Every code of the order; the first that the program knows counts."""
    references: tuple[str, ...] = ()
    """By what else the system names it: payments, invoices."""
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back, as `POST …/refunds` takes it; of an order, or of what a reference names."""

    document: Mapping[str, Any]
    order_id: str = ""
    reference: str = ""
    grows: bool = False
    """The system adds to it under the same id, as its payments end one by one."""


@dataclass(frozen=True, slots=True)
class RefundFailed:
    """A refund did not arrive; one that was taken for given back before is for a person."""

    refund_id: str
    reference: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order is cancelled. `was_paid`: it is waited for where it is not known yet."""

    order_id: str
    reason: str
    was_paid: bool
    may_return: bool = False
    """The system may still take a payment of it: what a page claimed of one that was not paid
    waits on, as a cancelled order never comes back."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """The buyer's bank asks a payment back; `lost` once that has ended, None while it has not."""

    dispute_id: str
    reference: str
    amount: Money
    lost: bool | None


@dataclass(frozen=True, slots=True)
class Link:
    """Two names of one payment: what is known of one holds for the other."""

    reference: str
    known_as: str


Step = Report | Refund | RefundFailed | Cancel | Dispute | Link


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows from a body: the steps in their order."""

    subject: str
    """Of what the body is a state: of two states of one subject the newer stands."""
    as_of: datetime
    """When the system says that it was so."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing follows, and why."""

    because: Because
    subject: str = ""
    as_of: datetime = EARLIEST


Reading = Changes | Ignored


@dataclass(frozen=True, slots=True)
class Options:
    """What a manager chose for a source."""

    takes_tests: bool = False
    """Whether orders of the system's test mode count."""
    coupons: Mapping[str, str] = field(default_factory=dict)
    """Codes by what the system calls them: a promotion code of Stripe comes as its id."""


def ranked(as_of: datetime, rank: int) -> datetime:
    """A state of a system that tells whole seconds: which of two of one second comes later stands
    in the microseconds."""
    return as_of + timedelta(microseconds=rank)


def is_older(as_of: datetime, seen: datetime | None) -> bool:
    """Whether a state is older than one that was taken in; the same instant is not, nor is what
    does not say when it was."""
    return seen is not None and EARLIEST < as_of < seen


def sequence_of(renewal: Renewal, first_paid_at: datetime | None) -> int:
    """Which payment of its subscription it is; in whatever order the invoices come.

    The number of whole stretches since the first payment, to the nearest, as months differ.
    A renewal is at least the second payment; so is one whose first nobody has reported.
    """
    if first_paid_at is None or renewal.lasts_s <= 0:
        return 2
    past_s = renewal.begins_at_s - int(first_paid_at.timestamp())
    whole = (2 * past_s + renewal.lasts_s) // (2 * renewal.lasts_s)
    return min(max(2, whole + 1), SEQUENCE_MAX)
