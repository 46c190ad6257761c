"""The statements behind the questions: clicks out of counters, orders out of their days.

Every piece of text here is a word of this module, never of a reader; what a reader gives is
bound. One statement answers a question, so that its clicks and orders are of one instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from tracker.stats.figures import Period, Scope
from tracker.stats.models import SUMS
from tracker.stats.order_sums import ADDED, COLUMNS, SUMMED
from tracker.stats.rules import EVERYTHING, By, Filter, Sort

CLICKED: Final = ("clicks", "uniques", "duplicates", "dropped")
_COUNTED: Final = ", ".join(f"sum({name}) AS {name}" for name in CLICKED)
_ORDER_DAY: Final = "CAST(o.placed_at AT TIME ZONE :time_zone AS date)"
_ORDER_HOUR: Final = "date_trunc('hour', o.placed_at, :time_zone)"

# Orders that are not in the days yet, a few seconds of them. Their numbers are gathered into
# an array, because the planner cannot know that `id > (SELECT …)` is true of so few.
_TAIL: Final = """
    o.id = ANY(ARRAY(
        SELECT t.id FROM orders t
        WHERE t.id > (SELECT added_order_id FROM order_sums_marks)
          AND t.program_id = :program_id AND t.placed_at >= :since AND t.placed_at < :until))
"""
# The share of the live decision through which this commission was credited, and its click.
# The click's instant is in the share, so that one partition is read for each; OFFSET keeps the
# planner, who cannot know how few there are, from joining all clicks instead.
_SHARE: Final = """
    JOIN decisions d ON d.order_id = o.id AND d.number = c.decision
    CROSS JOIN LATERAL jsonb_array_elements(d.shares) AS s(share)
"""
_CREDITED_CLICK: Final = f"""
    {_SHARE}
    CROSS JOIN LATERAL (
        SELECT * FROM clicks found
        WHERE found.click_id = CAST(s.share ->> 'click_id' AS uuid)
          AND found.clicked_at = CAST(s.share ->> 'clicked_at' AS timestamptz)
        OFFSET 0) AS k
"""  # noqa: S608
_BY_COUPON: Final = (
    "AND c.level = 1 AND s.share ->> 'evidence' = 'coupon' "
    "AND CAST(s.share ->> 'enrollment_id' AS bigint) = c.enrollment_id"
)
# One affiliate: from their commissions to the orders by primary key. A whole program: from
# its orders of the period to their commissions. Each reads no more than it counts.
_OF_AFFILIATE: Final = """
    FROM commissions c
    JOIN orders o ON o.id = CASE WHEN c.reference ~ '^order:[0-9]+$'
                                 THEN CAST(substr(c.reference, 7) AS bigint) END
"""
_OF_PROGRAM: Final = "FROM orders o JOIN commissions c ON c.reference = 'order:' || o.id"
_IN_PERIOD: Final = "o.program_id = :program_id AND o.placed_at >= :since AND o.placed_at < :until"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as its statement reads it."""

    scope: Scope
    period: Period
    by: By
    only: Filter = EVERYTHING

    @property
    def values(self) -> dict[str, Any]:
        since, until = self.period.instants(self.scope.time_zone)
        kind = self.only.kind or self.by.kind
        return {
            "program_id": self.scope.program_id,
            "enrollment_id": self.scope.enrollment_id,
            "time_zone": self.scope.time_zone,
            "first": self.period.first,
            "last": self.period.last,
            "since": since,
            "until": until,
            "link_id": self.only.link_id,
            "kind": None if kind is None else kind.value,
            "value": self.only.value,
        }


@dataclass(frozen=True, slots=True)
class After:
    """The last row of the page before: what it was sorted by, and its key."""

    value: int
    key: Any


def statement(
    asked: Asked, *, sort: Sort = Sort.KEY, after: After | None = None, rows_max: int | None = None
) -> sa.TextClause:
    """Keys with their figures: `key`, CLICKED and SUMS, in the order of `sort`, then the key."""
    clicks, orders = _clicks(asked), _orders(asked)
    key_type = KEY_TYPES[asked.by]
    sorted_by = _SORTED_BY[sort]
    beyond = limit = ""
    values = asked.values
    if after is not None:
        values |= {"after_value": after.value, "after_key": after.key}
        later = f"key > CAST(:after_key AS {key_type})"
        if sort is not Sort.KEY:
            later = f"({sorted_by} < :after_value OR {sorted_by} = :after_value AND {later})"
        beyond = f"WHERE {later}"
    if rows_max is not None:
        values["rows_max"] = rows_max
        limit = "LIMIT :rows_max"
    order = "key" if sort is Sort.KEY else f"{sorted_by} DESC, key"
    text = f"""
        WITH clicked AS ({clicks}), credited AS ({orders})
        SELECT key, {", ".join((*CLICKED, *SUMS))}, {sorted_by} AS sorted_by
        FROM clicked FULL JOIN credited USING (key)
        {beyond} ORDER BY {order} {limit}
    """  # noqa: S608
    return sa.text(text).bindparams(**_used(text, values))


KEY_TYPES: Final = {
    By.DAY: "date",
    By.HOUR: "timestamptz",
    By.LINK: "bigint",
    By.AFFILIATE: "bigint",
    **dict.fromkeys((By.S1, By.S2, By.S3, By.S4, By.S5), "text"),
    By.CREATIVE: "text",
    By.COUNTRY: "text",
    By.DEVICE: "text",
    By.DROP_REASON: "text",
    By.COUPON: "text",
}
_SORTED_BY: Final = {
    Sort.KEY: "CAST(0 AS bigint)",
    Sort.CLICKS: "CAST(coalesce(clicks, 0) + coalesce(dropped, 0) AS bigint)",
    Sort.ORDERS: "CAST(coalesce(orders, 0) AS bigint)",
    Sort.EARNED: "CAST(coalesce(earned_micros - reversed_micros, 0) AS bigint)",
}


def _used(text: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if f":{name}" in text}


def _clicks(asked: Asked) -> str:
    if asked.by is By.COUPON:
        return _no_clicks("text")
    if asked.by is By.DROP_REASON:
        return _dropped(asked)
    if asked.by is By.HOUR:
        return _by_hour(asked)
    if asked.by is By.DEVICE:
        return _by_device(asked)
    if asked.by.kind or asked.only.kind:
        return _by_value(asked)
    return _by_day_or_link(asked)


def _no_clicks(key_type: str) -> str:
    nothing = ", ".join(f"CAST(NULL AS bigint) AS {name}" for name in CLICKED)
    return f"SELECT CAST(NULL AS {key_type}) AS key, {nothing} WHERE false"


def _by_day_or_link(asked: Asked) -> str:
    counted = _COUNTED
    if asked.only.device:
        counted = f"sum({asked.only.device.value}) AS clicks, {_NOT_KEPT}"
    return f"SELECT {_KEYS[asked.by]} AS key, {counted} {_days(asked)} GROUP BY 1"


_NOT_KEPT: Final = (
    "CAST(NULL AS bigint) AS uniques, CAST(NULL AS bigint) AS duplicates, "
    "CAST(NULL AS bigint) AS dropped"
)
_KEYS: Final = {By.DAY: "day", By.LINK: "link_id", By.AFFILIATE: "enrollment_id"}


def _days(asked: Asked) -> str:
    """From which counters of a day, and which of their rows."""
    of_program = asked.scope.enrollment_id is None
    if of_program and asked.by in (By.DAY, By.DEVICE):
        return "FROM program_days WHERE program_id = :program_id AND day BETWEEN :first AND :last"
    return f"FROM link_days WHERE {_whose(asked)} AND day BETWEEN :first AND :last"


def _whose(asked: Asked) -> str:
    """Rows of counters that begin with the affiliate."""
    whose = "program_id = :program_id"
    if asked.scope.enrollment_id is not None:
        whose = "enrollment_id = :enrollment_id"
    return whose + (" AND link_id = :link_id" if asked.only.link_id is not None else "")


def _by_hour(asked: Asked) -> str:
    rows = "program_hours WHERE program_id = :program_id"
    if asked.scope.enrollment_id is not None:
        rows = f"link_hours WHERE {_whose(asked)}"
    return (
        f"SELECT hour AS key, {_COUNTED} FROM {rows} "  # noqa: S608
        "AND hour >= :since AND hour < :until GROUP BY 1"
    )


def _by_device(asked: Asked) -> str:
    return f"""
        SELECT device.word AS key, sum(device.clicks) AS clicks, {_NOT_KEPT}
        FROM (SELECT desktop, mobile, tablet, other {_days(asked)}) AS counted
        CROSS JOIN LATERAL (VALUES ('desktop', desktop), ('mobile', mobile), ('tablet', tablet),
                                   ('other', other)) AS device(word, clicks)
        GROUP BY 1 HAVING sum(device.clicks) > 0
    """  # noqa: S608


def _by_value(asked: Asked) -> str:
    rows = "program_day_values WHERE program_id = :program_id"
    if asked.scope.enrollment_id is not None:
        rows = f"link_day_values WHERE {_whose(asked)}"
    key = "value" if asked.by.kind else _KEYS[asked.by]
    only = "AND value = :value" if asked.only.kind else ""
    return (
        f"SELECT {key} AS key, sum(clicks) AS clicks, sum(uniques) AS uniques, "  # noqa: S608
        "CAST(NULL AS bigint) AS duplicates, CAST(NULL AS bigint) AS dropped "
        f"FROM {rows} AND day BETWEEN :first AND :last AND kind = :kind {only} GROUP BY 1"
    )


def _dropped(asked: Asked) -> str:
    """Duplicates are no drops, but they are what people ask about beside them."""
    drops = "program_day_drops WHERE program_id = :program_id"
    days = "program_days WHERE program_id = :program_id"
    if asked.scope.enrollment_id is not None:
        drops, days = f"link_day_drops WHERE {_whose(asked)}", f"link_days WHERE {_whose(asked)}"
    between = "AND day BETWEEN :first AND :last"
    return f"""
        SELECT reason AS key, CAST(0 AS bigint) AS clicks, CAST(0 AS bigint) AS uniques,
               CAST(0 AS bigint) AS duplicates, sum(clicks) AS dropped
        FROM {drops} {between} GROUP BY 1
        UNION ALL
        SELECT 'duplicate', 0, 0, sum(duplicates), 0 FROM {days} {between}
        HAVING sum(duplicates) > 0
    """  # noqa: S608


def _orders(asked: Asked) -> str:
    if asked.by is By.DROP_REASON:
        nothing = ", ".join(f"CAST(NULL AS bigint) AS {name}" for name in SUMS)
        return f"SELECT CAST(NULL AS text) AS key, {nothing} WHERE false"
    if asked.by in (By.DAY, By.AFFILIATE) and not asked.only.of_clicks:
        return _summed(asked)
    return _looked_up(asked)


def _summed(asked: Asked) -> str:
    """Out of the days, with what has changed since and what is not in them yet."""
    table = "order_days"
    whose = "program_id = :program_id"
    if asked.scope.enrollment_id is not None:
        whose = "enrollment_id = :enrollment_id"
    elif asked.by is By.DAY:
        table = "program_order_days"
    key = _KEYS[asked.by]
    mine = "" if asked.scope.enrollment_id is None else "AND c.enrollment_id = :enrollment_id"
    tail_key = _ORDER_DAY if asked.by is By.DAY else "c.enrollment_id"
    return f"""
        SELECT key, {ADDED} FROM (
            SELECT {key} AS key, {COLUMNS} FROM {table}
            WHERE {whose} AND day BETWEEN :first AND :last
            UNION ALL
            SELECT {key}, {COLUMNS} FROM order_changes
            WHERE {whose} AND day BETWEEN :first AND :last
              AND order_id <= (SELECT added_order_id FROM order_sums_marks)
            UNION ALL
            SELECT {tail_key}, {SUMMED} {_OF_PROGRAM} WHERE {_TAIL} {mine} GROUP BY 1
        ) AS each GROUP BY key
    """  # noqa: S608


def _looked_up(asked: Asked) -> str:
    """Out of the orders themselves, each with the click or coupon that it was credited to."""
    source, whose = _OF_PROGRAM, ""
    if asked.scope.enrollment_id is not None:
        source, whose = _OF_AFFILIATE, "AND c.enrollment_id = :enrollment_id"
    joins = which = ""
    if asked.by is By.COUPON:
        joins, which = _SHARE, _BY_COUPON
    elif asked.by is not By.HOUR or asked.only.of_clicks:
        joins, which = _CREDITED_CLICK, f"AND c.level = 1 {_of_click(asked)}"
    return (
        f"SELECT {_order_key(asked.by)} AS key, {SUMMED} {source} {joins} "
        f"WHERE {_IN_PERIOD} {whose} {which} GROUP BY 1"
    )


def _order_key(by: By) -> str:
    if by.kind:
        return f"k.{by.kind.value}"
    return {
        By.DAY: _ORDER_DAY,
        By.HOUR: _ORDER_HOUR,
        By.LINK: "k.link_id",
        By.AFFILIATE: "c.enrollment_id",
        By.DEVICE: "k.device",
        By.COUPON: "upper(trim(o.coupon))",
    }[by]


def _of_click(asked: Asked) -> str:
    only = asked.only
    found = "AND k.enrollment_id = c.enrollment_id"
    if only.link_id is not None:
        found += " AND k.link_id = :link_id"
    if only.kind:
        found += f" AND k.{only.kind.value} = :value"
    elif asked.by.kind:
        found += f" AND k.{asked.by.kind.value} IS NOT NULL"
    if only.device:
        found += f" AND k.device = '{only.device.value}'"
    return found
