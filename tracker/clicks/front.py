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
import weakref
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import structlog
from werkzeug.sansio.utils import host_is_trusted

from affiliate.core.config import Settings
from tracker.clicks import counts, testing
from tracker.clicks.compiled import Answer, common_clicks
from tracker.clicks.database import DatabaseAway, QuickDatabase
from tracker.clicks.freshness import LinkRefresher, UnknownCodes
from tracker.clicks.journal import Journal
from tracker.clicks.links import SNAPSHOT, LinkProgram, LinkTable, MemoryLink
from tracker.clicks.pages import chosen_language, error_page, language_of
from tracker.clicks.redirecting import (
    DROPPED_HEADERS,
    EMPTY,
    Agents,
    Environ,
    Headers,
    Recorder,
    StartResponse,
    redirect_headers,
    redirector,
)
from tracker.clicks.tokens import SigningKey

PREFIX: Final = "/r/"
CODE_CHARS_MAX: Final = 64
HOSTS_REMEMBERED_MAX: Final = 64
SHOPS_SHOWN_MAX: Final = 10
COMPLAINT_INTERVAL_S: Final = 1.0
SPILL: Final = "INSERT INTO click_spill (record) VALUES (%s)"
CODE_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")

log = structlog.get_logger(__name__)


class ClickFront:
    """Wraps the Flask application. Opens nothing until ``start`` or the first request."""

    def __init__(self, app: Callable[..., Any], settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._started = False
        self._starting = threading.Lock()
        self._hosts: set[str] = set()
        self._unrecorded = 0
        self._complained = 0.0
        self._headers = _page_headers(https=settings.https)
        self.table = LinkTable()
        self._journal: Journal | None = None
        self._answer: Answer = self._start_and_answer
        weak = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget_parent(weak))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self._answer(environ, start_response)

    def _start_and_answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(PREFIX):
            self.start()
        return self.answer(environ, start_response)

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer any request, step by step: what compiled code does not answer comes here."""
        path: str = environ["PATH_INFO"]
        if not path.startswith(PREFIX):
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        host = environ.get("HTTP_HOST", "")
        if self._settings.proxy_hops:
            host = environ.get("HTTP_X_FORWARDED_HOST") or host
        if host not in self._hosts and not self._knows_host(host, environ):
            return self._error(400, environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method != "GET" and method != "HEAD":  # noqa: PLR1714 -- a tuple is slower
            return self._error(405, environ, start_response)
        link = self.table.links.get(path[3:]) or self._find(path[3:])
        if link is None:
            tested = self._tested(path[3:])
            if tested is not None:
                return self._test_click(tested, start_response)
            counts.count("unknown")
            sure = self._unknown.is_sure(path[3:].rstrip("/"))
            return self._error(404 if sure else 503, environ, start_response)
        return self._redirect(link, environ, start_response)

    def start(self) -> None:
        """Open what this process needs: links, journal, threads. Safe after a fork."""
        with self._starting:
            if self._started:
                return
            settings = self._settings
            if self._journal is not None:
                self._journal.abandon()
            self.table = LinkTable(
                settings.data_dir / SNAPSHOT, links_max=settings.links_in_memory_max
            )
            self._database = QuickDatabase(settings.database_url)
            self._unknown = UnknownCodes(self.table, self._database)
            self._refresher = LinkRefresher(self.table, settings)
            self._journal = Journal(settings.data_dir, grouped=settings.journal_sync == "grouped")
            recorder = Recorder(self._journal.append, self._spill)
            agents = Agents()
            self._redirect = redirector(settings, self.table, agents, recorder, self._error)
            answer = common_clicks(
                settings, self.table, agents, self._hosts, self._journal, self._spill, self.answer
            )
            # Threads last: nothing that fails before them leaves any behind.
            self._refresher.start()
            self._journal.start()
            self._answer = answer
            self._started = True
            atexit.register(self.stop)

    def stop(self) -> None:
        """Sync the journal and hang up; the next request would start again."""
        with self._starting:
            if not self._started or self._journal is None:
                return
            self._started = False
            self._answer = self._start_and_answer
            self._refresher.stop()
            self._journal.stop()
            self._database.close()
            self._journal = None
            atexit.unregister(self.stop)

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

    def _tested(self, code: str) -> LinkProgram | None:
        """The program whose test link this is, also of one that was made just now."""
        if not code.startswith(testing.MARK) or len(code) > CODE_CHARS_MAX:
            return None
        program = testing.program_of(code, list(self.table.programs.values()))
        if program is None:
            self._unknown.learn_programs(code)
            program = testing.program_of(code, list(self.table.programs.values()))
        return program

    def _test_click(self, program: LinkProgram, start_response: StartResponse) -> Iterable[bytes]:
        """Lead to the shop with a token that credits nobody; nothing is written down."""
        settings = self._settings
        key = SigningKey.of(settings.key("click-token"))
        to = testing.destination_of(program, key, offset_ms=self.table.offset_ms)
        headers = [*redirect_headers(https=settings.https), ("Location", to), *DROPPED_HEADERS]
        start_response("302 Found", headers)
        return EMPTY

    def _find(self, code: str) -> MemoryLink | None:
        """A code that memory does not have as it is spelled."""
        code = code.rstrip("/")
        if not 0 < len(code) <= CODE_CHARS_MAX or not CODE_CHARS.issuperset(code):
            return None
        link = self.table.find(code)
        if link is None:
            link = self._unknown.find(code)
        return link

    def _knows_host(self, said: str, environ: Environ) -> bool:
        """Whether the request was meant for us; a proxy of ours may name the host for it.

        ``said`` is Host or all of X-Forwarded-Host, of which the entry of our outermost proxy
        counts; one that is a host's name and nothing else is remembered.
        """
        hops = self._settings.proxy_hops
        host = said
        if hops and "HTTP_X_FORWARDED_HOST" in environ:
            names = said.split(",")
            host = names[-hops].strip() if len(names) >= hops else ""
            if not host:
                return _trusted(environ.get("HTTP_HOST", ""), self._settings.trusted_hosts)
        if not _trusted(host, self._settings.trusted_hosts):
            return False
        if said == host and len(self._hosts) < HOSTS_REMEMBERED_MAX:
            self._hosts.add(said)
        return True

    def _error(
        self, status: int, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        language = chosen_language(environ.get("HTTP_COOKIE", "")) or language_of(
            environ.get("HTTP_ACCEPT_LANGUAGE", "")[:200]
        )
        body = error_page(status, language, self._shops())
        headers = [
            *self._headers,
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        if status == 405:
            headers.append(("Allow", "GET, HEAD"))
        if status == 503:
            headers.append(("Retry-After", "5"))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _shops(self) -> list[tuple[str, str]]:
        """Where a reader of the 404 page can go on: the open programs' shops."""
        open_programs = [p for p in list(self.table.programs.values()) if p.status == "open"]
        pages = dict.fromkeys(p.landing_url for p in open_programs[:SHOPS_SHOWN_MAX])
        return [(url.partition("://")[2].partition("/")[0], url) for url in pages]


def _trusted(host: str, trusted: tuple[str, ...]) -> bool:
    return bool(host) and host.isascii() and host_is_trusted(host, list(trusted))


def _forget_parent(weak: weakref.ref[ClickFront]) -> None:
    """In a forked child: threads, locks, journal and prepared ids are the parent's."""
    front = weak()
    if front is not None:
        front._started = False
        front._answer = front._start_and_answer
        front._starting = threading.Lock()


def _page_headers(*, https: bool) -> Headers:
    """What guards the pages that the front says itself."""
    headers = [
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ]
    if https:
        headers.append(("Strict-Transport-Security", "max-age=31536000"))
    return headers
