"""Transfers: the platform's money to a connected account. Created is done; there is no status."""

from __future__ import annotations

from typing import Any

from . import accounts, balances, currencies, events, lists, metadata, store
from .calls import EXPAND_DEPTH_MAX, Call
from .declared import missing_parameter
from .wire import ApiError, missing, new_id

_SELF_SERVE = """
    US GB CA CH AT BE BG HR CY CZ DK EE FI FR DE GR HU IS IE IT LV LI LT LU MT NL NO PL PT RO SK
    SI ES SE
"""
SELF_SERVE_COUNTRIES = frozenset(_SELF_SERVE.split())
"""Among these transfers need no leave (docs.stripe.com/connect/cross-border-payouts)."""


def create(call: Call) -> dict[str, Any]:
    """Check the destination, take the funds, store the transfer: one transaction.

    Raises ApiError with Stripe's code for each refusal.
    """
    fields = call.fields
    amount_minor, currency, description = _well_formed(call)
    _ready_destination(call, fields["destination"])
    if not balances.debit(call.con, call.owner, currency, amount_minor):
        raise balances.insufficient()
    balances.credit(call.con, fields["destination"], currency, amount_minor)
    transfer_id = new_id("tr_")
    transfer = {
        "id": transfer_id,
        "object": "transfer",
        "amount": amount_minor,
        "amount_reversed": 0,
        "balance_transaction": new_id("txn_"),
        "created": call.created,
        "currency": currency,
        "description": description,
        "destination": fields["destination"],
        "destination_payment": new_id("py_"),
        "livemode": False,
        "metadata": metadata.merged({}, fields.get("metadata")),
        "reversals": {
            "object": "list",
            "data": [],
            "has_more": False,
            "total_count": 0,
            "url": f"/v1/transfers/{transfer_id}/reversals",
        },
        "reversed": False,
        "source_transaction": None,
        "source_type": fields.get("source_type", "card"),
        "transfer_group": fields.get("transfer_group"),
    }
    store.add(call.con, "transfer", transfer, owner=call.owner)
    events.record(call, "transfer.created", transfer, account=call.owner)
    return expanded(call, transfer)


def _well_formed(call: Call) -> tuple[int, str, str | None]:
    """Failures here are validation: no idempotency key remembers them."""
    fields = call.fields
    if "amount" not in fields:
        raise missing_parameter("amount")
    currency = currencies.known(fields["currency"])
    amount_minor = currencies.positive_minor(fields["amount"], currency)
    metadata.merged({}, fields.get("metadata"))
    _check_expand(call)
    if "source_transaction" in fields:
        charge = fields["source_transaction"]
        raise missing("charge", charge, param="source_transaction", status=400)
    return amount_minor, currency, metadata.description(fields)


def _ready_destination(call: Call, account_id: str) -> None:
    account = store.find(call.con, "account", account_id, owner=call.owner)
    if not accounts.is_connected(account):
        raise missing("destination", account_id, param="destination", status=400)
    if account.get("closed"):
        raise ApiError(
            400,
            "The destination account has been closed.",
            code="account_closed",
            param="destination",
            remembered=True,
        )
    if account["capabilities"].get("transfers") != "active":
        raise ApiError(
            400,
            "Your destination account needs to have at least one of the following capabilities "
            "enabled: transfers, crypto_transfers, legacy_payments",
            code="insufficient_capabilities_for_transfer",
            remembered=True,
        )
    country = account["country"]
    near = (
        country == call.platform_country or {country, call.platform_country} <= SELF_SERVE_COUNTRIES
    )
    if not near and account["tos_acceptance"].get("service_agreement") != "recipient":
        raise ApiError(
            400,
            f"Funds can't be sent to accounts located in {country} because it's restricted "
            "outside of your platform's region. Learn more here: "
            "https://stripe.com/docs/connect/account-capabilities#transfers-cross-border",
            code="transfers_not_allowed",
            remembered=True,
        )


def known(call: Call, transfer_id: str) -> dict[str, Any]:
    transfer = store.find(call.con, "transfer", transfer_id, owner=call.owner)
    if transfer is None:
        raise missing("transfer", transfer_id, param="id")
    return transfer


def retrieve(call: Call) -> dict[str, Any]:
    return expanded(call, known(call, call.ids[0]))


def update(call: Call) -> dict[str, Any]:
    """Metadata and description only; money and destination never change."""
    description = metadata.description(call.fields)
    transfer = known(call, call.ids[0])
    transfer["metadata"] = metadata.merged(transfer["metadata"], call.fields.get("metadata"))
    if description is not None:
        transfer["description"] = description
    store.change(call.con, transfer)
    events.record(call, "transfer.updated", transfer, account=call.owner)
    return expanded(call, transfer)


def index(call: Call) -> dict[str, Any]:
    """Newest first; filters are destination, group and time. Metadata is no filter at Stripe."""
    listing = lists.Listing(
        kind="transfer",
        noun="transfer",
        url="/v1/transfers",
        owner=call.owner,
        visible_until=call.now - call.list_lag_s,
    )
    found = lists.page(call.con, listing, call.fields)
    return {**found, "data": [expanded(call, body, "data.") for body in found["data"]]}


EXPANDABLE = frozenset(
    {
        "balance_transaction",
        "destination",
        "destination_payment",
        "destination_payment.balance_transaction",
    }
)


def _check_expand(call: Call, prefix: str = "") -> set[str]:
    wanted = set()
    for name in call.fields.get("expand", []):
        bare = name.removeprefix(prefix)
        if bare not in EXPANDABLE or not name.startswith(prefix):
            depth = name.count(".") + 1
            reason = "too deep" if depth > EXPAND_DEPTH_MAX else name[:100]
            raise ApiError(400, f"This property cannot be expanded ({reason}).", param="expand")
        wanted.add(bare)
    return wanted


def expanded(call: Call, transfer: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The transfer with the objects that ``expand`` asked for in place of their ids."""
    wanted = _check_expand(call, prefix)
    shown = dict(transfer)
    moved = {"amount": transfer["amount"], "currency": transfer["currency"]}
    if "balance_transaction" in wanted:
        shown["balance_transaction"] = _balance_transaction(
            transfer, transfer["balance_transaction"], -transfer["amount"], "transfer"
        )
    if "destination" in wanted:
        shown["destination"] = accounts.shown(accounts.known(call, transfer["destination"]))
    if wanted & {"destination_payment", "destination_payment.balance_transaction"}:
        transaction_id = transfer["balance_transaction"] + "d"
        arrived: Any = transaction_id
        if "destination_payment.balance_transaction" in wanted:
            arrived = _balance_transaction(transfer, transaction_id, transfer["amount"], "payment")
        shown["destination_payment"] = {
            "id": transfer["destination_payment"],
            "object": "charge",
            **moved,
            "balance_transaction": arrived,
            "source_transfer": transfer["id"],
        }
    return shown


def _balance_transaction(
    transfer: dict[str, Any], transaction_id: str, amount_minor: int, kind: str
) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount_minor,
        "available_on": transfer["created"],
        "created": transfer["created"],
        "currency": transfer["currency"],
        "fee": 0,
        "net": amount_minor,
        "source": transfer["id"],
        "status": "available",
        "type": kind,
    }
