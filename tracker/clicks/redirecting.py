"""The hot path of a click: decide, record, answer. What it costs, a click costs.

One function from top to bottom, in the order of the promise: the record is written before the
response leaves. It is a closure over what a process sets up once: keys, headers, settings.
What can be prepared ahead is: random bytes, ids of new visitors and their signed cookies come
from the pool of ``Newcomers``, many at a time. `make bench` is its judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from affiliate.core.config import Settings
from tracker.clicks import records
from tracker.clicks.destinations import BadQuery, deep_link, read_query, split_destination
from tracker.clicks.filters import (
    AGENT_CHARS_MAX,
    AGENTS_REMEMBERED_MAX,
    agent_reason,
    front_reason,
    is_plain,
)
from tracker.clicks.journal import JournalUnavailable
from tracker.clicks.links import LinkProgram, LinkTable, MemoryLink
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import (
    CLICK_ID_NOISE_BYTES,
    NO_VISITOR,
    Minter,
    SigningKey,
    click_id_noise,
)
from tracker.clicks.visitors import (
    AddressHasher,
    VisitorCookie,
    client_address,
    new_visitor_ids,
)

PREPARED_AT_ONCE: Final = 64
TEXTS_REMEMBERED_MAX: Final = 4096
COUNTRY_CHARS: Final = 2
EMPTY: Final = [b""]
"""The body of a redirect. A list and nothing else: granian sends a list in one piece, and
anything else piece by piece, which costs a tenth of a click."""
DROPPED_HEADERS: Final = (
    ("X-Robots-Tag", "noindex, nofollow"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
"""More for those whose click was dropped: robots and frames. People never see it."""

Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
Environ = dict[str, Any]
Redirect = Callable[[MemoryLink, Environ, StartResponse], Iterable[bytes]]


Newcomer = tuple[bytes, bytes, tuple[str, str]]
"""What a click takes out of the pool: the ten bytes that follow the millisecond in its id, the
id of a new visitor, and the Set-Cookie that makes the visitor known from then on."""


class Newcomers:
    """A pool of ids and cookies for clicks to come; for many threads, of one process."""

    def __init__(self, cookie: VisitorCookie) -> None:
        self._cookie = cookie
        self.ready: list[Newcomer] = []

    def prepare(self) -> Newcomer:
        """Fill the pool and return one; to be called when `ready` is empty."""
        fresh_ids = new_visitor_ids(PREPARED_AT_ONCE)
        ids = [fresh_ids[at : at + 16] for at in range(0, len(fresh_ids), 16)]
        cookies = [("Set-Cookie", value) for value in self._cookie.headers(ids)]
        tails = click_id_noise(PREPARED_AT_ONCE)
        size = CLICK_ID_NOISE_BYTES
        marked = [tails[at : at + size] for at in range(0, len(tails), size)]
        fresh = list(zip(marked, ids, cookies, strict=True))
        one = fresh.pop()
        self.ready += fresh
        return one


class Agent(NamedTuple):
    """What is remembered of a User-Agent."""

    reason: DropReason | None
    """What its name says against a click."""
    text: bytes
    """As the journal wants it."""


class Agents:
    """The agents that were seen of late, by the header as it came."""

    def __init__(self) -> None:
        self.met: dict[str | None, Agent] = {}

    def meet(self, said: str | None) -> Agent:
        """Look at an agent for the first time, and remember for a while what came of it."""
        name = (said or "")[:AGENT_CHARS_MAX]
        agent = Agent(agent_reason(name), _text(name))
        if said is None or len(said) <= AGENT_CHARS_MAX:
            if len(self.met) >= AGENTS_REMEMBERED_MAX:
                # Emptied at once and not one by one: the common ones are back in a second.
                self.met.clear()
            self.met[said] = agent
        return agent


class Recorder(NamedTuple):
    """Where a click is written down: the journal, and what is done when it cannot be."""

    append: Callable[[bytes], None]
    spill: Callable[[bytes, OSError], bool]
    """False: nowhere, and the token is to say so."""


def redirector(  # noqa: PLR0915 -- names for the closure, and the closure
    settings: Settings,
    table: LinkTable,
    agents: Agents,
    recorder: Recorder,
    refuse: Callable[..., Any],
) -> Redirect:
    """The function that answers a click on a link, for this process and its journal.

    ``refuse(status, environ, start_response)`` answers an address that cannot be read.
    """
    append, spill = recorder
    visitor_cookie = VisitorCookie(settings.keys("visitor"), https=settings.https)
    newcomers = Newcomers(visitor_cookie)
    met, ready = agents.met, newcomers.ready
    take = ready.pop
    mint = Minter(SigningKey.of(settings.key("click-token"))).mint
    read_cookie = visitor_cookie.read
    hash_address = AddressHasher(settings.key("address")).hash
    encode, time_ns = records.encode, time.time_ns
    remembers, hops = not settings.consent_mode, settings.proxy_hops
    country_header = settings.country_header and environ_name(settings.country_header)
    headers = redirect_headers(https=settings.https)
    programs_url = f"{settings.public_url}/programs/"
    plain_loopback = not settings.production

    def redirect(  # noqa: PLR0915 -- in one piece, see above
        link: MemoryLink, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        get = environ.get
        prefix, suffix, flags = link.prefix, link.suffix, 0
        asked, sub_ids, creative, country = b"", link.sub_ids_bytes, b"", b""
        if get("QUERY_STRING"):
            wanted = asked_for(link, environ["QUERY_STRING"], plain_loopback=plain_loopback)
            if isinstance(wanted, BadQuery):
                return refuse(wanted.value, environ, start_response)  # type: ignore[no-any-return]
            prefix, suffix, flags, asked, sub_ids, creative = wanted
        now_ms = time_ns() // 1_000_000 + table.offset_ms
        said = get("HTTP_USER_AGENT")
        reason, agent = met.get(said) or agents.meet(said)
        barred = link.barred
        if barred is None and link.program.status != "open":
            barred = closed(link.program, now_ms)
        if barred is not None:
            reason = barred
        elif not is_plain(environ):
            reason = front_reason(environ)
        try:
            id_tail, visitor_id, cookie = take()
        except IndexError:
            id_tail, visitor_id, cookie = newcomers.prepare()
        click_id = now_ms.to_bytes(6, "big") + id_tail
        known = None
        if remembers and "HTTP_COOKIE" in environ:
            known = read_cookie(environ["HTTP_COOKIE"])
        if known is not None:
            visitor_id, flags = known, flags | records.FLAG_KNOWN_VISITOR
        elif reason is not None or not remembers:
            visitor_id = NO_VISITOR
        address = client_address(environ, hops) if hops else get("REMOTE_ADDR", "")
        referrer = get("HTTP_REFERER")
        if country_header:
            country = country_of(get(country_header))
        record = encode(
            click_id,
            link.link_id,
            visitor_id,
            hash_address(address, now_ms),
            reason,
            flags,
            b"%b\0%b\0%b\0%b\0%b\0%b"
            % (agent, page(referrer) if referrer else b"", asked, sub_ids, creative, country),
        )
        recorded = True
        try:
            append(record)
        except JournalUnavailable as error:
            recorded = spill(record, error)
        if reason is None:
            token = mint(click_id, link.link_id, visitor_id, recorded)
            location = ("Location", prefix + token + suffix)
            if known is None and remembers:
                start_response("302 Found", [*headers, location, cookie])
            else:
                start_response("302 Found", [*headers, location])
            return EMPTY
        if barred is None:
            location = ("Location", without_token(prefix, suffix))
        else:
            location = ("Location", programs_url + link.program.slug)
        start_response("302 Found", [*headers, location, *DROPPED_HEADERS])
        return EMPTY

    return redirect


def redirect_headers(*, https: bool) -> Headers:
    """What every redirect says beside where to. What guards pages is on the pages alone.

    A cached redirect would hand one visitor's token to the next (A44).
    """
    headers = [
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Length", "0"),
    ]
    if https:
        headers.append(("Strict-Transport-Security", "max-age=31536000"))
    return headers


def asked_for(
    link: MemoryLink, query: str, *, plain_loopback: bool
) -> tuple[str, str, int, bytes, bytes, bytes] | BadQuery:
    """Destination halves, flags, deep link, sub-ids and creative that the address asks for."""
    wanted = read_query(query)
    if isinstance(wanted, BadQuery):
        return wanted
    prefix, suffix, flags, asked = link.prefix, link.suffix, 0, b""
    sub_ids = link.sub_ids_bytes
    if any(wanted.sub_ids):
        merged = (own or kept for own, kept in zip(wanted.sub_ids, link.sub_ids, strict=True))
        sub_ids = "\0".join(merged).encode("utf-8", "replace")
    if wanted.to:
        address = deep_link(wanted.to, link.program.allowed_sites, plain_loopback=plain_loopback)
        if address is None:
            flags = records.FLAG_DEEP_LINK_REFUSED
        else:
            asked = address.encode("ascii", "replace")
            prefix, suffix = split_destination(address)
    return prefix, suffix, flags, asked, sub_ids, (wanted.creative or "").encode("ascii")


def closed(program: LinkProgram, now_ms: int) -> DropReason | None:
    """What a program that is not open says against the click; its notice period still credits."""
    if program.closes_ms is not None and now_ms < program.closes_ms:
        return None
    if program.status == "closing" and program.closes_ms is None:
        return None
    return DropReason.PROGRAM_CLOSED


def without_token(prefix: str, suffix: str) -> str:
    """The destination as it was before the token's place was made."""
    return prefix.removesuffix("kpk=").rstrip("?&") + suffix


@lru_cache(maxsize=TEXTS_REMEMBERED_MAX)
def page(referrer: str) -> bytes:
    """The referring page. Nothing behind its `?` is kept: it may name people."""
    name = referrer.partition("?")[0].partition("#")[0]
    return _text(name[: records.REFERRER_CHARS_MAX])


def country_of(said: str | None) -> bytes:
    """A country code (ISO 3166-1, two letters) as our proxy gives it; empty for anything else."""
    if said is None or len(said) != COUNTRY_CHARS or not (said.isascii() and said.isalpha()):
        return b""
    return said.upper().encode("ascii")


def environ_name(header: str) -> str:
    """How WSGI spells a request header (PEP 3333)."""
    return "HTTP_" + header.upper().replace("-", "_")


def _text(text: str) -> bytes:
    """A header's bytes as the client sent them, without what separates the record's fields."""
    return text.replace("\0", "").encode("latin-1", "replace")
