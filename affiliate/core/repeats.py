"""`Idempotency-Key`: a write that is sent again under its key is answered as before, once done.

The answer is stored for the API key in the transaction of the write itself, so that either both
are there or neither. The view commits as it always does; while its answer is to be stored, that
commit is held back until the answer is beside it (affiliate.core.db, `held`). What was refused
wrote nothing and is not kept: it is judged anew. An answer that shows a secret is kept encrypted,
so that a copy of the database shows none. Rule: docs/api.md, "Sending again".
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import Response, current_app, g, request
from sqlalchemy.orm import Mapped, Session, mapped_column

from affiliate.core import clock, strict_json
from affiliate.core.config import Settings
from affiliate.core.db import Model, begin_planned_once, db, held
from affiliate.core.errors import Conflict, Malformed, Refusal

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
KEY_CHARS_MAX: Final = 255
KEPT_H: Final = 48
"""Hours for which an answer is kept; docs/api.md promises 24."""
AGAIN_S: Final = 1
"""When to ask again about a call that is under way."""
PURPOSE: Final = "api-answers"
_TOKEN: Final = b"gAAAA"
"""What every Fernet token begins with: its version and the high bytes of its time."""
_KEY: Final = re.compile(r'([!#-~]{1,255})|"([!#-~]{1,255})"')
"""Printable ASCII, as it is or as a structured field's string, in quotes."""
_BY_ITS_PARTS: Final = "_kopeck_by_its_parts"
_KEPT_HEADERS: Final = ("Location", "ETag", "Link")

View = TypeVar("View", bound=Callable[..., Any])


class StoredAnswer(Model):
    """What a write was answered, for whoever sends it again under the same key."""

    __tablename__ = "api_answers"
    __table_args__ = (sa.Index("ix_api_answers_stored_at", "stored_at"),)

    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Whose call it was; keys are never deleted, and answers are after two days."""
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    """SHA-256 of method, address and parsed body."""
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    """Those that are the answer's own: Location, ETag, Link."""
    body: Mapped[bytes]
    """JSON, or a Fernet token of it where it shows a secret: no JSON begins as a token does."""
    stored_at: Mapped[datetime]
    """Real time: a moved demo clock must not make a retry a second write."""


class BadIdempotencyKey(Malformed):
    code = "bad_idempotency_key"
    title = "An Idempotency-Key has 1 to 255 printable ASCII characters without spaces."


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"
    status: ClassVar[int] = 422
    title = "This Idempotency-Key was sent before with another request; take a new one for this."


class CallUnderWay(Conflict):
    code = "call_under_way"
    title = "The same call is being answered right now. Send it again in a second."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(AGAIN_S)}


class AnswerUnreadable(Conflict):
    code = "answer_unreadable"
    title = "The call was done, and the secret in its answer can be read no more: make a new one."


def keep_secret() -> None:
    """What this call answers shows a secret: if it is kept, then encrypted."""
    g.answer_is_secret = True


def by_its_parts(view: View) -> View:
    """Mark a view whose body is a stream of parts, each safe to send again and committed by itself.

    It answers no key: its body is never whole in memory, and no one transaction holds it. The mark
    stands right below the route.
    """
    setattr(view, _BY_ITS_PARTS, True)
    return view


def once(view: View) -> View:
    """Let a view that writes answer a key once; without the header it is as it was."""
    if getattr(view, _BY_ITS_PARTS, False):
        return view

    @wraps(view)
    def answering(*values: Any, **named: Any) -> Any:
        sent = request.headers.get(HEADER)
        caller = g.get("api_key")
        if sent is None or caller is None:
            return view(*values, **named)
        return _once(db.session(), caller.id, _read(sent), lambda: view(*values, **named))

    return answering  # type: ignore[return-value]


def forget_old(session: Session, *, real_now: datetime, rows_max: int) -> int:
    """Delete answers that are older than KEPT_H; how many."""
    old = (
        sa.select(StoredAnswer.api_key_id, StoredAnswer.idempotency_key)
        .where(StoredAnswer.stored_at < real_now - timedelta(hours=KEPT_H))
        .limit(rows_max)
    )
    row = sa.tuple_(StoredAnswer.api_key_id, StoredAnswer.idempotency_key)
    gone = session.execute(
        sa.delete(StoredAnswer).where(row.in_(old)).returning(StoredAnswer.api_key_id)
    )
    return len(gone.all())


def _once(session: Session, api_key_id: int, key: str, work: Callable[[], Any]) -> Response:
    """Lock, look, work, store; the commit is one for all of it."""
    begin_planned_once(session)
    if not _lock(session, api_key_id, key):
        raise CallUnderWay
    request_hash = _request_hash()
    known = session.get(StoredAnswer, (api_key_id, key))
    if known is not None:
        if known.request_hash != request_hash:
            raise IdempotencyKeyReused
        return _as_before(known)
    with held(session):
        answer: Response = work()
        if answer.status_code < 300:
            _store(session, api_key_id, key, request_hash, answer)
    return answer


def _read(sent: str) -> str:
    found = _KEY.fullmatch(sent.strip(" \t"))
    if found is None:
        raise BadIdempotencyKey
    return found[1] or found[2]


def _lock(session: Session, api_key_id: int, key: str) -> bool:
    """Against the same call at the same time. Held until the transaction's end; behind it
    stands the table's primary key, for a view that had to roll back and begin again."""
    name = hashlib.sha256(f"api_answers\n{api_key_id}\n{key}".encode()).digest()
    number = int.from_bytes(name[:8], "big", signed=True)
    return session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(number))) is True


def _request_hash() -> bytes:
    """Of what was asked, not of how it was spelled: parsed JSON with its keys in order."""
    raw = request.get_data(cache=True)
    asked = f"{request.method}\n{request.full_path}\n".encode()
    return hashlib.sha256(asked + _canonical(raw)).digest()


def _canonical(raw: bytes) -> bytes:
    try:
        return strict_json.canonical(strict_json.loads(raw)) if raw else b""
    except Malformed:
        return raw  # The view says what is wrong with it.


def _store(
    session: Session, api_key_id: int, key: str, request_hash: bytes, answer: Response
) -> None:
    kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    session.add(
        StoredAnswer(
            api_key_id=api_key_id,
            idempotency_key=key,
            request_hash=request_hash,
            status=answer.status_code,
            headers=kept,
            body=_encrypted(answer.get_data()),
            stored_at=clock.real_now(),
        )
    )
    try:
        session.flush()
    except sa.exc.IntegrityError as error:
        session.rollback()
        raise CallUnderWay from error


def _as_before(known: StoredAnswer) -> Response:
    body = _read_again(known.body)
    answer = Response(body, known.status, content_type="application/json" if body else None)
    answer.headers.extend(known.headers)
    answer.headers[REPLAYED] = "true"
    return answer


def _encrypted(body: bytes) -> bytes:
    return _box().encrypt(body) if g.get("answer_is_secret") else body


def _read_again(stored: bytes) -> bytes:
    if not stored.startswith(_TOKEN):
        return stored
    try:
        return _box().decrypt(stored)
    except InvalidToken:
        raise AnswerUnreadable from None  # KOPECK_SECRET was changed since.


def _box() -> MultiFernet:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in settings.keys(PURPOSE)])
