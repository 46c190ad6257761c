"""One order of the past under given rules: whose it is and what it earns. Pure.

The functions are those of the intake; here they read what it stored instead of asking anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from affiliate.core.money import Money
from affiliate.programs.rule_versions import RuleVersionInForce
from payouts.commissions.rules import Earned, NotEarned, commissions_of, reversal
from payouts.commissions.standing import Standing
from tracker.attribution.evidence import Gathered
from tracker.attribution.judging import Judged
from tracker.attribution.rules import Attribution, BuyerBy, Unattributed, attribute
from tracker.attribution.sales import Read, read_from
from tracker.attribution.selling import sale_of
from tracker.attribution.snapshot import candidates_from, facts_from
from tracker.replay.history import PastOrder


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What the rules say of an order."""

    verdict: Attribution | Unattributed
    found: tuple[Earned | NotEarned, ...]


def gathered_from(past: PastOrder) -> Gathered:
    """What attribution read of the order, out of its decision's snapshot."""
    candidates = candidates_from(past.snapshot)
    sale = past.snapshot.get("sale", {})
    recruiters: dict[int, int | None]
    if "names_buyer" in sale:
        recruiters = {int(who): by for who, by in sale.get("recruiters", {}).items()}
    else:  # Decisions of before that was kept: what was booked says it of whom they credited.
        recruiters = {
            each.via_enrollment_id: each.enrollment_id
            for each in past.booked
            if each.via_enrollment_id is not None
        }
    return Gathered(
        facts=facts_from(past.snapshot),
        candidates=candidates,
        recruiters=recruiters,
        groups={one.enrollment_id: one.group for one in candidates if one.enrollment_id},
        names_buyer=sale.get("names_buyer", False),
        buying_recruiters={
            int(who): BuyerBy(by) for who, by in sale.get("buying_recruiters", {}).items()
        },
    )


def as_booked(past: PastOrder, versions: Mapping[int, RuleVersionInForce]) -> Reckoned:
    """By the version of each affiliate and with the standings that were read then.

    `versions` are those that the decision and its commissions name, by id.
    """
    read = read_from(past.snapshot.get("sale", {}), past.subject.net.currency)
    reckoned_by = {
        each.enrollment_id: versions[each.rule_version_id]
        for each in past.booked
        if each.level == 1
    }
    gathered = gathered_from(past)
    version = versions[past.rule_version_id]
    verdict = attribute(gathered.facts, gathered.candidates, version.terms.attribution)
    first = past.snapshot.get("sale", {}).get("first_of_customer")
    read = Read(read.standings, first, read.first_paid_at)
    return _reckoned(past, Judged(version, gathered, verdict, None, None, reckoned_by, read))


def attributed(
    past: PastOrder, version: RuleVersionInForce
) -> tuple[Gathered, Attribution | Unattributed]:
    """Whose order it would have been by other rules, out of what was read of it then."""
    gathered = gathered_from(past)
    return gathered, attribute(gathered.facts, gathered.candidates, version.terms.attribution)


def earned(
    past: PastOrder,
    version: RuleVersionInForce,
    gathered: Gathered,
    verdict: Attribution | Unattributed,
    standings: Mapping[int, Standing],
) -> Reckoned:
    """What it would have earned by other rules, where its affiliates would have stood."""
    first = past.snapshot.get("sale", {}).get("first_of_customer")
    read = Read(standings, first, past.first_paid_at)
    return _reckoned(past, Judged(version, gathered, verdict, None, None, {}, read))


def _reckoned(past: PastOrder, judged: Judged) -> Reckoned:
    verdict = judged.verdict
    if isinstance(verdict, Unattributed):
        return Reckoned(verdict, ())
    return Reckoned(verdict, commissions_of(sale_of(past.subject, past.number, judged, verdict)))


def amount_of(found: Earned | NotEarned) -> Money:
    """What it earns before refunds."""
    return found.amount if isinstance(found, Earned) else Money.zero(found.base.currency)


def kept_of(past: PastOrder, found: Earned | NotEarned) -> Money:
    """What refunds and a cancellation leave of it by now."""
    amount = amount_of(found)
    zero = Money.zero(amount.currency)
    if past.cancelled_at is not None:
        return zero
    if past.subject.refunded_net is None:
        return amount
    return amount - reversal(
        frozen=amount,
        refunded_net=past.subject.refunded_net,
        net=past.subject.net,
        already=zero,
    )
