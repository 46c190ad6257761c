"""A plain new order, from the request's body to the commit in two round trips.

A WSGI callable before Flask that takes over `POST /api/v1/orders` where all is as in nearly every
order: a key that has just reported one, a right body, an id that nobody knows, nothing that waits
for it. It asks, decides and writes by the same functions as `report_order`. Whatever else it
meets, a refusal above all, it leaves to the view, which is asked from the beginning; nothing has
been written by then.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final

import psycopg
import sqlalchemy as sa
import structlog
from flask import Flask
from marshmallow import RAISE, ValidationError
from werkzeug.sansio.utils import host_is_trusted

from affiliate.core import clock, pace, strict_json
from affiliate.core.api import json_text
from affiliate.core.config import Settings
from affiliate.core.db import BESIDE_REQUESTS, db
from affiliate.core.deferred import KEY as DEFERRED
from affiliate.core.deferred import Application, Deferred
from affiliate.core.errors import Refusal
from affiliate.core.http import headers_for_machines
from affiliate.core.straight import Connection
from affiliate.core.together import Failed, Together
from affiliate.people import sent_keys
from affiliate.people.sent_keys import ApiKeyIdentity, SentKey
from affiliate.programs.rule_versions import RuleVersionInForce
from payouts.commissions.earn import Earning
from payouts.commissions.rows import CommissionRow
from tracker.attribution.asking import Question, ask, reach_of
from tracker.attribution.judging import decision_values, judge_known
from tracker.attribution.selling import earning_by, is_plain
from tracker.attribution.subject import reference_of
from tracker.orders.accepting import check_report
from tracker.orders.intake import NewOrder, reach_guess, subject_of_report
from tracker.orders.joint import (
    PlainInsert,
    PlainQuestion,
    names_of,
    plain_answer,
    plain_insert,
    plain_inserts,
    plain_questions,
)
from tracker.orders.keys import order_keys
from tracker.orders.present import new_order_json
from tracker.orders.records import ProgramFacts, evidence_of
from tracker.orders.rules import (
    PLACED_BACK_MAX,
    PLACED_EARLIEST,
    OrderReportIn,
    Source,
    content_hash,
    report_document,
)
from tracker.orders.schemas import OrderIn

PATH: Final = "/api/v1/orders"
SCOPE: Final = "orders:write"
EXTENSION: Final = "kopeck.plain_orders"
KEYS_REMEMBERED_MAX: Final = 1_024
HOSTS_REMEMBERED_MAX: Final = 64
TOGETHER_MAX: Final = 16
"""Orders that are asked for in one trip and written by one statement."""
LINGER_S: Final = 0.002
"""How long a set waits, after one of several orders, for as many to come again: by that most of
what PostgreSQL takes for a set is shared by more of them."""
PUT_OFF_MAX: Final = 2 * TOGETHER_MAX
"""Where so many wait, further orders hold up a thread each, so that no more of them are read."""
VIEWS_MAX: Final = BESIDE_REQUESTS - 1
"""Threads that ask the view for orders whose answer is put off and that are not plain after all."""
_CREATED: Final = HTTPStatus.CREATED
_NO_ROW: Final = 0
_SLACK: Final = timedelta(minutes=1)
"""How far from a limit of time an order has to lie to be plain."""

Environ = dict[str, Any]
Rows = list[Sequence[Any]]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

log = structlog.get_logger(__name__)
_schema: Final = OrderIn()


class PlainOrders:
    """Wraps the Flask application; opens nothing before the first order."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._flask = app
        self._inner: Callable[..., Any] = app.wsgi_app
        self._settings = settings
        self._keys = order_keys(settings)
        self._programs: dict[bytes, tuple[int, int]] = {}
        self._noting: dict[int, int] = {}
        """The last minute in which an order was sent on to note the use of a key."""
        self._hosts: set[str] = set()
        self._pace: pace.Pace = app.extensions[pace.EXTENSION]
        self._headers = headers_for_machines(https=settings.https)
        self._engine: sa.Engine | None = None
        self._together = Together(
            self._reported,
            most=TOGETHER_MAX,
            apart=lambda call: names_of(call.program_id, call.report),
            linger_s=LINGER_S,
        )
        self._views = ThreadPoolExecutor(VIEWS_MAX, thread_name_prefix="order-views")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH and environ["REQUEST_METHOD"] == "POST":
            call = self._call(environ)
            if call is not None:
                deferred: Deferred | None = environ.get(DEFERRED)
                if deferred is not None and self._together.waiting < PUT_OFF_MAX:
                    tell = partial(self._answer_later, call, deferred, environ)
                    self._together.submit(call, tell)
                    return deferred.put_off(start_response)
                text = self._answer(call)
                if text is not None:
                    start_response(
                        f"{_CREATED.value} {_CREATED.phrase}", self._headers_of(call, text)
                    )
                    return [text]  # A list: granian sends one in one piece.
        return self._inner(environ, start_response)  # type: ignore[no-any-return]

    def remember(self, authorization: str, key: ApiKeyIdentity) -> None:
        """The program and number of a key that the view has let in.

        By the hash of the whole secret: the time of an answer tells nothing to whoever does
        not have it. That the key still holds is read with each order.
        """
        sent = sent_keys.sent_key(authorization)
        if sent is not None:
            if len(self._programs) >= KEYS_REMEMBERED_MAX:
                self._programs.clear()
            self._programs[sent.secret_hash] = key.program_id, key.id

    def _call(self, environ: Environ) -> _Call | None:
        """The order of a request that looks plain; None: it is the view's, which counts the call
        itself and says what is wrong."""
        sent = sent_keys.sent_key(environ.get("HTTP_AUTHORIZATION", ""))
        known = None if sent is None else self._programs.get(sent.secret_hash)
        if known is None or sent is None or not self._is_plain(environ):
            return None
        program_id, key_id = known
        if not self._pace.may(key_id):
            return None
        length = int(environ["CONTENT_LENGTH"])
        raw = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = BytesIO(raw)  # The view reads it again, where it has to.
        try:
            report: OrderReportIn = _schema.read(strict_json.loads(raw), RAISE)
            if (
                len(raw) < length
                or (report.customer and report.customer.id is None)
                or report.placed_at < PLACED_EARLIEST
            ):
                return None
            evidence = {"server": evidence_of(report, self._keys)}
            question = ask(
                program_id=program_id,
                placed_at=report.placed_at,
                evidence=evidence,
                reach=reach_guess(program_id),
                keys=self._keys,
            )
        except (Refusal, ValidationError, OverflowError):
            # What overflows is a window beyond the calendar.
            return None
        return _Call(sent, program_id, key_id, report, evidence, question)

    def _answer(self, call: _Call) -> bytes | None:
        """The answer's body, once the order is written; None: it is the view's."""
        try:
            return self._together.do(call)
        except Failed as failed:
            _note(failed.__cause__)
            return None

    def _answer_later(
        self,
        call: _Call,
        deferred: Deferred,
        environ: Environ,
        text: bytes | None,
        error: BaseException | None,
    ) -> None:
        """The same for a caller who holds up no thread; called by the one that writes."""
        try:
            if text is not None:
                deferred.answer(_CREATED.value, self._headers_of(call, text), text)
                return
            if error is not None:
                _note(error)
            self._views.submit(_answer_by_view, self._inner, deferred, environ)
        except BaseException:
            deferred.give_up()
            raise

    def _headers_of(self, call: _Call, text: bytes) -> list[tuple[str, str]]:
        """The headers of an answer; the call is counted by now."""
        return [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(text))),
            *self._headers,
            ("X-Request-Id", secrets.token_hex(8)),
            *self._pace.noted(call.key_id),
        ]

    def _is_plain(self, environ: Environ) -> bool:
        """Whether nothing of the request is out of the ordinary before its body is read."""
        length = environ.get("CONTENT_LENGTH") or ""
        return (
            not environ.get("QUERY_STRING")
            and environ.get("CONTENT_TYPE") == "application/json"
            and length.isdecimal()
            and 0 < int(length) <= self._settings.body_bytes_max
            and "HTTP_TRANSFER_ENCODING" not in environ
            and "HTTP_IDEMPOTENCY_KEY" not in environ
            and self._knows_host(environ)
        )

    def _knows_host(self, environ: Environ) -> bool:
        host: str = environ.get("HTTP_HOST", "")
        if self._settings.proxy_hops:
            host = environ.get("HTTP_X_FORWARDED_HOST") or host
        if host in self._hosts:
            return True
        if not host.isascii() or not host_is_trusted(host, list(self._settings.trusted_hosts)):
            return False
        if len(self._hosts) < HOSTS_REMEMBERED_MAX:
            self._hosts.add(host)
        return True

    def _bind(self) -> sa.Engine:
        if self._engine is None:
            with self._flask.app_context():
                self._engine = db.engine
        return self._engine

    def _reported(self, calls: Sequence[_Call]) -> list[bytes | None]:
        """The answers to all of these in two trips; None: it is not plain, and nothing of it is
        written."""
        with Connection(self._bind()) as connection:
            rows = self._asked(connection, calls)
            decided = [self._decided(call, rows[n]) for n, call in enumerate(calls)]
            plain = [each for each in decided if each is not None]
            answers = _written(connection, plain) if plain else {}
        return [None if each is None else answers.get(each) for each in decided]

    def _asked(self, connection: Connection, calls: Sequence[_Call]) -> Mapping[int, Rows]:
        """What the database says to each call, by its place."""
        asked = [PlainQuestion(call.question, call.sent.prefix) for call in calls]
        statements = plain_questions(asked, production=self._settings.production)
        rows: dict[int, Rows] = defaultdict(list)
        for answers in connection.trip(*statements)[1:]:
            for n, *row in answers:
                rows[n].append(row)
        return rows

    def _decided(self, call: _Call, rows: Rows) -> _Decided | None:
        """An order that is plain by all that was read, decided."""
        try:
            return self._decide(call, rows)
        except (Refusal, OverflowError):
            # The view says what is wrong; what overflows is a window beyond the calendar.
            return None
        except Exception:
            # A mistake of the program with one order must not be lost for all of its set.
            log.exception("orders.plain_undecided")
            return None

    def _decide(self, call: _Call, rows: Rows) -> _Decided | None:
        report, evidence, question = call.report, call.evidence, call.question
        found = plain_answer(question, rows)
        if found is None:
            return None
        real_now = clock.real_now()
        key = sent_keys.identity_of(call.sent, found.key, now=real_now)
        now, version = real_now + found.ahead, found.version
        if (
            SCOPE not in key.scopes
            or self._is_to_note(key, real_now)
            or reach_of(version.terms.attribution) != question.reach
            or not is_plain(version)
            or now - report.placed_at > PLACED_BACK_MAX - _SLACK
        ):
            return None
        # One in another currency is refused here, and left to the view, which knows the rates.
        check_report(report, found.program, now=now, may_import=False)
        judged = judge_known(
            found.known,
            evidence=evidence,
            program_closed=found.program.closed_at(report.placed_at),
            version=version,
            keys=self._keys,
            now=now,
        )
        decision = decision_values(judged, number=1, now=now)
        order = subject_of_report(report, found.program, evidence, confirmed=True)
        earning = earning_by(order=order, number=1, judged=judged, now=now)
        document = report_document(report)
        insert = plain_insert(
            program_id=call.program_id,
            report=report,
            document=document,
            source=Source.API,
            reported_by=key.label,
            evidence=evidence,
            buyer=evidence["server"]["customer"],
            decision=decision,
            earning=earning,
            content_hash=content_hash(document),
            now=now,
        )
        return _Decided(insert, found.program, version, decision, earning, now)

    def _is_to_note(self, key: ApiKeyIdentity, now: datetime) -> bool:
        """Whether it is this order whose view shall note when the key was last used.

        One of those that come in the same minute; all of them would wait for each other there.
        """
        minute = int(now.timestamp() // sent_keys.LAST_USED_GRAIN_S)
        if not sent_keys.use_is_news(key, now=now) or self._noting.get(key.id) == minute:
            return False
        if len(self._noting) >= KEYS_REMEMBERED_MAX:
            self._noting.clear()
        self._noting[key.id] = minute
        return True


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """An order that was read, by a key that is believed, and what to ask for it."""

    sent: SentKey
    program_id: int
    key_id: int
    report: OrderReportIn
    evidence: Mapping[str, Any]
    question: Question


@dataclass(frozen=True, slots=True, eq=False)
class _Decided:
    """What is to be written of a plain order."""

    insert: PlainInsert
    program: ProgramFacts
    version: RuleVersionInForce
    decision: Mapping[str, Any]
    earning: Earning | None
    now: datetime

    def answer(self) -> bytes | None:
        """What is told of the order: it names no row, so that it is known before there is one."""
        try:
            earned: tuple[CommissionRow, ...] = ()
            if self.earning is not None:
                ids = [_NO_ROW] * len(self.earning.found)
                earned = self.earning.written(ids, reference=reference_of(_NO_ROW))
            order = self.insert.order
            new = NewOrder(
                _NO_ROW, False, self.program, order, self.version, self.decision, earned, {}
            )
            return json_text(new_order_json(new, self.now))
        except Exception:
            # The view will find the order as it was sent.
            log.exception("orders.plain_unanswered")
            return None


def _written(connection: Connection, plain: Sequence[_Decided]) -> dict[_Decided, bytes | None]:
    """Write them; the answer to each that was. Answers are made while PostgreSQL writes."""
    answers: list[bytes | None] = []
    _, rows = connection.trip(
        *plain_inserts([each.insert for each in plain]),
        meanwhile=lambda: answers.extend(each.answer() for each in plain),
    )
    return {plain[number - 1]: answers[number - 1] for (number,) in rows}


def _note(error: BaseException | None) -> None:
    """A set was lost. If it was its commit whose answer was lost, the view finds the orders."""
    known = isinstance(error, psycopg.Error | sa.exc.SQLAlchemyError)
    log.warning(
        "orders.plain_failed", error=type(error).__name__, exc_info=None if known else error
    )


def _answer_by_view(view: Application, deferred: Deferred, environ: Environ) -> None:
    try:
        deferred.answer_by(view, environ)
    except BaseException:
        log.exception("orders.view_failed")
        deferred.give_up()


def set_up(app: Flask, settings: Settings) -> None:
    """Put it before the application."""
    plain = PlainOrders(app, settings)
    app.extensions[EXTENSION] = plain
    app.wsgi_app = plain  # type: ignore[method-assign]
