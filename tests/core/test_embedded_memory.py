"""How much memory the own PostgreSQL takes for its pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from affiliate.core.embedded import memory
from affiliate.core.embedded.memory import MIB, memory_bytes, shared_buffers


@pytest.mark.parametrize(
    ("has_mib", "takes"),
    [(256, "128MB"), (512, "128MB"), (2_000, "500MB"), (4_096, "1024MB"), (24_000, "1024MB")],
)
def test_postgres_takes_a_quarter_within_bounds(
    has_mib: int, takes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: has_mib * MIB)
    assert shared_buffers() == takes


def test_a_containers_limit_counts_where_it_is_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, none = tmp_path / "limit", tmp_path / "no such file"
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (none,))
    machine = memory_bytes()
    assert machine > 128 * MIB
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (none, limit))
    for said, gives in (
        ("max\n", machine),
        ("134217728\n", 128 * MIB),
        (f"{machine + 1}\n", machine),
        ("", machine),
    ):
        limit.write_text(said)
        assert memory_bytes() == gives
