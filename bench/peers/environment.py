"""The peers' own virtual environment, kept in .bench/ of the clone: never Kopeck's.

requirements.txt pins each peer and all that it needs; granian and psycopg are added in the
versions that run Kopeck, so that both sides stand on the same server and driver. It is made
at the first run, which needs a package index, and again when one of the pins changes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from affiliate.core.config import ROOT

FOLDER = ROOT / ".bench" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SHARED = ("granian", "click", "psycopg", "psycopg-binary", "typing_extensions")
"""The server, the driver and what they need: taken over from Kopeck's environment."""


def python() -> str:
    """The interpreter of the peers' environment, which is made if it is missing or stale."""
    wanted = pins()
    interpreter = FOLDER / "bin" / "python"
    made_of = FOLDER / "made-of"
    fingerprint = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    if made_of.exists() and made_of.read_text() == fingerprint:
        return str(interpreter)
    # No part of what is measured, which docs/performance.md takes from the standard output.
    print(f"Installing the peers into {FOLDER.relative_to(ROOT)} …", file=sys.stderr)
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(FOLDER))
    pip = (str(interpreter), "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", *wanted)
    _run(*pip, "check")
    made_of.write_text(fingerprint)
    return str(interpreter)


def pins() -> list[str]:
    """name==version of everything that the environment holds."""
    lines = (line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    peers = [line for line in lines if line and not line.startswith("#")]
    return peers + [f"{name}=={importlib.metadata.version(name)}" for name in SHARED]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
