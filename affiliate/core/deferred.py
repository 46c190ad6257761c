"""An answer that another thread gives than the one that took the request.

WSGI knows no such thing: the thread that calls the application waits for what it returns. Where
many calls are served together (affiliate.core.together), each of them would hold up a thread, and
Python's lock would be handed from one to the next for every answer. granian gives its WSGI wrapper
an object by which any thread may answer, once; `offer` puts that object into the environment of
the paths that want it. It is no documented interface: under another server, a granian whose
wrapper is called otherwise, or with an access log, an application finds none there and answers as
ever. tests/core/test_deferred.py says whether the granian that is installed has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

KEY: Final = "kopeck.deferred"
"""In a request's WSGI environment: its `Deferred`."""
_SERVER: Final = "granian.server.mp"
_WRAP: Final = "_wsgi_call_wrap"

Headers = list[tuple[str, str]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Protocolled(Protocol):
    """granian's `WSGIProtocol`; the first of these calls answers, any later one is ignored."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: Any) -> None: ...


class Deferred:
    """The answer to one request, put off or not."""

    __slots__ = ("_is_put_off", "_protocol")

    def __init__(self, protocol: Protocolled) -> None:
        self._protocol = protocol
        self._is_put_off = False

    def put_off(self, start_response: Callable[..., Any]) -> list[bytes]:
        """For the application to return: what WSGI asks for, by which nothing is answered."""
        self._is_put_off = True
        start_response("202 Accepted", [])
        return []

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer what was put off. From any thread, once."""
        self._protocol.response_bytes(status, headers, body)

    def give_up(self) -> None:
        """Answer what was put off with an error that says nothing, or nothing where it is
        answered already."""
        self.answer(500, [("Content-Length", "0")], b"")

    def answer_by(self, application: Application, environ: dict[str, Any]) -> None:
        """Let an application answer what was put off; waits for it."""
        started: list[tuple[int, Headers]] = []

        def start_response(status: str, headers: Headers, _: Any = None) -> Callable[..., Any]:
            started.append((int(status.split(" ", 1)[0]), headers))
            return _refuse_to_write

        returned = application(environ, start_response)
        try:
            body = b"".join(returned)
        finally:
            close = getattr(returned, "close", None)
            if close is not None:
                close()
        self.answer(*started[-1], body)

    # What granian's wrapper calls with what the application returned.

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if not self._is_put_off:
            self._protocol.response_bytes(status, headers, body)

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        self._protocol.response_iter(status, headers, body)


def offer(paths: frozenset[str]) -> None:
    """Let requests to these paths be answered later, where granian serves this process."""
    server = sys.modules.get(_SERVER)
    wrap = getattr(server, _WRAP, None)
    if wrap is None or hasattr(wrap, "offers"):
        return

    def offering(*given: Any, **named: Any) -> Any:
        answer = wrap(*given, **named)
        # The callback, what is known of every request, the access log's format.
        if named or len(given) != 3 or given[2]:
            return answer  # An access log notes the status when the application returns.

        def answer_some_later(protocol: Any, scope: dict[str, Any]) -> Any:
            if scope["PATH_INFO"] in paths:
                protocol = scope[KEY] = Deferred(protocol)
            return answer(protocol, scope)

        return answer_some_later

    offering.offers = paths  # type: ignore[attr-defined]
    setattr(server, _WRAP, offering)


def _refuse_to_write(_: bytes) -> None:
    raise NotImplementedError("an application writes by what it returns")
