"""One call over HTTP, sent again where that is safe."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kopeck_client.errors import NotAnswered, Refused, refused

Body = Mapping[str, Any]

AGAIN = frozenset({429, 502, 503, 504})
UNDER_WAY = "call_under_way"
FIRST_PAUSE_S = 0.5
PAUSE_S_MAX = 60.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: whoever follows it would hand the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


@dataclass
class Transport:
    """Where and how calls are sent."""

    base_url: str
    key: str
    timeout_s: float
    tries: int
    sleep: Callable[[float], None] = time.sleep

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a read; parameters that are None are left out."""
        asked = urlencode({name: each for name, each in (query or {}).items() if each is not None})
        return self._call("GET", f"{path}?{asked}" if asked else path, None, None)

    def write(
        self, method: str, path: str, body: Body, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """The answer to a write, under one Idempotency-Key for all of its tries."""
        return self._call(method, path, body, idempotency_key or str(uuid.uuid4()))

    def _call(self, method: str, path: str, body: Body | None, key: str | None) -> dict[str, Any]:
        request = self._request(method, path, body, key)
        for number in range(1, self.tries + 1):
            last = number == self.tries
            pause_s = min(FIRST_PAUSE_S * 2 ** (number - 1), PAUSE_S_MAX)
            try:
                with _opener.open(request, timeout=self.timeout_s) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except urllib.error.HTTPError as error:
                refusal = _refusal(error)
                if last or not (refusal.status in AGAIN or refusal.code == UNDER_WAY):
                    raise refusal from None
                pause_s = max(pause_s, min(refusal.retry_after_s or 0.0, PAUSE_S_MAX))
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise NotAnswered(f"{method} {path}: {error}") from error
            spread = random.uniform(0.8, 1.2)  # noqa: S311 -- keeps two callers apart
            self.sleep(pause_s * spread)
        raise NotAnswered(f"{method} {path}: no try is allowed")

    def _request(
        self, method: str, path: str, body: Body | None, key: str | None
    ) -> urllib.request.Request:
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Accept": "application/json",
            "User-Agent": "kopeck-client/0.1.0",
        }
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        if key is not None:
            headers["Idempotency-Key"] = key
        url = f"{self.base_url.rstrip('/')}/api/v1{path}"
        return urllib.request.Request(url, data, headers, method=method)  # noqa: S310 -- it begins with the caller's own base_url


def _refusal(error: urllib.error.HTTPError) -> Refused:
    """Of a problem document; of anything else, as a proxy may answer, its status alone."""
    with error:
        try:
            problem = json.loads(error.read())
        except ValueError:
            problem = {}
    after = error.headers.get("Retry-After", "")
    known = problem if isinstance(problem, dict) else {}
    return refused(error.code, known, float(after) if after.isdecimal() else None)
