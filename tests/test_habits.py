"""The habits of the project: style, types, the direction of imports, docs that keep up."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"], ["mypy"]],
    ids=" ".join,
)
def test_the_tree_passes(command: list[str]) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = sorted(p.name[:4] for p in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]


def test_every_row_of_the_security_table_is_held_by_a_test_or_named_for_later() -> None:
    table = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (A\d+) \|.*\| ([^|]+) \|$", table, flags=re.MULTILINE)
    assert [row for row, _ in rows] == [f"A{n}" for n in range(1, 51)]
    marked: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for arguments in re.findall(r"mark\.abuse\(([^)]*)\)", path.read_text(encoding="utf-8")):
            marked |= set(re.findall(r"A\d+", arguments))
    for row, state in rows:
        held, later = state.strip().startswith("held"), state.strip().startswith("later:")
        assert held or later, f"{row} is neither held nor named for later: {state}"
        if held:
            assert row in marked, f"{row} is said to be held, but no test is marked with it"
        else:
            assert row not in marked or "part" in state, f"{row} has a test now: say held"


def test_nothing_imports_the_composition_root_and_nothing_the_sandbox() -> None:
    pattern = re.compile(r"^\s*(?:from|import) (wsgi|sandbox)\b", flags=re.MULTILINE)
    for package in ("affiliate", "payouts", "tracker"):
        for path in (ROOT / package).rglob("*.py"):
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_no_page_gives_the_frame_words_of_its_own() -> None:
    """`languages` of a page of materials once emptied the switch at the foot of that page."""
    taken = re.compile(r"^ {8}(languages|nav|desks|account_menu|notice|sign_in_url)=", re.MULTILINE)
    pages = (ROOT / "tracker" / "desks").rglob("*.py")
    assert [path.name for path in pages if taken.search(path.read_text(encoding="utf-8"))] == []
