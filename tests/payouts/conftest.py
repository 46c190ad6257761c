"""Fixtures of the money tests: programs with affiliates, sales and finance users."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from builders import terms_document
from money_world import NOW, World
from paying import Pay
from sqlalchemy.orm import Session
from stripe_double import KEY, Double

from affiliate.core.config import Settings
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
            terms=terms_document(),
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


@pytest.fixture(scope="module")
def shared_double() -> Iterator[Double]:
    folder = Path(tempfile.mkdtemp(prefix="kpk-double-"))
    double = Double(folder)
    yield double
    if double.process.poll() is None:
        double.end()
    shutil.rmtree(folder)


@pytest.fixture
def double(shared_double: Double) -> Iterator[Double]:
    """The Stripe double with no faults and plenty of euros."""
    shared_double.control("POST", "/balance", {"currency": "eur", "amount": 10_000_000})
    yield shared_double
    shared_double.control("DELETE", "/faults")


@pytest.fixture
def pay(
    world_of: Callable[..., World], settings: Settings, engine: sa.Engine
) -> Callable[..., Pay]:
    """A EUR program on a rail, with finance and affiliates who can be paid."""

    def make(rail: str, double: Double | None = None) -> Pay:
        chosen = settings
        if double is not None:
            chosen = replace(settings, stripe_api_key=KEY, stripe_api_base=double.url)
        return Pay(world_of(rail=rail), chosen, engine, double)

    return make


@pytest.fixture
def by_stripe(pay: Callable[..., Pay], double: Double) -> Pay:
    """Ready to pay over the wire to the Stripe double."""
    return pay("stripe", double)


@pytest.fixture
def by_hand(pay: Callable[..., Pay]) -> Pay:
    """Ready to pay by hand."""
    return pay("manual")
