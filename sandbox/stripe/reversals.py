"""Reversals: money back from a connected account, in parts, never more than was sent."""

from __future__ import annotations

from typing import Any

from . import balances, currencies, events, lists, metadata, store, transfers
from .calls import Call
from .wire import ApiError, missing, new_id


def create(call: Call, *, force: bool = False) -> dict[str, Any]:
    """Reverse all that is left, or the amount that is named.

    Raises ApiError beyond the rest and, without ``force``, when the destination's balance does not
    cover it.
    """
    if "amount" in call.fields:
        currencies.positive_minor(call.fields["amount"], "")
    note = metadata.description(call.fields)
    labels = metadata.merged({}, call.fields.get("metadata"))
    transfer = transfers.known(call, call.ids[0])
    amount_minor = _covered(call, transfer)
    taken = balances.debit(call.con, transfer["destination"], transfer["currency"], amount_minor)
    if not taken and not force:
        raise balances.insufficient()
    balances.credit(call.con, call.owner, transfer["currency"], amount_minor)
    reversal = {
        "id": new_id("trr_"),
        "object": "transfer_reversal",
        "amount": amount_minor,
        "balance_transaction": new_id("txn_"),
        "created": call.created,
        "currency": transfer["currency"],
        "destination_payment_refund": new_id("pyr_"),
        "metadata": labels,
        "source_refund": None,
        "transfer": transfer["id"],
    }
    if note:
        reversal["description"] = note
    store.add(call.con, "reversal", reversal, owner=call.owner, parent=transfer["id"])
    transfer["amount_reversed"] += amount_minor
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    transfer["reversals"]["data"].insert(0, reversal)
    transfer["reversals"]["total_count"] += 1
    store.change(call.con, transfer)
    events.record(call, "transfer.reversed", transfer, account=call.owner)
    return reversal


def _covered(call: Call, transfer: dict[str, Any]) -> int:
    rest_minor = transfer["amount"] - transfer["amount_reversed"]
    amount_minor = int(call.fields.get("amount", rest_minor))
    if rest_minor == 0:
        raise ApiError(
            400, f"Transfer {transfer['id']} is already fully reversed.", remembered=True
        )
    if amount_minor > rest_minor:
        raise ApiError(
            400,
            f"Reversal amount ({amount_minor}) is greater than the unreversed amount of the "
            f"transfer ({rest_minor}).",
            param="amount",
            remembered=True,
        )
    return amount_minor


def _known(call: Call) -> dict[str, Any]:
    transfer_id, reversal_id = call.ids
    reversal = store.find(call.con, "reversal", reversal_id, owner=call.owner)
    if reversal is None or reversal["transfer"] != transfer_id:
        raise missing("transfer reversal", reversal_id, param="id")
    return reversal


def retrieve(call: Call) -> dict[str, Any]:
    return _known(call)


def update(call: Call) -> dict[str, Any]:
    reversal = _known(call)
    reversal["metadata"] = metadata.merged(reversal["metadata"], call.fields.get("metadata"))
    store.change(call.con, reversal)
    return reversal


def index(call: Call) -> dict[str, Any]:
    transfer = transfers.known(call, call.ids[0])
    listing = lists.Listing(
        kind="reversal",
        noun="transfer reversal",
        url=transfer["reversals"]["url"],
        owner=call.owner,
        parent=transfer["id"],
    )
    return lists.page(call.con, listing, call.fields)
