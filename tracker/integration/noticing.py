"""Where requests tell the notebook what they see: the pixel, reports of pages, refused calls."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from affiliate.core import strict_json
from affiliate.core.config import Settings
from affiliate.core.errors import Refusal
from affiliate.core.fields import is_shop_id
from affiliate.links.destinations import ascii_host
from affiliate.people.sent_keys import sent_key
from tracker.clicks.tokens import BadToken, BadTokenReason, read
from tracker.integration.notebook import EXTENSION, Kind, Notebook, Noticed, flush, notebook
from tracker.integration.rules import Fact, fields_said
from tracker.orders.keys import order_keys
from tracker.orders.refusals import OrderTokenRefused

API: Final = "/api/v1/"
SLUG_CHARS_MAX: Final = 64
VERSION_CHARS_MAX: Final = 32
STATUS_REFUSED: Final = range(400, 500)
BODY_BYTES_READ_MAX: Final = 65_536
"""In larger ones nobody looks for the order's id."""
TOKENS_LOOKED_AT: Final = 3
"""The newest of a page's tokens: an old one may be of a key that is gone."""

log = structlog.get_logger(__name__)


def set_up(app: Flask, _settings: Settings) -> None:
    """Look at every answer: what the API refused is noted, and what waits is written."""
    app.extensions[EXTENSION] = Notebook()
    app.after_request(partial(_after, app))


def pixel_fetched(version: str, *, installed: bool) -> None:
    """A page fetched the pixel, or asked for a version of it that is not installed."""
    host = _host(request.referrer)
    if host:
        fact = Fact.PIXEL if installed else Fact.OLD_PIXEL
        told = version[:VERSION_CHARS_MAX] if version.isascii() and version.isalnum() else "?"
        notebook().notice(Noticed(None, host, fact, told))


def page_reported(document: dict[str, Any]) -> None:
    """A page's report was understood: the pixel runs there, and with which tokens."""
    slug, host, book = _slug(document), _page_host(), notebook()
    if not slug:
        return
    book.notice(Noticed(slug, host, Fact.REPORTED))
    order = document.get("order")
    if isinstance(order, dict) and isinstance(order.get("token"), str):
        book.notice(Noticed(slug, host, Fact.ORDER_TOKEN))
    _notice_tokens(slug, host, document.get("clicks"))


def report_refused(raw: bytes, refusal: Refusal) -> None:
    """A page's report was refused: why, and of which order."""
    try:
        document = strict_json.loads(raw)
    except Refusal:
        return
    if not isinstance(document, dict):
        return
    slug, order = _slug(document), document.get("order")
    if not slug:
        return
    if isinstance(refusal, OrderTokenRefused):
        notebook().notice(Noticed(slug, _page_host(), Fact.BAD_ORDER_TOKEN, refusal.detail[:200]))
    kind = Kind(
        slug, "", f"{request.method} {request.path}", refusal.status, refusal.code,
        fields_said([(error.field, error.code) for error in refusal.errors]),
    )  # fmt: skip
    notebook().refused(kind, request_id=_request_id(), order_id=_named_order(order))


def call_refused(
    *, program_id: int, caller: str, code: str, status: int, order_id: str | None = None
) -> None:
    """Something else of a program's shop was refused, a shop system's webhook say.

    `caller` is who called, by a public id.
    """
    rule = request.url_rule.rule if request.url_rule else request.path
    kind = Kind(program_id, "", f"{request.method} {rule}", status, code, "", caller)
    notebook().refused(kind, request_id=_request_id(), order_id=order_id)


def _after(app: Flask, response: Response) -> Response:
    if response.status_code in STATUS_REFUSED and request.path.startswith(API):
        try:
            _note_refused(response)
        except Exception as error:  # noqa: BLE001 -- an answer that stands must not become a 500
            log.warning("integration.unnoted", error=type(error).__name__)
    if notebook(app).due():
        # After the answer has left: nobody waits for it.
        response.call_on_close(partial(flush, app))
    return response


def _note_refused(response: Response) -> None:
    sent = sent_key(request.headers.get("Authorization", ""))
    rule = request.url_rule
    if sent is None or rule is None:
        return
    problem = response.get_json(silent=True)
    said = problem if isinstance(problem, dict) else {}
    errors = [
        (str(error.get("field", "")), str(error.get("code", "")))
        for error in said.get("errors") or ()
        if isinstance(error, dict)
    ]
    kind = Kind(
        None, sent.prefix, f"{request.method} {rule.rule}", response.status_code,
        str(said.get("code") or response.status_code), fields_said(errors),
    )  # fmt: skip
    notebook().refused(kind, request_id=_request_id(), order_id=_order_of_call())


def _order_of_call() -> str | None:
    """The order's id out of the address, else out of the body."""
    named = (request.view_args or {}).get("order_id")
    if named is not None:
        return named if is_shop_id(str(named)) else None
    if (request.content_length or 0) > BODY_BYTES_READ_MAX:
        return None
    try:
        return _named_order(strict_json.loads(request.get_data(cache=True)))
    except (Refusal, HTTPException, OSError):
        return None


def _named_order(document: Any) -> str | None:
    order_id = document.get("order_id") if isinstance(document, dict) else None
    return order_id if isinstance(order_id, str) and is_shop_id(order_id) else None


def _notice_tokens(slug: str, host: str, clicks: Any) -> None:
    """Whether the newest of a page's click tokens are ours."""
    found = [each for each in clicks if isinstance(each, str)] if isinstance(clicks, list) else []
    if not found:
        return
    keys = order_keys().clicks
    read_ones = [read(token, keys) for token in found[-TOKENS_LOOKED_AT:]]
    bad = next((one.reason for one in reversed(read_ones) if isinstance(one, BadToken)), None)
    if any(not isinstance(one, BadToken) for one in read_ones):
        notebook().notice(Noticed(slug, host, Fact.LANDED))
    elif bad is not None:
        notebook().notice(Noticed(slug, host, Fact.BAD_CLICK_TOKEN, BadTokenReason(bad).value))


def _slug(document: dict[str, Any]) -> str:
    slug = document.get("program")
    return slug if isinstance(slug, str) and len(slug) <= SLUG_CHARS_MAX else ""


def _page_host() -> str:
    """The site that reports: browsers name it in Origin, for a picture in Referer alone."""
    return _host(request.headers.get("Origin")) or _host(request.referrer)


def _host(address: str | None) -> str:
    """The host of an address with its port, where it is no usual one; empty for none."""
    try:
        parts = urlsplit(address or "")
        host, port = ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    return f"{host}:{port}" if port else host


def _request_id() -> str:
    return str(getattr(g, "request_id", ""))
