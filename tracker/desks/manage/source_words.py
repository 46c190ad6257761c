"""Shop systems in words: what each is called, how it is connected, what became of what it sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask_babel import lazy_gettext as _l

from affiliate.core.pages import say
from tracker.desks.words import _
from tracker.sources.models import SourceDelivery
from tracker.sources.rules import Because, Done, Kind, State

NAMES: Final = {
    Kind.SHOPIFY: "Shopify",
    Kind.WOOCOMMERCE: "WooCommerce",
    Kind.STRIPE: "Stripe",
    Kind.GENERIC: _l("Another shop system"),
}
ICONS: Final = {
    Kind.SHOPIFY: "shopping-bag",
    Kind.WOOCOMMERCE: "shopping-cart",
    Kind.STRIPE: "credit-card",
    Kind.GENERIC: "webhook",
}
SAYS: Final = {
    Kind.SHOPIFY: _l("Orders, refunds and cancellations of a Shopify shop."),
    Kind.WOOCOMMERCE: _l("Orders of a WordPress shop, with their refunds."),
    Kind.STRIPE: _l("Checkout and Payment Links, subscriptions, refunds and disputes."),
    Kind.GENERIC: _l("Any signed JSON; you say what stands where in it."),
}
PAGES: Final = {
    Kind.SHOPIFY: "docs/shops/shopify.md",
    Kind.WOOCOMMERCE: "docs/shops/woocommerce.md",
    Kind.STRIPE: "docs/shops/stripe.md",
    Kind.GENERIC: "docs/shops/webhook.md",
}
STATES: Final = {
    State.WAITING: (_l("waits"), "info"),
    State.DONE: (_l("done"), "success"),
    State.IGNORED: (_l("ignored"), "neutral"),
    State.HELD: (_l("held for you"), "warning"),
    State.REFUSED: (_l("refused"), "danger"),
}
BECAUSE: Final = {
    Because.TEST_ORDER: _l("It is a test order."),
    Because.NOT_PAID: _l("The order is not paid yet; it counts once the shop says that it is."),
    Because.NEVER_PAID: _l("The order was cancelled before it was paid."),
    Because.NOTHING_REFUNDED: _l("No money went back."),
    Because.REFUND_NOT_FINAL: _l("The refund has not arrived; it counts once it has."),
    Because.REFUND_COMES_ALONE: _l("The refund comes as an event of its own."),
    Because.FIRST_INVOICE: _l("It is the first payment, which the Checkout session reports."),
    Because.NO_SUBSCRIPTION: _l("The invoice renews no subscription."),
    Because.OTHER_TOPIC: _l("It is about something that earns nobody anything."),
    Because.OLDER_STATE: _l("A newer state of the same thing was taken in before."),
    Because.UNKNOWN_REFERENCE: _l("No order has come of the payment that it is about."),
}
DONE: Final = {
    Done.REPORTED: _l("The order was taken."),
    Done.CONFIRMED_CLAIM: _l("The order of a browser was confirmed with the shop's amounts."),
    Done.KNOWN: _l("It was known already."),
    Done.OTHER_CONTENT: _l(
        "The order was reported before with other content. The first report stands."
    ),
    Done.REFUNDED: _l("Commission was taken back for the refund."),
    Done.REFUND_PARKED: _l("The refund waits for its order."),
    Done.REFUND_FAILED: _l(
        "The refund failed after commission was taken back for it; somebody has seen to it."
    ),
    Done.CANCELLED: _l("The order was cancelled; nobody earns of it."),
    Done.CANCELLATION_PARKED: _l("The cancellation waits for its order."),
    Done.DISPUTED: _l("What the order earned is held until the dispute ends."),
    Done.DISPUTE_WON: _l("The dispute is won; the order goes on."),
    Done.DISPUTE_LOST: _l("The dispute is lost; commission was taken back."),
    Done.LINKED: _l("The payment now has an order."),
}
REFUSED: Final = {
    "total_mismatch": _l("The total is not the sum of its parts."),
    "invalid": _l("Some fields cannot be read."),
    "refund_exceeds_order": _l("The refund is larger than what is left of the order."),
    "refund_mismatch": _l("The parts of the refund do not fit its amount."),
    "refund_conflict": _l("The refund was reported before with another amount."),
    "refunded_more": _l("More was refunded before than the order's total."),
    Done.REFUND_FAILED: _l(
        "The refund failed after it had succeeded, and commission was taken back for it. Give the "
        "affiliate what is missing by a correction, unless the buyer is paid in another way."
    ),
    "body_forgotten": _l("The body was forgotten before it could be read."),
}


def told(row: SourceDelivery) -> list[str]:
    """What became of a delivery, in sentences."""
    if row.state == State.WAITING:
        if row.waits_for:
            return [_("Waits for the order of the payment %(name)s.", name=row.waits_for)]
        if row.error:
            return [_("The last try did not end; it is tried again by itself.")]
        return [_("It is acted on within a minute.")]
    if row.because:
        if row.because in set(Because):
            return [str(BECAUSE[Because(row.because)])]
        return [str(REFUSED.get(row.because, row.because.replace("_", " ")))]
    return [str(DONE[Done(each)]) for each in row.results]


def errors(row: SourceDelivery) -> list[tuple[str, str]]:
    """What is wrong with which field."""
    return [(each["field"], say(each["message"])) for each in row.errors]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do at the other side."""

    text: str
    topics: tuple[str, ...] = ()
    """What to tick there, in that system's own words."""


def steps(kind: Kind) -> list[Step]:
    """How the system is told to send here, one thing after the other."""
    match kind:
        case Kind.SHOPIFY:
            return [
                Step(_("In Shopify open Settings, Notifications, Webhooks.")),
                Step(
                    _("Create a webhook in JSON for each of these events, with the address above:"),
                    ("Order creation", "Order payment", "Order update", "Order cancellation",
                     "Refund create"),
                ),
                Step(_("Copy the key that the page shows under the webhooks, and set it here.")),
                Step(_("Put the snippet into the theme, so that orders bring the clicks along.")),
            ]  # fmt: skip
        case Kind.WOOCOMMERCE:
            return [
                Step(_("In WordPress open WooCommerce, Settings, Advanced, Webhooks.")),
                Step(
                    _("Add a webhook for each of these topics: active, the address above as its "
                      "delivery URL, the secret, the newest API version:"),
                    ("Order created", "Order updated", "Order deleted"),
                ),
                Step(_("Put the snippet into the shop, so that orders bring the clicks along.")),
            ]  # fmt: skip
        case Kind.STRIPE:
            return [
                Step(_("In Stripe open Developers, Webhooks, and add an endpoint with the address "
                       "above.")),
                Step(
                    _("Choose these events:"),
                    ("checkout.session.completed", "checkout.session.async_payment_succeeded",
                     "checkout.session.async_payment_failed", "invoice.paid",
                     "invoice_payment.paid", "refund.created", "refund.updated", "refund.failed",
                     "charge.refunded", "charge.dispute.created", "charge.dispute.closed"),
                ),
                Step(_("Reveal the signing secret (whsec_…), and set it here.")),
                Step(_("Pass the click tokens to the session: as client_reference_id, or as "
                       "kopeck_clicks in its metadata.")),
            ]  # fmt: skip
        case Kind.GENERIC:
            return [
                Step(_("Let the shop send its events as JSON to the address above, by POST.")),
                Step(_("Let it sign each body with the secret, as chosen below.")),
                Step(_("Send one, and say in the mapping what stands where in it.")),
            ]
