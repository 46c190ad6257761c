"""`/pixel.js` and its versioned twin, for every shop's pages."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, request

from affiliate.core.config import ROOT, Settings
from affiliate.people.access import public
from tracker.integration import noticing
from tracker.pixel.rules import Script, script_from

SOURCE = ROOT / "static" / "pixel" / "pixel.js"
MOVING_MAX_AGE_S = 3_600
IMMUTABLE_MAX_AGE_S = 31_536_000

blueprint = Blueprint("pixel", __name__)


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pixel's addresses."""
    app.register_blueprint(blueprint)


@blueprint.get("/pixel.js")
@public
def moving_pixel() -> Response:
    """The current pixel: shops embed this address and get corrections within an hour."""
    script = current_script()
    noticing.pixel_fetched(script.version, installed=True)
    return _answer(script, f"public, max-age={MOVING_MAX_AGE_S}")


@blueprint.get("/pixel-<version>.js")
@public
def versioned_pixel(version: str) -> Response:
    """This very version, for ever: an address whose content cannot change."""
    script = current_script()
    noticing.pixel_fetched(version, installed=version == script.version)
    if version != script.version:
        abort(404)
    return _answer(script, f"public, max-age={IMMUTABLE_MAX_AGE_S}, immutable")


@cache
def current_script(source: Path = SOURCE) -> Script:
    """The script of this release, read once per process."""
    return script_from(source.read_text(encoding="utf-8"))


def _answer(script: Script, cache_control: str) -> Response:
    response = Response(script.body, content_type="text/javascript; charset=utf-8")
    response.set_etag(script.version)
    response.headers["Cache-Control"] = cache_control
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request)
    return response
