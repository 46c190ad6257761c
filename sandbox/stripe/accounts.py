"""Connected accounts with their capability states, and the links that onboard them."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from . import events, lists, metadata, store
from .calls import Call
from .wire import ApiError, Fields, missing, new_id

LINK_LIFE_S = 300
ACCOUNT_ID_LENGTH_CHARS = 16
COUNTRY_DEFAULT = "DE"
COUNTRY_CHARS = 2
BANK_NUMBER = "DE89370400440532013000"
"""Stripe's test number; the bank of whoever names none."""
DUE_BEFORE_ONBOARDING = ["external_account", "tos_acceptance.date", "tos_acceptance.ip"]
OWN_FIELDS = ("closed", "deauthorized")
"""What the double alone knows of an account."""
KEPT_FIELDS = ("email", "business_type", "business_profile", "default_currency", "country")


def create(call: Call) -> dict[str, Any]:
    """A new account: not ready for transfers until it is onboarded."""
    fields = call.fields
    if "controller" in fields and "type" in fields:
        raise ApiError(400, "You may pass either 'type' or 'controller', not both.", param="type")
    country = fields.get("country", COUNTRY_DEFAULT)
    if not (len(country) == COUNTRY_CHARS and country.isalpha() and country.isupper()):
        raise ApiError(
            400, f"Country '{country[:20]}' is unknown.", code="country_unsupported",
            param="country",
        )  # fmt: skip
    account = blank(new_id("acct_", ACCOUNT_ID_LENGTH_CHARS), call)
    dashboard = fields.get("controller", {}).get("stripe_dashboard", {}).get("type", "full")
    account["type"] = fields.get("type", "none" if "controller" in fields else "standard")
    account["controller"]["stripe_dashboard"]["type"] = {
        "express": "express",
        "custom": "none",
    }.get(fields.get("type", ""), dashboard)
    _apply(account, fields)
    store.add(call.con, "account", account)
    return account


def blank(account_id: str, call: Call) -> dict[str, Any]:
    return {
        "id": account_id,
        "object": "account",
        "business_profile": None,
        "business_type": None,
        "capabilities": {},
        "charges_enabled": False,
        "controller": {
            "type": "application",
            "is_controller": True,
            "fees": {"payer": "application"},
            "losses": {"payments": "application"},
            "requirement_collection": "stripe",
            "stripe_dashboard": {"type": "express"},
        },
        "country": call.platform_country or COUNTRY_DEFAULT,
        "created": call.created,
        "default_currency": "eur",
        "details_submitted": False,
        "email": None,
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{account_id}/external_accounts",
        },
        "metadata": {},
        "payouts_enabled": False,
        "requirements": {
            "currently_due": list(DUE_BEFORE_ONBOARDING),
            "disabled_reason": "requirements.past_due",
            "errors": [],
            "eventually_due": list(DUE_BEFORE_ONBOARDING),
            "past_due": list(DUE_BEFORE_ONBOARDING),
            "pending_verification": [],
        },
        "settings": {"payouts": {"schedule": {"delay_days": 2, "interval": "daily"}}},
        "tos_acceptance": {},
        "type": "express",
    }


def _apply(account: dict[str, Any], fields: Fields) -> None:
    for name in KEPT_FIELDS:
        if name in fields:
            account[name] = fields[name]
    for name, asked in fields.get("capabilities", {}).items():
        if asked.get("requested"):
            account["capabilities"].setdefault(name, "inactive")
        elif asked.get("requested") is False:
            account["capabilities"].pop(name, None)
    if "tos_acceptance" in fields:
        account["tos_acceptance"] = {**account["tos_acceptance"], **fields["tos_acceptance"]}
    account["metadata"] = metadata.merged(account["metadata"], fields.get("metadata"))


def known(call: Call, account_id: str) -> dict[str, Any]:
    """An account of this platform. Stripe tells a stranger nothing: 403, not 404."""
    account = store.find(call.con, "account", account_id)
    if not is_connected(account) or call.owner not in (store.PLATFORM, account_id):
        raise no_access(account_id, remembered=True)
    return account


def is_connected(account: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Whether the account is there and lets this platform act for it."""
    return account is not None and not account.get("deauthorized")


def no_access(account_id: str, *, remembered: bool) -> ApiError:
    return ApiError(
        403,
        f"The provided key does not have access to account '{account_id}' (or that account "
        "does not exist). Application access may have been revoked.",
        code="account_invalid",
        remembered=remembered,
    )


def retrieve(call: Call) -> dict[str, Any]:
    return shown(known(call, call.ids[0]))


def retrieve_current(call: Call) -> dict[str, Any]:
    """The account that the key, or the ``Stripe-Account`` header, stands for."""
    if call.owner != store.PLATFORM:
        return shown(known(call, call.owner))
    platform = blank(call.platform_account, call)
    return {**platform, "type": "standard", "charges_enabled": True, "payouts_enabled": True}


def shown(account: dict[str, Any]) -> dict[str, Any]:
    """The account as the API shows it: without what the double keeps for itself."""
    return {name: value for name, value in account.items() if name not in OWN_FIELDS}


def update(call: Call) -> dict[str, Any]:
    account = known(call, call.ids[0])
    _apply(account, call.fields)
    store.change(call.con, account)
    events.record(call, "account.updated", shown(account), account=account["id"])
    return shown(account)


def index(call: Call) -> dict[str, Any]:
    listing = lists.Listing("account", "account", "/v1/accounts", call.owner)
    found = lists.page(call.con, listing, call.fields)
    return {**found, "data": [shown(account) for account in found["data"]]}


def set_states(
    call: Call,
    account: dict[str, Any],
    *,
    transfers: str | None = None,
    payouts_enabled: bool | None = None,
    closed: bool | None = None,
    deauthorized: bool | None = None,
    disabled_reason: str | None = None,
    details_submitted: bool | None = None,
    requirements: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Move an account's states as Stripe's own checks would, and say so by events.

    ``transfers`` is active, inactive or pending; None leaves a state as it is.
    ``requirements`` replaces the lists that follow from the states.
    """
    if transfers is not None and account["capabilities"].get("transfers") != transfers:
        account["capabilities"]["transfers"] = transfers
        capability = {
            "id": "transfers",
            "object": "capability",
            "account": account["id"],
            "requested": True,
            "status": transfers,
        }
        events.record(call, "capability.updated", capability, account=account["id"])
    if payouts_enabled is not None:
        account["payouts_enabled"] = payouts_enabled
    if closed is not None:
        account["closed"] = closed
    if deauthorized is not None:
        account["deauthorized"] = deauthorized
    ready = account["payouts_enabled"] and account["capabilities"].get("transfers") == "active"
    due = [] if ready else list(DUE_BEFORE_ONBOARDING)
    account["details_submitted"] = account["details_submitted"] or ready or bool(details_submitted)
    lists_of = {"currently_due": due, "eventually_due": due, "past_due": due}
    account["requirements"].update(
        lists_of,
        pending_verification=[],
        disabled_reason=disabled_reason or (None if ready else "requirements.past_due"),
    )
    account["requirements"].update(requirements or {})
    store.change(call.con, account)
    if deauthorized:
        application = {"id": "ca_kopeck_double", "object": "application", "name": "Kopeck"}
        events.record(call, "account.application.deauthorized", application, account=account["id"])
    else:
        events.record(call, "account.updated", shown(account), account=account["id"])
    return account


def set_bank(account: dict[str, Any], *, number: str = "", status: str = "") -> None:
    """Give the account one bank account to pay out to, or move the state of the one it has.

    The fingerprint is of the number: the same number given again has the same one.
    """
    listed = account["external_accounts"]
    old = next(iter(listed["data"]), None)
    digits = "".join(number.split()).upper()
    if old is not None and not digits:
        listed["data"] = [{**old, "status": status or old["status"]}]
        return
    digits = digits or BANK_NUMBER
    mark = hashlib.sha256(digits.encode()).hexdigest()
    bank = {
        "id": f"ba_{mark[:24]}",
        "object": "bank_account",
        "account": account["id"],
        "bank_name": "STRIPE TEST BANK",
        "country": account["country"],
        "currency": account["default_currency"],
        "default_for_currency": True,
        "fingerprint": mark[24:40],
        "last4": digits[-4:],
        "status": status or "new",
    }
    listed["data"] = [bank]


def create_link(call: Call) -> dict[str, Any]:
    """A single-use onboarding address with five minutes to live; it is a bearer secret."""
    for name in ("refresh_url", "return_url"):
        if name not in call.fields:
            raise ApiError(
                400, f"Missing required param: {name}.", code="parameter_missing", param=name
            )
        if urlsplit(call.fields[name]).scheme not in ("http", "https"):
            raise ApiError(400, "Not a valid URL", code="url_invalid", param=name)
    account_id = call.fields["account"]
    if store.find(call.con, "account", account_id) is None:
        raise missing("account", account_id, param="account", status=400)
    token = secrets.token_urlsafe(24)
    kept = {
        "id": token,
        "created": call.created,
        "account": account_id,
        "refresh_url": call.fields["refresh_url"],
        "return_url": call.fields["return_url"],
        "expires_at": call.created + LINK_LIFE_S,
        "session": None,
        "finished": False,
    }
    store.add(call.con, "account_link", kept)
    return {
        "object": "account_link",
        "created": call.created,
        "expires_at": kept["expires_at"],
        "url": f"{call.base_url}/connect/onboarding/{token}",
    }
