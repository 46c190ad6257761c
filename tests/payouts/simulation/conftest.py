"""The house of the simulation on a database of its own, and a small scene in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from affiliate.core.embedded.servers import Servers, create_database, drop_database
from tests.payouts.simulation.house import House, opened, settings_for
from tests.payouts.simulation.scene import Scene


@pytest.fixture(scope="module")
def house(servers: Servers, template_database: str) -> Iterator[House]:
    url = create_database(servers.database_url, "kopeck_simulation", template=template_database)
    with (
        tempfile.TemporaryDirectory(prefix="kpk-data-") as folder,
        opened(settings_for(url, servers.redis_url, Path(folder))) as made,
    ):
        yield made
    drop_database(url)


@pytest.fixture
def scene(house: House) -> Scene:
    """A program with anna and boris, everything well."""
    return Scene(house)
