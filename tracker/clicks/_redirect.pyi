from collections.abc import Callable, Iterable
from typing import Any

from tracker.clicks.journal import Journal
from tracker.clicks.links import LinkTable
from tracker.clicks.redirecting import Agent, Environ, Headers, StartResponse

SOURCE: str

class CommonClicks:
    def __init__(
        self,
        *,
        otherwise: Callable[[Environ, StartResponse], Iterable[bytes]],
        table: LinkTable,
        hosts: set[str],
        journal: Journal,
        spill: Callable[[bytes, OSError], bool],
        met: dict[str | None, Agent],
        read_cookie: Callable[[str], bytes | None],
        sign: Callable[[bytes], bytes],
        noise: Callable[[int], bytes],
        new_visitors: Callable[[int], bytes],
        marker: bytes,
        tail: bytes,
        page: Callable[[str], bytes],
        country_of: Callable[[str | None], bytes],
        country_header: str,
        client_address: Callable[[dict[str, Any], int], str],
        hash_address: Callable[[str, int], bytes],
        salt: Callable[[int], bytes],
        headers: Headers,
        empty: list[bytes],
        key_id: bytes,
        secret: bytes,
        hops: int,
        remembers: bool,
    ) -> None: ...
    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]: ...
