"""When a day of clicks can be paid, and what a count that has moved changes (pure).

Rule: docs/rules.md, "Leads and clicks".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

NODE_WAIT: Final = timedelta(hours=24)
"""How long after its end a day waits for a node that has not loaded all of it. What comes later
is booked beside it."""
LATE_DAYS: Final = 45
"""So long after its day a click that was loaded late, or that a person let count, is booked."""


def settled_until(now: datetime, loaded_until: Iterable[datetime]) -> datetime:
    """The instant before which every click is loaded, or is not waited for any longer.

    `loaded_until` has what each node said last. Without a node there is nothing to wait for.
    """
    return max(min([now, *loaded_until]), now - NODE_WAIT)


@dataclass(frozen=True, slots=True)
class Change:
    """What is booked when a link's unique clicks of a day are not what they were."""

    voids: bool
    """Everything booked before is taken back."""
    count: int
    """So many clicks are booked; nothing where it is zero."""
    before: int
    """So many stay booked beside them."""


def change_of(*, counted: int, booked: int) -> Change:
    """More clicks are booked beside the others; of fewer, all are booked anew.

    So nothing that was released is taken back because a click came late.
    """
    if counted >= booked:
        return Change(voids=False, count=counted - booked, before=booked)
    return Change(voids=True, count=counted, before=0)
