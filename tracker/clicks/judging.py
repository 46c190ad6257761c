"""The loader's judgement of a batch of clicks: crawlers, duplicates, uniques (pure).

The caller reads the marks that the batch's visitors left before and passes them in. A mark
is 64 bits that name a visitor on a link and a day: of the cookie that came back, else of
address and agent. Rule: docs/rules.md, "Which clicks count".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zoneinfo import ZoneInfo

from tracker.clicks.crawlers import is_crawler
from tracker.clicks.devices import device_class
from tracker.clicks.records import FLAG_KNOWN_VISITOR, ClickRecord
from tracker.clicks.rules import DeviceClass, DropReason, is_duplicate
from tracker.clicks.tokens import NO_VISITOR

QUARTER_MS: Final = 900_000
"""No time zone changes its offset within a quarter of an hour of UTC."""
REMEMBERED_MAX: Final = 100_000

Mark = int
"""Signed, as a bigint is."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the loader needs of a link's row."""

    program_id: int
    enrollment_id: int
    time_zone: str


class Slot:
    """A quarter of an hour as a program's time zone sees it; one object for each."""

    __slots__ = ("day", "hour")

    def __init__(self, day: date, hour: datetime) -> None:
        self.day: Final = day
        self.hour: Final = hour
        """The first instant of the hour, UTC."""


class Candidate:
    """A click on its way to a verdict."""

    __slots__ = (
        "clicked_ms",
        "device",
        "facts",
        "handed_out",
        "is_unique",
        "mark",
        "reason",
        "record",
        "slot",
    )

    def __init__(self, record: ClickRecord, facts: LinkFacts, clicked_ms: int, slot: Slot) -> None:
        self.record = record
        self.facts = facts
        self.clicked_ms = clicked_ms
        self.slot = slot
        self.reason = record.reason
        self.device = DeviceClass.OTHER.value
        """A DeviceClass's value: plain, because an Enum's hash costs more than all its uses."""
        self.is_unique = False
        self.mark: Mark = 0
        """The visitor's; only of clicks without a reason."""
        self.handed_out: Mark | None = None
        """That of the cookie which was given with this click: its return is no new visitor."""


def candidates(
    records: Iterable[ClickRecord], facts_of: Mapping[int, LinkFacts]
) -> list[Candidate]:
    """Place clicks in their day and look at their agents again, with the long list.

    Every record's link must be in ``facts_of``.
    """
    found = []
    for record in records:
        facts = facts_of[record.link_id]
        clicked_ms = int.from_bytes(record.click_id[:6], "big")
        slot = slot_of(facts.time_zone, clicked_ms // QUARTER_MS)
        click = Candidate(record, facts, clicked_ms, slot)
        click.device, crawls = agent_says(record.agent)
        if crawls and click.reason is None:
            click.reason = DropReason.BOT
        found.append(click)
    return found


def leave_marks(clicks: Iterable[Candidate]) -> list[Candidate]:
    """Name the visitor of every click that nothing speaks against so far; returns those.

    A cookie that came back is the visitor. Without one, address and agent are; the cookie
    that was handed out is named too, so that its return is not a second visitor.
    """
    open_clicks = [click for click in clicks if click.reason is None]
    for click in open_clicks:
        record = click.record
        salt = _salt(record.link_id, click.slot.day)
        if record.flags & FLAG_KNOWN_VISITOR:
            click.mark = visitor_mark(salt, record.visitor_id)
            continue
        click.mark = device_mark(salt, record.address_hash, record.agent)
        if record.visitor_id != NO_VISITOR:
            click.handed_out = visitor_mark(salt, record.visitor_id)
    return open_clicks


def judge(open_clicks: Iterable[Candidate], seen: dict[Mark, int]) -> dict[Mark, int]:
    """Decide which clicks repeat another and which are the first of their visitor.

    ``seen`` has the latest instant (ms) of each mark that stood before this batch, and is
    added to. Returns the marks that are new or were moved, for the table: those of cookies
    that were only handed out are not among them, the clicks' own rows remember those.
    """
    touched: dict[Mark, int] = {}
    for click in open_clicks:
        mark, at = click.mark, click.clicked_ms
        previous = seen.get(mark)
        if previous is None:
            # Another node may have loaded the cookie's return before its handing out.
            back = click.handed_out is not None and click.handed_out in seen
            click.is_unique = not back
            latest = at
        else:
            if is_duplicate(at, previous):
                click.reason = DropReason.DUPLICATE
            latest = max(at, previous)
        seen[mark] = touched[mark] = latest
        if click.handed_out is not None:
            seen[click.handed_out] = at
    return touched


def visitor_mark(salt: int, visitor_id: bytes) -> Mark:
    """The mark of a cookie. The latter half of its id is random and as good as a hash."""
    return salt ^ int.from_bytes(visitor_id[8:], "little", signed=True)


def device_mark(salt: int, address_hash: bytes, agent: bytes) -> Mark:
    """The mark of an address and an agent; the address's hash is keyed already."""
    return salt ^ int.from_bytes(address_hash[8:], "little", signed=True) ^ agent_bits(agent)


def salt_of(link_id: int, day: date) -> int:
    """What makes a visitor's mark another one on each link and day."""
    return _salt(link_id, day)


@lru_cache(maxsize=REMEMBERED_MAX)
def slot_of(time_zone: str, quarter: int) -> Slot:
    """The day and hour of a program in which a quarter (since the epoch) of UTC lies."""
    instant = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, UTC)
    local = instant.astimezone(ZoneInfo(time_zone))
    # As PostgreSQL's date_trunc does: the offset of the instant itself holds for its hour.
    hour = instant - timedelta(minutes=local.minute, seconds=local.second)
    return Slot(local.date(), hour)


@lru_cache(maxsize=1_000)
def day_bounds(time_zone: str, day: date) -> tuple[datetime, datetime]:
    """The first instant of a program's day and the first after it."""
    zone = ZoneInfo(time_zone)
    begin = datetime.combine(day, time(0), tzinfo=zone)
    end = datetime.combine(day + timedelta(days=1), time(0), tzinfo=zone)
    return begin.astimezone(UTC), end.astimezone(UTC)


def known_days(clicks: Sequence[Candidate]) -> set[date]:
    """The days on which a batch's clicks lie; most often one."""
    return {slot.day for slot in {click.slot for click in clicks}}


@lru_cache(maxsize=REMEMBERED_MAX)
def agent_says(agent: bytes) -> tuple[str, bool]:
    """The class of device (DeviceClass's value) that an agent names, and whether it crawls."""
    return device_class(agent).value, is_crawler(agent)


@lru_cache(maxsize=REMEMBERED_MAX)
def _salt(link_id: int, day: date) -> int:
    return _bits(b"%d:%d" % (link_id, day.toordinal()))


@lru_cache(maxsize=REMEMBERED_MAX)
def agent_bits(agent: bytes) -> int:
    """The agent's part of a device's mark."""
    # As its row has it, so that the row can tell the mark as well.
    return _bits(agent.decode("utf-8", "replace").encode())


def _bits(text: bytes) -> int:
    digest = blake2b(text, digest_size=8, person=b"kopeck-mark").digest()
    return int.from_bytes(digest, "little", signed=True)
