"""The loader's command."""

from __future__ import annotations

import os
import signal
import threading

import click

from affiliate.core import log
from affiliate.core.config import Settings
from tracker.clicks.loader import Loader


@click.command("loader")
def loader() -> None:
    """Carry recorded clicks from this node's journal into the database, until stopped.

    Run one on every node that serves the web. It may be killed and restarted at any time.
    """
    settings = Settings.from_environ(os.environ)
    log.set_up(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Loader(settings).run(stop)


commands = [loader]
