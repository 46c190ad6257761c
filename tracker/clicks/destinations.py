"""Where a click goes: the destination with its token, deep links, sub-ids (pure).

A deep link is parsed once, judged by its parts and rebuilt from them, so that what was
judged is what is sent (docs/security.md, A1). Nothing of a refused one is reflected.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

TOKEN_PARAMETER: Final = "kpk"  # noqa: S105 -- the name of a parameter, no secret
SUB_IDS: Final = ("s1", "s2", "s3", "s4", "s5")
SUB_ID_CHARS_MAX: Final = 100
DEEP_LINK_CHARS_MAX: Final = 2048
QUERY_CHARS_MAX: Final = 4096
PARAMETERS_MAX: Final = 100
LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))

_PATH_SAFE = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE = "/?%:@!$&'()*+,;=-._~[]"
_WANTED = frozenset((*SUB_IDS, "to"))


class BadQuery(Enum):
    """Why a query cannot be read at all."""

    TOO_LONG = 414
    LINE_BREAK = 400


@dataclass(frozen=True, slots=True)
class ClickQuery:
    """What a link's address may carry beside its code; None is absent."""

    to: str | None
    sub_ids: tuple[str | None, ...]


def read_query(text: str) -> ClickQuery | BadQuery:
    """Read ``to`` and ``s1…s5``; the first of equal names wins, other names are ignored.

    ``text`` is QUERY_STRING as WSGI gives it (bytes as Latin-1, still percent-encoded).
    Too long or too many is TOO_LONG; a line break in a value we use is LINE_BREAK. Other
    control characters, bad UTF-8 and NUL are taken out of sub-ids; the click goes on.
    """
    if len(text) > QUERY_CHARS_MAX or text.count("&") >= PARAMETERS_MAX:
        return BadQuery.TOO_LONG
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name in _WANTED and name not in found:
            raw = unquote_to_bytes(value.replace("+", " ").encode("latin-1", "replace"))
            if b"\r" in raw or b"\n" in raw:
                return BadQuery.LINE_BREAK
            found[name] = raw.decode("utf-8", "replace")
    sub_ids = tuple(clean_sub_id(found.get(name)) for name in SUB_IDS)
    return ClickQuery(found.get("to"), sub_ids)


def clean_sub_id(text: str | None) -> str | None:
    """A sub-id without control, invisible and undecodable characters, cut to its limit."""
    if not text:
        return None
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            char for char in text if char != "\ufffd" and unicodedata.category(char)[0] != "C"
        )
    return text.strip()[:SUB_ID_CHARS_MAX] or None


def split_destination(url: str) -> tuple[str, str]:
    """The two halves between which the token stands: ``prefix + token + suffix``.

    Query and fragment are kept; a token that the destination already carries is taken out.
    """
    rest, hash_sign, fragment = url.partition("#")
    base, _, query = rest.partition("?")
    pairs = [
        pair for pair in query.split("&") if pair and pair.partition("=")[0] != TOKEN_PARAMETER
    ]
    if "/" not in base.partition("://")[2]:
        base += "/"
    pairs.append(f"{TOKEN_PARAMETER}=")
    return base + "?" + "&".join(pairs), hash_sign + fragment


def deep_link(to: str, sites: Sequence[str], *, plain_loopback: bool) -> str | None:
    """The address rebuilt from its parts, or None when the program does not allow it.

    https alone; plain http for loopback where ``plain_loopback`` (demo and test mode). A
    site is an exact host, ``.host`` for all below it, each optionally with ``:port``.
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
