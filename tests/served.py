"""Real HTTP servers on this machine: for whatever fetches, and the application as it is served."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from affiliate.core.config import Settings

ROOT = Path(__file__).resolve().parents[1]
UP_TIMEOUT_S = 60

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server that answers every GET and POST so; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)
            self.close_connection = True

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def replying(body: bytes, status: int = 200, **headers: str) -> Answer:
    """One and the same answer; `_` in a header's name is a hyphen."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class Web(NamedTuple):
    """A granian: its port and its own process."""

    port: int
    pid: int

    def workers(self) -> list[int]:
        """Its processes that answer."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            for pid in task.read_text().split():
                with contextlib.suppress(OSError):  # It has just gone.
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if command and b"resource_tracker" not in command:
                        found.append(int(pid))
        return found


@contextlib.contextmanager
def granian(settings: Settings, *options: str, workers: int = 2, threads: int = 4) -> Iterator[Web]:
    """The whole application on granian, as `kopeck run` starts it."""
    environment = {
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }
    served = ("--workers", str(workers), "--blocking-threads", str(threads), *options)
    with on_granian("wsgi:make_application", *served, environment=environment) as web:
        yield web


@contextlib.contextmanager
def on_granian(
    factory: str, *options: str, environment: dict[str, str], folder: Path = ROOT
) -> Iterator[Web]:
    """A WSGI application on granian, once it answers at /healthz."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), "--no-log", *options, factory),
        ],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environment},
        cwd=folder,
        start_new_session=True,
    )
    try:
        _wait_until_up(process, port)
        yield Web(port, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + UP_TIMEOUT_S
    while True:
        assert process.poll() is None, "the web process ended"
        assert time.monotonic() < deadline, "the web process did not come up"
        with contextlib.suppress(OSError, http.client.HTTPException):
            if asked(port, "GET", "/healthz")[0] == 200:
                return
        time.sleep(0.1)


def asked(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """The answer to a request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=UP_TIMEOUT_S)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
