"""Load on a server and what it answered: wrk where it is on PATH, else a generator of our own.

Our generator is slower than the servers, so that ratios come out too small; `generator()`
says which one it was. Both keep their connections and ask again as soon as they are answered;
an answer that is neither 2xx nor 3xx ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60
ANSWER_TIMEOUT_S = 30
"""wrk's own two seconds are less than a busy machine needs for a slow server."""


@dataclass(frozen=True)
class Request:
    """What is asked over and over: GET, or POST of a new body each time."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[int], str] | None = None
    """The body of the n-th request; None: it is a GET. The script must send the same."""
    script: Path | None = None
    """wrk's Lua file that makes the bodies."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the script reads with os.getenv."""
    forwarded: bool = False
    """Whether X-Forwarded-For names another address each time."""

    def text(self, number: int, port: int) -> bytes:
        """The n-th request as it goes over the wire."""
        body = self.body(number) if self.body else ""
        lines = [
            f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            *([f"X-Forwarded-For: {_address(number)}"] if self.forwarded else []),
            *([f"Content-Length: {len(body)}"] if self.body else []),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass
class Measured:
    """One round of one variant."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_s: float = 0.0
    loader_cpu_s: float = 0.0
    postgres_cpu_s: float = 0.0
    drain_s: float = 0.0

    @property
    def rps(self) -> float:
        return self.requests / self.seconds

    @property
    def loading_cpu_s(self) -> float:
        """What works behind the server: loader and database."""
        return self.loader_cpu_s + self.postgres_cpu_s


def generator() -> str:
    """Which generator the load comes from, in words for the table."""
    return "wrk" if shutil.which("wrk") else "our own load generator (slower than the servers)"


def load(port: int, request: Request, *, connections: int, seconds: int) -> Measured:
    """Ask for that long; SystemExit if anything but success was answered."""
    if shutil.which("wrk"):
        return _by_wrk(port, request, connections, seconds)
    return _on_a_loop(_by_ourselves(port, request, connections, seconds))


def paced(
    port: int, request: Request, *, per_second: int, connections: int, seconds: int
) -> Measured:
    """Ask at an even pace, whatever the server's: equal load for fast and slow ones.

    A request's time counts from when it was due and not from when it left, so that a server
    which stalls is charged for all that waited. SystemExit if anything but success was answered.
    """
    return _on_a_loop(_at_pace(port, request, per_second, connections, seconds))


def _on_a_loop(work: Coroutine[Any, Any, Measured]) -> Measured:
    """In a thread of its own, because a caller's may have a loop already (Playwright's has)."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def wait_for(port: int, request: Request) -> None:
    """Until the server answers this request with success; SystemExit if it refuses it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    body = request.body(1) if request.body else None
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            method = "POST" if request.body else "GET"
            connection.request(method, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            if answer.status < 400:
                return
            raise SystemExit(f"{request.path}: {answer.status} {answer.read()[:2000].decode()}")
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit(f"nothing answers {request.path} on port {port}")


def _by_wrk(port: int, request: Request, connections: int, seconds: int) -> Measured:
    said_of = {**request.headers, **({"X-Forwarded-For": "?"} if request.forwarded else {})}
    headers = [word for name, value in said_of.items() for word in ("-H", f"{name}: {value}")]
    said = subprocess.run(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers),
            f"--timeout={ANSWER_TIMEOUT_S}s",
            *(("-s", str(request.script)) if request.script else ()),
            f"http://127.0.0.1:{port}{request.path}",
        ],
        env={**os.environ, **request.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{request.path}: not every answer was a success\n{said}")
    counted = re.search(r"(\d+) requests in ([\d.]+)(m?s|m),", said)
    if counted is None:
        raise SystemExit(f"wrk said something else:\n{said}")
    taken_s = float(counted[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[counted[3]]
    return Measured(int(counted[1]), taken_s, latency_ms(said, 50), latency_ms(said, 99))


def _address(number: int) -> str:
    """Another private address for each number, of sixteen million."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def latency_ms(text: str, percentile: int) -> float:
    """A percentile out of what wrk prints with --latency."""
    # A figure in seconds has a space behind it.
    said = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s)\s*$", text, re.MULTILINE)
    if said is None:
        raise SystemExit(f"wrk did not say its latency:\n{text}")
    return float(said[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[said[2]]


async def _by_ourselves(port: int, request: Request, connections: int, seconds: int) -> Measured:
    times_s: list[float] = []
    numbers = itertools.count(time.time_ns() // 1_000_000 if request.forwarded else 1)
    end = time.perf_counter() + seconds

    async def ask() -> str:
        """Until the end, or until a refusal, which is returned."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            while (began := time.perf_counter()) < end:
                writer.write(request.text(next(numbers), port))
                if refusal := await _answer(reader):
                    return refusal
                times_s.append(time.perf_counter() - began)
        return ""

    began = time.perf_counter()
    refused = max(await asyncio.gather(*(ask() for _ in range(connections))))
    if refused:
        raise SystemExit(f"{request.path}: {refused}")
    return _measured(times_s, time.perf_counter() - began)


async def _at_pace(
    port: int, request: Request, per_second: int, connections: int, seconds: int
) -> Measured:
    times_s: list[float] = []
    each_s = connections / per_second
    numbers = itertools.count(time.time_ns() // 1_000_000)

    async def ask(place: int) -> str:
        """This connection's share of the requests; a refusal ends it and is returned."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            for number in range(per_second * seconds // connections):
                due = began + (number + place / connections) * each_s
                if (early_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early_s)
                writer.write(request.text(next(numbers), port))
                if refusal := await _answer(reader):
                    return refusal
                times_s.append(time.perf_counter() - due)
        return ""

    began = time.perf_counter() + 0.1
    refused = max(await asyncio.gather(*(ask(place) for place in range(connections))))
    if refused:
        raise SystemExit(f"{request.path}: {refused}")
    return _measured(times_s, time.perf_counter() - began)


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read one answer whole; empty, or what was refused."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head[9:10] not in (b"2", b"3"):
        return head.decode()
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(int(length[1]) if length else 0)
    return ""


def _measured(times_s: list[float], taken_s: float) -> Measured:
    hundredths = statistics.quantiles(times_s, n=100)
    return Measured(len(times_s), taken_s, hundredths[49] * 1000, hundredths[98] * 1000)
