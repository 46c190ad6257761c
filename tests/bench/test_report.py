"""docs/performance.md and the program that writes its tables."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import report

SAMPLE = """# Page

<!-- python -m bench.clicks -->

Words.

<!-- python -m bench.orders --rounds 3 -->
```text
2026-01-01, revision old
old figures
```
More words.
"""


def test_every_mark_of_the_page_names_a_benchmark() -> None:
    names = [match[2] for match in report.MARK.finditer(report.PAGE.read_text())]
    assert names
    assert all(find_spec(f"bench.{name}") for name in names)


def test_a_table_is_put_in_and_replaced_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(SAMPLE)
    monkeypatch.setattr(report, "PAGE", page)
    report._put("orders", "new figures\\1 of a row")
    report._put("clicks", "a table")
    written = page.read_text()
    assert "old figures" not in written
    assert "new figures\\1 of a row\n```\nMore words." in written
    assert "<!-- python -m bench.orders --rounds 3 -->\n```text\n" in written
    assert "a table\n```\n\nWords." in written


def test_a_benchmark_without_a_mark_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["report", "nothing"])
    with pytest.raises(SystemExit, match="no mark for nothing"):
        report.main()
