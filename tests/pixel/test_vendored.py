"""The vendored front-end files are what static/vendor/VENDORED.md says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
LINE = re.compile(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", re.M)


def test_every_vendored_file_is_listed_with_its_sum() -> None:
    listed = dict(LINE.findall((VENDOR / "VENDORED.md").read_text(encoding="utf-8")))
    there = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "VENDORED.md"
    }
    assert there == listed


def test_every_vendored_folder_carries_its_licence() -> None:
    folders = [path for path in VENDOR.iterdir() if path.is_dir()]
    assert folders
    assert [f.name for f in folders if not any(f.glob("LICENSE*"))] == []
