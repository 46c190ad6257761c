"""Bank payouts: a connected account's balance on its way to a bank. Paid may still turn to failed.

Status: pending, in_transit, paid; failed or canceled (docs.stripe.com/api/payouts/object). "Some
payouts that fail might initially show as paid, then change to failed."
"""

from __future__ import annotations

from typing import Any

from . import balances, currencies, events, lists, metadata, store
from .calls import Call
from .wire import ApiError, missing, new_id

ARRIVES_S = 2 * 24 * 60 * 60
DESCRIPTOR_CHARS_MAX = 22
STATUSES = ("pending", "in_transit", "paid", "failed", "canceled")
WAYS = {
    "pending": ("in_transit", "paid", "failed", "canceled"),
    "in_transit": ("paid", "failed"),
    "paid": ("failed",),
    "failed": (),
    "canceled": (),
}
"""Where each status may lead."""
TOPICS = {"paid": "payout.paid", "failed": "payout.failed", "canceled": "payout.canceled"}
FAILURE_DEFAULT = "account_closed"


def create(call: Call) -> dict[str, Any]:
    """Take the amount from the account's balance and send it to its bank.

    Raises ApiError for an amount that is not there and a currency that banks take whole alone.
    """
    fields = call.fields
    currency = currencies.known(fields["currency"])
    amount_minor = currencies.positive_minor(fields["amount"], currency)
    currencies.whole_for_banks(amount_minor, currency)
    descriptor = fields.get("statement_descriptor")
    if descriptor is not None and len(descriptor) > DESCRIPTOR_CHARS_MAX:
        raise ApiError(
            400,
            f"The statement descriptor must be at most {DESCRIPTOR_CHARS_MAX} characters.",
            param="statement_descriptor",
        )
    metadata.merged({}, fields.get("metadata"))
    return start(call, call.owner, amount_minor, currency, automatic=False)


def start(
    call: Call, owner: str, amount_minor: int, currency: str, *, automatic: bool
) -> dict[str, Any]:
    """Begin a payout, as the API or as an account's own schedule does."""
    if not balances.debit(call.con, owner, currency, amount_minor):
        raise balances.insufficient()
    payout = {
        "id": new_id("po_"),
        "object": "payout",
        "amount": amount_minor,
        "arrival_date": call.created + ARRIVES_S,
        "automatic": automatic,
        "balance_transaction": new_id("txn_"),
        "created": call.created,
        "currency": currency,
        "description": call.fields.get("description"),
        "destination": new_id("ba_"),
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": metadata.merged({}, call.fields.get("metadata")),
        "method": call.fields.get("method", "standard"),
        "original_payout": None,
        "reconciliation_status": "in_progress" if automatic else "not_applicable",
        "reversed_by": None,
        "source_type": call.fields.get("source_type", "card"),
        "statement_descriptor": call.fields.get("statement_descriptor"),
        "status": "pending",
        "type": "bank_account",
    }
    store.add(call.con, "payout", payout, owner=owner)
    events.record(call, "payout.created", payout, account=owner)
    return payout


def move(
    call: Call, owner: str, payout_id: str, status: str, failure_code: str = FAILURE_DEFAULT
) -> dict[str, Any]:
    """What the bank does. A failed or canceled payout puts the money back into the balance."""
    payout = _known(call, owner, payout_id)
    if status not in WAYS[payout["status"]]:
        raise ApiError(
            400, f"A payout that is {payout['status']} cannot become {status}.", param="status"
        )
    payout["status"] = status
    if status in ("failed", "canceled"):
        balances.credit(call.con, owner, payout["currency"], payout["amount"])
        payout["failure_balance_transaction"] = new_id("txn_")
    if status == "failed":
        payout["failure_code"] = failure_code
        payout["failure_message"] = f"The bank refused the payout: {failure_code}."
    store.change(call.con, payout)
    events.record(call, TOPICS.get(status, "payout.updated"), payout, account=owner)
    if status == "paid" and payout["automatic"]:
        payout["reconciliation_status"] = "completed"
        store.change(call.con, payout)
        events.record(call, "payout.reconciliation_completed", payout, account=owner)
    return payout


def cancel(call: Call) -> dict[str, Any]:
    return move(call, call.owner, call.ids[0], "canceled")


def retrieve(call: Call) -> dict[str, Any]:
    return _known(call, call.owner, call.ids[0])


def index(call: Call) -> dict[str, Any]:
    listing = lists.Listing(
        kind="payout", noun="payout", url="/v1/payouts", owner=call.owner,
        visible_until=call.now - call.list_lag_s,
    )  # fmt: skip
    return lists.page(call.con, listing, call.fields)


def owner_of(call: Call, payout_id: str) -> str:
    """Whose payout it is, for our own control endpoint."""
    row = call.con.execute(
        "SELECT owner FROM objects WHERE id = ? AND kind = 'payout'", (payout_id,)
    ).fetchone()
    if row is None:
        raise missing("payout", payout_id, param="id")
    return str(row["owner"])


def _known(call: Call, owner: str, payout_id: str) -> dict[str, Any]:
    payout = store.find(call.con, "payout", payout_id, owner=owner)
    if payout is None:
        raise missing("payout", payout_id, param="payout")
    return payout
