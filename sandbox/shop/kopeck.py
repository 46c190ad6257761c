"""The shop's calls to Kopeck's API: out of the outbox, again until they are answered."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.shop.config import ShopConfig
from sandbox.shop.store import Call, Store

TIMEOUT_S = 5.0
CLOCK_FILE = "clock-ahead"
ANSWER_CHARS_MAX = 20_000
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 60.0
LOOK_EVERY_S = 1.0
AGAIN_STATUSES = frozenset({401, 403, 408, 425, 429})
"""Refusals that pass: a key that is not there yet, a limit. Every other 4xx is final."""


class Kopeck:
    """Delivers the outbox in the background, or one order's calls at once for its page."""

    def __init__(self, config: ShopConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._wake = threading.Event()
        self._one_at_a_time = threading.Lock()

    def start(self) -> None:
        """Begin to deliver. The thread ends with the process, and the process with its parent."""
        threading.Thread(target=self._run, args=(os.getppid(),), daemon=True).start()

    def wake(self) -> None:
        """There is something new to deliver."""
        self._wake.set()

    def deliver(self, order_id: str | None = None) -> bool:
        """Make the next call that is due, of this order or of any; False when there is none."""
        with self._one_at_a_time:
            call = self._store.due_call(time.time(), order_id)
            if call is None:
                return False
            self._make(call)
            return True

    def now(self) -> datetime:
        """The demo's business time, which can be moved ahead of ours; else our own clock.

        A real shop has no such call: it is here because an order that was placed before its
        click credits nobody, and the demo's clicks live in moved time. While Kopeck does not
        answer, the clock is as far ahead as it last was.
        """
        status, answer = self._request("GET", "/demo/clock", None)
        parsed: Any = _parsed(answer) if status == 200 else {}
        ahead = self._config.data_dir / CLOCK_FILE
        try:
            now = datetime.fromisoformat(parsed["now"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return datetime.now(UTC) + _seconds_in(ahead)
        _write_whole(ahead, str((now - datetime.now(UTC)).total_seconds()))
        return now

    def order(self, order_id: str) -> dict[str, Any] | None:
        """What Kopeck knows of an order now; None when it does not say."""
        status, answer = self._request("GET", f"/api/v1/orders/{order_id}", None)
        parsed = _parsed(answer) if status == 200 else None
        return parsed if isinstance(parsed, dict) else None

    def _run(self, parent: int) -> None:
        while True:
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
            if os.getppid() != parent:
                # The server that started this worker is gone; its successor needs the port.
                os._exit(0)
            while self.deliver():
                pass

    def _make(self, call: Call) -> None:
        status, answer = self._request("POST", f"/api/v1{call.path}", call.body)
        if status is not None and 200 <= status < 300:
            state = "done"
        elif status is not None and 400 <= status < 500 and status not in AGAIN_STATUSES:
            state = "refused"
        else:
            state = "waiting"
        pause_s = min(PAUSE_FIRST_S * 2**call.tries, PAUSE_MAX_S)
        self._store.answered(
            call.id, state=state, status=status, answer=answer, due_at=time.time() + pause_s
        )

    def _request(self, method: str, path: str, body: str | None) -> tuple[int | None, str]:
        headers = {"Authorization": f"Bearer {self._config.key()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - the address is the operator's own word
            f"{self._config.kopeck_url}{path}",
            data=body.encode() if body is not None else None,
            method=method,
            headers=headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return answer.status, _text(answer.read(ANSWER_CHARS_MAX))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _text(error.read(ANSWER_CHARS_MAX))
        except (OSError, http.client.HTTPException) as error:
            return None, f"Kopeck could not be reached: {error}"


def _write_whole(path: Path, text: str) -> None:
    """Write the file so that a reader finds the text before or this one, never a part."""
    new = path.with_suffix(f".{threading.get_ident()}.new")
    new.write_text(text)
    new.replace(path)


def _seconds_in(path: Path) -> timedelta:
    try:
        return timedelta(seconds=float(path.read_text()))
    except (OSError, ValueError):
        return timedelta(0)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
