"""Run the Stripe double as a process of its own, for every test that needs a Stripe."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import stripe

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk_test_of_the_tests"
DEADLINE_S = 20.0

_numbers = itertools.count(1)


class Double:
    """One running double: its process, its folder and ways to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        words = [
            "--port",
            "0",
            "--data",
            str(self.folder),
            "--key",
            KEY,
            "--balance",
            "eur=1000000",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.stripe", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Stripe double at http://127.0.0.1:"), line
        self.url = line.split()[-1]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, *, key: str = KEY, timeout_s: float = DEADLINE_S) -> stripe.StripeClient:
        return stripe.StripeClient(
            key,
            base_addresses={"api": self.url},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        )

    def control(
        self, method: str, path: str, content: Any = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        answer = requests.request(
            method, f"{self.url}/_double{path}", json=content, params=query, timeout=DEADLINE_S
        )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def account(self, **states: Any) -> str:
        told = self.control("POST", "/accounts", {"id": f"acct_test{next(_numbers)}", **states})
        return str(told["id"])

    def fault(self, kind: str, **switches: Any) -> None:
        self.control("POST", "/faults", {"kind": kind, **switches})

    def accepted(self, item: str) -> int:
        return int(self.control("GET", "/transfers")["by_item"].get(item, 0))


def item() -> str:
    return f"item-{next(_numbers)}"


def send(
    double: Double,
    destination: str,
    name: str,
    *,
    key: str | None = None,
    amount: Any = 100,
    client: stripe.StripeClient | None = None,
    **more: Any,
) -> stripe.Transfer:
    return (client or double.client()).v1.transfers.create(
        {
            "amount": amount,
            "currency": "eur",
            "destination": destination,
            "metadata": {"item_id": name},
            **more,
        },
        options={"idempotency_key": key or f"key-{name}"},
    )


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


def headers(answer: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.last_response.headers.items()}
