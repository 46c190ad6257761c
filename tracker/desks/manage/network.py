"""The network of affiliates: who joined, who sells, how much hangs on how few, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.money import PPM, Money
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from tracker.desks.manage import numbers
from tracker.desks.manage.blueprint import manage, page, place, readers
from tracker.stats.questions import today

DAYS: Final = 90
FIRST_SALE_DAYS: Final = 365
"""Of those who came in within so many days it is asked how long the first sale took."""
QUIET_SHOWN_MAX: Final = 20
GOOD_ACTIVE_PPM: Final = (600_000, 900_000)
"""What a good program reaches (docs/decisions/0031-network.md); 200,000 to 300,000 is usual."""
_SALES = sa.text("""
    WITH sold AS (
        SELECT enrollment_id, sum(orders) AS orders, sum(value_micros) AS value,
            sum(earned_micros) AS earned, sum(reversed_micros) AS reversed,
            sum(earned_2_micros) AS earned_2, sum(reversed_2_micros) AS reversed_2,
            sum(released_orders) AS released, sum(refused_orders) AS refused
        FROM order_days WHERE program_id = :program AND day >= :since
        GROUP BY enrollment_id
    ), ranked AS (
        SELECT earned, row_number() OVER w AS place, sum(earned) OVER w AS running,
            sum(earned) OVER () AS whole
        FROM sold WHERE earned > 0 WINDOW w AS (ORDER BY earned DESC, enrollment_id)
    )
    SELECT coalesce(sum(orders), 0), coalesce(sum(value), 0), coalesce(sum(earned), 0),
        coalesce(sum(reversed), 0), coalesce(sum(earned_2), 0), coalesce(sum(reversed_2), 0),
        coalesce(sum(released), 0), coalesce(sum(refused), 0),
        count(*) FILTER (WHERE orders > 0),
        (SELECT min(place) FROM ranked WHERE running >= whole * 0.8)
    FROM sold
""")
_PEOPLE = sa.text("""
    WITH first AS (
        SELECT e.id, e.approved_at, min(d.day) AS day
        FROM enrollments e LEFT JOIN order_days d ON d.enrollment_id = e.id AND d.orders > 0
        WHERE e.program_id = :program AND e.approved_at >= :joined_since
        GROUP BY e.id
    )
    SELECT
        (SELECT count(*) FROM enrollments
         WHERE program_id = :program AND approved_at >= :since_at),
        (SELECT count(*) FROM enrollments
         WHERE program_id = :program AND decided_at >= :since_at AND status = 'rejected'),
        count(*), count(day),
        percentile_cont(0.5) WITHIN GROUP (
            ORDER BY greatest(0, day - (approved_at AT TIME ZONE :zone)::date))
            FILTER (WHERE day IS NOT NULL)
    FROM first
""")
_QUIET = sa.text("""
    SELECT e.id, a.name, s.earned, s.last
    FROM (SELECT enrollment_id, sum(earned_micros - reversed_micros) AS earned, max(day) AS last
          FROM order_days WHERE program_id = :program AND orders > 0
          GROUP BY enrollment_id) s
    JOIN enrollments e ON e.id = s.enrollment_id AND e.status = 'active'
    JOIN affiliates a ON a.id = e.affiliate_id
    WHERE s.last < :since AND NOT EXISTS (
        SELECT FROM link_days l
        WHERE l.enrollment_id = e.id AND l.day >= :since AND l.clicks > 0)
    ORDER BY s.earned DESC, e.id LIMIT :most
""")


@dataclass(frozen=True)
class Network:
    """Figures of the last DAYS days, by the days on which orders were placed."""

    enrolled: int
    active: int
    joined: int
    rejected: int
    asked: int
    """Of whom the first sale is asked: in within FIRST_SALE_DAYS."""
    sold: int
    """Of them, with a sale."""
    first_sale_days: float | None
    """The median of theirs, from the approval to the day of the first order."""
    sellers: int
    carriers: int | None
    """How few sellers make four fifths of what was earned; none without any."""
    orders: int
    value: Money
    earned: Money
    """On both levels, before refunds."""
    taken_back: Money
    earned_2: Money
    released: int
    refused: int

    @property
    def active_ppm(self) -> int | None:
        return _part(self.active, self.enrolled)

    @property
    def sold_ppm(self) -> int | None:
        return _part(self.sold, self.asked)

    @property
    def taken_back_ppm(self) -> int | None:
        return _part(self.taken_back.micros, self.earned.micros)

    @property
    def level_2_ppm(self) -> int | None:
        return _part(self.earned_2.micros, self.earned.micros)

    @property
    def cost_ppm(self) -> int | None:
        """What was earned, of the orders' value."""
        return _part(self.earned.micros, self.value.micros)

    @property
    def approved_ppm(self) -> int | None:
        """Orders whose commission was released, of those that are settled."""
        return _part(self.released, self.released + self.refused)

    @property
    def per_order(self) -> Money | None:
        """What one order costs in commission, to the kopeck."""
        if not self.orders:
            return None
        left = self.earned - self.taken_back
        return Money.of_minor_units(
            left.fraction(1, self.orders).whole_minor_units(), left.currency
        )


@manage.get("/network")
@readers
def network() -> str:
    """How the network does, and whom to write to."""
    here = place()
    program, session = here.required, db.session()
    now = clock.now(session)
    since = today(now, program.time_zone) - timedelta(days=DAYS - 1)
    quiet_since = today(now, program.time_zone) - timedelta(days=numbers.ACTIVE_DAYS - 1)
    return page(
        "network",
        here,
        found=figures(session, program=program, since=since, now=now),
        quiet=quiet(session, program=program, since=quiet_since),
        days=DAYS,
        active_days=numbers.ACTIVE_DAYS,
        first_sale_days=FIRST_SALE_DAYS,
        good=GOOD_ACTIVE_PPM,
    )


def figures(session: Session, *, program: Program, since: date, now: datetime) -> Network:
    """Read the network of a program, from the day `since` on."""
    enrolled, active, _applied = numbers.affiliates(session, program, now)
    sales = session.execute(_SALES, {"program": program.id, "since": since}).one()
    people = session.execute(
        _PEOPLE,
        {
            "program": program.id,
            "since_at": now - timedelta(days=DAYS),
            "joined_since": now - timedelta(days=FIRST_SALE_DAYS),
            "zone": program.time_zone,
        },
    ).one()
    orders, value, earned, reversed_, earned_2, reversed_2, released, refused = map(int, sales[:8])

    def money(micros: int) -> Money:
        return Money(micros, program.currency)

    return Network(
        enrolled=enrolled,
        active=active,
        joined=people[0],
        rejected=people[1],
        asked=people[2],
        sold=people[3],
        first_sale_days=None if people[4] is None else float(people[4]),
        sellers=sales[8],
        carriers=sales[9],
        orders=orders,
        value=money(value),
        earned=money(earned + earned_2),
        taken_back=money(reversed_ + reversed_2),
        earned_2=money(earned_2),
        released=released,
        refused=refused,
    )


def quiet(session: Session, *, program: Program, since: date) -> list[dict[str, Any]]:
    """Who sold before and has had neither order nor click from `since` on; the best first."""
    found = session.execute(
        _QUIET, {"program": program.id, "since": since, "most": QUIET_SHOWN_MAX}
    )
    return [
        {
            "public": people_ids.public(row.id),
            "name": row.name,
            "earned": Money(int(row.earned), program.currency),
            "last": row.last,
        }
        for row in found
    ]


def _part(some: int, of: int) -> int | None:
    return some * PPM // of if of > 0 else None
