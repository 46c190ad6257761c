"""People who click without pause and note the click id of every answer that reached them.

One process, many keep-alive connections, one request in flight on each. A connection that
is reset or refused has given no answer, and is opened again. What is noted goes to files,
so that a million ids burden nobody: 16 bytes an id.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import random
import select
import socket
import time
from binascii import a2b_base64
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from tracker.clicks.tokens import FLAG_UNRECORDED, TOKEN_CHARS, ClickToken, SigningKey, read

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
)
ADDRESSES = 200_000
SUB_IDS = ("", "?s1=spring", "?s1=autumn&s2=top", "?s2=side")
RETURNING = 0.2
"""So many clicks come with the cookie that an earlier one was given."""
REFUSED_WAIT_S = 0.02
ANSWER_WAIT_S = 15.0
"""Longer than this no click may wait for its answer from a process that is alive."""
FLUSH_BYTES = 1 << 16
CHECKED_EVERY = 128
"""Each so many'th token's signature is checked."""
URL_SAFE = bytes.maketrans(b"-_", b"+/")
TOKEN = b"kpk="

FIELDS = (
    "acked",
    "unrecorded",
    "reset",
    "refused",
    "surprises",
    "slowest_us",
    "slowest_at_us",
    "stalled",
)
SLOTS = Struct(f"={len(FIELDS)}q")
UNRECORDED = Struct("=16sd")


@dataclass(frozen=True)
class Errand:
    """What a client process is told."""

    port: int
    codes: tuple[str, ...]
    connections: int
    seed: int
    folder: Path
    number: int
    token_secret: bytes
    rate_max: float
    """Answered clicks a second; 0: as many as get through."""


class Board:
    """A client's running totals, in a file that the campaign reads while they grow."""

    def __init__(self, path: Path, *, create: bool) -> None:
        if create:
            path.write_bytes(bytes(SLOTS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SLOTS.size)

    def totals(self) -> dict[str, int]:
        return dict(zip(FIELDS, SLOTS.unpack_from(self._map), strict=True))

    def show(self, totals: dict[str, int]) -> None:
        SLOTS.pack_into(self._map, 0, *(totals[name] for name in FIELDS))


def acked_file(folder: Path, number: int) -> Path:
    """Click ids of answered, recorded clicks, 16 bytes each."""
    return folder / f"acked-{number}.ids"


def unrecorded_file(folder: Path, number: int) -> Path:
    """Click ids whose token says `unrecorded`, each with the monotonic second of its answer."""
    return folder / f"unrecorded-{number}.ids"


def surprises_file(folder: Path, number: int) -> Path:
    """Answers that no click on a known link may get, a line of JSON each."""
    return folder / f"surprises-{number}.jsonl"


def board_file(folder: Path, number: int) -> Path:
    return folder / f"board-{number}"


def stop_file(folder: Path) -> Path:
    """When it exists the clients end."""
    return folder / "stop"


def run(errand: Errand) -> None:
    """Click until the stop file appears."""
    Client(errand).run()


class Connection:
    """One keep-alive connection and what it waits for."""

    __slots__ = ("asked_at", "buffer", "cookie", "sock")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.asked_at = 0.0
        self.buffer = b""
        self.cookie = b""


class Client:
    """The connections of one process, in one loop over epoll."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._chance = random.Random(errand.seed)
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._waiting: list[tuple[float, Connection]] = []
        self._totals = dict.fromkeys(FIELDS, 0)
        self._board = Board(board_file(errand.folder, errand.number), create=False)
        self._acked = bytearray()
        self._keys = (SigningKey.of(errand.token_secret),)
        self._began = time.monotonic()
        self._requests = self._made_requests()

    def run(self) -> None:
        errand = self._errand
        now = time.monotonic()
        self._waiting = [(now, Connection()) for _ in range(errand.connections)]
        looked_at = now
        with (
            acked_file(errand.folder, errand.number).open("ab", buffering=0) as acked,
            unrecorded_file(errand.folder, errand.number).open("ab", buffering=0) as unrecorded,
            surprises_file(errand.folder, errand.number).open("a") as surprises,
        ):
            self._unrecorded, self._surprises = unrecorded, surprises
            while True:
                now = time.monotonic()
                if now - looked_at > 0.05:
                    looked_at = now
                    self._board.show(self._totals)
                    if stop_file(errand.folder).exists():
                        break
                    self._look_for_stalled(now)
                    if len(self._acked) >= FLUSH_BYTES:
                        acked.write(self._acked)
                        self._acked.clear()
                self._connect_due(now)
                for fd, _ in self._poll.poll(0.02):
                    if fd in self._open:
                        self._readable(self._open[fd])
            acked.write(self._acked)
        self._board.show(self._totals)

    def _connect_due(self, now: float) -> None:
        due = [entry for entry in self._waiting if entry[0] <= now]
        if not due:
            return
        self._waiting = [entry for entry in self._waiting if entry[0] > now]
        for _, connection in due:
            sock = socket.socket()
            try:
                sock.settimeout(2)
                sock.connect(("127.0.0.1", self._errand.port))
            except OSError:
                sock.close()
                self._totals["refused"] += 1
                self._waiting.append((now + REFUSED_WAIT_S, connection))
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            connection.sock, connection.buffer = sock, b""
            self._open[sock.fileno()] = connection
            self._poll.register(sock.fileno(), select.EPOLLIN)
            self._ask(connection)

    def _made_requests(self) -> list[bytes]:
        """Heads without address and cookie, so that a request costs one formatting."""
        return [
            f"GET /r/{code}{sub_ids} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {agent}\r\n"
            "Referer: https://blog.example/tea\r\nX-Forwarded-For: ".encode()
            for code in self._errand.codes
            for sub_ids in SUB_IDS
            for agent in AGENTS
        ]

    def _ask(self, connection: Connection) -> None:
        chance = self._chance.random
        number = int(chance() * ADDRESSES)
        head = self._requests[int(chance() * len(self._requests))]
        address = b"11.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)
        cookie = connection.cookie if chance() < RETURNING else b""
        connection.asked_at = time.monotonic()
        assert connection.sock is not None
        try:
            connection.sock.send(head + address + b"\r\n" + cookie + b"\r\n")
        except OSError:
            self._drop(connection)

    def _readable(self, connection: Connection) -> None:
        assert connection.sock is not None
        try:
            data = connection.sock.recv(65_536)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.buffer += data
        end = connection.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        answer, connection.buffer = connection.buffer[: end + 4], b""
        self._note(connection, answer)
        if connection.sock is None:
            return
        rate = self._errand.rate_max
        if rate and self._totals["acked"] > rate * (time.monotonic() - self._began):
            # Slow down together: this connection asks again when the pace allows.
            time.sleep(0.001)
        self._ask(connection)

    def _note(self, connection: Connection, answer: bytes) -> None:
        taken_us = int((time.monotonic() - connection.asked_at) * 1e6)
        totals = self._totals
        if taken_us > totals["slowest_us"]:
            totals["slowest_us"] = taken_us
            totals["slowest_at_us"] = int(time.monotonic() * 1e6)
        start = answer.find(TOKEN)
        if not answer.startswith(b"HTTP/1.1 302 ") or start < 0:
            totals["surprises"] += 1
            said = {"at": time.monotonic(), "answer": answer[:300].decode("latin-1")}
            self._surprises.write(json.dumps(said) + "\n")
            self._surprises.flush()
            # Its body was not read: this connection is of no use any more.
            self._drop(connection)
            return
        token = answer[start + len(TOKEN) : start + len(TOKEN) + TOKEN_CHARS]
        raw = a2b_base64(token.translate(URL_SAFE) + b"=")
        if raw[0] & FLAG_UNRECORDED:
            totals["unrecorded"] += 1
            self._unrecorded.write(UNRECORDED.pack(raw[3:19], time.monotonic()))
            return
        self._acked += raw[3:19]
        totals["acked"] += 1
        if totals["acked"] % CHECKED_EVERY == 0:
            assert isinstance(read(token.decode(), self._keys), ClickToken), token
        start = answer.find(b"set-cookie: ")
        if start >= 0:
            value = answer[start + 12 : answer.find(b";", start)]
            connection.cookie = b"Cookie: " + value + b"\r\n"

    def _drop(self, connection: Connection) -> None:
        """The server's process is gone, or has hung up: no answer, so nothing to note."""
        self._totals["reset"] += 1
        self._close(connection)
        self._waiting.append((time.monotonic() + REFUSED_WAIT_S, connection))

    def _close(self, connection: Connection) -> None:
        if connection.sock is not None:
            fd = connection.sock.fileno()
            self._open.pop(fd, None)
            with contextlib.suppress(OSError):
                self._poll.unregister(fd)
            connection.sock.close()
            connection.sock = None

    def _look_for_stalled(self, now: float) -> None:
        for connection in list(self._open.values()):
            if now - connection.asked_at > ANSWER_WAIT_S:
                self._totals["stalled"] += 1
                self._drop(connection)


def ids_of(path: Path) -> list[bytes]:
    """The 16-byte ids of a file that a client wrote."""
    data = path.read_bytes()
    assert len(data) % 16 == 0, f"{os.fspath(path)} ends in half an id"
    return [data[at : at + 16] for at in range(0, len(data), 16)]
