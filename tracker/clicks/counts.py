"""What front and loader count beside the clicks themselves, for /metrics."""

from __future__ import annotations

from typing import Final

from affiliate.core import metrics

METRICS: Final = {
    "unrecorded": "Clicks that could be written nowhere; their tokens say so.",
    "spilled": "Clicks written to the database because the journal could not be.",
    "looked_up": "Codes asked of the database.",
    "unknown": "Clicks on codes that nobody has.",
    "loaded": "Records that the loader carried into the database.",
    "quarantined": "Pieces that the loader put into quarantine, by reason.",
    "given_up": "Loaded segments removed before their time because the disk had no room.",
}

for _name, _text in METRICS.items():
    metrics.declare(f"kopeck_clicks_{_name}", _text)


def count(name: str, amount: int = 1, **labels: str) -> None:
    """Add to ``kopeck_clicks_<name>_total``."""
    metrics.count(f"kopeck_clicks_{name}", amount, **labels)
