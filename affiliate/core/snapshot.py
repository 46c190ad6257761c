"""One view of the whole database for as long as it is read, and nothing written in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

STATEMENT_TIMEOUT_S: Final = 300
"""Putting a long history in order takes longer than a page may."""


@contextmanager
def read_once(engine: sa.Engine) -> Iterator[Session]:
    """A session of one snapshot in which nothing can be written."""
    frozen = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with sessionmaker(frozen, expire_on_commit=False)() as session:
        allow_time(session)
        yield session
        session.rollback()


def allow_time(session: Session) -> None:
    """Let the statements of this transaction take as long as history is."""
    session.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
