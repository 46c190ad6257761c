"""Why a call about an order is refused: one class each (docs/api.md, "Orders")."""

from __future__ import annotations

from affiliate.core.errors import Conflict, Refusal


class OrderConflict(Conflict):
    code = "order_conflict"
    title = (
        "An order with this id was reported with other content. The first report stands; "
        "give a different order its own id, a changed one a refund."
    )


class RefundConflict(Conflict):
    code = "refund_conflict"
    title = "A refund with this id was reported with other content. The first one stands."


class OrderCancelled(Conflict):
    code = "order_cancelled"
    title = "The order is cancelled; it cannot be confirmed any more."


class NothingToReview(Conflict):
    code = "nothing_to_review"
    title = "Nobody has to look at this order, or somebody has already."


class AlreadyCredited(Conflict):
    code = "already_credited"
    title = "The order is credited to this affiliate already."


class AffiliateNotActive(Conflict):
    code = "affiliate_not_active"
    title = "The affiliate is not active in the program; only active ones are given orders."


class NotAssigned(Conflict):
    code = "not_assigned"
    title = "Nobody has given this order to anyone; the rules decided it."


class NotDeclined(Conflict):
    code = "not_declined"
    title = "No review has declined the click of this order."


class TotalDiffers(Conflict):
    code = "total_differs"
    title = (
        "The browser reported another total. Send the order itself: its amounts then take the "
        "place of the browser's."
    )


class TotalMismatch(Refusal):
    code = "total_mismatch"
    title = "The total is not the sum of its parts: items - discount + shipping + fees (+ tax)."


class RefundExceedsOrder(Refusal):
    code = "refund_exceeds_order"
    title = "The refund is larger than what is left of the order."


class RefundMismatch(Refusal):
    code = "refund_mismatch"
    title = "Items, tax and shipping of the refund do not fit its amount."


class RefundedMore(Refusal):
    code = "refunded_more"
    title = "More than this total has been refunded already."


class OrderTokenRefused(Refusal):
    code = "order_token_refused"
    title = "The signed order token does not fit this order."


class UnknownProgram(Refusal):
    code = "unknown_program"
    title = "There is no program of this name."
