"""`/pixel.js`, its versions and what belongs to it, for every shop's pages."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from affiliate.core import strict_json
from affiliate.core.config import Settings
from affiliate.core.errors import Malformed
from affiliate.core.http import csrf
from affiliate.people.access import public
from tracker.integration import noticing
from tracker.pixel.keeping import Kept, cookies_for, kept_in, kept_in_address, kept_of
from tracker.pixel.rules import GIF, Script
from tracker.pixel.scripts import DEBUG_SOURCE, current_script, scripts

MOVING_MAX_AGE_S: Final = 3_600
IMMUTABLE_MAX_AGE_S: Final = 31_536_000
MOVING: Final = f"public, max-age={MOVING_MAX_AGE_S}"
KEEP_BYTES_MAX: Final = 4_096
VISITOR_BYTES: Final = 16

blueprint = Blueprint("pixel", __name__)
csrf.exempt(blueprint)


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pixel's addresses."""
    app.register_blueprint(blueprint)


@blueprint.get("/pixel.js")
@public
def moving_pixel() -> Response:
    """The current pixel: shops embed this address and get corrections within an hour."""
    script = current_script()
    noticing.pixel_fetched(script.version, installed=True)
    return _script(script, MOVING)


@blueprint.get("/pixel-<version>.js")
@public
def versioned_pixel(version: str) -> Response:
    """This very version, for ever: an address whose content cannot change."""
    script = scripts().get(version)
    noticing.pixel_fetched(version, installed=version == current_script().version)
    if script is None:
        abort(404)
    return _script(script, f"public, max-age={IMMUTABLE_MAX_AGE_S}, immutable")


@blueprint.get("/pixel-debug.js")
@public
def debug_panel() -> Response:
    """What the pixel loads where it is to explain itself."""
    return _script(current_script(DEBUG_SOURCE), MOVING)


@blueprint.get("/pixel.json")
@public
def published() -> Response:
    """Version, address and integrity of the current pixel, and of those before it."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    base, current = settings.public_url.rstrip("/"), current_script()

    def told(script: Script) -> dict[str, str]:
        return {
            "version": script.version,
            "url": f"{base}/{script.name}",
            "integrity": script.integrity,
        }

    before = [told(script) for script in scripts().values() if script != current]
    return _open(jsonify({**told(current), "before": before}), MOVING)


@blueprint.post("/v1/keep")
@public
def keep() -> Response:
    """Set the pixel's cookies on the domain of the shop whose path led here, or forget them.

    For the shop's own pages alone: a body of JSON is sent across origins by none that this
    address does not allow, and it allows none.
    """
    said = _said()
    if said is None or _is_from_elsewhere():
        return Response(status=HTTPStatus.NO_CONTENT)
    kept: Kept | None = None
    if said.get("forget") is not True:
        kept = kept_in(request.cookies).and_of(kept_of(said.get("clicks"), said.get("visitor")))
    secure = request.headers.get("Origin", "").startswith("https:")
    response = Response(status=HTTPStatus.NO_CONTENT)
    return _with_cookies(
        response, kept, said.get("domain"), said.get("http_only") is True, secure=secure
    )


@blueprint.get("/v.gif")
@public
def visit() -> Response:
    """The same where no script runs: the tokens stand in the address of the page that shows it.

    Only for a page of the shop's own, by the word of the browser.
    """
    response = Response(GIF, content_type="image/gif")
    if request.headers.get("Sec-Fetch-Site") != "same-origin":
        return response
    page = request.referrer or ""
    found = kept_in_address(page)
    if not found.clicks:
        return response
    return _with_cookies(
        response,
        kept_in(request.cookies).and_of(found),
        request.args.get("domain"),
        "http_only" in request.args,
        secure=page.startswith("https:"),
    )


def _script(script: Script, cache_control: str) -> Response:
    response = Response(script.body, content_type="text/javascript; charset=utf-8")
    response.set_etag(script.version)
    _open(response, cache_control)
    response.make_conditional(request)
    return response


def _open(response: Response, cache_control: str) -> Response:
    """Any site's pages may read it; there is nothing of anybody in it."""
    response.headers["Cache-Control"] = cache_control
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _said() -> dict[str, Any] | None:
    """The body, if it is an object in JSON; never an error to the page."""
    request.max_content_length = KEEP_BYTES_MAX
    if not request.is_json:
        return None
    try:
        said = strict_json.loads(request.get_data(cache=False))
    except (RequestEntityTooLarge, Malformed):
        return None
    return said if isinstance(said, dict) else None


def _is_from_elsewhere() -> bool:
    """Whether the browser says that another origin's page sent this."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"


def _with_cookies(
    response: Response, kept: Kept | None, domain: Any, http_only: bool, *, secure: bool
) -> Response:
    if kept is not None and kept.clicks and not kept.visitor:
        kept = Kept(kept.clicks, secrets.token_hex(VISITOR_BYTES))
    for cookie in cookies_for(kept, domain=domain, http_only=http_only, secure=secure):
        response.set_cookie(
            cookie.name,
            cookie.value,
            max_age=cookie.max_age_s,
            domain=cookie.domain,
            httponly=cookie.http_only,
            secure=cookie.secure,
            samesite="Lax",
        )
    return response
