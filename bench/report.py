"""Run benchmarks and put what they print into docs/performance.md.

    python -m bench.report [clicks orders …]

Each table in that file stands under a mark that names its command; the prose around it is
written by hand, the figures never are. Without names everything is run, which takes a while
and wants a quiet machine.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime

from affiliate.core.config import ROOT

PAGE = ROOT / "docs" / "performance.md"
MARK = re.compile(r"<!-- (python -m bench\.(\w+)[^>]*?) -->\n(?:```text\n.*?```\n)?", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="clicks, orders, …; all when none is given")
    names = parser.parse_args().names
    marks = {match[2]: match[1] for match in MARK.finditer(PAGE.read_text())}
    if unknown := set(names) - marks.keys():
        raise SystemExit(f"docs/performance.md has no mark for {', '.join(sorted(unknown))}")
    for name, command in marks.items():
        if not names or name in names:
            _put(name, _printed(command))


def _printed(command: str) -> str:
    """What the benchmark prints, shown while it runs; SystemExit when it fails."""
    print(f"$ {command}", flush=True)
    words = [sys.executable, *shlex.split(command)[1:]]
    lines = []
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return "\n".join(lines)


def _put(name: str, printed: str) -> None:
    """Replace the table under the mark, at once, so that a later failure loses nothing."""
    day = datetime.now(UTC).date()
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()

    def block(match: re.Match[str]) -> str:
        if match[2] != name:
            return match[0]
        head = f"{day}, revision {revision or 'unknown'}"
        return f"<!-- {match[1]} -->\n```text\n{head}\n{printed}\n```\n"

    PAGE.write_text(MARK.sub(block, PAGE.read_text()))


if __name__ == "__main__":
    main()
