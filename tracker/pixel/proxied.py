"""A shop's own path that leads to Kopeck: who the buyer is behind the shop's server.

Requests through it come from the shop's address. Its proxy shows a secret and names the
buyer's; without the secret nobody is believed. Docs: docs/integration.md, "A path of your own".
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Final

from flask import current_app, request

from affiliate.core.config import Settings

SECRET_HEADER: Final = "X-Kopeck-Proxy"  # noqa: S105 -- the header's name
BUYER_HEADER: Final = "X-Kopeck-Buyer"
PURPOSE: Final = "shop-path"
SLUG_CHARS_MAX: Final = 64


def proxy_secret(settings: Settings, slug: str, secret_index: int = 0) -> str:
    """What the proxy of a program's shop shows: `<program>.<HMAC, hexadecimal>`."""
    key = settings.key(PURPOSE, secret_index)
    return f"{slug}.{hmac.digest(key, slug.encode('ascii', 'replace'), 'sha256').hex()}"


def buyers_address() -> str | None:
    """The network address of whoever opened the shop's page."""
    shown, named = request.headers.get(SECRET_HEADER), request.headers.get(BUYER_HEADER)
    if shown and named and _is_ours(shown):
        try:
            return str(ipaddress.ip_address(named.strip()))
        except ValueError:
            return None
    return request.remote_addr


def _is_ours(shown: str) -> bool:
    settings: Settings = current_app.extensions["kopeck.settings"]
    slug = shown.partition(".")[0][:SLUG_CHARS_MAX]
    return any(
        hmac.compare_digest(proxy_secret(settings, slug, index).encode(), shown.encode())
        for index in range(len(settings.secrets))
    )
