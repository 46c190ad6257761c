"""The table of faults in docs/reliability.md: whole, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_fault_names_tests_that_exist_or_says_what_is_missing() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (F\d+) [^|]+\| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == [f"F{n}" for n in range(1, 46)]
    known: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    for name, _, shown in rows:
        named = set(re.findall(r"`(test_\w+)`", shown))
        assert named or "gap" in shown, f"{name} is shown by nothing and does not say so"
        assert named <= known, f"{name} names what is not there: {sorted(named - known)}"
