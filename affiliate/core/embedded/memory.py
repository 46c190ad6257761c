"""How much memory this machine, or the container that it is, gives us."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of version 2 and 1, as a container sees its own."""
BUFFERS_MIN_MIB, BUFFERS_MAX_MIB = 128, 1024
"""PostgreSQL's default; and what was measured (docs/decisions/0003-clicks.md)."""


def shared_buffers() -> str:
    """PostgreSQL's setting: a quarter of the memory, as its manual advises, within bounds."""
    quarter_mib = memory_bytes() // 4 // MIB
    return f"{max(BUFFERS_MIN_MIB, min(quarter_mib, BUFFERS_MAX_MIB))}MB"


def memory_bytes() -> int:
    """The machine's memory, or the container's limit where that is lower."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for path in CGROUP_LIMITS for limit in _limit(path))])


def _limit(path: Path) -> list[int]:
    try:
        return [int(path.read_text())]
    except (OSError, ValueError):
        # No such file, or "max": no limit.
        return []
