"""The socket: one thread a connection, and the faults that only a socket can have."""

from __future__ import annotations

import logging
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import control, pages
from .engine import Delivery, Double
from .faults import DRIP_S, Kind
from .wire import Answer, ApiError, Request, new_id

BODY_MAX_BYTES = 1024 * 1024
IDLE_TIMEOUT_S = 120
BACKLOG = 256
DRIP_CHUNKS = 20

log = logging.getLogger("sandbox.stripe")


class Server(ThreadingHTTPServer):
    """Listens for one double. Threads are daemons: a hanging answer never delays the end."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, address: tuple[str, int], double: Double) -> None:
        super().__init__(address, Conversation)
        self.double = double
        host, port = self.socket.getsockname()[:2]
        double.base_url = f"http://{host}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what faults are for; it deserves no traceback."""
        log.info("connection of %s ended early", client_address, exc_info=True)


class Conversation(BaseHTTPRequestHandler):
    """Reads requests off one connection and sends the answers, or spoils them."""

    protocol_version = "HTTP/1.1"
    server_version = "stripe-double"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._converse()

    def do_POST(self) -> None:
        self._converse()

    def do_DELETE(self) -> None:
        self._converse()

    def _converse(self) -> None:
        request_id = new_id("req_", 14)
        try:
            delivery = self._served(self._read(request_id))
        except ApiError as refusal:
            self.close_connection = True  # The body may still lie unread on the wire.
            delivery = Delivery(refusal.answer(request_id))
        except Exception:
            log.exception("request %s failed", request_id)
            delivery = Delivery(
                ApiError(500, "The double itself failed.", kind="api_error").answer(request_id)
            )
        self._deliver(delivery)

    def _read(self, request_id: str) -> Request:
        if "transfer-encoding" in self.headers:
            raise ApiError(411, "Send a Content-Length.")
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and int(length) <= BODY_MAX_BYTES):
            raise ApiError(413, f"A body has at most {BODY_MAX_BYTES} bytes.")
        named = {name.lower(): value.strip() for name, value in self.headers.items()}
        if any(not value.isprintable() for value in named.values()):
            raise ApiError(400, "A header holds control characters.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ApiError(400, "The body ended early.")
        path, _, query = self.path.partition("?")
        return Request(request_id, self.command, path, query, named, body)

    def _served(self, request: Request) -> Delivery:
        double = self.server.double
        if request.path.startswith(("/v1/", "/v2/")):
            return double.serve(request)
        if request.path.startswith("/_double/"):
            return Delivery(control.serve(double, request))
        return Delivery(pages.serve(double, request))

    def _deliver(self, delivery: Delivery) -> None:
        rule = delivery.rule
        kind = None if rule is None else rule.kind
        if kind in (Kind.ACCEPT_DROP, Kind.REFUSE_DROP):
            return self._cut()
        if rule is not None and kind is Kind.ACCEPT_HANG:
            self.server.double.faults.wait(rule.hang_s)
            return self._cut()
        self._send_head(delivery.answer)
        if kind is Kind.HALF_BODY:
            self.wfile.write(delivery.answer.body[: len(delivery.answer.body) // 2])
            return self._cut()
        if rule is not None and kind is Kind.SLOW_BODY:
            return self._drip(delivery.answer.body, min(rule.hang_s, DRIP_S))
        self.wfile.write(delivery.answer.body)
        return None

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _drip(self, body: bytes, whole_s: float) -> None:
        step = max(1, len(body) // DRIP_CHUNKS)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(whole_s / DRIP_CHUNKS)

    def _cut(self) -> None:
        """End the connection in the middle of the conversation."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
