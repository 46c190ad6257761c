"""A Stripe double shared by a module, and one of one's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe_double import Double


@pytest.fixture(scope="module")
def shared() -> Iterator[Double]:
    folder = Path(tempfile.mkdtemp(prefix="kpk-double-"))
    double = Double(folder)
    yield double
    double.end()
    shutil.rmtree(folder)


@pytest.fixture
def double(shared: Double) -> Iterator[Double]:
    """The shared double with no faults and plenty of euros."""
    shared.control("POST", "/balance", {"currency": "eur", "amount": 1_000_000})
    yield shared
    shared.control("DELETE", "/faults")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Double]:
    """A double of one's own, to kill or to move in time."""
    double = Double(tmp_path / "double")
    yield double
    if double.process.poll() is None:
        double.end()
