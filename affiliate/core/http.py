"""What every answer has: a request id, security headers, one shape of error, a known host."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
import structlog
from flask import Flask, Request, Response, current_app, g, jsonify, render_template, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_wtf.csrf import CSRFError, CSRFProtect
from markupsafe import escape
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import (
    HTTPException,
    RequestEntityTooLarge,
    RequestURITooLarge,
    SecurityError,
)
from werkzeug.middleware.proxy_fix import ProxyFix

from affiliate.core.config import Settings
from affiliate.core.errors import Malformed, Refusal, Unavailable
from affiliate.core.pages import language, say

MACHINE_PREFIXES = ("/api/", "/v1/", "/webhooks/", "/healthz", "/readyz", "/metrics")
"""Paths that are read by machines: errors there are problem documents, not pages."""
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = tuple(
    (name, name.lower(), value)
    for name, value in (
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    )
)
"""On every answer that does not say it itself: name, name in lower case, value."""
STRICT_TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")
FIELDS_MAX = 200
"""Names in one form or one address; the longest page of ours has some forty."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
BARE_PAGE = (
    "<!doctype html><html lang={language}><meta charset=utf-8><title>Kopeck</title>"
    "<h1>{title}</h1><p>{detail}</p>"
)

STATUS_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "request_entity_too_large",
    414: "request_uri_too_long",
    415: "unsupported_media_type",
}
"""Codes of what the framework refuses. By number: Python 3.13 names some of them otherwise."""

csrf = CSRFProtect()
_BODY_BYTES_MAX = "kopeck_body_bytes_max"
V = TypeVar("V", bound=Callable[..., Any])
log = structlog.get_logger(__name__)


class FromElsewhere(Refusal):
    code = "from_elsewhere"
    status = 403
    title = "This form was sent by another site. Open the page here and send it again."


class FormsOnly(Refusal):
    code = "forms_only"
    status = 415
    title = "This page takes forms; programs call the API under /api/."


class FormExpired(Refusal):
    code = "form_expired"
    status = 400
    title = "This form is no longer valid; go back, reload the page and send it again."


class Unexpected(Refusal):
    code = "internal_error"
    status = 500
    title = "Something went wrong on our side. It was recorded; nothing was half-written."


class _OfFramework(Refusal):
    """What the framework refuses: it speaks of servers and URLs, where a page speaks of pages."""

    @classmethod
    def of(cls, http_status: int) -> type[_OfFramework]:
        """The refusal of this status."""

        class Http(cls):  # type: ignore[valid-type, misc]
            status = http_status
            code = STATUS_CODES.get(http_status, f"http_{http_status}")
            title = HTTPStatus(http_status).phrase

        return Http


def set_up(app: Flask, settings: Settings) -> None:
    """Install the hooks; called once by create_app."""
    app.config.update(
        TRUSTED_HOSTS=list(settings.trusted_hosts),
        MAX_CONTENT_LENGTH=settings.body_bytes_max,
        MAX_FORM_PARTS=FIELDS_MAX,
        MAX_FORM_MEMORY_SIZE=settings.body_bytes_max,
    )
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )
    app.session_interface = _Cookies()
    # No view or hook of ours is a coroutine; Flask would look at each of them every time.
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]
    app.before_request(_begin)  # first, so that a form refused for its token has an id too
    csrf.init_app(app)
    app.after_request(_finish)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(sa.exc.OperationalError, _database_away)
    app.register_error_handler(sa.exc.TimeoutError, _database_away)
    app.register_error_handler(sa.exc.DataError, _database_refused_text)
    app.register_error_handler(UnicodeEncodeError, _database_refused_text)
    app.register_error_handler(Exception, _unexpected)


def headers_for_machines(*, https: bool) -> tuple[tuple[str, str], ...]:
    """What every answer carries besides its request id, for who answers without Flask."""
    headers = [(name, value) for name, _, value in SECURITY_HEADERS]
    headers.append(("Cache-Control", "no-store"))
    if https:
        headers.append(STRICT_TRANSPORT)
    return tuple(headers)


def takes_bytes(most: int) -> Callable[[V], V]:
    """Mark a view that takes larger bodies than others do: a bank's files, say. The mark is
    looked at before the body is read, so it stands outermost but for the route."""

    def mark(view: V) -> V:
        setattr(view, _BODY_BYTES_MAX, most)
        return view

    return mark


class _Cookies(SecureCookieSessionInterface):
    """Flask's own; a request without the cookie does not pay for a signature's set-up."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)


def _begin() -> None:
    request_id = secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    g.request_id = request_id
    view = current_app.view_functions.get(request.endpoint or "")
    larger: int | None = getattr(view, _BODY_BYTES_MAX, None)
    if larger is not None:
        request.max_content_length = larger
    _ = request.host  # an unknown host is refused here, before any view runs
    if request.query_string and _values(request.args) > FIELDS_MAX:
        raise RequestURITooLarge
    if wants_problem():
        return
    if request.method not in SAFE_METHODS and _sent_from_elsewhere():
        raise FromElsewhere
    if request.is_json:
        # Flask-WTF would take any JSON for a form: a list for a text, and past the brakes
        # on sign-in, which count by the field of the form.
        raise FormsOnly
    if _values(request.form) > FIELDS_MAX:
        # MAX_FORM_PARTS counts the parts of multipart bodies alone.
        raise RequestEntityTooLarge


def _values(fields: MultiDict[str, str]) -> int:
    return sum(len(values) for values in fields.listvalues())


def _sent_from_elsewhere() -> bool:
    """Whether the browser says that another site's page sent this; the second wall to tokens.

    Host names alone are compared: a proxy may leave out the port. `null` is what pages in a
    sandbox and local files send.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    settings: Settings = current_app.extensions["kopeck.settings"]
    own = {_host_name(request.host_url), _host_name(settings.public_url)}
    return _host_name(origin) not in own


def _host_name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _finish(response: Response) -> Response:
    headers = response.headers
    given = {name.lower() for name in headers.keys()}  # noqa: SIM118 -- pairs are iterated
    for name, lower, value in SECURITY_HEADERS:
        if lower not in given:
            headers.add(name, value)
    if "x-request-id" not in given:
        headers.add("X-Request-Id", getattr(g, "request_id", ""))
    kept = request.endpoint == "static" and response.status_code < HTTPStatus.BAD_REQUEST
    if not kept and "cache-control" not in given:
        headers.add("Cache-Control", "no-store")
    settings: Settings = current_app.extensions["kopeck.settings"]
    if settings.https and "strict-transport-security" not in given:
        headers.add(*STRICT_TRANSPORT)
    return response


def _path() -> str:
    """The path for the log; of an address with a one-time link, the rule alone."""
    rule = request.url_rule
    return rule.rule if rule is not None and "<token>" in rule.rule else request.path


def leads_to(response: Response, origins: Sequence[str]) -> Response:
    """Let the page's forms lead to these origins too, beside our own.

    Chromium holds `form-action` against the redirects after a form as well.
    """
    if origins:
        policy = f"{CONTENT_SECURITY_POLICY} {' '.join(origins)}"
        response.headers["Content-Security-Policy"] = policy
    return response


def only_value(name: str) -> str:
    """A field of the form, "" without it; Malformed where it stands twice.

    For what moves money: the proxy's log or a filter may have read the other one.
    """
    values = request.form.getlist(name)
    if len(values) > 1:
        raise Malformed("A field of the form stands twice.")
    return values[0] if values else ""


def wants_problem() -> bool:
    """Whether the reader of this answer is a machine."""
    return request.path.startswith(MACHINE_PREFIXES)


def problem(refusal: Refusal) -> Response:
    """The refusal as application/problem+json (RFC 9457, docs/api.md "Errors")."""
    body: dict[str, Any] = {
        "type": f"/docs/errors#{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "errors": [
            {"field": e.field, "code": e.code, "message": e.message} for e in refusal.errors
        ],
        "request_id": getattr(g, "request_id", None),
        **refusal.extra,
    }
    response = jsonify(body)
    response.status_code = refusal.status
    response.content_type = "application/problem+json"
    response.headers.extend(refusal.headers)
    return response


def error_page(refusal: Refusal) -> Response:
    """The refusal as a page for people; a bare one where even that cannot be rendered."""
    request_id = getattr(g, "request_id", "")
    try:
        _ = request.host  # no address can be built for an unknown host
        html = render_template(
            "errors/error.html",
            status=refusal.status,
            of_framework=isinstance(refusal, _OfFramework),
            title=say(refusal.title),
            detail=say(refusal.detail),
            errors=[(error.field, say(error.message)) for error in refusal.errors],
            request_id=request_id,
        )
    except (sa.exc.SQLAlchemyError, OSError, SecurityError):
        # The page's frame reads who is signed in, from a database that may be away.
        html = BARE_PAGE.format(
            language=language(),
            title=escape(say(refusal.title)),
            detail=escape(say(refusal.detail)),
        )
    return Response(html, refusal.status, headers=refusal.headers)


def answer(refusal: Refusal) -> Response:
    """Problem document or page, by who reads it."""
    return problem(refusal) if wants_problem() else error_page(refusal)


def _refused(refusal: Refusal) -> Response:
    log.info("request.refused", code=refusal.code, status=refusal.status, path=_path())
    return answer(refusal)


def _csrf(error: CSRFError) -> Response:
    log.info("request.csrf", reason=error.description, path=_path())
    return answer(FormExpired())


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if isinstance(error, SecurityError):
        return answer(Malformed("This host name is not served here."))
    if status < 400:
        return error.get_response()  # type: ignore[return-value]

    response = answer(_OfFramework.of(status)(error.description))
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers.setdefault(name, value)
    return response


def _database_away(error: Exception) -> Response:
    log.error("database.unavailable", error=str(error), path=_path())
    return answer(Unavailable())


def _database_refused_text(error: Exception) -> Response:
    """NUL, lone surrogates or a number beyond the column: the reader's input, not our fault."""
    log.info("request.unstorable", error=type(error).__name__, path=_path())
    return answer(Malformed("A value holds characters or a size that cannot be stored."))


def _unexpected(error: Exception) -> Response:
    log.error("request.failed", path=_path(), exc_info=error)
    return answer(Unexpected())
