"""The click front: a WSGI callable before Flask that answers `/r/<code>` and nothing else.

A click costs a dictionary look-up, one append to the journal and one small response. The
order of things is the promise: the record is written, then the response leaves (F1).
A known link is never answered with an error of ours: when the journal cannot be written the
click goes to the database, and when that is away too, into its token (F17, F20).
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import structlog
from werkzeug.sansio.utils import host_is_trusted

from affiliate.core.config import Settings
from tracker.clicks import counts, records
from tracker.clicks.database import DatabaseAway, QuickDatabase
from tracker.clicks.destinations import (
    BadQuery,
    deep_link,
    read_query,
    split_destination,
)
from tracker.clicks.filters import AGENT_CHARS_MAX, front_reason
from tracker.clicks.freshness import LinkRefresher, UnknownCodes
from tracker.clicks.journal import Journal, JournalUnavailable
from tracker.clicks.links import SNAPSHOT, LinkTable, MemoryLink
from tracker.clicks.pages import error_page, language_of
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import NO_VISITOR, SigningKey, mint, new_click_id
from tracker.clicks.visitors import (
    DAY_MS,
    address_salt,
    client_address,
    cookie_attributes,
    cookie_name,
    hash_address,
    read_visitor,
    sign_visitor,
)

PREFIX: Final = "/r/"
CODE_CHARS_MAX: Final = 64
HOSTS_REMEMBERED_MAX: Final = 64
SHOPS_SHOWN_MAX: Final = 10
COMPLAINT_INTERVAL_S: Final = 1.0
TEXTS_REMEMBERED_MAX: Final = 4096
SPILL: Final = "INSERT INTO click_spill (record) VALUES (%s)"
CODE_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")

Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
Environ = dict[str, Any]

log = structlog.get_logger(__name__)


class ClickFront:
    """Wraps the Flask application. Opens nothing until ``start`` or the first request."""

    def __init__(self, app: Callable[..., Any], settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._pid = 0
        self._starting = threading.Lock()
        self._key = SigningKey.of(settings.key("click-token"))
        self._visitor_keys = settings.keys("visitor")
        self._address_key = settings.key("address")
        self._salt = (-1, b"")
        self._cookie_name = cookie_name(https=settings.https)
        self._cookie_tail = cookie_attributes(https=settings.https)
        self._hosts: set[str] = set()
        self._unrecorded = 0
        self._complained = 0.0
        self._headers = _security_headers(https=settings.https)
        self.table = LinkTable()
        self._journal: Journal | None = None
        self._append: Callable[[bytes], None] = _not_started

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith(PREFIX):
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        if self._pid != os.getpid():
            self.start()
        if environ.get("HTTP_HOST") not in self._hosts and not self._knows_host(environ):
            return self._error(400, environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return self._error(405, environ, start_response)
        link = self.table.links.get(path[3:]) or self._find(path[3:])
        if link is None:
            counts.count("unknown")
            return self._error(404 if self.table.loaded else 503, environ, start_response)
        return self._redirect(link, environ, start_response)

    def start(self) -> None:
        """Open what this process needs: links, journal, threads. Safe after a fork."""
        with self._starting:
            if self._pid == os.getpid():
                return
            settings = self._settings
            if self._journal is not None:
                self._journal.abandon()
            self.table = LinkTable()
            self._database = QuickDatabase(settings.database_url)
            self._unknown = UnknownCodes(self.table, self._database)
            self._refresher = LinkRefresher(self.table, settings)
            if not self.table.read_snapshot(settings.data_dir / SNAPSHOT):
                self._refresher.refresh_once()
            self._refresher.start()
            self._journal = Journal(settings.data_dir, grouped=settings.journal_sync == "grouped")
            self._journal.start()
            self._append = self._journal.append
            self._pid = os.getpid()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Sync the journal and hang up; the next request would start again."""
        with self._starting:
            if self._pid != os.getpid() or self._journal is None:
                return
            self._pid = 0
            self._refresher.stop()
            self._journal.stop()
            self._database.close()
            self._journal = None
            self._append = _not_started
            atexit.unregister(self.stop)

    def _redirect(
        self, link: MemoryLink, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Decide, record, answer. Kept in one piece: each call here is a call per click."""
        prefix, suffix, sub_ids, asked, flags = link.prefix, link.suffix, link.sub_ids_bytes, "", 0
        if environ.get("QUERY_STRING"):
            wanted = self._asked_for(link, environ["QUERY_STRING"])
            if isinstance(wanted, BadQuery):
                return self._error(wanted.value, environ, start_response)
            prefix, suffix, sub_ids, asked, flags = wanted
        now_ms = time.time_ns() // 1_000_000 + self.table.offset_ms
        reason = _barred(link, now_ms)
        leave = reason is not None
        if reason is None:
            reason = front_reason(environ)
        headers = self._headers.copy()
        noise = os.urandom(26)
        click_id = new_click_id(now_ms, noise[:10])
        visitor_id = NO_VISITOR
        if not self._settings.consent_mode:
            cookies = environ.get("HTTP_COOKIE")
            known = (
                read_visitor(cookies, self._cookie_name, self._visitor_keys) if cookies else None
            )
            if known is not None:
                visitor_id, flags = known, flags | records.FLAG_KNOWN_VISITOR
            elif reason is None:
                visitor_id = noise[10:]
                value = sign_visitor(self._visitor_keys[0], visitor_id)
                headers.append(("Set-Cookie", f"{self._cookie_name}={value}{self._cookie_tail}"))
        address_hash = self._hash_address(
            client_address(environ, self._settings.proxy_hops), now_ms
        )
        recorded = self._record(
            records.encode(
                click_id,
                link.link_id,
                visitor_id,
                address_hash,
                reason,
                flags,
                _texts(environ, asked, sub_ids),
            )
        )
        if leave:
            location = f"{self._settings.public_url}/programs/{link.program.slug}"
        elif reason is not None:
            location = _without_token(prefix, suffix)
        else:
            token = mint(self._key, click_id, link.link_id, visitor_id, unrecorded=not recorded)
            location = prefix + token + suffix
        headers.append(("Location", location))
        start_response("302 Found", headers)
        return (b"",)

    def _asked_for(
        self, link: MemoryLink, query: str
    ) -> tuple[str, str, bytes, str, int] | BadQuery:
        """Destination halves, sub-ids, deep link and flags that the address asks for."""
        wanted = read_query(query)
        if isinstance(wanted, BadQuery):
            return wanted
        prefix, suffix, asked, flags = link.prefix, link.suffix, "", 0
        sub_ids = link.sub_ids_bytes
        if any(wanted.sub_ids):
            merged = (own or kept for own, kept in zip(wanted.sub_ids, link.sub_ids, strict=True))
            sub_ids = "\0".join(merged).encode("utf-8", "replace")
        if wanted.to:
            plain = not self._settings.production
            address = deep_link(wanted.to, link.program.allowed_sites, plain_loopback=plain)
            if address is None:
                flags = records.FLAG_DEEP_LINK_REFUSED
            else:
                asked = address
                prefix, suffix = split_destination(address)
        return prefix, suffix, sub_ids, asked, flags

    def _record(self, record: bytes) -> bool:
        """Write the click down: journal, else database, else say so in the token."""
        try:
            self._append(record)
        except JournalUnavailable as error:
            return self._spill(record, error)
        return True

    def _spill(self, record: bytes, cause: OSError) -> bool:
        try:
            with self._database.connection() as connection:
                connection.execute(SPILL, (record,))
        except DatabaseAway:
            self._unrecorded += 1
            counts.count("unrecorded")
            self._complain("clicks can be recorded nowhere", cause)
            return False
        counts.count("spilled")
        self._complain("clicks go to the database: the journal cannot be written", cause)
        return True

    def _complain(self, event: str, cause: OSError) -> None:
        """Loudly, but not once per click: a full disk must not fill with logs about it."""
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_INTERVAL_S:
            self._complained = now
            log.error(event, error=str(cause), unrecorded=self._unrecorded)

    def _find(self, code: str) -> MemoryLink | None:
        """A code that memory does not have as it is spelled."""
        code = code.rstrip("/")
        if not 0 < len(code) <= CODE_CHARS_MAX or not CODE_CHARS.issuperset(code):
            return None
        link = self.table.find(code)
        if link is None:
            link = self._unknown.find(code)
        return link

    def _hash_address(self, address: str, now_ms: int) -> bytes:
        day = now_ms // DAY_MS
        salt_day, salt = self._salt
        if salt_day != day:
            salt = address_salt(self._address_key, day)
            self._salt = (day, salt)
        return hash_address(salt, address)

    def _knows_host(self, environ: Environ) -> bool:
        """Whether the request was meant for us; a proxy of ours may name the host for it."""
        host = environ.get("HTTP_HOST", "")
        hops = self._settings.proxy_hops
        forwarded = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")
        if hops and len(forwarded) >= hops and forwarded[-hops].strip():
            return _trusted(forwarded[-hops].strip(), self._settings.trusted_hosts)
        if not _trusted(host, self._settings.trusted_hosts):
            return False
        if not hops and len(self._hosts) < HOSTS_REMEMBERED_MAX:
            self._hosts.add(host)
        return True

    def _error(
        self, status: int, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        language = language_of(environ.get("HTTP_ACCEPT_LANGUAGE", "")[:200])
        body = error_page(status, language, self._shops())
        headers = [entry for entry in self._headers if entry[0] != "Content-Length"]
        headers += [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        if status == 405:
            headers.append(("Allow", "GET, HEAD"))
        if status == 503:
            headers.append(("Retry-After", "5"))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return (b"" if environ["REQUEST_METHOD"] == "HEAD" else body,)

    def _shops(self) -> list[tuple[str, str]]:
        """Where a reader of the 404 page can go on: the open programs' shops."""
        open_programs = [p for p in list(self.table.programs.values()) if p.status == "open"]
        pages = dict.fromkeys(p.landing_url for p in open_programs[:SHOPS_SHOWN_MAX])
        return [(url.partition("://")[2].partition("/")[0], url) for url in pages]


def _texts(environ: Environ, asked: str, sub_ids: bytes) -> bytes:
    """The record's text fields. Nothing behind a referrer's `?` is kept: it may name people."""
    agent = _field(environ.get("HTTP_USER_AGENT", "")[:AGENT_CHARS_MAX])
    referrer = b""
    if environ.get("HTTP_REFERER"):
        page = environ["HTTP_REFERER"].partition("?")[0].partition("#")[0]
        referrer = _field(page[: records.REFERRER_CHARS_MAX])
    return b"%b\0%b\0%b\0%b\0\0" % (agent, referrer, asked.encode("ascii", "replace"), sub_ids)


@lru_cache(maxsize=TEXTS_REMEMBERED_MAX)
def _field(text: str) -> bytes:
    """A header's bytes as the client sent them, without what separates the record's fields."""
    return text.replace("\0", "").encode("latin-1", "replace")


def _barred(link: MemoryLink, now_ms: int) -> DropReason | None:
    """What the link's own state says against the click, before the request is looked at."""
    if link.barred is not None:
        return link.barred
    program = link.program
    if program.status == "open":
        return None
    if program.closes_ms is not None and now_ms < program.closes_ms:
        return None
    if program.status == "closing" and program.closes_ms is None:
        return None
    return DropReason.PROGRAM_CLOSED


def _without_token(prefix: str, suffix: str) -> str:
    """The destination as it was before the token's place was made."""
    return prefix.removesuffix("kpk=").rstrip("?&") + suffix


def _trusted(host: str, trusted: tuple[str, ...]) -> bool:
    return bool(host) and host.isascii() and host_is_trusted(host, list(trusted))


def _security_headers(*, https: bool) -> Headers:
    headers = [
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("Content-Length", "0"),
    ]
    if https:
        headers.append(("Strict-Transport-Security", "max-age=31536000"))
    return headers


def _not_started(_: bytes) -> None:
    raise JournalUnavailable("the journal has not been opened")
