"""Fixtures of the letters' tests: the world of the desks, and sweeps as jobs run them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from world import World

from affiliate.core.config import Settings
from affiliate.core.db import session_for

Sweep = Callable[..., int]


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def sweep(world: World) -> Sweep:
    """Run a sweep and commit; `after` moves the clock. How many letters were written."""

    def run(
        verb: Callable[..., int], *, after: timedelta = timedelta(), own: Session | None = None,
        **more: object,
    ) -> int:  # fmt: skip
        session = own or world.session
        with world.app.app_context():
            written = verb(session, settings=world.settings, **{"now": world.now + after, **more})
        session.commit()
        return written

    return run


@pytest.fixture
def side_by_side(engine: sa.Engine, sweep: Sweep) -> Callable[..., list[int]]:
    """The same sweep in several sessions, begun together: what each has written."""

    def run(verb: Callable[..., int], *, times: int = 2, **more: object) -> list[int]:
        gate, found = threading.Barrier(times), list[int]()

        def one() -> None:
            with session_for(engine)() as session:
                gate.wait()
                found.append(sweep(verb, own=session, **more))

        threads = [threading.Thread(target=one) for _ in range(times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)

    return run
