"""Lists by pages, all in one form: `limit`, `after`, `next` and a Link header.

A page is found by the key of the row before it (keyset), so that a list may grow while it is
read and its thousandth page costs what the first does. docs/api.md, "Lists".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import marshmallow as ma
from flask import Response, current_app, request

from affiliate.core.api import answer
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.fields import Text
from affiliate.core.ids import row_id

ROWS_DEFAULT: Final = 50
ROWS_MAX: Final = 200
CURSOR_CHARS_MAX: Final = 40

Row = TypeVar("Row")


class PageQuery(ma.Schema):
    """One page of a list: `after` is the `next` of the page before."""

    limit = ma.fields.Integer(load_default=ROWS_DEFAULT, validate=ma.validate.Range(1, ROWS_MAX))
    after = Text(
        load_default=None,
        chars_max=CURSOR_CHARS_MAX,
        metadata={"description": "`next` of the page before; absent: the first page"},
    )


class PageOut(ma.Schema):
    """The end of every page."""

    next = ma.fields.String(
        allow_none=True,
        metadata={"description": "Goes into `after` for the next page; null on the last"},
    )


def row_in(prefix: str, field: str, text: str | None) -> int | None:
    """The row behind an id by which a list is filtered, None without one. Raises Invalid."""
    if text is None:
        return None
    try:
        return row_id(prefix, text)
    except NotFound:
        raise Invalid.field(field, "not_an_id", f"This is no id of {prefix}_….") from None


class NotACursor(Invalid):
    """What was sent as `after` is no `next` of this list."""

    @classmethod
    def of(cls, field: str) -> NotACursor:
        made = cls.field(field, "not_a_cursor", "Send what stood in `next` of the page before.")
        assert isinstance(made, cls)
        return made


def row_after(prefix: str, query: Mapping[str, Any], field: str = "after") -> int | None:
    """The row that the page begins behind; None for the first page. Raises NotACursor."""
    sent = query[field]
    if sent is None:
        return None
    try:
        return row_id(prefix, sent)
    except NotFound:
        raise NotACursor.of(field) from None


def page(
    name: str,
    rows: Sequence[Row],
    *,
    limit: int,
    cursor: Callable[[Row], str],
    write: Callable[[Row], Mapping[str, Any]],
) -> Response:
    """The answer with one page under `name`: ask for `limit + 1` rows, so that it is known
    whether there is another."""
    return page_together(
        name,
        rows,
        limit=limit,
        cursor=cursor,
        write=lambda shown: [write(row) for row in shown],
    )


def page_together(
    name: str,
    rows: Sequence[Row],
    *,
    limit: int,
    cursor: Callable[[Row], str],
    write: Callable[[Sequence[Row]], Sequence[Mapping[str, Any]]],
    beside: Mapping[str, Any] | None = None,
) -> Response:
    """The same where what belongs to the rows is read for all of them at once.

    `beside` is what the answer says besides its rows.
    """
    following = cursor(rows[limit - 1]) if len(rows) > limit else None
    body = {**(beside or {}), name: write(rows[:limit]), "next": following}
    return answer(body, headers=link_to(following))


def link_to(following: str | None) -> dict[str, str]:
    """The Link header of a page (RFC 8288): the same question, behind this page."""
    if following is None:
        return {}
    settings: Settings = current_app.extensions["kopeck.settings"]
    asked = urlencode({**request.args.to_dict(), "after": following})
    return {"Link": f'<{settings.public_url}{request.path}?{asked}>; rel="next"'}
