"""Which addresses a link may lead to: the one rule, for links that are made and for clicks.

Pure. An address is parsed once, judged by its parts and rebuilt from them, so that what was
judged is what is sent (docs/security.md, A1).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlsplit

DEEP_LINK_CHARS_MAX: Final = 2048
LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))

_PATH_SAFE = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE = "/?%:@!$&'()*+,;=-._~[]"


def deep_link(to: str, sites: Sequence[str], *, plain_loopback: bool) -> str | None:
    """The address rebuilt from its parts, or None when the program does not allow it.

    https alone; plain http for loopback where `plain_loopback` (demo and test mode). A
    site is an exact host, `.host` for all below it, each optionally with `:port`.
    """
    if len(to) > DEEP_LINK_CHARS_MAX or "\\" in to or "\ufffd" in to:
        return None
    if any(char.isspace() or unicodedata.category(char)[0] == "C" for char in to):
        return None
    scheme, colon, rest = to.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in ("https", "http") or not rest or rest[0] in "/?#@:":
        return None
    try:
        parts = urlsplit(to)
        host = ascii_host(parts.hostname or "")
        port = parts.port
    except ValueError:
        return None
    if host is None or "@" in parts.netloc:
        return None
    loopback = plain_loopback and host in LOOPBACK
    if scheme == "http" and not loopback:
        return None
    if not any(_site_allows(site, host, port, any_port=loopback) for site in sites):
        return None
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"https": 443, "http": 80}[scheme]:
        netloc += f":{port}"
    query = f"?{quote(parts.query, safe=_QUERY_SAFE)}" if parts.query else ""
    fragment = f"#{quote(parts.fragment, safe=_QUERY_SAFE)}" if parts.fragment else ""
    return f"{scheme}://{netloc}{quote(parts.path, safe=_PATH_SAFE) or '/'}{query}{fragment}"


def ascii_host(host: str) -> str | None:
    """The host in lower case and ASCII (IDNA, RFC 3490), or None when it is not a name.

    What a browser would look up is what is compared, so that a look-alike stays itself.
    """
    if not host or len(host) > 253:
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower()
    plain = host.replace(".", "").replace("-", "").replace("_", "").replace(":", "")
    return host if plain.isalnum() else None


def _site_allows(site: str, host: str, port: int | None, *, any_port: bool) -> bool:
    suffix = site.startswith(".")
    name, _, site_port = site.lstrip(".").partition(":")
    allowed = ascii_host(name)
    if site.startswith("["):
        name, _, site_port = site[1:].partition("]")
        allowed, site_port = name.lower(), site_port.lstrip(":")
    if allowed is None:
        return False
    matches = host.endswith("." + allowed) if suffix else host == allowed
    if not matches:
        return False
    if site_port:
        return port is not None and str(port) == site_port
    return any_port or port in (None, 443)
