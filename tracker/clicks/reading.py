"""A batch of a journal segment, read at once or piece by piece while PostgreSQL works (pure)."""

from __future__ import annotations

from typing import Final

from tracker.clicks.compiled import loader_steps
from tracker.clicks.records import ClickRecord, Reject, Scan, scan

RECORDS_AT_ONCE: Final = 500
"""A piece takes less time than PostgreSQL needs for what lies in the socket."""


class Reading:
    """Reads records out of a stretch of a segment that begins at ``offset``.

    ``ended`` is as in `records.scan`, ``records_max`` how many records the batch may have.
    """

    def __init__(self, data: bytes, offset: int, *, ended: bool, records_max: int) -> None:
        self.offset: Final = offset
        self._data = data
        self._ended = ended
        self._records_max = records_max
        self._records: list[ClickRecord] = []
        self._rejects: list[Reject] = []
        self._position = 0
        self._read = False

    def go_on(self) -> None:
        """Read one piece more, if there is one."""
        self._go_on(RECORDS_AT_ONCE)

    def whole(self) -> Scan:
        """What is there, with whatever was not read yet."""
        self._go_on(self._records_max)
        return Scan(self._records, self._rejects, self._position)

    def _go_on(self, records_max: int) -> None:
        wanted = min(records_max, self._records_max - len(self._records))
        if self._read or not wanted:
            return
        found = scan(
            self._data,
            ended=self._ended,
            records_max=wanted,
            start=self._position,
            reader=loader_steps().read_sound,
        )
        self._records += found.records
        self._rejects += found.rejects
        self._position = found.consumed
        # Fewer than there was room for: nothing behind them can be read.
        self._read = len(found.records) < wanted
