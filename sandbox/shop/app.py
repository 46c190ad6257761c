"""The shop as a Flask application: its headers, its cookies, its pages."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from sandbox.shop import admin, pages
from sandbox.shop.config import ShopConfig
from sandbox.shop.kopeck import Kopeck
from sandbox.shop.kopeck_path import KopeckPath
from sandbox.shop.store import Store

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
BODY_BYTES_MAX = 100_000


def create(config: ShopConfig | None = None) -> Flask:
    """Build the shop and begin to deliver its outbox; granian calls this once per worker."""
    config = config or ShopConfig.from_environ(os.environ)
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    app = Flask("sandbox.shop", root_path=str(Path(__file__).parent))
    app.config.update(
        SECRET_KEY=_secret(config.data_dir / "secret"),
        SESSION_COOKIE_NAME="shop",
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=BODY_BYTES_MAX,
    )
    store = Store(config.data_dir / "shop.sqlite3")
    kopeck = Kopeck(config, store)
    app.extensions["shop"] = pages.Shop(config, store, kopeck)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(admin.blueprint)
    app.jinja_env.filters["money"] = money
    app.jinja_env.globals["shop"] = config
    app.before_request(_refuse_other_sites)
    app.after_request(lambda response: _with_headers(response, config))
    app.register_error_handler(404, pages.not_found)
    if config.path:
        app.wsgi_app = KopeckPath(  # type: ignore[method-assign]
            app.wsgi_app, kopeck=config.kopeck_url, secret=config.path_secret, path=config.path
        )
    kopeck.start()
    return app


def money(hundredths: int, currency: str) -> str:
    """`4,490.00 RUB`."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole:,}.{rest:02d}{NO_BREAK_SPACE}{currency}"


def _refuse_other_sites() -> None:
    """Forms are taken from the shop's own pages alone; browsers name the page's origin."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin and urlsplit(origin).netloc != request.host:
        abort(403)


def _with_headers(response: Response, config: ShopConfig) -> Response:
    kopeck = config.kopeck_origin
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; script-src 'self' {kopeck}; img-src 'self' {kopeck}; "
        f"connect-src 'self' {kopeck}; style-src 'self'; object-src 'none'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _secret(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()
