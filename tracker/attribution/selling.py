"""From whose an order is to what it earns: the sale as the commission rules see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.programs.rule_versions import RuleVersionInForce
from affiliate.programs.terms import CustomerPolicy
from payouts.commissions.earn import Earning, earning_of
from payouts.commissions.rules import Credit, Sale
from payouts.commissions.standing import asks_for_standing, standing_before
from tracker.attribution.judging import Judged, first_of_customer
from tracker.attribution.rules import (
    Attribution,
    Share,
    Unattributed,
)
from tracker.attribution.sales import (
    customer_of,
    items_of,
    reads_items,
    standing_values,
    subscription_of,
)
from tracker.attribution.subject import Subject, waits_for


def with_standings(session: Session, judged: Judged, *, order: Subject) -> Judged:
    """Lock and read what the credited affiliates' terms ask for; mostly that is nothing."""
    if order.converted is not None or order.unconverted is not None:
        read = replace(judged.read, converted=order.converted, unconverted=order.unconverted)
        judged = replace(judged, read=read)
    if isinstance(judged.verdict, Unattributed):
        return judged
    terms = {
        share.enrollment_id: _version_of(judged, share).terms.commission
        for share in judged.verdict.shares
    }
    standings = standing_before(
        session,
        terms=terms,
        reference=order.reference,
        placed_at=order.placed_at,
        zone=order.zone,
        currency=order.net.currency,
    )
    recurring = any(each.recurring is not None for each in terms.values())
    first_paid_at = None
    if recurring and order.subscription is not None and order.subscription["sequence"] > 1:
        first_paid_at = _first_paid_at(session, order.program_id, order.subscription["id"])
    if not standings and first_paid_at is None:
        return judged
    read = replace(judged.read, standings=standings, first_paid_at=first_paid_at)
    return replace(judged, read=read)


_FIRST_PAID: Final = """
    SELECT min(placed_at) FROM orders
    WHERE program_id = CAST(%(program_id)s AS bigint) AND subscription ->> 'id' = %(subscription)s
      AND status <> 'cancelled'
"""


def _first_paid_at(session: Session, program_id: int, subscription: str) -> datetime | None:
    """placed_at of the first payment of a subscription that we know."""
    values = {"program_id": program_id, "subscription": subscription}
    [(found,)] = rows(session, _FIRST_PAID, values)
    return None if found is None else found.astimezone(UTC)


def is_plain(version: RuleVersionInForce) -> bool:
    """Whether an order under these rules needs nothing besides its evidence, before or after."""
    terms = version.terms
    return (
        not version.versions_differ
        and terms.attribution.binding is None
        and terms.commission.recurring is None
        and not asks_for_standing(terms.commission)
    )


def earning_by(*, order: Subject, number: int, judged: Judged, now: datetime) -> Earning | None:
    """What a decision credits, not written yet; None when it credits nobody."""
    if isinstance(judged.verdict, Unattributed):
        return None
    return earning_of(
        sale_of(order, number, judged, judged.verdict),
        waits_for=waits_for(
            confirmed=order.confirmed,
            click_check_due_at=judged.click_check_due_at,
            to_review=judged.review_reason is not None and order.review_outcome is None,
            unconverted=order.unconverted is not None,
            disputed=order.disputed,
        ),
        now=now,
    )


def _version_of(judged: Judged, share: Share) -> RuleVersionInForce:
    """By whose commission terms a share earns."""
    return judged.versions.get(share.enrollment_id, judged.version)


def _recruiter_buys_by(judged: Judged, share: Share) -> str | None:
    """By what the recruiter is known to be the buyer, where the rules refuse own purchases."""
    by = judged.gathered.buying_recruiters.get(
        judged.gathered.recruiters.get(share.enrollment_id) or 0
    )
    refuses = judged.version.terms.attribution.self_purchase is CustomerPolicy.REFUSES
    return by.value if by is not None and by.is_sure and refuses else None


def sale_of(order: Subject, number: int, judged: Judged, verdict: Attribution) -> Sale:
    gathered, read = judged.gathered, judged.read
    named = gathered.names_buyer
    versions = [_version_of(judged, share) for share in verdict.shares]
    by_item = any(reads_items(version.terms.commission) for version in versions)
    return Sale(
        program_id=order.program_id,
        reference=order.reference,
        decision=number,
        net=order.net,
        credits=tuple(
            Credit(
                enrollment_id=share.enrollment_id,
                weight=Fraction(share.weight),
                terms=version.terms.commission,
                rule_version_id=version.id,
                recruiter_id=gathered.recruiters.get(share.enrollment_id),
                recruiter_buys_by=_recruiter_buys_by(judged, share),
                hold=version.terms.payout.hold,
                group=gathered.groups.get(share.enrollment_id),
                customer=customer_of(share, gathered.facts, named=named),
                **standing_values(read.standings.get(share.enrollment_id)),
            )
            for version, share in zip(versions, verdict.shares, strict=True)
        ),
        placed_at=order.placed_at,
        hold=judged.version.terms.payout.hold,
        items=items_of(order.lines, order.net) if by_item else (),
        subscription=subscription_of(order.subscription, order.placed_at, read.first_paid_at),
        first_of_customer=first_of_customer(judged),
        converted=order.converted,
        unconverted=order.unconverted,
    )
