"""A program with an affiliate and a link, and the front before a bare application."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from click_support import Ask, Shop, add_enrollment, add_link, ask_of, flask_stand_in
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.programs.models import Program
from tracker.clicks.front import ClickFront
from tracker.clicks.loader import Loader


@pytest.fixture
def shop(session: Session) -> Shop:
    now = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
    program = Program(
        slug="tea",
        name="Tea",
        currency="RUB",
        landing_url="https://shop.example/",
        allowed_sites=["shop.example", ".shop.example"],
        time_zone="Europe/Moscow",
        created_at=now,
    )
    session.add(program)
    session.flush()
    made = Shop(program.id, add_enrollment(session, program.id, "anna", now), 0)
    made.link_id = add_link(session, made, made.code, s1="blog")
    session.commit()
    return made


@pytest.fixture
def front(settings: Settings, shop: Shop) -> Iterator[ClickFront]:
    made = ClickFront(flask_stand_in, settings)
    yield made
    made.stop()


@pytest.fixture
def ask(front: ClickFront) -> Ask:
    return ask_of(front)


@pytest.fixture
def loader(settings: Settings) -> Iterator[Loader]:
    made = Loader(settings)
    yield made
    made.close()
