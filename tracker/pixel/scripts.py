"""The pixel's scripts: of this release, and every one that was released."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from affiliate.core.config import ROOT
from tracker.pixel.rules import Script, script_from, script_of

FOLDER: Final = ROOT / "static" / "pixel"
SOURCE: Final = FOLDER / "pixel.js"
DEBUG_SOURCE: Final = FOLDER / "pixel-debug.js"
VERSIONS: Final = FOLDER / "versions"
"""Served bodies, frozen when they were released: shops that name a version keep it."""


@cache
def current_script(source: Path = SOURCE) -> Script:
    """The script of this release, read once per process."""
    return script_from(source.read_text(encoding="utf-8"))


@cache
def scripts(folder: Path = VERSIONS) -> Mapping[str, Script]:
    """Every script that has an address of its own, by version; the current one is among them."""
    frozen = [script_of(path.read_bytes()) for path in sorted(folder.glob("pixel-*.js"))]
    return {script.version: script for script in (*frozen, current_script())}


def freeze(folder: Path = VERSIONS) -> Path:
    """Keep the current script for good; what a release does. Again: the same file."""
    script = current_script()
    path = folder / script.name
    path.write_bytes(script.body)
    return path
