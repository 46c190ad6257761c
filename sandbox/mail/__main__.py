"""`python -m sandbox.mail --smtp-port 1025 --http-port 8025 --data var/mail`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from sandbox.mail.pages import Handler
from sandbox.mail.store import Store

HOST = "127.0.0.1"
MAIL_BYTES_MAX = 10_000_000


class Catcher:
    """aiosmtpd's handler: every mail that is complete is written down and accepted."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        sender, recipients = envelope.mail_from or "", tuple(envelope.rcpt_tos)
        id = await asyncio.to_thread(self.store.add, sender, recipients, content)
        return f"250 OK kept as {id}"


async def serve(store: Store, smtp_port: int, http_port: int) -> None:
    """Answer both ports until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    smtp = await loop.create_server(
        lambda: SMTP(Catcher(store), data_size_limit=MAIL_BYTES_MAX, enable_SMTPUTF8=True),
        HOST,
        smtp_port,
    )
    handler = type("StoreHandler", (Handler,), {"store": store})
    http = ThreadingHTTPServer((HOST, http_port), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    sys.stdout.write(f"mail: SMTP on {HOST}:{smtp_port}, page on http://{HOST}:{http_port}\n")
    sys.stdout.flush()
    async with smtp:
        await stopped.wait()
    http.shutdown()
    http.server_close()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the ports and the folder, then serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.mail", description=__doc__)
    parser.add_argument("--smtp-port", type=int, default=1025)
    parser.add_argument("--http-port", type=int, default=8025)
    parser.add_argument("--data", type=Path, required=True, help="folder of the mails")
    args = parser.parse_args(argv)
    asyncio.run(serve(Store(args.data), args.smtp_port, args.http_port))


if __name__ == "__main__":
    main()
