"""The capabilities of a connected account as objects of their own."""

from __future__ import annotations

from typing import Any

from . import accounts, events, store
from .calls import Call
from .wire import missing


def retrieve(call: Call) -> dict[str, Any]:
    account_id, name = call.ids
    account = accounts.known(call, account_id)
    if name not in account["capabilities"]:
        raise missing("capability", name, param="capability")
    return of(account, name)


def update(call: Call) -> dict[str, Any]:
    """Ask for a capability, or ask no more; whether it becomes active is decided elsewhere."""
    account_id, name = call.ids
    account = accounts.known(call, account_id)
    if call.fields.get("requested", True):
        account["capabilities"].setdefault(name, "inactive")
    else:
        account["capabilities"][name] = "inactive"
    store.change(call.con, account)
    shown = of(account, name)
    events.record(call, "capability.updated", shown, account=account_id)
    return shown


def index(call: Call) -> dict[str, Any]:
    account = accounts.known(call, call.ids[0])
    return {
        "object": "list",
        "data": [of(account, name) for name in sorted(account["capabilities"])],
        "has_more": False,
        "url": f"/v1/accounts/{account['id']}/capabilities",
    }


def of(account: dict[str, Any], name: str) -> dict[str, Any]:
    """One capability as the API shows it."""
    return {
        "id": name,
        "object": "capability",
        "account": account["id"],
        "requested": True,
        "requested_at": account["created"],
        "requirements": account["requirements"],
        "status": account["capabilities"][name],
    }
