"""How a believable year looks: who sells, on which days, what baskets cost (no I/O).

Deterministic: the same seed gives the same year. Shares are integers in parts of a hundred
or a thousand; nothing here is money that somebody computed with floats.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import accumulate
from typing import Final

from affiliate.core.money import MICROS, Money
from tracker.orders.rules import Item

CURRENCY: Final = "RUB"
STRONG_PERCENT: Final = 5
"""So many of a hundred affiliates make STRONG_SALES_PERCENT of the sales."""
STRONG_SALES_PERCENT: Final = 95
RECRUITED_PERCENT: Final = 35
REJECTED_PERCENT: Final = 4
BOT_PERCENT: Final = 4
RETURNING_VISITOR_PERCENT: Final = 12
SECOND_CLICK_PERCENT: Final = 8
REFUNDED_PERCENT: Final = 8
CANCELLED_PERCENT: Final = 3
NO_CLICK_PERCENT: Final = 10
"""Orders that no click led to: half of them name a coupon, the others nobody."""
SHIPPING: Final = Money(290 * MICROS, CURRENCY)
FREE_SHIPPING_FROM: Final = Money(4_000 * MICROS, CURRENCY)
COUPON_DISCOUNT_PPM: Final = 50_000

MONTHS: Final = (80, 85, 100, 95, 90, 75, 65, 75, 100, 110, 150, 160)
"""January to December: lamps sell when it is dark."""
WEEKDAYS: Final = (105, 100, 95, 95, 90, 105, 120)
HOURS: Final = (
    4,
    2,
    1,
    1,
    1,
    2,
    5,
    9,
    14,
    18,
    20,
    22,
    23,
    22,
    21,
    21,
    22,
    24,
    27,
    30,
    32,
    28,
    20,
    11,
)

GOODS: Final = (
    ("LAMP-1", "Desk lamp", "lighting", 4_700),
    ("LAMP-2", "Floor lamp", "lighting", 8_900),
    ("LAMP-3", "Night light", "lighting", 1_250),
    ("BULB-9", "Warm bulb, set of three", "lighting", 690),
    ("LEAF-1", "Monstera", "plants", 2_400),
    ("LEAF-2", "Fern", "plants", 950),
    ("LEAF-3", "Olive tree", "plants", 12_500),
    ("POT-1", "Clay pot", "pots", 780),
    ("POT-2", "Hanging pot", "pots", 1_490),
)
AGENTS: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)
BOTS: Final = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "TelegramBot (like TwitterBot)",
    "curl/8.5.0",
)
CHANNELS: Final = ("Lamps", "Small flats", "Green corner", "Light", "Plants", "Home", "Balcony")
NAMES: Final = (
    "Ira", "Oleg", "Nina", "Pavel", "Sveta", "Timur", "Lena", "Denis", "Zoya", "Artem", "Rita",
    "Gleb", "Yana", "Roman", "Dasha", "Egor", "Tanya", "Maxim", "Polina", "Stepan",
)  # fmt: skip
SUB_IDS: Final = ("letter", "post", "story", "review", "bio", None, None, None)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a year is asked for."""

    affiliates: int
    clicks: int
    orders: int
    days: int


@dataclass(frozen=True, slots=True)
class Joining:
    """An affiliate of the year before they exist."""

    number: int
    name: str
    email: str
    strong: bool
    weight: int
    """Their part of the clicks, against the others'."""
    at: datetime
    rejected: bool
    recruited: bool


@dataclass(slots=True)
class Calendar:
    """Every day of the year with how much happens on it."""

    first: datetime
    """The first midnight in UTC."""
    days: int
    weights: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.days):
            day = self.day(number)
            # Half as much again at the end as at the beginning: the program grows.
            growth = 1_000 + 500 * number // self.days
            self.weights.append(MONTHS[day.month - 1] * WEEKDAYS[day.weekday()] * growth)

    def day(self, number: int) -> datetime:
        return self.first + timedelta(days=number)

    def spread(self, total: int) -> list[int]:
        """`total` things over the days, in proportion; the parts sum to the whole."""
        sums = list(accumulate(self.weights))
        ends = [total * part // sums[-1] for part in sums]
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def calendar(*, now: datetime, days: int) -> Calendar:
    """The `days` whole days before today, in UTC."""
    today = datetime.combine(now.astimezone(UTC).date(), time(), tzinfo=UTC)
    return Calendar(today - timedelta(days=days), days)


def joinings(chance: random.Random, year: Calendar, sizes: Sizes) -> list[Joining]:
    """Who joins and when: the strong early on, the others all along.

    The first is there before anybody else and the second is a recruit, so that a year of any
    size and date has somebody to learn level 2 from.
    """
    strong = max(1, sizes.affiliates * STRONG_PERCENT // 100)
    found = []
    for number in range(sizes.affiliates):
        is_strong = number < strong
        span = max(1, year.days // 4 if is_strong else year.days * 9 // 10)
        day, second = chance.randrange(span), chance.randrange(6 * 3_600, 22 * 3_600)
        at = year.day(day) + timedelta(seconds=second) if number else year.first
        found.append(
            Joining(
                number=number,
                name=f"{chance.choice(CHANNELS)} by {chance.choice(NAMES)} {number + 1}",
                email=f"affiliate-{number + 1:05d}@year.invalid",
                strong=is_strong,
                weight=_weight(chance, is_strong, strong, sizes.affiliates - strong),
                at=at,
                rejected=not is_strong and chance.randrange(100) < REJECTED_PERCENT,
                recruited=number == 1 or (number > 1 and chance.randrange(100) < RECRUITED_PERCENT),
            )
        )
    return sorted(found, key=lambda one: one.at)


def moment_in(chance: random.Random, day: datetime) -> datetime:
    """A moment of the day, most of them in the evening."""
    hour = chance.choices(range(24), HOURS)[0]
    return day + timedelta(hours=hour, milliseconds=chance.randrange(3_600_000))


def time_to_order(chance: random.Random) -> timedelta:
    """From click to order: most within the hour, few within weeks."""
    kind = chance.randrange(100)
    if kind < 60:
        return timedelta(seconds=chance.randrange(45, 3_600))
    if kind < 85:
        return timedelta(seconds=chance.randrange(3_600, 3 * 86_400))
    return timedelta(seconds=chance.randrange(3 * 86_400, 33 * 86_400))


def basket(chance: random.Random) -> tuple[Item, ...]:
    """One to three lines."""
    return tuple(
        Item(
            price=Money(price * MICROS, CURRENCY),
            quantity=chance.choice((1, 1, 1, 2)),
            sku=sku,
            name=name,
            category=category,
        )
        for sku, name, category, price in chance.sample(GOODS, chance.choice((1, 1, 2, 3)))
    )


def pick(chance: random.Random, sums: Sequence[int]) -> int:
    """An index, by weights given as running sums."""
    return bisect_right(sums, chance.randrange(sums[-1]))


def _weight(chance: random.Random, is_strong: bool, strong: int, others: int) -> int:
    """Within both groups some sell several times what others do."""
    share = STRONG_SALES_PERCENT if is_strong else 100 - STRONG_SALES_PERCENT
    group = strong if is_strong else max(1, others)
    return share * 1_000_000 // group * chance.choice((40, 60, 80, 100, 100, 140, 180)) // 100 + 1
