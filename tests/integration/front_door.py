"""The whole application behind a door that can be shut: click front and Flask over HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from affiliate.core.config import Settings
from tracker.clicks.front import ClickFront


@dataclass
class Door:
    """The click front and the application, served at the public address."""

    app: Flask
    settings: Settings
    server: BaseWSGIServer | None = None
    front: ClickFront | None = None

    def open(self) -> None:
        assert self.server is None
        self.front = ClickFront(self.app, self.settings)
        port = int(self.settings.public_url.rpartition(":")[2])
        self.server = make_server("127.0.0.1", port, self.front, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def shut(self) -> None:
        if self.server is not None and self.front is not None:
            self.server.shutdown()
            self.server.server_close()
            self.front.stop()
            self.server = None
