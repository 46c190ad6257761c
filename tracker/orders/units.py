"""One unit of work, run again when PostgreSQL asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core.db import begin_planned_once, db

TRIES_MAX: Final = 4
PAUSE_S_MAX: Final = 0.05
AGAIN: Final = frozenset({"40P01", "40001"})
"""deadlock_detected, serialization_failure (PostgreSQL, appendix A): the same work again
succeeds, because the other side has finished."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


def in_one_unit(work: Callable[[Session], T]) -> T:
    """Do the work and commit once; the whole of it again after a deadlock."""
    session: Session = db.session()
    for attempt in range(1, TRIES_MAX + 1):
        try:
            begin_planned_once(session)
            result = work(session)
            session.commit()
        except sa.exc.DBAPIError as error:
            session.rollback()
            if getattr(error.orig, "sqlstate", None) not in AGAIN or attempt == TRIES_MAX:
                raise
            log.warning("unit.again", attempt=attempt, error=str(error.orig))
            time.sleep(random.uniform(0, PAUSE_S_MAX))  # noqa: S311 -- spreads two workers
        except BaseException:
            session.rollback()
            raise
        else:
            return result
    raise AssertionError("unreachable: the last try returns or raises")
