"""Write a letter once: its row and its mail in one transaction, or neither.

Two sweeps that find the same thing at once both try the row; the second waits for the first
and then does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.letters.models import Letter
from affiliate.letters.rules import CHOSEN_BY, OF_FINANCE, ONE_CLICK, Choice, Kind
from affiliate.letters.unsubscribe import unsubscribe_url
from affiliate.people.models import User
from affiliate.programs.models import Program


@dataclass(frozen=True, slots=True)
class Reader:
    """To whom, and how they are written to."""

    user_id: int
    email: str
    name: str
    locale: str

    @classmethod
    def of(cls, values: Sequence[Any]) -> Reader:
        """Out of the columns of READER, as a row has them."""
        return cls(*values)


READER = (User.id, User.email, User.name, User.locale)
"""The columns of a Reader, in its order."""


def write(
    session: Session,
    *,
    kind: Kind,
    about: str,
    reader: Reader,
    program: Program,
    settings: Settings,
    now: datetime,
    **context: Any,
) -> bool:
    """Write the letter, unless it was written before; False then."""
    if not note(
        session, kind=kind, about=about, user_id=reader.user_id, program_id=program.id, now=now
    ):
        return False
    send(session, kind=kind, reader=reader, program=program, settings=settings, now=now, **context)
    return True


def note(
    session: Session, *, kind: Kind, about: str, user_id: int, program_id: int, now: datetime
) -> bool:
    """Take the letter's row; False where it is taken already, by whichever process."""
    taken = (
        insert(Letter)
        .values(
            kind=kind.value, about=about, user_id=user_id, program_id=program_id, written_at=now
        )
        .on_conflict_do_nothing()
        .returning(Letter.id)
    )
    return session.scalar(taken) is not None


def send(
    session: Session,
    *,
    kind: Kind,
    reader: Reader,
    program: Program,
    settings: Settings,
    now: datetime,
    **context: Any,
) -> None:
    """Put the letter into the outbox; whoever calls it has taken its rows by `note`."""
    choice = CHOSEN_BY.get(kind)
    address = None
    if choice is not None and choice in ONE_CLICK:
        address = unsubscribe_url(
            settings, user_id=reader.user_id, program_id=program.id, choice=choice
        )
    outbox.send(
        session,
        to=reader.email,
        template=kind.template,
        locale=reader.locale,
        scope=program.id,
        unsubscribe_url=address,
        now=now,
        name=reader.name,
        program=program,
        public_url=settings.public_url,
        choices_url=choices_url(settings, program, choice),
        **context,
    )


def choices_url(settings: Settings, program: Program, choice: Choice | None) -> str | None:
    """Where its reader chooses; none for what is always sent."""
    if choice is None:
        return None
    if choice in OF_FINANCE:
        return f"{settings.public_url}/profile/letters"
    return f"{settings.public_url}/account/letters?program={program.slug}"


def unwritten(
    kind: Kind, about: Any, user_id: sa.ColumnElement[int] | Any
) -> sa.ColumnElement[bool]:
    """SQL: whether the letter has not been written yet."""
    row = sa.select(Letter.id).where(
        Letter.kind == kind.value, Letter.about == about, Letter.user_id == user_id
    )
    return ~row.exists()


def about_row(noun: str, row_id: Any) -> sa.ColumnElement[str]:
    """SQL: `item:17` of a row's number."""
    return sa.literal(f"{noun}:", sa.Text) + sa.cast(row_id, sa.Text)
