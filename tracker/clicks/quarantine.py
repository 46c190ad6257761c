"""What the loader could not load, and the two ways out of it: replayed, or dropped by a person.

A replay is a load: rows, marks, counters and the end of the quarantine row are one
transaction, and a click that the table has already is not written again. What can never be
a click (torn and foreign bytes) says so and stays until somebody drops it, with a reason
that the audit log keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import NotFound
from tracker.clicks.loading import load_records
from tracker.clicks.models import ClickQuarantine
from tracker.clicks.records import ClickRecord, RejectReason, scan

REPLAY_ROWS_MAX: Final = 1_000
"""So many pieces are replayed in one transaction."""

log = structlog.get_logger(__name__)


class NoSuchPiece(NotFound):
    code = "no_such_piece"
    title = "There is no such piece in quarantine."


class Outcome(StrEnum):
    """What became of a piece that was to be replayed."""

    LOADED = "loaded"
    NOT_WHOLE = "not_whole"
    UNKNOWN_VERSION = "unknown_version"
    UNREADABLE = "unreadable"
    UNKNOWN_LINK = "unknown_link"
    REFUSED = "refused"

    @property
    def sentence(self) -> str:
        """For whoever asked for the replay."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    Outcome.LOADED: "is loaded; the piece has left the quarantine",
    Outcome.NOT_WHOLE: "is no whole record: nothing of it can be loaded, it can only be dropped",
    Outcome.UNKNOWN_VERSION: "is of a version that this program does not know: upgrade first",
    Outcome.UNREADABLE: "is whole, but its content contradicts its format: it can only be dropped",
    Outcome.UNKNOWN_LINK: "is a click on a link that the database does not have (yet)",
    Outcome.REFUSED: "is a click that the database refuses; the log says why",
}
_OF_REASON: Final = {
    RejectReason.FOREIGN: Outcome.NOT_WHOLE,
    RejectReason.TORN: Outcome.NOT_WHOLE,
    RejectReason.UNKNOWN_VERSION: Outcome.UNKNOWN_VERSION,
    RejectReason.UNREADABLE: Outcome.UNREADABLE,
    RejectReason.UNKNOWN_LINK: Outcome.UNKNOWN_LINK,
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """One piece and what became of it."""

    piece_id: int
    outcome: Outcome
    detail: str = ""


def counts_by_reason(session: Session) -> dict[str, int]:
    """How many pieces lie in quarantine, by reason."""
    statement = sa.select(ClickQuarantine.reason, sa.func.count()).group_by(ClickQuarantine.reason)
    return dict(session.execute(statement).all())


def pieces(
    session: Session, *, reason: RejectReason | None = None, after: int = 0, limit: int
) -> Sequence[ClickQuarantine]:
    """Pieces in the order in which they were found, behind the one with id ``after``."""
    statement = sa.select(ClickQuarantine).where(ClickQuarantine.id > after)
    if reason is not None:
        statement = statement.where(ClickQuarantine.reason == reason)
    return session.scalars(statement.order_by(ClickQuarantine.id).limit(limit)).all()


def piece(session: Session, *, piece_id: int, lock: bool = False) -> ClickQuarantine:
    """One piece; NoSuchPiece when it has been replayed, dropped or never was."""
    # Locked: two people may replay the same piece, or one drop what the other replays.
    found = session.get(ClickQuarantine, piece_id, with_for_update=lock, populate_existing=lock)
    if found is None:
        raise NoSuchPiece(f"There is no piece {piece_id} in quarantine.")
    return found


def read_piece(found: ClickQuarantine) -> ClickRecord | Outcome:
    """The click that a piece holds, as this version of the program reads it, or why there is none.

    A record whose link is unknown is a click here: whether its link has come the database says.
    """
    seen = scan(found.content, ended=True)
    if len(seen.records) == 1 and not seen.rejects and found.size == len(found.content):
        return seen.records[0]
    if len(seen.rejects) == 1 and not seen.records:
        return _OF_REASON[seen.rejects[0].reason]
    return Outcome.NOT_WHOLE


def replay(session: Session, *, piece_ids: Sequence[int], by: str, now: datetime) -> list[Replayed]:
    """Load pieces as the loader would have; at most REPLAY_ROWS_MAX of them.

    In the caller's transaction: row, marks, counters, and the piece out of quarantine. What
    cannot be loaded stays as it is and is answered with the reason. Ids that are gone are left
    out of the answer: somebody else was faster.
    """
    # In id order, so that two replays cannot wait for each other in a circle.
    statement = sa.select(ClickQuarantine).where(ClickQuarantine.id.in_(piece_ids))
    rows = session.scalars(statement.order_by(ClickQuarantine.id).with_for_update()).all()
    answers: list[Replayed] = []
    found: dict[int, ClickRecord] = {}
    for row in rows:
        read = read_piece(row)
        if isinstance(read, Outcome):
            answers.append(Replayed(row.id, read))
        else:
            found[row.id] = read
    answers += _load(_driver(session), found)
    loaded = [each.piece_id for each in answers if each.outcome is Outcome.LOADED]
    if loaded:
        session.execute(sa.delete(ClickQuarantine).where(ClickQuarantine.id.in_(loaded)))
        # In the log each of them is named: afterwards the row is the only trace elsewhere.
        new = {"pieces": loaded, "click_ids": [found[number].click_id.hex() for number in loaded]}
        audit.record(
            session, actor=by, action="quarantine.replay", subject="quarantine", now=now, new=new
        )
    return sorted(answers, key=lambda each: each.piece_id)


def drop(session: Session, *, piece_id: int, reason: str, by: str, now: datetime) -> None:
    """Give a piece up for good. The audit log keeps what it was, its SHA-256, and why.

    Raises NoSuchPiece.
    """
    found = piece(session, piece_id=piece_id, lock=True)
    old = {
        "segment": found.segment,
        "offset": found.segment_offset,
        "reason": found.reason,
        "size": found.size,
        "sha256": hashlib.sha256(found.content).hexdigest(),
    }
    session.delete(found)
    audit.record(
        session,
        actor=by,
        action="quarantine.drop",
        subject=f"quarantine:{piece_id}",
        now=now,
        old=old,
        reason=reason,
    )
    session.flush()


def _load(connection: psycopg.Connection, found: dict[int, ClickRecord]) -> list[Replayed]:
    """All at once; one by one when the database refuses one of them."""
    if not found:
        return []
    try:
        with connection.transaction():
            homeless = load_records(connection, list(found.values()), {}, check_present=True)
    except (psycopg.DataError, psycopg.IntegrityError, ValueError, OverflowError) as error:
        if len(found) == 1:
            (piece_id,) = found
            detail = str(error).partition("\n")[0]
            log.error("a replayed click was refused", piece=piece_id, error=detail)
            return [Replayed(piece_id, Outcome.REFUSED, detail)]
        return [
            answer
            for piece_id in found
            for answer in _load(connection, {piece_id: found[piece_id]})
        ]
    left = {record.click_id: record.link_id for record in homeless}
    return [
        Replayed(number, Outcome.UNKNOWN_LINK, f"link {record.link_id}")
        if record.click_id in left
        else Replayed(number, Outcome.LOADED)
        for number, record in found.items()
    ]


def _driver(session: Session) -> psycopg.Connection:
    """psycopg's connection under the session, inside the session's transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection
