"""Stripe's lists: newest first, cursors by object id, at most 100 a page."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from .wire import ApiError, Fields, missing

LIMIT_DEFAULT = 10
LIMIT_MAX = 100

# Both directions carry the same filters; a filter that was not given is NULL and lets all through.
_FILTERS = """
    kind = :kind AND owner = :owner AND created <= :visible_until
    AND (:destination IS NULL OR destination = :destination)
    AND (:transfer_group IS NULL OR transfer_group = :transfer_group)
    AND (:parent IS NULL OR parent = :parent)
    AND (:status IS NULL OR json_extract(body, '$.status') = :status)
    AND (:topics IS NULL OR EXISTS
        (SELECT 1 FROM json_each(:topics) AS wanted WHERE objects.topic GLOB wanted.value))
    AND (:gt IS NULL OR created > :gt) AND (:gte IS NULL OR created >= :gte)
    AND (:lt IS NULL OR created < :lt) AND (:lte IS NULL OR created <= :lte)
"""
# Put together from the constants of this file alone; every value is a bound parameter.
OLDER = (
    "SELECT body FROM objects WHERE "  # noqa: S608
    + _FILTERS
    + " AND (:cursor IS NULL OR seq < :cursor) ORDER BY seq DESC LIMIT :rows"
)
NEWER = (
    "SELECT body FROM objects WHERE "  # noqa: S608
    + _FILTERS
    + " AND seq > :cursor ORDER BY seq ASC LIMIT :rows"
)


@dataclass(frozen=True)
class Listing:
    """What is listed: the kind, whose it is, and what narrows it."""

    kind: str
    noun: str
    url: str
    owner: str
    parent: str | None = None
    topics: tuple[str, ...] | None = None
    visible_until: float = math.inf
    """Unix seconds; younger objects are not shown yet (an eventually consistent list)."""


def page(con: sqlite3.Connection, listing: Listing, fields: Fields) -> dict[str, Any]:
    """One page of a list, by ``limit``, ``starting_after``, ``ending_before`` and ``created``."""
    limit = _limit(fields)
    backwards = "ending_before" in fields
    if backwards and "starting_after" in fields:
        raise ApiError(400, "You may pass either 'starting_after' or 'ending_before', not both.")
    name = "ending_before" if backwards else "starting_after"
    created = fields.get("created", {})
    if isinstance(created, int):  # ``created=1700000000`` is exactly that second.
        created = {"gte": created, "lte": created}
    terms = {
        "kind": listing.kind,
        "owner": listing.owner,
        "parent": listing.parent,
        "topics": None if listing.topics is None else json.dumps(listing.topics),
        "visible_until": listing.visible_until,
        "destination": fields.get("destination"),
        "transfer_group": fields.get("transfer_group"),
        "status": fields.get("status"),
        "cursor": _cursor(con, listing, name, fields.get(name)),
        "rows": limit + 1,
        **{edge: created.get(edge) for edge in ("gt", "gte", "lt", "lte")},
    }
    rows = con.execute(NEWER if backwards else OLDER, terms).fetchall()
    bodies = [json.loads(row["body"]) for row in rows[:limit]]
    if backwards:
        bodies.reverse()
    return {
        "object": "list",
        "data": bodies,
        "has_more": len(rows) > limit,
        "url": listing.url,
    }


def _limit(fields: Fields) -> int:
    limit = int(fields.get("limit", LIMIT_DEFAULT))
    if not 1 <= limit <= LIMIT_MAX:
        bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {LIMIT_MAX}"
        raise ApiError(
            400,
            f"This value must be {bound}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def _cursor(
    con: sqlite3.Connection, listing: Listing, name: str, object_id: str | None
) -> int | None:
    if object_id is None:
        return None
    row = con.execute(
        "SELECT seq FROM objects WHERE id = ? AND kind = ? AND owner = ?",
        (object_id, listing.kind, listing.owner),
    ).fetchone()
    if row is None:
        raise missing(listing.noun, object_id, param=name, status=400)
    return int(row["seq"])
