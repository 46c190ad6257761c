"""``python -m sandbox.stripe --port N --data DIR [--key sk_test_…]``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from . import balances, currencies, store, webhooks
from .engine import Double
from .server import Server
from .wire import ApiError

KEY_DEFAULT = "sk_test_kopeck_double"


def main(words: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line on standard output says where."""
    asked = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(levelname)s %(message)s")
    try:
        kept = store.Store(asked.data)
    except store.FolderInUse as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    _fund(kept, dict(asked.balance))
    _listen(kept, asked)
    double = Double(
        kept,
        api_keys=asked.key or [KEY_DEFAULT],
        platform_country=asked.country,
        platform_account=asked.account,
    )
    server = Server((asked.host, asked.port), double)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that the signal interrupted, so it runs beside it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(f"Stripe double at {double.base_url}\n")
    sys.stdout.flush()
    double.sender.start()
    server.serve_forever(poll_interval=0.1)
    double.sender.stop()
    server.server_close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.stripe", description="A local stand-in for Stripe Connect."
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="folder of its state")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--key", action="append", help="a secret key that is let in; may be repeated"
    )
    parser.add_argument("--account", default="acct_platform", help="the platform's account")
    for name in webhooks.NAMES:
        parser.add_argument(
            f"--{name}-webhook",
            nargs=2,
            metavar=("URL", "SECRET"),
            help=f"where events of the {name} endpoint go, and what signs them",
        )
    parser.add_argument("--country", default="DE", help="the platform's country")
    parser.add_argument(
        "--balance",
        type=_funds,
        action="append",
        default=[],
        metavar="CURRENCY=MINOR",
        help="opening balance, kept as it is once the currency has one; may be repeated",
    )
    return parser


def _funds(text: str) -> tuple[str, int]:
    name, _, amount = text.partition("=")
    try:
        currency = currencies.known(name)
    except ApiError as refusal:
        raise argparse.ArgumentTypeError(f"unknown currency {name}") from refusal
    if not amount.isdigit():
        raise argparse.ArgumentTypeError("the amount is a whole number of minor units")
    return currency, int(amount)


def _listen(kept: store.Store, asked: argparse.Namespace) -> None:
    """Set the endpoints that were named; those of an earlier run stay otherwise."""
    with kept.writing() as con:
        for name in webhooks.NAMES:
            given = getattr(asked, f"{name}_webhook")
            if given is not None:
                webhooks.keep_endpoint(con, name, webhooks.checked(name, *given))


def _fund(kept: store.Store, opening: dict[str, int]) -> None:
    with kept.writing() as con:
        present = balances.every(con, store.PLATFORM)
        for currency, amount_minor in opening.items():
            if currency not in present:
                balances.put(con, store.PLATFORM, currency, amount_minor)


if __name__ == "__main__":
    sys.exit(main())
