"""Every answer that a server, a proxy or a dead line can give to a transfer, and what it means.

A small server of its own says exactly these bytes: the double only says what Stripe would.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.rails.protocol import (
    Answer,
    LookUpFailed,
    NotReady,
    Order,
    Postponed,
    RailAway,
    Refused,
    Succeeded,
    Unknown,
)
from payouts.rails.stripe import StripeRail

ORDER = Order(Money(1_230_000, "EUR"), "acct_1", "g", 7, 1, "i")
TRANSFER = {
    "id": "tr_1", "object": "transfer", "amount": 123, "amount_reversed": 0, "created": 1,
    "currency": "eur", "destination": "acct_1", "metadata": {}, "transfer_group": "g",
}  # fmt: skip


def error(code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"type": kind, "message": "no", **({"code": code} if code else {})}}


class Sayer:
    """Answers every connection with the same bytes and closes it."""

    def __init__(self) -> None:
        self.reply, self.reset = b"", False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def says(self, status: int, body: Any, kind: str = "application/json", head: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        top = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        self.reply = f"{top}{head}Connection: close\r\n\r\n".encode() + content

    def _run(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            with taken:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    more = taken.recv(65_536)
                    if not more:
                        break
                    asked += more
                taken.sendall(self.reply)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def sayer() -> Iterator[Sayer]:
    made = Sayer()
    yield made
    made.close()


@pytest.fixture
def rail(settings: Settings, sayer: Sayer) -> StripeRail:
    return StripeRail(replace(settings, stripe_api_key="sk_test_x", stripe_api_base=sayer.url))


TABLE: list[tuple[str, int, Any, type, str, bool]] = [
    # name, status, body, meaning, code, whether it is again (Refused) or halts (Postponed)
    ("accepted", 200, TRANSFER, Succeeded, "", False),
    ("200 without JSON", 200, b"<html>", Unknown, "apierror_200", False),
    ("200 of nothing", 200, b"", Unknown, "apierror_200", False),
    ("200 of another kind", 200, {"object": "list", "data": []}, Unknown, "other_answer", False),
    ("200 of a list", 200, [], Unknown, "", False),
    ("200 of no bytes of UTF-8", 200, b"\xff\xfe", Unknown, "unreadable", False),
    ("200 of another amount", 200, {**TRANSFER, "amount": 124}, Unknown, "other_answer", False),
    ("200 of another currency", 200, {**TRANSFER, "currency": "usd"}, Unknown, "other_answer",
     False),
    ("200 of another account", 200, {**TRANSFER, "destination": "acct_2"}, Unknown,
     "other_answer", False),
    ("200 of another object", 200, {**TRANSFER, "id": "re_1"}, Unknown, "other_answer", False),
    ("no funds", 400, error("balance_insufficient"), Refused, "balance_insufficient", True),
    ("not ready", 400, error("insufficient_capabilities_for_transfer"), NotReady,
     "insufficient_capabilities_for_transfer", False),
    ("wrong region", 400, error("transfers_not_allowed"), NotReady, "transfers_not_allowed",
     False),
    ("no such destination", 400, error("resource_missing"), Refused, "resource_missing", False),
    ("account closed", 400, error("account_closed"), Refused, "account_closed", False),
    ("no integer", 400, error("parameter_invalid_integer"), Refused, "parameter_invalid_integer",
     False),
    ("400 without a code", 400, error(None), Refused, "invalidrequesterror_400", False),
    ("another request had the key", 400, error(None, "idempotency_error"), Unknown,
     "idempotencyerror_400", False),
    ("400 of a proxy", 400, b"<html>", Unknown, "apierror_400", False),
    ("key refused", 401, error(None), Postponed, "authenticationerror_401", True),
    ("key may not", 403, error(None), Postponed, "permissionerror_403", True),
    ("card", 402, error("card_declined", "card_error"), Unknown, "card_declined", False),
    ("nothing at this address", 404, error("resource_missing"), Unknown, "resource_missing",
     False),
    ("404 of a proxy", 404, b"<html>", Unknown, "apierror_404", False),
    ("key in use", 409, error("idempotency_key_in_use", "idempotency_error"), Unknown, "", False),
    ("object locked", 409, error("lock_timeout"), Unknown, "lock_timeout", False),
    ("too many", 429, error("rate_limit"), Postponed, "rate_limit", False),
    ("too many at one object", 429, error("lock_timeout"), Postponed, "lock_timeout", False),
    *((f"{status}", status, error(None, "api_error"), Unknown, f"apierror_{status}", False)
      for status in (500, 502, 503, 504)),
    ("503 of a proxy", 503, b"<html>", Unknown, "apierror_503", False),
    ("a status of the future", 418, error(None), Unknown, "", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "meaning", "code", "flag"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_an_answer_means_this(
    rail: StripeRail, sayer: Sayer, status: int, body: Any, meaning: type, code: str, flag: bool
) -> None:
    sayer.says(status, body)
    answer = rail.send(ORDER, key="k")
    assert isinstance(answer, meaning), answer
    if code:
        assert getattr(answer, "code", "") == code
    assert (getattr(answer, "again", False) or getattr(answer, "halts", False)) is flag


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
     b"\x00\x01\x02", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"],
    ids=["cut", "half a head", "half a body", "noise", "no gzip"],
)  # fmt: skip
def test_what_is_no_answer_is_unknown(rail: StripeRail, sayer: Sayer, reply: bytes) -> None:
    sayer.reply = reply
    assert isinstance(rail.send(ORDER, key="k"), Unknown)
    assert isinstance(rail.find(ORDER), LookUpFailed)


def test_a_redirect_is_no_transfer(rail: StripeRail, sayer: Sayer) -> None:
    """A POST that is redirected comes back as the answer to a GET of somewhere else."""
    sayer.says(302, b"", head=f"Location: {sayer.url}/elsewhere\r\n")
    assert isinstance(rail.send(ORDER, key="k"), Unknown)


def test_no_line_no_name_and_no_certificate_are_unknown(settings: Settings, tmp_path: Any) -> None:
    """F41: they say nothing of an earlier try, and the same key again costs nothing."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for base in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        rail = StripeRail(replace(settings, stripe_api_key="sk_test_x", stripe_api_base=base))
        assert isinstance(rail.send(ORDER, key="k"), Unknown)
        assert isinstance(rail.find(ORDER), LookUpFailed)


def test_a_server_that_speaks_no_tls_is_unknown(settings: Settings, sayer: Sayer) -> None:
    """Our client begins a handshake, and the other side says something else."""
    sayer.says(200, TRANSFER)
    base = sayer.url.replace("http:", "https:")
    rail = StripeRail(replace(settings, stripe_api_key="sk_test_x", stripe_api_base=base))
    assert isinstance(rail.send(ORDER, key="k"), Unknown)
    assert ssl.OPENSSL_VERSION


ASKED: list[tuple[str, Callable[[StripeRail], object]]] = [
    ("account", lambda rail: rail.own_account()),
    ("funds", lambda rail: rail.funds("EUR")),
    ("transfer", lambda rail: rail.transfer("tr_1")),
    ("payee", lambda rail: rail.payee("acct_1")),
    ("bank payout", lambda rail: rail.bank_payout("po_1", account="acct_1")),
    ("transfers", lambda rail: list(rail.transfers_since(_epoch()))),
    ("events", lambda rail: list(rail.events_since(_epoch()))),
]


@pytest.mark.parametrize("ask", [row[1] for row in ASKED], ids=[row[0] for row in ASKED])
@pytest.mark.parametrize(
    ("status", "body"),
    [(500, error(None, "api_error")), (401, error(None)), (403, error(None)), (429, error(None)),
     (200, b"<html>"), (200, {}), (400, error("parameter_unknown"))],
    ids=["500", "401", "403", "429", "html", "empty", "400"],
)  # fmt: skip
def test_a_question_without_its_answer_is_a_rail_that_is_away(
    rail: StripeRail, sayer: Sayer, ask: Callable[[StripeRail], object], status: int, body: Any
) -> None:
    sayer.says(status, body)
    with pytest.raises(RailAway):
        ask(rail)


def test_what_is_not_there_is_told_apart_from_nobody_answering(
    rail: StripeRail, sayer: Sayer
) -> None:
    sayer.says(404, error("resource_missing"))
    assert rail.transfer("tr_1") is None
    assert rail.bank_payout("po_1", account="acct_1") is None
    sayer.says(403, error("account_invalid"))
    assert rail.payee("acct_1") is None
    assert not rail.payee_ready("acct_1")
    sayer.says(200, {"id": "acct_1", "object": "account", "deleted": True})
    assert rail.payee("acct_1") is None


def _epoch() -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC)


def test_every_answer_is_of_the_closed_set() -> None:
    meanings = {row[3] for row in TABLE}
    assert meanings <= set(Answer.__args__)
