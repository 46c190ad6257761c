"""Fixed moments of tests. A module of its own: `conftest` is the name of many files."""

from __future__ import annotations

from datetime import UTC, datetime

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
"""The fixed clock of tests that pass `now` themselves."""
