"""The webhook sender: events go out signed, at least once, in no promised order.

A delivery is a row written with its event, so that it survives a kill; a thread sends what is due.
What is not answered with 2xx is sent again, less and less often, for three days
(docs.stripe.com/webhooks, "Retries"). The platform's own events and those of connected accounts
have an endpoint and a secret each, as at Stripe.

``Switches`` make the sender as unreliable as a network may be; ``deliver`` sends chosen events at
once in a chosen order.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import stripe

from . import store
from .wire import ApiError

PLATFORM, CONNECT = "platform", "connect"
NAMES = (PLATFORM, CONNECT)
RETRIES_S = (15, 60, 300, 1_800, 7_200, 18_000, 36_000, 43_200, 86_400, 86_400)
"""Pauses after each failure; the last try is some three days after the first."""
TIMEOUT_S = 10.0
POLL_S = 0.2
AT_ONCE = 50
COPIES_MAX = 500
THREADS = 20

log = logging.getLogger("sandbox.stripe.webhooks")


@dataclass(frozen=True)
class Endpoint:
    """Where events go, and what signs them."""

    url: str
    secret: str


@dataclass(frozen=True)
class Switches:
    """What goes wrong with deliveries from now on."""

    hold: bool = False
    """Nothing is sent by itself; ``deliver`` alone sends."""
    copies: int = 1
    """How often each delivery goes out, in parallel."""
    reorder: int = 0
    """Not 0: what is due goes out in an order shuffled by this seed, half a second after it came,
    so that there is something to shuffle."""
    delay_s: float = 0.0
    """How late the first try is, by the double's clock: 259,200 is three days."""
    drop: int = 0
    """So many deliveries get lost on the way; they are retried as after a failure."""


@dataclass
class Sent:
    """One try to deliver an event."""

    event: str
    endpoint: str
    statuses: list[int] = field(default_factory=list)
    """The answer of each copy; 0 where none came."""

    @property
    def arrived(self) -> bool:
        return any(200 <= status < 300 for status in self.statuses)


def endpoints(con: sqlite3.Connection) -> dict[str, Endpoint]:
    kept = json.loads(store.setting(con, "webhook_endpoints", "{}"))
    return {name: Endpoint(**each) for name, each in kept.items()}


def keep_endpoint(con: sqlite3.Connection, name: str, endpoint: Endpoint | None) -> None:
    """Set or remove an endpoint; events from before are not sent to it."""
    kept = {each: asdict(found) for each, found in endpoints(con).items() if each != name}
    if endpoint is not None:
        kept[name] = asdict(endpoint)
    store.keep_setting(con, "webhook_endpoints", json.dumps(kept))


def checked(name: str, url: str, secret: str) -> Endpoint:
    """An endpoint that can be sent to; ApiError names what is wrong."""
    if name not in NAMES:
        raise ApiError(400, f"An endpoint is {' or '.join(NAMES)}.", param="endpoint")
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ApiError(400, "Name a plain http address: this double never leaves the machine.",
                       param="url")  # fmt: skip
    if not secret:
        raise ApiError(400, "Name the secret that signs.", param="secret")
    return Endpoint(url, secret)


def switches(con: sqlite3.Connection) -> Switches:
    return Switches(**json.loads(store.setting(con, "webhook_switches", "{}")))


def keep_switches(con: sqlite3.Connection, chosen: Switches) -> None:
    store.keep_setting(con, "webhook_switches", json.dumps(asdict(chosen)))


def queue(con: sqlite3.Connection, event: dict[str, Any], now: float) -> None:
    """Write down that an event is to be delivered, in the transaction that makes it."""
    name = CONNECT if event.get("account") else PLATFORM
    if name not in endpoints(con):
        return
    chosen = switches(con)
    wait_s = chosen.delay_s or (0.5 if chosen.reorder else 0.0)
    con.execute(
        "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, ?)",
        (event["id"], name, now + wait_s),
    )


def deliveries(con: sqlite3.Connection, limit: int = 200) -> list[dict[str, Any]]:
    """The newest deliveries: where to, when due, how often tried, and what came of them."""
    rows = con.execute(
        "SELECT d.event, o.topic AS type, d.endpoint, d.due, d.tries, d.status, d.done"
        " FROM deliveries AS d JOIN objects AS o ON o.id = d.event ORDER BY d.seq DESC LIMIT ?",
        (limit,),
    )
    return [dict(row) for row in rows]


def _told(
    con: sqlite3.Connection, event_id: str, name: str | None
) -> tuple[str, Endpoint, dict[str, Any]]:
    row = con.execute(
        "SELECT body FROM objects WHERE id = ? AND kind = 'event'", (event_id,)
    ).fetchone()
    if row is None:
        raise ApiError(400, f"There is no event {event_id[:100]}.", param="events")
    event = dict(json.loads(row["body"]))
    wanted = name or (CONNECT if event.get("account") else PLATFORM)
    known = endpoints(con)
    if wanted not in known:
        raise ApiError(400, f"There is no {wanted} endpoint.", param="endpoint")
    return wanted, known[wanted], event


class Sender:
    """Sends what is due, in a thread of its own, until it is stopped."""

    def __init__(self, kept: store.Store) -> None:
        self._store = kept
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "webhook")
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def deliver(
        self, event_ids: Sequence[str], *, copies: int = 1, endpoint: str | None = None
    ) -> list[Sent]:
        """Send these events now, one after the other, each so many times in parallel."""
        if not 1 <= copies <= COPIES_MAX:
            raise ApiError(400, f"copies is 1 to {COPIES_MAX}.", param="copies")
        with self._store.reading() as con:
            told = [_told(con, each, endpoint) for each in event_ids]
        done = []
        for name, where, event in told:
            sent = Sent(event["id"], name, self._post(where, event, copies))
            done.append(sent)
            with self._store.writing() as con:
                self._note(con, sent, store.now(con))
        return done

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                while self._send_due():
                    pass
            except (sqlite3.Error, OSError):
                log.exception("deliveries could not be read")

    def _send_due(self) -> bool:
        """Send what is due once; True when something was."""
        with self._store.reading() as con:
            chosen, now = switches(con), store.now(con)
            if chosen.hold:
                return False
            due = con.execute(
                "SELECT event, endpoint FROM deliveries WHERE done IS NULL AND due <= ?"
                " ORDER BY seq LIMIT ?",
                (now, AT_ONCE),
            ).fetchall()
            known = endpoints(con)
            told = [
                _told(con, row["event"], row["endpoint"]) for row in due if row["endpoint"] in known
            ]
        if chosen.reorder:
            random.Random(chosen.reorder).shuffle(told)  # noqa: S311 -- repeatable on purpose
        for name, where, event in told:
            if self._stop.is_set():
                return False
            lost = self._loses()
            statuses = [0] if lost else self._post(where, event, max(1, chosen.copies))
            with self._store.writing() as con:
                self._note(con, Sent(event["id"], name, statuses), store.now(con))
        return bool(told)

    def _loses(self) -> bool:
        with self._store.writing() as con:
            chosen = switches(con)
            if chosen.drop <= 0:
                return False
            keep_switches(con, Switches(**{**asdict(chosen), "drop": chosen.drop - 1}))
            return True

    def _post(self, where: Endpoint, event: dict[str, Any], copies: int) -> list[int]:
        body = json.dumps(event, indent=2)
        # The signature's time is the machine's: what the receiver compares it with.
        header = stripe.WebhookSignature.generate_signature_header(
            body, where.secret, int(time.time())
        )
        if copies == 1:
            return [_call(where.url, body.encode(), header)]
        return list(
            self._pool.map(lambda _: _call(where.url, body.encode(), header), range(copies))
        )

    @staticmethod
    def _note(con: sqlite3.Connection, sent: Sent, now: float) -> None:
        row = con.execute(
            "SELECT seq, tries FROM deliveries WHERE event = ? AND endpoint = ? AND done IS NULL",
            (sent.event, sent.endpoint),
        ).fetchone()
        if row is None:
            return
        given_up = row["tries"] >= len(RETRIES_S)
        pause_s = RETRIES_S[min(row["tries"], len(RETRIES_S) - 1)]
        con.execute(
            "UPDATE deliveries SET tries = tries + 1, status = ?, due = ?, done = ? WHERE seq = ?",
            (max(sent.statuses), now + pause_s, now if sent.arrived or given_up else None,
             row["seq"]),
        )  # fmt: skip


def _call(url: str, body: bytes, signature: str) -> int:
    """POST once; the status, or 0 when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request(
            "POST", parts.path or "/", body,
            {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature,
             "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)"},
        )  # fmt: skip
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
