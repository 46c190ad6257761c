"""Fixtures of the money tests: programs with affiliates, sales and finance users."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from money_world import NOW, World
from sqlalchemy.orm import Session

from affiliate.programs.models import Program, RuleVersion

_numbers = itertools.count(1)


@pytest.fixture
def world_of(session: Session) -> Callable[..., World]:
    """Make a program in a currency, on a rail."""

    def make(currency: str = "EUR", rail: str = "manual") -> World:
        program = Program(
            slug=f"program-{next(_numbers)}",
            name="Lamps",
            currency=currency,
            landing_url="https://shop.example/",
            allowed_sites=["shop.example"],
            rail=rail,
            time_zone="Europe/Moscow",
            created_at=NOW - timedelta(days=30),
        )
        session.add(program)
        session.flush()
        version = RuleVersion(
            program_id=program.id,
            number=1,
            terms={},
            effective_at=program.created_at,
            announced_at=program.created_at,
            created_at=program.created_at,
        )
        session.add(version)
        session.commit()
        return World(session, program.id, version.id, currency, rail)

    return make


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """A EUR program on the manual rail with anna, recruited by rita."""
    made = world_of()
    made.affiliate("rita")
    made.affiliate("anna", recruiter="rita")
    return made
