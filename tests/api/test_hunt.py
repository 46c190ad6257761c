"""Whatever is asked, the API answers what its document says, and never 500.

`make hunt-api` asks thousands of questions that nobody has seen yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.people import api_keys
from tests.api.hunting import Hunt
from tests.world import DAY, World

EXAMPLES = int(os.environ.get("KOPECK_HUNT_EXAMPLES", "20"))
"""Of each operation."""


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Somebody has earned, been refunded and been paid, and asks to be paid again."""
    with app.app_context():
        world = World.build(app, settings, session)
    world.affiliate("Rita")
    world.affiliate("Anna", recruiter="Rita")
    world.payee("Anna")
    for days_ago in (60, 50, 3):
        world.sale("Anna", "4490.00", days_ago=days_ago)
    world.refund(world.sale("Anna", "900.00", days_ago=40), "300.00")
    world.release()
    world.pay(world.withdraw("Anna", "100.00"))
    return world


@pytest.fixture
def hunt(app: Flask, world: World) -> Iterator[Hunt]:
    _, key = api_keys.create_key(
        world.session, program_id=world.program.id, scopes=api_keys.SCOPES, name="hunt", by=None,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    known = {"slug": [world.program.slug], "order_id": ["A-10001", "H-1"], "lead_id": ["H-1"]}
    likely = {"placed_at": (world.now - DAY).isoformat(), "currency": world.program.currency}
    made = Hunt(app, {"Authorization": f"Bearer {key}"}, known, likely)
    yield made
    shown = "\n\n".join(f"{name}\n{said}" for name, said in made.faults.items())
    assert not made.faults, shown


def test_every_call_is_answered_as_the_document_says(hunt: Hunt) -> None:
    assert hunt.each_call(EXAMPLES) >= EXAMPLES


def test_what_contradicts_the_document_is_refused(hunt: Hunt) -> None:
    hunt.wrong_calls(EXAMPLES)


def test_answers_lead_to_calls_that_are_answered_as_the_document_says(hunt: Hunt) -> None:
    hunt.walks(EXAMPLES, steps=8)
