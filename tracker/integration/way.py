"""The canary's walk: the way of a buyer and of a shop, over HTTP, by this installation's own door.

It asks the configured public address and nothing else: no redirect is followed, the Location of
the click is read and never fetched. Nothing of it writes a click or an order.
"""

from __future__ import annotations

import http.client
import json
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from affiliate.core.fields import money_json
from affiliate.core.money import MICROS, Money
from tracker.clicks.testing import TEST_LINK_ID, path_of
from tracker.clicks.tokens import BadToken, SigningKey, read

STEP_S: Final = 8.0
"""For one connection, and for each packet of its answer."""
WALK_S: Final = 40.0
"""For all of a walk: less than the lease of the one who walks."""
BODY_BYTES_MAX: Final = 256 * 1024
ORDER_UNITS: Final = 100
AGENT: Final = "Kopeck (canary)"
DETAIL_CHARS_MAX: Final = 200


class Step(StrEnum):
    """Where a walk can break, in their order."""

    CLICK = "click"
    """The test link answers with a redirect."""
    TOKEN = "token"  # noqa: S105 -- the name of a step
    """The redirect carries a token that is signed by this installation."""
    PIXEL = "pixel"
    """The pixel is handed out."""
    REPORT = "report"
    """A page's report is taken and reckoned to its end."""
    API = "api"
    """A server's report is, with an API key."""


class Problem(StrEnum):
    """What went wrong at a step; closed, as pages have a sentence for each."""

    UNREACHABLE = "unreachable"
    TOO_SLOW = "too_slow"
    WRONG_ANSWER = "wrong_answer"
    """Another status than expected; the detail is the status, and the code that came with it."""
    NO_TOKEN = "no_token"  # noqa: S105 -- the name of a problem
    BAD_TOKEN = "bad_token"  # noqa: S105 -- as above
    NOT_TAKEN = "not_taken"
    """The report was answered, and nothing came of it."""
    NO_KEY = "no_key"
    """The canary's key cannot be derived any more: the installation's secret was changed."""


@dataclass(slots=True)
class Walk:
    """How far it came: milliseconds by step, and where it broke."""

    millis: dict[Step, int] = field(default_factory=dict)
    step: Step | None = None
    problem: Problem | None = None
    detail: str = ""

    @property
    def well(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Ways:
    """What a walk needs to know."""

    public_url: str
    slug: str
    currency: str
    key: str | None
    """The API key."""
    token_keys: tuple[SigningKey, ...]
    now: datetime
    """Business time."""
    order_id: Callable[[], str]
    """A new id, by which the installation knows the canary's orders."""
    came_through: Callable[[str], bool]
    """Whether a page's test order of this id is there."""
    until: float = math.inf
    """By the machine's monotonic clock; `walk` sets it."""


class _Broken(Exception):
    def __init__(self, problem: Problem, detail: str = "") -> None:
        self.problem, self.detail = problem, detail[:DETAIL_CHARS_MAX]
        super().__init__(problem.value)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str
    body: bytes

    @property
    def said(self) -> str:
        """The status, and the code of a problem document."""
        document = _object(self.body)
        return f"{self.status} {document.get('code', '')}".strip()


def walk(ways: Ways) -> Walk:
    """Click, take the token, fetch the pixel, report as a page, report as a server."""
    done, token = Walk(), ""
    ways = replace(ways, until=time.monotonic() + WALK_S)

    def click() -> None:
        nonlocal token
        answer = _expected(_ask(ways, "GET", path_of(ways.slug)), 302)
        token = _token_in(answer.location)

    def read_token() -> None:
        _check_token(token, ways)

    def pixel() -> None:
        if not _expected(_ask(ways, "GET", "/pixel.js"), 200).body:
            raise _Broken(Problem.NOT_TAKEN)

    def report() -> None:
        _report(ways, token)

    def api() -> None:
        _order(ways, token)

    steps = (
        (Step.CLICK, click), (Step.TOKEN, read_token), (Step.PIXEL, pixel),
        (Step.REPORT, report), (Step.API, api),
    )  # fmt: skip
    for step, take in steps:
        began = time.monotonic()
        try:
            take()
        except _Broken as broken:
            done.step, done.problem, done.detail = step, broken.problem, broken.detail
        done.millis[step] = round((time.monotonic() - began) * 1_000)
        if not done.well:
            break
    return done


def _token_in(location: str) -> str:
    try:
        found = parse_qs(urlsplit(location).query).get("kpk", [])
    except ValueError:
        found = []
    return found[0] if len(found) == 1 else ""


def _check_token(token: str, ways: Ways) -> None:
    if not token:
        raise _Broken(Problem.NO_TOKEN)
    known = read(token, ways.token_keys)
    if isinstance(known, BadToken):
        raise _Broken(Problem.BAD_TOKEN, known.reason.value)
    if known.link_id != TEST_LINK_ID:
        raise _Broken(Problem.BAD_TOKEN, "another_link")


def _report(ways: Ways, token: str) -> None:
    order_id = ways.order_id()
    body = {
        "program": ways.slug, "type": "order", "test": True, "clicks": [token],
        "order": {"order_id": order_id, "total": _total(ways)},
    }  # fmt: skip
    # As browsers send it.
    answer = _ask(ways, "POST", "/v1/events", body, {"Content-Type": "text/plain;charset=UTF-8"})
    _expected(answer, 204)
    if not ways.came_through(order_id):
        raise _Broken(Problem.NOT_TAKEN)


def _order(ways: Ways, token: str) -> None:
    if ways.key is None:
        raise _Broken(Problem.NO_KEY)
    order_id = ways.order_id()
    body = {
        "test": True, "order_id": order_id, "placed_at": ways.now.isoformat(),
        "total": _total(ways), "clicks": [token],
    }  # fmt: skip
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ways.key}"}
    answer = _expected(_ask(ways, "POST", "/api/v1/orders", body, headers), 200)
    said = _object(answer.body)
    if said.get("test") is not True or said.get("order_id") != order_id:
        raise _Broken(Problem.NOT_TAKEN)
    ways.came_through(order_id)


def _total(ways: Ways) -> dict[str, str]:
    return money_json(Money(ORDER_UNITS * MICROS, ways.currency))


def _expected(answer: _Answer, status: int) -> _Answer:
    if answer.status != status:
        raise _Broken(Problem.WRONG_ANSWER, answer.said)
    return answer


def _ask(
    ways: Ways,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    """One request to the public address, on a connection of its own, while the walk has time.

    A thread, as neither names, handshakes nor answers that drip have a limit as a whole; one that
    is left behind ends with its connection or with the job's process.
    """
    told: list[_Answer | _Broken] = []

    def ask() -> None:
        try:
            told.append(_asked(ways, method, path, body, headers))
        except _Broken as broken:
            told.append(broken)

    asking = threading.Thread(target=ask, name="canary", daemon=True)
    asking.start()
    asking.join(max(0.0, ways.until - time.monotonic()) if ways.until < math.inf else None)
    found = told[0] if told else _Broken(Problem.TOO_SLOW)
    if isinstance(found, _Broken):
        raise found
    return found


def _asked(
    ways: Ways,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
) -> _Answer:
    parts = urlsplit(ways.public_url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=STEP_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=STEP_S)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"User-Agent": AGENT, "Connection": "close", **(headers or {})},
        )
        with connection.getresponse() as response:
            content = response.read(BODY_BYTES_MAX)
            return _Answer(response.status, response.getheader("Location") or "", content)
    except TimeoutError as error:
        raise _Broken(Problem.TOO_SLOW) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Broken(Problem.UNREACHABLE, type(error).__name__) from error
    finally:
        connection.close()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
