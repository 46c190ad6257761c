"""Reading a journal segment piece by piece, the next piece while the last one is loaded.

PostgreSQL works on a batch for as long as Python needs to read the next one, and on another
core: so the reading costs next to no time.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import BinaryIO, Final, Self

from tracker.clicks.records import Scan, scan

CHUNK_BYTES: Final = 4 * 1024 * 1024


class SegmentReader:
    """Scans of one open segment of a known size; a context manager.

    ``ended`` says that nobody writes it any more, so that a torn end is no end to wait for.
    """

    def __init__(
        self, file: BinaryIO, size: int, *, ended: bool, ahead: ThreadPoolExecutor
    ) -> None:
        self._fd = file.fileno()
        self._size = size
        self._ended = ended
        self._executor = ahead
        self._ahead: tuple[tuple[int, int], Future[Scan]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The descriptor must not be closed, and its number not given to another file, under
        # a thread that reads it.
        if self._ahead is not None:
            wait([self._ahead[1]])

    def scan(self, offset: int, records_max: int) -> Scan:
        """What stands from ``offset`` on, at most so many records. Raises OSError."""
        found = self._taken(offset, records_max)
        behind = offset + found.consumed
        if found.consumed and behind < self._size:
            future = self._executor.submit(self._read, behind, records_max)
            self._ahead = ((behind, records_max), future)
        return found

    def _taken(self, offset: int, records_max: int) -> Scan:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return self._read(offset, records_max)
        asked, future = ahead
        if asked != (offset, records_max):
            # A batch was refused or another loader has moved the offset: read it as it is now.
            wait([future])
            return self._read(offset, records_max)
        return future.result()

    def _read(self, offset: int, records_max: int) -> Scan:
        data = os.pread(self._fd, min(CHUNK_BYTES, self._size - offset), offset)
        at_end = self._ended and offset + len(data) == self._size
        return scan(data, ended=at_end, records_max=records_max)
