"""The demo program's products: the demo shop's own feed, fetched from its address as any other."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from affiliate.products.fetching import set_address
from affiliate.products.lookup import feed_of
from affiliate.programs.models import Program

FEED: Final = "feed.xml"


def offer(session: Session, *, program: Program, now: datetime) -> None:
    """Ask the shop's feed from now on; an address that a person entered elsewhere stays."""
    feed = feed_of(session, program_id=program.id)
    wanted = f"{program.landing_url}{FEED}"
    # The shop's port may be another one than at the last run.
    if feed is None or (feed.address.endswith(f"/{FEED}") and feed.address != wanted):
        set_address(session, program_id=program.id, address=wanted, by=None, now=now)
