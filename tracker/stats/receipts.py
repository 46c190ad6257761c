"""Was my test click seen? From what somebody pasted to the click, and on to its order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from payouts.commissions.models import Commission
from tracker.attribution.models import Decision
from tracker.attribution.rules import CLOCK_SKEW_MAX
from tracker.clicks.tokens import ClickToken, SigningKey, clicked_at_of, is_click_id, read
from tracker.orders.models import Order

PASTED_CHARS_MAX: Final = 4_000
LOADED_WITHIN: Final = timedelta(minutes=1)
"""A click younger than this may still lie in a journal; mostly it takes a second."""
CARRIED_AS: Final = "kpk"


@dataclass(frozen=True, slots=True)
class CreditedOrder:
    """The order that a click was credited with."""

    row_id: int
    order_id: str
    """The shop's."""


def click_named(text: str, keys: Sequence[SigningKey]) -> UUID | None:
    """The click that a text names: its id, its token, or an address with the token in it."""
    text = text.strip()[:PASTED_CHARS_MAX]
    for candidate in (text, *_tokens_in(text)):
        token = read(candidate, keys)
        if isinstance(token, ClickToken):
            return token.click_id
    try:
        click_id = UUID(text)
    except ValueError:
        return None
    return click_id if is_click_id(click_id) else None


def may_be_on_its_way(click_id: UUID, now: datetime) -> bool:
    """Whether the click is so young that its row may not be there yet."""
    return abs(now - clicked_at_of(click_id)) < LOADED_WITHIN


def credited_orders(
    session: Session, *, enrollment_id: int, click_ids: Iterable[UUID]
) -> dict[UUID, CreditedOrder]:
    """The order that each of an affiliate's clicks was credited with.

    An order is earned after its click, so the affiliate's own commissions since the oldest
    of these clicks are all that is read.
    """
    wanted = list(click_ids)
    if not wanted:
        return {}
    share = sa.func.jsonb_array_elements(Decision.shares).table_valued(
        sa.column("value", JSONB), name="share"
    )
    click_id = share.c.value["click_id"].astext
    number = sa.func.substr(Commission.reference, len("order:") + 1)
    # A CASE is never evaluated ahead of its condition: other references name no order.
    order_row = sa.case(
        (Commission.reference.regexp_match("^order:[0-9]+$"), sa.cast(number, sa.BigInteger))
    )
    rows = session.execute(
        sa.select(click_id, Order.id, Order.order_id)
        .select_from(Commission)
        .join(Order, Order.id == order_row)
        .join(
            Decision,
            sa.and_(Decision.order_id == Order.id, Decision.number == Commission.decision),
        )
        .join(share, sa.true())
        .where(
            Commission.enrollment_id == enrollment_id,
            Commission.level == 1,
            Commission.voided_at.is_(None),
            Commission.earned_at >= min(map(clicked_at_of, wanted)) - CLOCK_SKEW_MAX,
            click_id.in_([str(each) for each in wanted]),
        )
        .order_by(Order.id)
    )
    return {UUID(click): CreditedOrder(row_id, order_id) for click, row_id, order_id in rows}


def _tokens_in(text: str) -> list[str]:
    try:
        return parse_qs(urlsplit(text).query).get(CARRIED_AS, [])
    except ValueError:
        return []
