"""Brakes against guessing and flooding: counted in Valkey, in memory while Valkey is away.

Failed sign-ins are counted per account and address together, so that a stranger who guesses
cannot lock the owner of the account out, and nothing is ever locked for good (abuse A27).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, g, request
from flask_limiter import Limiter, RateLimitExceeded

from affiliate.core.config import Settings
from affiliate.core.errors import TooMany
from affiliate.core.http import answer
from affiliate.people import access

View = TypeVar("View", bound=Callable[..., Any])

FAILED_SIGN_INS = "5 per minute; 30 per hour"
"""Wrong passwords for one account from one address."""
FAILED_SIGN_INS_OF_ADDRESS = "30 per minute; 300 per hour"
"""Wrong passwords from one address, whatever the account: credential stuffing."""
MAILS_OF_ADDRESS = "10 per minute; 60 per hour"
"""Forms that lead to a mail, from one address."""
MAILS_TO_ACCOUNT = "5 per hour"
"""Mails that strangers can make us send to one mailbox."""
ARCHIVES = "5 per hour"
"""Everything that is held about somebody, of that person: it is read anew each time."""
CALLS_TO_PROVIDER = "10 per minute; 100 per hour"
"""Pages for which we ask a payment provider, of one person."""
DOWNLOADS = "60 per minute; 600 per hour"
"""Files made of many rows, of one person or one key of a shop."""
BANNERS_DRAWN = "60 per minute; 600 per hour"
"""Pictures that are drawn for a person, looked at or kept."""
FEEDS_OF_READER = "10 per minute; 60 per hour"
"""Product feeds that a person takes away."""
FEEDS_OF_ADDRESS = "10 per minute; 60 per hour"
"""The same by one private address: a site asks some times a day."""
FEEDS_OF_NETWORK = "120 per minute"
"""By whatever private address: whoever guesses some is slowed down."""
IPV6_PREFIX_BITS = 64
"""One household or server has a whole /64, so that is what an address is."""


def network() -> str:
    """The caller's address; for IPv6 the network that one customer holds."""
    return network_of(request.remote_addr)


def network_of(address: str | None) -> str:
    """The same of any address; one of IPv4 in the dress of IPv6 is that."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX_BITS), strict=False))


def account() -> str:
    """The account that the form names, known or not: the same brake for both."""
    return request.form.get("email", "").strip().lower()[:254]


def account_and_network() -> str:
    return f"{account()}|{network()}"


def signed_in() -> str:
    """Whoever is signed in: a thief of a session must not guess the password through it."""
    found = access.sign_in()
    return "nobody" if found is None else f"user:{found.user.id}"


def reader() -> str:
    """Whose key calls, else whoever is signed in."""
    key = g.get("api_key")
    return signed_in() if key is None else f"key:{key.id}"


def token_in_address() -> str:
    """The secret of the address that was asked for, known or not."""
    return str((request.view_args or {}).get("token", ""))[:100]


def refused(response: Response) -> bool:
    """Only failures count: whoever knows the password is never slowed down."""
    return response.status_code in (401, 422)


class _Limiter(Limiter):
    """Braked views ask for themselves; all others are not asked about, the API's above all."""

    def _check_request_limit(
        self, callable_name: str | None = None, in_middleware: bool = True
    ) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)


limiter = _Limiter(
    network,
    strategy="moving-window",
    in_memory_fallback_enabled=True,
    headers_enabled=False,
    key_prefix="kopeck:limits",
)

brake_sign_in = (
    limiter.limit(
        FAILED_SIGN_INS, key_func=account_and_network, methods=["POST"], deduct_when=refused
    ),
    limiter.limit(
        FAILED_SIGN_INS_OF_ADDRESS, key_func=network, methods=["POST"], deduct_when=refused
    ),
)
brake_mails = (
    limiter.limit(MAILS_OF_ADDRESS, key_func=network, methods=["POST"]),
    limiter.limit(MAILS_TO_ACCOUNT, key_func=account, methods=["POST"]),
)


brake_password = (
    limiter.limit(FAILED_SIGN_INS, key_func=signed_in, methods=["POST"], deduct_when=refused),
)

brake_archives = (limiter.limit(ARCHIVES, key_func=signed_in, methods=["POST"]),)

brake_provider = (limiter.limit(CALLS_TO_PROVIDER, key_func=signed_in),)

brake_own_feeds = (limiter.limit(FEEDS_OF_READER, key_func=signed_in),)

brake_drawing = (limiter.limit(BANNERS_DRAWN, key_func=signed_in),)

brake_feeds = (
    limiter.limit(FEEDS_OF_ADDRESS, key_func=token_in_address),
    limiter.limit(FEEDS_OF_NETWORK, key_func=network),
)


def count_download() -> None:
    """Before a file is made; 429 for whoever takes one after the other (abuse A50)."""
    with limiter.shared_limit(DOWNLOADS, scope="downloads", key_func=reader):
        pass


def braked(brakes: tuple[Any, ...]) -> Callable[[View], View]:
    """Decorate a view with several brakes."""

    def decorate(view: View) -> View:
        for brake in brakes:
            view = brake(view)
        return view

    return decorate


def set_up(app: Flask, settings: Settings) -> None:
    """Count in this installation's Valkey."""
    uri = settings.redis_url
    app.config["RATELIMIT_STORAGE_URI"] = "redis+" + uri if uri.startswith("unix://") else uri
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"socket_connect_timeout": 1, "socket_timeout": 1}
    limiter.init_app(app)
    app.register_error_handler(RateLimitExceeded, _too_many)


def _too_many(error: RateLimitExceeded) -> Response:
    seconds = int(error.limit.limit.get_expiry()) if error.limit else 60
    return answer(
        TooMany("Too many tries. Wait a little and try again.", retry_after_s=min(seconds, 3600))
    )
