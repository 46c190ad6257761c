"""The click journal: each process appends to a segment of its own, the loader reads them.

A record is on its way to disk before the response leaves: `os.write` has returned, so it
survives the death of every process (F1, F2). A thread calls fdatasync every 10 ms, so that
a power cut takes at most that; with ``grouped`` the reply waits for it.

A writer holds an exclusive flock on its segment. The kernel drops it with the process (or
when the last write in flight ends), so a reader that gets the lock knows that nothing more
will come, however the writer ended.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

import structlog

FOLDER: Final = "journal"
SUFFIX: Final = ".kpj"
SYNC_INTERVAL_S: Final = 0.010
GROUP_DELAY_S: Final = 0.002
GROUP_TIMEOUT_S: Final = 1.0
SEGMENT_BYTES_MAX: Final = 32 * 1024 * 1024
SEGMENT_SECONDS_MAX: Final = 600
REOPEN_INTERVAL_S: Final = 0.5
RETIRED_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class JournalUnavailable(OSError):
    """The record could not be written whole; nothing of it will be read as a click."""


class Journal:
    """One process's end of the journal. ``append`` may be called from many threads."""

    def __init__(self, data_dir: Path, *, grouped: bool = False) -> None:
        self._folder = data_dir / FOLDER
        self.grouped = grouped
        self.fd = -1
        """Of the segment; its number stays the same when the next one is begun."""
        self.dirty = False
        """Whether something was written that was not synced."""
        self._segment_opened = 0.0
        self._broken = False
        self._tried = 0.0
        self._retired: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._group = threading.Condition()
        self._written = 0
        self._synced = 0
        self._lost = 0
        """Up to which record the disk has refused one: it is not asked again for the same."""
        self._wanted = threading.Event()

    def start(self) -> None:
        """Open a segment and begin to sync. A folder that cannot be written is tried again."""
        self._rotate()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="click-journal", daemon=True)
        self._thread.start()

    def append(self, record: bytes) -> None:
        """Write one record whole; JournalUnavailable when that cannot be done."""
        if self.grouped:
            self._append_and_wait(record)
            return
        self._write(record)
        self.dirty = True

    def stop(self) -> None:
        """Sync, close and leave the segment to the loader."""
        self._stop.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None
        fd, self.fd = self.fd, -1
        if fd >= 0:
            _sync(fd)
            # The number is not given back: a thread that has just read it must fail with
            # EBADF and not write its record into whatever file would get the number next.
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(nothing, fd, inheritable=False)
            os.close(nothing)
        self._close_retired(before=float("inf"))

    def abandon(self) -> None:
        """In a forked child: let go of the parent's segment without touching it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def refused(self, error: OSError) -> NoReturn:
        """Take note that the segment cannot be written; raises JournalUnavailable."""
        self._broken = True
        raise JournalUnavailable(*error.args) from error

    def torn(self) -> NoReturn:
        """Take note of half a record; it stays, the reader steps over it by its checksum."""
        self._broken = True
        raise JournalUnavailable("the disk took only a part of the record")

    def _write(self, record: bytes) -> None:
        try:
            written = os.write(self.fd, record)
        except OSError as error:
            self.refused(error)
        if written != len(record):
            self.torn()

    def _append_and_wait(self, record: bytes) -> None:
        with self._group:
            self._write(record)
            self._written += 1
            ticket = self._written
            self._wanted.set()
            if not self._group.wait_for(lambda: self._synced >= ticket, GROUP_TIMEOUT_S):
                # It is in the file all the same; writing it elsewhere too is harmless,
                # because the click id is unique in the table.
                raise JournalUnavailable("the disk did not confirm the record in time")
            if ticket <= self._lost:
                raise JournalUnavailable("the disk refused the record")

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.grouped:
                self._wanted.wait(SYNC_INTERVAL_S * 10)
                self._wanted.clear()
                time.sleep(GROUP_DELAY_S)
            else:
                self._stop.wait(SYNC_INTERVAL_S)
            try:
                self._sync_once()
                self._keep_segment()
            except OSError as error:
                self._broken = True
                log.error("click journal cannot be synced", error=str(error))

    def _sync_once(self) -> None:
        if self.fd < 0:
            return
        if self.grouped:
            target = self._written
            if target != self._synced:
                try:
                    os.fdatasync(self.fd)
                except OSError:
                    with self._group:
                        self._give_up_unsynced()
                    raise
                with self._group:
                    self._synced = max(self._synced, target)
                    self._group.notify_all()
        elif self.dirty:
            self.dirty = False
            os.fdatasync(self.fd)

    def _give_up_unsynced(self) -> None:
        """Under the lock: send those who wait elsewhere.

        Asked once more, the kernel would say that all is well, although it has dropped the
        pages that it could not write.
        """
        self._lost = self._synced = self._written
        self._group.notify_all()

    def _keep_segment(self) -> None:
        """Begin a new segment when this one is broken, large or old."""
        now = time.monotonic()
        self._close_retired(before=now - RETIRED_SECONDS)
        if self._broken:
            if now - self._tried >= REOPEN_INTERVAL_S:
                self._rotate()
            return
        age = now - self._segment_opened
        if age < 1:
            return
        size = os.fstat(self.fd).st_size
        if size >= SEGMENT_BYTES_MAX or (size and age >= SEGMENT_SECONDS_MAX):
            self._rotate()

    def _rotate(self) -> None:
        """Put a new segment behind the same descriptor number.

        Other threads may be between reading the number and writing: `dup2` swaps what it
        means in one step, so their record lands whole in the old or in the new segment,
        and never in a stranger's file.
        """
        self._tried = time.monotonic()
        try:
            fresh = _new_segment(self._folder)
        except OSError as error:
            self._broken = True
            log.error("click journal cannot open a segment", error=str(error))
            return
        with self._group:
            if self.fd < 0:
                self.fd = fresh
            else:
                old = os.dup(self.fd)
                os.dup2(fresh, self.fd, inheritable=False)
                os.close(fresh)
                self._retired.append((self._tried, old))
                if self.grouped and not _sync(old):
                    self._give_up_unsynced()
        self._segment_opened = self._tried
        self._broken = False

    def _close_retired(self, *, before: float) -> None:
        """Sync once more and let go: a write that was in flight at the swap has ended."""
        for entry in [entry for entry in self._retired if entry[0] <= before]:
            self._retired.remove(entry)
            _sync(entry[1])
            os.close(entry[1])


def _new_segment(folder: Path) -> int:
    """A fresh file, locked before its name can be seen by a reader."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{int(time.time()):010x}{secrets.token_hex(11)}"
    hidden, path = folder / f".{name}", folder / f"{name}{SUFFIX}"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(hidden, flags, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
        _sync_folder(folder)
    except OSError:
        os.close(fd)
        hidden.unlink(missing_ok=True)
        raise
    return fd


def _sync_folder(folder: Path) -> None:
    """The name must outlive a power cut as well, or records that are on disk have no file."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> bool:
    try:
        os.fdatasync(fd)
    except OSError as error:
        log.error("click journal cannot be synced", error=str(error))
        return False
    return True
