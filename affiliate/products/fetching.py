"""Verbs of the feed's address: set it, ask it every day, note what came of it.

Three steps, so that no transaction stays open while a stranger's server takes its time: claim what
is due and commit, fetch, write what came.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.core.fetch import FetchFailed, fetch
from affiliate.links.destinations import deep_link
from affiliate.products.importing import lock_feed, rules_of, take_fetched
from affiliate.products.models import ProductFeed
from affiliate.products.rules import FEED_BYTES_MAX, LINK_CHARS_MAX
from affiliate.programs.models import Program

FETCH_EVERY: Final = timedelta(days=1)
FETCH_S: Final = 60.0
"""For the whole answer; a feed of 20 MB comes in some seconds."""
PAUSE_FIRST: Final = timedelta(minutes=5)
PAUSE_MAX: Final = timedelta(hours=6)
LEASE: Final = timedelta(hours=1)
"""A fetch that a crash cut off is begun again after it."""
UNREADABLE: Final = "unreadable"
"""The trouble of a feed that came and is no feed."""


class NoAddress(Conflict):
    code = "no_address"
    title = "No address is entered to fetch from."


@dataclass(frozen=True, slots=True)
class Due:
    """An address that is to be asked now."""

    program_id: int
    address: str
    plain_loopback: bool
    """The program's own word; production refuses it all the same."""


def set_address(
    session: Session, *, program_id: int, address: str, by: int | None, now: datetime
) -> ProductFeed:
    """Fetch the feed from there every day, at once for the first time; empty: no more.

    It has to lie on the program's own sites. Raises NotFound and Invalid (`address`).
    """
    program = session.get(Program, program_id)
    if program is None:
        raise NotFound
    found = _checked(program, address.strip()) if address.strip() else ""
    feed = lock_feed(session, program_id)
    if feed.address == found:
        return feed
    before, feed.address = feed.address, found
    feed.next_fetch_at = now if found else None
    feed.failures, feed.trouble, feed.fetched_at = 0, None, None
    session.flush()
    audit.record(
        session, actor=audit.by_user(by), action="products.address",
        subject=f"program:{program_id}", scope=program_id, now=now,
        old={"address": before}, new={"address": found},
    )  # fmt: skip
    return feed


def ask_soon(session: Session, *, program_id: int, now: datetime) -> None:
    """Ask the address at the next bell. Raises NoAddress."""
    feed = lock_feed(session, program_id)
    if not feed.address:
        raise NoAddress
    feed.next_fetch_at = now
    session.flush()


def claim_due(session: Session, *, now: datetime) -> Due | None:
    """The next address that is due, taken by this caller for a while; of programs that are open."""
    feed = session.scalar(
        sa.select(ProductFeed)
        .join(Program, Program.id == ProductFeed.program_id)
        .where(ProductFeed.next_fetch_at <= now, Program.status != "closed")
        .order_by(ProductFeed.next_fetch_at, ProductFeed.program_id)
        .limit(1)
        .with_for_update(of=ProductFeed, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if feed is None:
        return None
    feed.next_fetch_at = now + LEASE
    session.flush()
    program = session.get_one(Program, feed.program_id)
    return Due(program.id, feed.address, rules_of(program).plain_loopback)


def ask(due: Due, *, production: bool) -> bytes | FetchFailed:
    """What the address holds, or why nothing came. Reads and writes no row."""
    plain = due.plain_loopback and not production
    try:
        return fetch(due.address, plain_loopback=plain, bytes_max=FEED_BYTES_MAX, total_s=FETCH_S)
    except FetchFailed as failed:
        return failed


def note_answer(session: Session, *, due: Due, answer: bytes | FetchFailed, now: datetime) -> None:
    """Import what came, or note why nothing did and ask again after a pause that grows.

    Nothing is done where the address was changed meanwhile.
    """
    trouble: str | None = None
    if isinstance(answer, FetchFailed):
        trouble = answer.trouble.value
    else:
        taken = take_fetched(
            session, program_id=due.program_id, raw=answer, now=now, address=due.address
        )
        trouble = UNREADABLE if taken is not None and taken.status == "refused" else None
    feed = lock_feed(session, due.program_id)
    if feed.address != due.address:
        return
    feed.fetched_at, feed.trouble = now, trouble
    feed.failures = feed.failures + 1 if trouble else 0
    feed.next_fetch_at = now + pause_after(feed.failures)
    session.flush()


def pause_after(failures: int) -> timedelta:
    """A day after success; after failures five minutes, ten, twenty, up to six hours."""
    if not failures:
        return FETCH_EVERY
    return min(PAUSE_FIRST * (1 << min(failures - 1, 10)), PAUSE_MAX)


def _checked(program: Program, address: str) -> str:
    rules = rules_of(program)
    found = deep_link(address, rules.sites, plain_loopback=rules.plain_loopback)
    if found is None or len(found) > LINK_CHARS_MAX:
        sites = ", ".join(dict.fromkeys(site.lstrip(".") for site in rules.sites))
        message = Phrase(
            "A feed is fetched from the program's own sites alone, over https: %(sites)s.",
            sites=sites,
        )
        raise Invalid.field("address", "address_refused", message)
    return found.partition("#")[0]
