"""The endpoints: method, path, the parameters that ``stripe`` declares for them, the function."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stripe import params

from . import accounts, balances, capabilities, events, payouts, reversals, transfers
from .calls import Endpoint
from .wire import ApiError


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    declaration: type
    endpoint: Endpoint


def _route(method: str, path: str, declaration: type, endpoint: Endpoint) -> Route:
    return Route(
        method, re.compile(path.replace("*", "([A-Za-z0-9_]{1,255})")), declaration, endpoint
    )


ROUTES = (
    _route("POST", "/v1/transfers", params.TransferCreateParams, transfers.create),
    _route("GET", "/v1/transfers", params.TransferListParams, transfers.index),
    _route("GET", "/v1/transfers/*", params.TransferRetrieveParams, transfers.retrieve),
    _route("POST", "/v1/transfers/*", params.TransferUpdateParams, transfers.update),
    _route(
        "POST", "/v1/transfers/*/reversals", params.TransferReversalCreateParams, reversals.create
    ),
    _route("GET", "/v1/transfers/*/reversals", params.TransferReversalListParams, reversals.index),
    _route(
        "GET",
        "/v1/transfers/*/reversals/*",
        params.TransferReversalRetrieveParams,
        reversals.retrieve,
    ),
    _route(
        "POST", "/v1/transfers/*/reversals/*", params.TransferReversalUpdateParams, reversals.update
    ),
    _route("GET", "/v1/account", params.AccountRetrieveCurrentParams, accounts.retrieve_current),
    _route("POST", "/v1/accounts", params.AccountCreateParams, accounts.create),
    _route("GET", "/v1/accounts", params.AccountListParams, accounts.index),
    _route("GET", "/v1/accounts/*", params.AccountRetrieveParams, accounts.retrieve),
    _route("POST", "/v1/accounts/*", params.AccountUpdateParams, accounts.update),
    _route(
        "GET",
        "/v1/accounts/*/capabilities",
        params.AccountListCapabilitiesParams,
        capabilities.index,
    ),
    _route(
        "GET",
        "/v1/accounts/*/capabilities/*",
        params.AccountRetrieveCapabilityParams,
        capabilities.retrieve,
    ),
    _route(
        "POST",
        "/v1/accounts/*/capabilities/*",
        params.AccountCapabilityUpdateParams,
        capabilities.update,
    ),
    _route("POST", "/v1/payouts", params.PayoutCreateParams, payouts.create),
    _route("GET", "/v1/payouts", params.PayoutListParams, payouts.index),
    _route("GET", "/v1/payouts/*", params.PayoutRetrieveParams, payouts.retrieve),
    _route("POST", "/v1/payouts/*/cancel", params.PayoutCancelParams, payouts.cancel),
    _route("POST", "/v1/account_links", params.AccountLinkCreateParams, accounts.create_link),
    _route("GET", "/v1/balance", params.BalanceRetrieveParams, balances.retrieve),
    _route("GET", "/v1/events", params.EventListParams, events.index),
    _route("GET", "/v1/events/*", params.EventRetrieveParams, events.retrieve),
)


def find(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route and the ids of its path; Stripe answers an unknown address with a 404."""
    for route in ROUTES:
        match = route.path.fullmatch(path)
        if match and route.method == method:
            return route, match.groups()
    raise ApiError(
        404,
        f"Unrecognized request URL ({method}: {path[:200]}). Please see https://stripe.com/docs "
        "or we can help at https://support.stripe.com/.",
    )
