"""What affiliates sold and earned before a sale, where its terms ask for it.

Tiers, caps per period and an affiliate's first order depend on what came before. Two sales of
one affiliate at the same moment must not both read the same past, so the affiliates'
enrollments are locked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.money import Money
from affiliate.core.strict_json import dumps
from affiliate.programs.terms import BonusFor, CommissionTerms, Measure
from payouts.commissions.periods import stretch_of

# In id order, as every lock of several rows. NO KEY UPDATE: rows that refer to an enrollment
# (clicks, links, commissions) go on being written.
_LOCK: Final = """
    SELECT id FROM enrollments WHERE id = ANY(CAST(%(ids)s AS bigint[]))
    ORDER BY id FOR NO KEY UPDATE
"""
SALES: Final = "split_part(c.reference, ':', 1) NOT IN ('tier', 'clicks', 'lead')"
"""Commissions of sales, and not what is counted beside them."""
# Live level-1 commissions of the stretch, but for the sale itself. Its own statement: one that
# waited for the lock would still see what was there before it waited.
_READ: Final = f"""
    SELECT a.enrollment_id,
           coalesce(sum(c.base_micros - c.refunded_base_micros) FILTER (
               WHERE c.placed_at >= a.tier_begins AND c.placed_at < a.tier_ends AND {SALES}), 0),
           count(c.id) FILTER (
               WHERE c.placed_at >= a.tier_begins AND c.placed_at < a.tier_ends AND {SALES}
                 AND c.base_micros > c.refunded_base_micros),
           coalesce(sum(c.amount_micros - c.reversed_micros) FILTER (
               WHERE c.placed_at >= a.cap_begins AND c.placed_at < a.cap_ends), 0),
           a.first_asked AND NOT EXISTS (
               SELECT FROM commissions c
               WHERE c.enrollment_id = a.enrollment_id AND c.level = 1 AND c.voided_at IS NULL
                 AND c.base_micros > 0 AND c.reference <> %(reference)s AND {SALES})
    FROM jsonb_to_recordset(CAST(%(asked)s AS jsonb)) AS a (
        enrollment_id bigint, tier_begins timestamptz, tier_ends timestamptz,
        cap_begins timestamptz, cap_ends timestamptz, first_asked boolean)
    LEFT JOIN commissions c
      ON c.enrollment_id = a.enrollment_id AND c.level = 1 AND c.voided_at IS NULL
     AND c.placed_at >= least(a.tier_begins, a.cap_begins)
     AND c.placed_at < greatest(a.tier_ends, a.cap_ends)
     AND c.reference <> %(reference)s
    GROUP BY a.enrollment_id, a.first_asked
"""  # noqa: S608 -- the part is a constant of this module, every value is bound


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an affiliate stood just before a sale."""

    volume: int = 0
    """Micros or orders of the tiers' period, as the tiers measure."""
    earned_in_period: Money | None = None
    """What level 1 earned them in the period of the cap."""
    first_order: bool = False


NOWHERE: Final = Standing()
"""Of whom nothing had to be read."""


def asks_for_standing(terms: CommissionTerms) -> bool:
    """Whether what a sale earns by these terms depends on earlier ones."""
    of_affiliate = terms.bonus is not None and terms.bonus.first_of is BonusFor.AFFILIATE
    return terms.tiers is not None or terms.caps.per_period is not None or of_affiliate


def standing_before(
    session: Session,
    *,
    terms: Mapping[int, CommissionTerms],
    reference: str,
    placed_at: datetime,
    zone: str,
    currency: str,
) -> dict[int, Standing]:
    """Lock the affiliates whose terms ask for it, and read where each of them stands.

    `terms` are the commission terms by enrollment, `zone` is the program's (IANA), `reference`
    the sale whose own commissions do not count. Enrollments that are not in the answer need
    nothing read; without any there is no statement.
    """
    asked = {who: each for who, each in terms.items() if asks_for_standing(each)}
    if not asked:
        return {}
    lock_standings(session, asked)
    found = rows(
        session,
        _READ,
        {
            "reference": reference,
            "asked": dumps([_question(who, asked[who], placed_at, zone) for who in sorted(asked)]),
        },
    )
    return {
        who: Standing(
            volume=int(orders if _counts_orders(asked[who]) else sold),
            earned_in_period=Money(int(earned), currency),
            first_order=first,
        )
        for who, sold, orders, earned, first in found
    }


def lock_standings(session: Session, enrollment_ids: Iterable[int]) -> None:
    """Let nobody else change what these affiliates sold, as far as it is read or made up for."""
    rows(session, _LOCK, {"ids": sorted(enrollment_ids)})


def _counts_orders(terms: CommissionTerms) -> bool:
    return terms.tiers is not None and terms.tiers.measure is Measure.ORDERS


def _question(
    enrollment_id: int, terms: CommissionTerms, placed_at: datetime, zone: str
) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "enrollment_id": enrollment_id,
        "first_asked": terms.bonus is not None and terms.bonus.first_of is BonusFor.AFFILIATE,
    }
    if terms.tiers is not None:
        stretch = stretch_of(terms.tiers.period, placed_at, zone)
        asked |= {"tier_begins": stretch.begins, "tier_ends": stretch.ends}
    if terms.caps.per_period is not None:
        stretch = stretch_of(terms.caps.per_period.period, placed_at, zone)
        asked |= {"cap_begins": stretch.begins, "cap_ends": stretch.ends}
    return asked
