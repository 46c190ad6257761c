"""When digests and newsletters are due, what a newsletter may say, whose results it tells (pure).

Rule: docs/mails.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from affiliate.core.errors import FieldError, Phrase
from affiliate.core.money import MICROS, Money
from affiliate.links.rules import unprintable

FIRST_DAYS_MAX: Final = 3
"""A first click or sale that is older is no news any more, say after a week of being off."""
DIGEST_HOUR: Final = 9
DIGEST_FOR: Final = timedelta(days=2)
"""From its hour on: whoever was not written to by then is told next Monday."""
NEWSLETTER_HOUR: Final = 10
NEWSLETTER_FOR: Final = timedelta(days=3)
AHEAD_DAYS_MAX: Final = 120
TITLE_CHARS_MAX: Final = 120
BODY_CHARS_MAX: Final = 10_000
CREATIVES_MAX: Final = 6
BEST_SHOWN: Final = 3
BEST_FROM: Final = 5
"""So many must have earned something: among fewer everybody would know who it was."""
_DIGITS_TOLD: Final = 2
_LINK: Final = re.compile(r"https://[^\s<>\"'«»“”]+")
_NOT_ITS_END: Final = ".,;:!?)]}…"


@dataclass(frozen=True, slots=True)
class Week:
    """Monday to Sunday by a program's calendar, and when letters about it go out."""

    monday: date
    due_at: datetime
    ends_at: datetime
    """From then on no letter about it is begun."""

    @property
    def sunday(self) -> date:
        return self.monday + timedelta(days=6)


def week_to_tell(now: datetime, time_zone: str) -> Week | None:
    """The week whose digests are due at this instant; none at other times of a week."""
    today = now.astimezone(ZoneInfo(time_zone)).date()
    this_monday = today - timedelta(days=today.weekday())
    due_at = local_instant(this_monday, DIGEST_HOUR, time_zone)
    week = Week(this_monday - timedelta(days=7), due_at, due_at + DIGEST_FOR)
    return week if week.due_at <= now < week.ends_at else None


def local_instant(day: date, hour: int, time_zone: str) -> datetime:
    """The instant of a local hour; one that a spring change skips is as long after midnight."""
    return datetime.combine(day, time(hour), tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def first_day(now: datetime, time_zone: str) -> date:
    """The oldest day of a program on which a first click or sale is still news."""
    today = now.astimezone(ZoneInfo(time_zone)).date()
    return today - timedelta(days=FIRST_DAYS_MAX - 1)


class Stage(StrEnum):
    """Where a newsletter is; closed."""

    DRAFT = "draft"
    PLANNED = "planned"
    DUE = "due"
    """Being written to its readers."""
    SENT = "sent"
    MISSED = "missed"
    """Its day passed while nothing was sent; another day can be chosen."""


def stage_of(
    *,
    send_on: date | None,
    planned: bool,
    ended: bool,
    now: datetime,
    time_zone: str,
) -> Stage:
    """`planned`: a manager said that it goes out; `ended`: it went to everybody."""
    if ended:
        return Stage.SENT
    if not planned or send_on is None:
        return Stage.DRAFT
    due_at = local_instant(send_on, NEWSLETTER_HOUR, time_zone)
    if now < due_at:
        return Stage.PLANNED
    return Stage.DUE if now < due_at + NEWSLETTER_FOR else Stage.MISSED


@dataclass(frozen=True, slots=True)
class NewsText:
    """What a newsletter says in one language."""

    title: str
    body: str

    @property
    def empty(self) -> bool:
        return not self.title and not self.body


def tidy_text(title: str, body: str) -> NewsText:
    """A title of one line, line ends of one kind."""
    return NewsText(" ".join(title.split()), body.replace("\r\n", "\n").strip())


def text_problems(texts: Mapping[str, NewsText]) -> list[FieldError]:
    """What cannot be accepted, by the form's fields; one language is enough."""
    found: list[FieldError] = []
    for language, text in texts.items():
        if text.empty:
            continue
        for name, value, most in (("title", text.title, TITLE_CHARS_MAX),
                                  ("body", text.body, BODY_CHARS_MAX)):  # fmt: skip
            field = f"{name}_{language}"
            lines = value.replace("\n", " ").replace("\t", " ") if name == "body" else value
            if not value:
                found.append(FieldError(field, "required", "Please fill this in."))
            elif len(value) > most or unprintable(lines):
                message = Phrase("At most %(most)s visible characters.", most=most)
                found.append(FieldError(field, f"{name}_wrong", message))
    if all(text.empty for text in texts.values()):
        for language in list(texts)[:1]:
            found.append(FieldError(f"title_{language}", "required", "Please fill this in."))
    return found


def text_for(texts: Mapping[str, NewsText], language: str) -> NewsText:
    """In the reader's language, else the first that was written."""
    written = {code: text for code, text in texts.items() if not text.empty}
    return written.get(language) or next(iter(written.values()), NewsText("", ""))


def day_problem(send_on: date, now: datetime, time_zone: str) -> FieldError | None:
    """What is against sending a newsletter on a day; none: it can still go out."""
    # Days before instants: of the first and the last year there is not every instant.
    today = now.astimezone(ZoneInfo(time_zone)).date()
    if send_on < today:
        return FieldError("send_on", "day_past", "This day is over; choose another one.")
    if send_on > today + timedelta(days=AHEAD_DAYS_MAX):
        message = Phrase("At most %(days)s days ahead.", days=AHEAD_DAYS_MAX)
        return FieldError("send_on", "day_far", message)
    return None


def as_html(text: str) -> Markup:
    """Plain words as paragraphs; addresses that begin with https:// become links that read as
    what they lead to. Nothing else is read out of the text, and everything is escaped."""
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Markup("").join(
        Markup("<p>{}</p>\n").format(Markup("<br>").join(map(_linked, part.strip().split("\n"))))
        for part in paragraphs
    )


def _linked(line: str) -> Markup:
    made, rest = Markup(""), 0
    for found in _LINK.finditer(line):
        url = found[0].rstrip(_NOT_ITS_END)
        made += escape(line[rest : found.start()])
        made += Markup('<a href="{}">{}</a>').format(url, url)
        rest = found.start() + len(url)
    return made + escape(line[rest:])


@dataclass(frozen=True, slots=True)
class Best:
    """One of the best results of a month."""

    name: str
    """Empty: they did not agree to be named."""
    over: Money


def best_results(earned: Sequence[tuple[int, Money]], names: Mapping[int, str]) -> tuple[Best, ...]:
    """The first few, largest first; `names` has those who agreed to be named.

    None at all where fewer than BEST_FROM earned something. Amounts are rounded down to two
    digits: enough to see what is possible, too little to know anybody's income.
    """
    some = sorted(
        ((number, amount) for number, amount in earned if amount.micros > 0),
        key=lambda each: (-each[1].micros, each[0]),
    )
    if len(some) < BEST_FROM:
        return ()
    return tuple(
        Best(names.get(number, ""), rounded_down(amount)) for number, amount in some[:BEST_SHOWN]
    )


def rounded_down(amount: Money) -> Money:
    """The first two digits of the whole units: 41,203.17 is 41,000; below one unit nothing."""
    units = amount.micros // MICROS
    step = 10 ** max(0, len(str(units)) - _DIGITS_TOLD)
    return Money(units // step * step * MICROS, amount.currency)


@dataclass(frozen=True, slots=True)
class Told:
    """What a digest tells of one week."""

    clicks: int
    orders: int
    earned: Money

    @property
    def nothing(self) -> bool:
        return not self.clicks and not self.orders and not self.earned.micros


def worth_telling(week: Told, before: Told) -> bool:
    """Whether there is anything to say: two weeks of nothing are no letter."""
    return not (week.nothing and before.nothing)
