"""Idempotency keys, exactly as docs.stripe.com/api/idempotent_requests words them.

The answer of the first request under a key is saved in the same transaction as its effect, with
success or failure, 500 included; it is replayed to the same parameters and refused to others. A
key lives 24 hours; after that it executes again, which is why nobody may retry that late.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .wire import Answer, ApiError, Request

KEY_LIFE_S = 24 * 60 * 60
KEY_LENGTH_MAX_CHARS = 255


class KeysInFlight:
    """Keys whose first request still runs. One process owns the folder, so memory is enough."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[tuple[str, str]] = set()

    def count(self) -> int:
        with self._lock:
            return len(self._held)

    @contextmanager
    def hold(self, owner: str, key: str) -> Iterator[None]:
        """Hold the key while the block runs; raise Stripe's 409 when another request holds it."""
        with self._lock:
            if (owner, key) in self._held:
                raise ApiError(
                    409,
                    "There is currently another in-progress request using this Idempotent Key "
                    "(that probably means you submitted twice, and the other request is still "
                    f"going through): {key}. Please try your request again later.",
                    code="idempotency_key_in_use",
                    kind="idempotency_error",
                )
            self._held.add((owner, key))
        try:
            yield
        finally:
            with self._lock:
                self._held.discard((owner, key))


def valid(key: str) -> str:
    if len(key) > KEY_LENGTH_MAX_CHARS:
        raise ApiError(
            400, f"Idempotency keys must be at most {KEY_LENGTH_MAX_CHARS} characters long."
        )
    return key


def fingerprint(request: Request, flat: list[tuple[str, str]]) -> str:
    """One digest over method, path and parameters; the order of parameters does not matter."""
    canonical = json.dumps([request.method, request.path, sorted(flat)])
    return hashlib.sha256(canonical.encode()).hexdigest()


def replay(con: sqlite3.Connection, owner: str, key: str, digest: str, now: float) -> Answer | None:
    """The saved answer for a key, or None when it is new or its life is over.

    Raises the ``idempotency_error`` for other parameters or another endpoint.
    """
    con.execute("DELETE FROM keys WHERE created <= ?", (now - KEY_LIFE_S,))
    row = con.execute("SELECT * FROM keys WHERE owner = ? AND key = ?", (owner, key)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != digest:
        raise ApiError(
            400,
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            kind="idempotency_error",
        )
    return Answer(row["status"], row["body"]).with_headers(
        ("Original-Request", row["request_id"]), ("Idempotent-Replayed", "true")
    )


def remember(
    con: sqlite3.Connection,
    owner: str,
    key: str,
    digest: str,
    now: float,
    *,
    request_id: str,
    answer: Answer,
) -> None:
    con.execute(
        "INSERT INTO keys (owner, key, fingerprint, created, request_id, status, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (owner, key, digest, now, request_id, answer.status, answer.body),
    )
