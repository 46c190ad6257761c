"""What a person wants to be written about a program."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.letters.models import LetterChoice
from affiliate.letters.rules import Choice


class ChosenBy(StrEnum):
    """Where somebody chose."""

    PAGE = "page"
    LETTER = "letter"


def choices_of(session: Session, *, user_id: int, program_id: int) -> dict[Choice, bool]:
    """Every choice with what counts now."""
    rows = session.execute(
        sa.select(LetterChoice.choice, LetterChoice.wanted).where(
            LetterChoice.user_id == user_id, LetterChoice.program_id == program_id
        )
    )
    chosen = {Choice(choice): wanted for choice, wanted in rows}
    return {choice: chosen.get(choice, choice.default) for choice in Choice}


def choose(
    session: Session,
    *,
    user_id: int,
    program_id: int,
    wanted: Mapping[Choice, bool],
    by: ChosenBy,
    now: datetime,
) -> None:
    """Keep what somebody chose; what they said before stays where nothing changes."""
    for choice, value in sorted(wanted.items()):
        values: dict[str, Any] = {"wanted": value, "chosen_at": now, "chosen_by": by.value}
        statement = insert(LetterChoice).values(
            user_id=user_id, program_id=program_id, choice=choice.value, **values
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["user_id", "program_id", "choice"],
                set_=values,
                where=LetterChoice.wanted.is_distinct_from(value),
            )
        )


def wants(
    choice: Choice,
    user_id: sa.ColumnElement[int] | Any,
    program_id: sa.ColumnElement[int] | Any,
) -> sa.ColumnElement[bool]:
    """SQL: whether the person wants what the choice is about."""
    row = sa.select(LetterChoice.user_id).where(
        LetterChoice.user_id == user_id,
        LetterChoice.program_id == program_id,
        LetterChoice.choice == choice.value,
        LetterChoice.wanted.is_distinct_from(choice.default),
    )
    return ~row.exists() if choice.default else row.exists()
