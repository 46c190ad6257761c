"""Floods: more clicks of one address, one device or on one affiliate than people make (pure).

The loader asks this of every batch. Only clicks that nothing else speaks against are
counted, by the time at which they were made, so that a backlog of hours is judged as it
would have been then; a batch that was rolled back has not been counted. Each node sees its
own traffic, and a loader that starts anew has seen nothing: a limit is then met later,
never sooner. Why these limits: docs/decisions/0007-floods.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from affiliate.core.config import Settings
from tracker.clicks.judging import Candidate
from tracker.clicks.rules import DropReason

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
KEYS_MAX: Final = 200_000
"""Counts kept of each kind; the windows that were touched last stay."""
PARTS: Final = 6
USUAL_HOURS: Final = 24
USUAL_TIMES: Final = 10
"""An affiliate's limit is this often their usual hour, where that is more than the setting."""
REPEATS_MAX: Final = 3
"""On an affiliate above the limit: clicks of one device within the hour that still count."""


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """How much people click at most; 0: not looked at."""

    address_per_minute: int = 600
    """From one address (IPv6: one /64): a mobile carrier may have thousands behind it."""
    device_per_minute: int = 120
    """From one address with one and the same agent."""
    affiliate_per_hour: int = 20_000
    """On all links of an affiliate, before their repeating devices are looked at."""

    @classmethod
    def of(cls, settings: Settings) -> FloodLimits:
        """The limits that the settings set."""
        return cls(
            address_per_minute=settings.flood_address_per_minute,
            device_per_minute=settings.flood_device_per_minute,
            affiliate_per_hour=settings.flood_affiliate_per_hour,
        )


class FloodWatch:
    """Judges batches; `keep` once a batch is committed. Not for several threads."""

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._addresses = SlidingCounts(MINUTE_MS)
        self._devices = SlidingCounts(MINUTE_MS)
        self._affiliates = SlidingCounts(HOUR_MS)
        self._repeats = SlidingCounts(HOUR_MS)
        self._usual: dict[tuple[int, int], int] = {}

    def judge(self, clicks: Iterable[Candidate]) -> int:
        """Give every click of a flood its reason; returns how many got it.

        Counts what it sees for the time being: until `keep`, or until the next batch, before
        which what was not kept is forgotten.
        """
        self._forget()
        found = 0
        for click in clicks:
            if click.reason is None and self._is_flood(click):
                click.reason = DropReason.FLOOD
                found += 1
        return found

    def keep(self) -> None:
        """The batch was committed: its clicks count from now on."""
        for counts in (self._addresses, self._devices, self._affiliates, self._repeats):
            counts.keep()

    def clear(self) -> None:
        """Forget everything: what was committed may have to be loaded once more."""
        for counts in (self._addresses, self._devices, self._affiliates, self._repeats):
            counts.clear()

    def _forget(self) -> None:
        for counts in (self._addresses, self._devices, self._affiliates, self._repeats):
            counts.forget()
        self._usual = {}

    def _is_flood(self, click: Candidate) -> bool:
        limits, at = self._limits, click.clicked_ms
        flooded = False
        address = click.record.address_hash
        if limits.address_per_minute or limits.device_per_minute:
            seen = self._addresses.add(at, address)
            flooded = 0 < limits.address_per_minute < seen
            # Nobody's device clicks more often than its address, so that devices are counted
            # only where an address has made half of what one of them may.
            if limits.device_per_minute and seen > limits.device_per_minute // 2:
                device = (address, click.record.agent)
                flooded |= self._devices.add(at, device) > limits.device_per_minute
        if limits.affiliate_per_hour:
            enrollment_id = click.facts.enrollment_id
            seen = self._affiliates.add(at, enrollment_id)
            if seen > limits.affiliate_per_hour and seen > self._usual_limit(at, enrollment_id):
                repeating = (enrollment_id, address, click.record.agent)
                flooded |= self._repeats.add(at, repeating) > REPEATS_MAX
        return flooded

    def _usual_limit(self, at: int, enrollment_id: int) -> float:
        key = (at // HOUR_MS, enrollment_id)
        if key not in self._usual:
            self._usual[key] = self._affiliates.before(at, enrollment_id, windows=USUAL_HOURS)
        return USUAL_TIMES * self._usual[key] / USUAL_HOURS


class SlidingCounts:
    """How often each key came within the last window of time, in memory that is bounded.

    A window is its six latest parts. Clicks of several journals come out of order: whatever
    was counted later in a click's own part counts with it, a sixth too much at most. A key
    for which there is no room came once.
    """

    def __init__(self, window_ms: int, keys_max: int = KEYS_MAX) -> None:
        self._part_ms = window_ms // PARTS
        self._keys_max = keys_max
        self._kept: OrderedDict[int, dict[Hashable, int]] = OrderedDict()
        self._keys = 0
        self._fresh: dict[int, dict[Hashable, int]] = {}
        self._windows: dict[int, list[dict[Hashable, int]]] = {}
        """The counts that make up the window of a part, found once a batch."""

    def add(self, at_ms: int, key: Hashable) -> int:
        """Count one more; returns how many there are in the window that ends with it."""
        number = at_ms // self._part_ms
        part = self._fresh.get(number)
        if part is None:
            part = self._fresh[number] = {}
            self._windows = {}
        part[key] = part.get(key, 0) + 1
        window = self._windows.get(number)
        if window is None:
            window = self._windows[number] = self._parts(number - PARTS + 1, number + 1)
        total = 0
        for counts in window:
            if key in counts:
                total += counts[key]
        return total

    def before(self, at_ms: int, key: Hashable, *, windows: int) -> int:
        """How often the key came in that many windows before the one that ends there."""
        first = at_ms // self._part_ms - PARTS + 1
        return sum(part.get(key, 0) for part in self._parts(first - windows * PARTS, first))

    def keep(self) -> None:
        """Take over what was counted since the last `keep` or `forget`."""
        for number, fresh in self._fresh.items():
            window = self._kept.setdefault(number, {})
            self._kept.move_to_end(number)
            for key, count in fresh.items():
                if key in window:
                    window[key] += count
                elif len(window) < self._keys_max:
                    window[key] = count
                    self._keys += 1
        self.forget()
        while self._keys > self._keys_max and len(self._kept) > 1:
            self._keys -= len(self._kept.popitem(last=False)[1])

    def forget(self) -> None:
        """As if what was counted since the last `keep` had not been."""
        self._fresh = {}
        self._windows = {}

    def clear(self) -> None:
        """Forget everything."""
        self.forget()
        self._kept.clear()
        self._keys = 0

    def __len__(self) -> int:
        """How many counts are kept."""
        return self._keys

    def _parts(self, first: int, behind: int) -> list[dict[Hashable, int]]:
        return [
            counted[number]
            for counted in (self._fresh, self._kept)
            for number in range(first, behind)
            if number in counted
        ]
