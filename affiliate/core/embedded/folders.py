"""Folders and files for their owner alone. Nothing that exists is ever opened to others."""

from __future__ import annotations

import hashlib
import os
import pwd
import tempfile
from pathlib import Path

from affiliate.core.embedded.binaries import EmbeddedError

SOCKET_PATH_BYTES_MAX = 100
"""sun_path holds 107 bytes on Linux and 103 elsewhere; a little is left over."""


def make_private(folder: Path) -> Path:
    """The folder, absolute, created for its owner alone if missing; never changed if there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.resolve()


def make_own(folder: Path, user: str | None = None) -> Path:
    """Make a 0700 folder of the servers' user; refuse one that somebody else made."""
    entry = pwd.getpwnam(user) if user else None
    uid = entry.pw_uid if entry else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if entry:
            os.chown(folder, entry.pw_uid, entry.pw_gid)
    about = folder.lstat()
    if folder.is_symlink() or about.st_uid != uid or about.st_mode & 0o077:
        raise EmbeddedError(f"{folder} must be a folder of user id {uid} with mode 0700.")
    return folder


def short_folder(folder: Path, data_dir: Path, *, base: Path | None = None) -> Path:
    """The folder itself, or one whose name is short enough for a socket's path."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX:
        return folder
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    base = base or Path(tempfile.gettempdir())
    return base / f"kopeck-{os.geteuid()}-{digest}-{folder.name}"


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file, whole or not at all, whatever dies when."""
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
