"""What the front counts beside the clicks themselves, for /metrics.

Made at the first count and not at import, because prometheus_client opens files then.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prometheus_client import Counter

METRICS: Final = {
    "unrecorded": "Clicks that could be written nowhere; their tokens say so.",
    "spilled": "Clicks written to the database because the journal could not be.",
    "looked_up": "Codes asked of the database.",
    "unknown": "Clicks on codes that nobody has.",
}


def count(name: str) -> None:
    """Add one to ``kopeck_clicks_<name>_total``."""
    _counter(name).inc()


@lru_cache(maxsize=len(METRICS))
def _counter(name: str) -> Counter:
    return Counter(f"kopeck_clicks_{name}", METRICS[name])
