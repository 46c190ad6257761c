"""A believable world, and what claims do in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from world import World

from affiliate.core.config import Settings
from tests.claims.asking import Cases


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def cases(world: World) -> Cases:
    """Anna and Boris are affiliates, two managers and an owner decide."""
    return Cases.build(world)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], Future[BaseException | None]]]:
    """Run something beside the test, in its own session; what it raised is its result."""
    with ThreadPoolExecutor(max_workers=1) as pool:

        def begin(what: Callable[[], None]) -> Future[BaseException | None]:
            def caught() -> BaseException | None:
                try:
                    what()
                except Exception as error:  # noqa: BLE001 -- whatever it is, the test compares it
                    return error
                return None

            begun = pool.submit(caught)
            # Long enough to come to the lock that the test holds; if it is not there yet, the
            # outcome is the same.
            time.sleep(0.3)
            return begun

        yield begin
