"""What was written to whom about what, and what people chose."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from affiliate.letters.rules import Choice, Kind


def _one_of(column: str, words: type[Kind | Choice]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


class Letter(Model):
    """One letter to one person about one thing: the row is what makes it once.

    It is written in the transaction in which the letter goes into the outbox.
    """

    __tablename__ = "letters"
    __table_args__ = (
        sa.CheckConstraint(_one_of("kind", Kind), name="kind_known"),
        # In this order: a sweep looks for one thing of a kind, whoever it was written to.
        sa.UniqueConstraint("kind", "about", "user_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    kind: Mapped[str]
    about: Mapped[str]
    """`item:17`, `enrollment:4`, `enrollment:4:2026-11-23`."""
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    written_at: Mapped[datetime]


class LetterChoice(Model):
    """What a person chose about a program's letters. No row: what `Choice.default` says."""

    __tablename__ = "letter_choices"
    __table_args__ = (
        sa.CheckConstraint(_one_of("choice", Choice), name="choice_known"),
        sa.CheckConstraint("chosen_by IN ('page', 'letter')", name="chosen_by_known"),
    )

    user_id: Mapped[int] = mapped_column(
        sa.ForeignKey("users.id"), primary_key=True, autoincrement=False
    )
    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    choice: Mapped[str] = mapped_column(primary_key=True)
    wanted: Mapped[bool]
    chosen_at: Mapped[datetime]
    chosen_by: Mapped[str]
    """Where: on the page, or by the link of a letter, which asks for no sign-in."""
