"""`kopeck webhooks`: the process that delivers."""

from __future__ import annotations

import signal
import threading

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import metrics
from affiliate.core.config import Settings
from affiliate.webhooks.deliver import Deliverer


@click.command("webhooks")
@with_appcontext
def webhooks_command() -> None:
    """Send webhooks and postbacks that are due, until stopped.

    Run one or more, anywhere with a way out to https. It may be killed and restarted at any time.
    """
    settings: Settings = current_app.extensions["kopeck.settings"]
    metrics.begin(settings.data_dir)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Deliverer(settings).run(stop)


commands = [webhooks_command]
