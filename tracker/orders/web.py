"""`POST /v1/events` and `GET /p.gif`: what a shop's pages report.

Never an error to the page: what is refused is counted and logged, and answered with 202 instead
of 204, so that the pixel does not take it for reported. Only when nothing could be recorded because
the database is away, the answer is 503, so that the pixel keeps the report and sends it again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import sqlalchemy as sa
import structlog
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge

from affiliate.core import clock, metrics, queue, strict_json
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, Refusal
from affiliate.core.fields import load
from affiliate.core.http import csrf
from affiliate.links.models import Coupon
from affiliate.people.access import public
from affiliate.people.limits import network_of
from affiliate.programs.models import Program
from tracker.attribution.asking import TOKENS_MAX, fold_coupon
from tracker.clicks.tokens import TOKEN_CHARS_MAX
from tracker.integration import noticing
from tracker.integration.trying import try_browser_order
from tracker.orders.browser import report_from_browser
from tracker.orders.pace import GUESSES_PER_HOUR_MAX, HOUR_S, Pace
from tracker.orders.refusals import UnknownProgram
from tracker.orders.rules import OrderReportIn
from tracker.orders.schemas import VISITOR_CHARS_MAX, BrowserOrder
from tracker.orders.units import in_one_unit
from tracker.pixel.keeping import Kept, kept_in
from tracker.pixel.proxied import buyers_address
from tracker.pixel.rules import GIF

BODY_BYTES_MAX: Final = 16_384
EXTENSION: Final = "kopeck.reports_pace"
GUESSES: Final = "kopeck.coupon_guesses_pace"
PREFLIGHT_S: Final = "86400"
REPORTS: Final = metrics.declare("kopeck_browser_reports", "Reports of shops' pages.")
LOST: Final = metrics.declare(
    "kopeck_pixel_lost", "Clicks and orders that nobody is credited with for want of consent."
)
AMOUNTS: Final = ("total", "discount", "tax", "shipping")
"""What an image's address may name beside the order's id, in one `currency`."""
TEXTS: Final = ("order_id", "coupon", "token")

blueprint = Blueprint("events", __name__)
csrf.exempt(blueprint)
log = structlog.get_logger(__name__)
_schema = BrowserOrder()


@blueprint.post("/v1/events")
@public
def events() -> Response:
    """A report in the body; JSON whatever type the browser names it (text/plain has no
    preflight). With `?explain=1` the answer says what of it could not be read."""
    request.max_content_length = BODY_BYTES_MAX
    refusal: Refusal | None = None
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        _count("too_large")
    else:
        refusal = _take(raw)
    if "explain" in request.args:
        return _explained(refusal)
    return Response(status=HTTPStatus.NO_CONTENT if refusal is None else HTTPStatus.ACCEPTED)


@blueprint.get("/p.gif")
@public
def gif() -> Response:
    """The same report in `?d=`, or by its parameters, for pages where no script runs."""
    raw = request.args.get("d", "").encode("utf-8", "replace") or _named_report()
    if len(raw) > BODY_BYTES_MAX:
        _count("too_large")
    else:
        _take(raw)
    return Response(GIF, content_type="image/gif")


@blueprint.after_request
def _open_to_all_pages(response: Response) -> Response:
    """Any shop's page may send; no cookie is read, so nothing can be read with one."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "POST, GET"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type"
        response.headers["Access-Control-Max-Age"] = PREFLIGHT_S
    return response


def set_up(app: Flask, settings: Settings) -> None:
    """Register the two addresses."""
    redis = queue.connect(settings.redis_url)
    app.extensions[EXTENSION] = Pace(redis)
    app.extensions[GUESSES] = Pace(
        redis, per_minute=GUESSES_PER_HOUR_MAX, what="coupon-guesses", window_s=HOUR_S
    )
    app.register_blueprint(blueprint)


def _named_report() -> bytes:
    """An order by the parameters of an image's address; those that stand twice name nothing."""
    given = {name: values[0] for name, values in request.args.lists() if len(values) == 1}
    if "order_id" not in given:
        return b""
    currency = given.get("currency", "")
    order: dict[str, Any] = {name: given[name] for name in TEXTS if name in given}
    order |= {
        name: {"amount": given[name], "currency": currency} for name in AMOUNTS if name in given
    }
    document = {
        "program": given.get("program"),
        "type": "order",
        "order": order,
        "clicks": [each for each in given.get("clicks", "").split("|") if each],
        "visitor": given.get("visitor"),
    }
    return strict_json.dumps(document).encode()


def _take(raw: bytes) -> Refusal | None:
    """Record a report, or count why not; what was refused of it."""
    now_s = clock.real_now().timestamp()
    pace: Pace = current_app.extensions[EXTENSION]
    if not pace.allows(_address(), now_s=now_s):
        _count("too_many")
        return None
    try:
        outcome, refused = _record(raw), None
    except Refusal as refusal:
        fields = [error.field for error in refusal.errors]
        log.info("browser_report.refused", code=refusal.code, fields=fields)
        noticing.report_refused(raw, refusal)
        outcome, refused = refusal.code, refusal
    except (sa.exc.DataError, UnicodeEncodeError):
        log.info("browser_report.unstorable")
        outcome, refused = "unstorable", None
    _count(outcome)
    return refused


def _explained(refusal: Refusal | None) -> Response:
    """For whoever integrates a shop: what of their own report was wrong.

    Of what is known of the order nothing is said: whoever tries ids learns none.
    """
    if refusal is None:
        return jsonify(taken=True)
    errors = [{"field": e.field, "message": str(e.message)} for e in refusal.errors]
    told = jsonify(taken=False, code=refusal.code, detail=str(refusal.detail), errors=errors)
    told.status_code = HTTPStatus.ACCEPTED
    return told


def _record(raw: bytes) -> str:
    document = strict_json.loads(raw)
    if not isinstance(document, dict):
        return "ignored"
    if document.get("type") == "lost":
        return _count_lost(document.get("clicks"))
    if document.get("type") != "order":
        return "ignored"
    if document.get("consent") is False:
        metrics.count(LOST, what="order")
    slug, tested = document.get("program"), _is_test(document)

    def work(session: Session) -> str:
        now = clock.now(session)
        program_id = session.scalar(sa.select(Program.id).where(Program.slug == str(slug)[:64]))
        if program_id is None:
            raise UnknownProgram
        report, token = _read(document, now)
        if tested:
            try_browser_order(session, program_id=program_id, report=report, token=token, now=now)
            return "test"
        report = _without_guesses(session, program_id, report)
        return report_from_browser(
            session, program_id=program_id, report=report, token=token, now=now
        ).value

    outcome = in_one_unit(work)
    noticing.page_reported(document)
    return outcome


def _is_test(document: dict[str, Any]) -> bool:
    """Whether the order is only to be tried: `test` stands in it or beside it.

    Anything but true and false is refused: who writes it means no order to be paid for.
    """
    order = document.get("order")
    places = [document, order] if isinstance(order, dict) else [document]
    said = [place.get("test", False) for place in places]
    if any(not isinstance(each, bool) for each in said):
        raise Invalid.field("test", "not_a_boolean", "Write true or false.")
    return True in said


def _count_lost(clicks: Any) -> str:
    """Clicks that a page forgot because its visitor did not agree: a number of them alone."""
    if type(clicks) is not int or not 1 <= clicks <= TOKENS_MAX:
        return "ignored"
    metrics.count(LOST, clicks, what="click")
    return "lost"


def _without_guesses(session: Session, program_id: int, report: OrderReportIn) -> OrderReportIn:
    """The report without its coupon, where this address has tried too many that nobody has.

    A right code then counts as little as a wrong one, so that trying on teaches nothing. The
    shop's server names the coupon of an order anyway, and its word stands.
    """
    if not report.coupon:
        return report
    guesses: Pace = current_app.extensions[GUESSES]
    known = session.scalar(
        sa.select(Coupon.id).where(
            Coupon.program_id == program_id, Coupon.code == fold_coupon(report.coupon)
        )
    )
    ask = guesses.allows if known is None else guesses.has_room
    if ask(_address(), now_s=clock.real_now().timestamp()):
        return report
    _count("coupon_guessed")
    return replace(report, coupon=None)


def _read(document: dict[str, Any], now: datetime) -> tuple[OrderReportIn, str | None]:
    """The envelope's order with its tokens; what the pixel collected is cut, not refused."""
    fields = load(_schema, document.get("order"))
    token = fields.pop("token", None)
    fields.pop("test")
    fields.setdefault("placed_at", now)
    for name in ("items", "clicks"):
        fields[name] = tuple(fields.get(name, ()))
    if document.get("consent") is False:
        return OrderReportIn(**{**fields, "clicks": (), "visitor": None, "ip": None}), token
    # Cookies come along where the report came by a path of the shop's own.
    kept = kept_in(request.cookies)
    clicks, visitor = document.get("clicks"), document.get("visitor")
    if not fields["clicks"]:
        said = clicks if isinstance(clicks, list) else []
        texts = [each for each in said if isinstance(each, str) and len(each) <= TOKEN_CHARS_MAX]
        fields["clicks"] = kept.and_of(Kept(tuple(texts))).clicks
    if kept.visitor:
        fields.setdefault("visitor", kept.visitor)
    if isinstance(visitor, str) and "visitor" not in fields:
        fields["visitor"] = visitor[:VISITOR_CHARS_MAX]
    # The network is what we see, never what the page says.
    fields["ip"] = buyers_address()
    return OrderReportIn(**fields), token


def _address() -> str:
    """The caller's address as a hash: counters keep nobody's address. Of IPv6 the network, as one
    customer has as many addresses in it as they like."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    text = network_of(buyers_address()).encode()
    return hashlib.blake2b(text, key=settings.key("pace"), digest_size=12).hexdigest()


def _count(outcome: str) -> None:
    metrics.count(REPORTS, outcome=outcome)
