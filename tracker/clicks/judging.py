"""The loader's judgement of a batch of clicks: bots, duplicates, uniques (pure).

The caller reads the visitors' marks of the batch from the database and passes them in; the
order of the batch is the order in which its clicks are judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from crawlerdetect import CrawlerDetect

from tracker.clicks.records import FLAG_KNOWN_VISITOR, ClickRecord
from tracker.clicks.rules import DropReason, is_duplicate
from tracker.clicks.tokens import NO_VISITOR, clicked_ms_of
from tracker.clicks.visitors import hash_device

QUARTER_MS: Final = 900_000
"""No time zone changes its offset within a quarter of an hour of UTC."""
AGENTS_REMEMBERED_MAX: Final = 20_000

Mark = tuple[int, date, bytes]
"""Link, day, visitor key: where a visitor leaves a mark."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the loader needs of a link's row."""

    program_id: int
    enrollment_id: int
    time_zone: str


@dataclass(slots=True)
class Candidate:
    """A click on its way to a verdict."""

    record: ClickRecord
    facts: LinkFacts
    clicked_ms: int
    day: date
    """In the program's time zone."""
    reason: DropReason | None
    marks: tuple[Mark, ...]
    """The visitor's mark first; behind it that of the cookie which was handed out."""
    is_unique: bool = False


@dataclass(slots=True)
class DayCount:
    """What a batch adds to one link and day."""

    facts: LinkFacts
    clicks: int = 0
    uniques: int = 0
    duplicates: int = 0
    drops: Counter[str] = field(default_factory=Counter)


def candidate(record: ClickRecord, facts: LinkFacts) -> Candidate:
    """Place a click in its day and look at its agent again, with the long list."""
    clicked_ms = clicked_ms_of(record.click_id)
    day = _day(facts.time_zone, clicked_ms // QUARTER_MS)
    reason = record.reason
    if reason is None and is_crawler(record.agent):
        reason = DropReason.BOT
    if reason is not None:
        return Candidate(record, facts, clicked_ms, day, reason, ())
    keys = visitor_keys(record)
    marks = tuple((record.link_id, day, key) for key in keys)
    return Candidate(record, facts, clicked_ms, day, None, marks)


def visitor_keys(record: ClickRecord) -> tuple[bytes, ...]:
    """Under which keys a visitor is remembered.

    A cookie that came back is the visitor. Without one, address and agent are; the cookie
    that was handed out is marked too, so that its return is not a second visitor.
    """
    if record.flags & FLAG_KNOWN_VISITOR:
        return (record.visitor_id,)
    device = hash_device(record.address_hash, record.agent)
    if record.visitor_id == NO_VISITOR:
        return (device,)
    return (device, record.visitor_id)


def latest_marks(candidates: Iterable[Candidate]) -> dict[Mark, int]:
    """The marks that a batch leaves, each with the latest instant (ms) at which it does."""
    latest: dict[Mark, int] = {}
    for click in candidates:
        for mark in click.marks:
            if latest.get(mark, -1) < click.clicked_ms:
                latest[mark] = click.clicked_ms
    return latest


def judge(candidates: Iterable[Candidate], before: Mapping[Mark, int]) -> None:
    """Decide which clicks repeat another and which are the first of their visitor.

    ``before`` has the instant (ms) of each mark that stood before this batch.
    """
    seen = dict(before)
    for click in candidates:
        if not click.marks:
            continue
        previous = seen.get(click.marks[0])
        if is_duplicate(click.clicked_ms, previous):
            click.reason = DropReason.DUPLICATE
        else:
            click.is_unique = previous is None
        for mark in click.marks:
            seen[mark] = click.clicked_ms


def count_days(candidates: Iterable[Candidate]) -> dict[tuple[int, date], DayCount]:
    """What the batch adds to the roll-up."""
    days: dict[tuple[int, date], DayCount] = {}
    for click in candidates:
        key = (click.record.link_id, click.day)
        count = days.get(key)
        if count is None:
            count = days[key] = DayCount(click.facts)
        if click.reason is None:
            count.clicks += 1
            count.uniques += click.is_unique
        elif click.reason is DropReason.DUPLICATE:
            count.duplicates += 1
        else:
            count.drops[click.reason.value] += 1
    return days


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def is_crawler(agent: bytes) -> bool:
    """Whether the maintained list of crawlerdetect knows the agent as a bot."""
    return bool(_detector().isCrawler(agent.decode("utf-8", "replace")))


@lru_cache(maxsize=1)
def _detector() -> CrawlerDetect:
    return CrawlerDetect()


@lru_cache(maxsize=10_000)
def _day(time_zone: str, quarter: int) -> date:
    instant = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, UTC)
    return instant.astimezone(ZoneInfo(time_zone)).date()
