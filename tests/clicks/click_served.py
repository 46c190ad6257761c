"""What granian serves in the kill tests: the front before a bare application."""

from __future__ import annotations

import os

from click_support import flask_stand_in

from affiliate.core import log
from affiliate.core.config import Settings
from tracker.clicks.front import ClickFront


def make() -> ClickFront:
    """The front of this process's environment."""
    settings = Settings.from_environ(os.environ)
    log.set_up(settings.log_level)
    return ClickFront(flask_stand_in, settings)
