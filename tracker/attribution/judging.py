"""Judge an order: read its evidence, decide whose it is; nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from affiliate.programs.commission_versions import commission_version
from affiliate.programs.rule_versions import RuleVersionInForce
from tracker.attribution.asking import Answer, answer, ask, is_contested, reach_of, visitor_of
from tracker.attribution.assignment import as_assigned
from tracker.attribution.evidence import NOBODY, Gathered, gather
from tracker.attribution.rules import (
    Attribution,
    BuyerBy,
    ReviewReason,
    Unattributed,
    attribute,
)
from tracker.attribution.sales import (
    NOTHING_READ,
    Read,
    is_first_of_customer,
    read_document,
)
from tracker.attribution.snapshot import (
    share_document,
    snapshot_of,
    trace_document,
)
from tracker.orders.keys import Keys, order_keys

CLICK_CHECK_HOURS: Final = 24
"""How long the loader's verdict on a credited click is awaited; then the token stands."""


VISITOR_CHECK_HOURS: Final = 1
"""How long an order of nobody that names its visitor is looked at again: their clicks may
still lie in a journal. Shorter, because a shop may name a visitor with every order."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision that is not written yet."""

    version: RuleVersionInForce
    """The program's, by whose attribution terms it was judged."""
    gathered: Gathered
    verdict: Attribution | Unattributed
    click_check_due_at: datetime | None
    review_reason: ReviewReason | None
    versions: Mapping[int, RuleVersionInForce] = field(default_factory=dict)
    """By whose commission terms each credited enrollment earns; `version` where none is named."""
    read: Read = NOTHING_READ
    """What was read besides for what it earns."""


def judge(
    session: Session,
    *,
    program_id: int,
    placed_at: datetime,
    evidence: Mapping[str, Any],
    program_closed: bool,
    version: RuleVersionInForce,
    now: datetime,
    review_declined: bool = False,
    known: Answer | None = None,
    known_before: Mapping[int, BuyerBy] = NOBODY,
) -> Judged:
    """Read the evidence and decide by the terms of `version`; writes nothing.

    `known` is what was read of it already; it counts if it was asked for what the rules ask.
    """
    keys, reach = order_keys(), reach_of(version.terms.attribution)
    if known is None or known.question.reach != reach:
        question = ask(
            program_id=program_id, placed_at=placed_at, evidence=evidence, reach=reach, keys=keys
        )
        known = answer(session, question)
    judged = judge_known(
        known,
        evidence=evidence,
        program_closed=program_closed,
        version=version,
        keys=keys,
        now=now,
        review_declined=review_declined,
        known_before=known_before,
    )
    versions = _versions_of(session, judged.verdict, version, placed_at)
    return replace(judged, versions=versions) if versions else judged


def judge_known(
    known: Answer,
    *,
    evidence: Mapping[str, Any],
    program_closed: bool,
    version: RuleVersionInForce,
    keys: Keys,
    now: datetime,
    review_declined: bool = False,
    known_before: Mapping[int, BuyerBy] = NOBODY,
) -> Judged:
    """Decide by what was read, for the reach of `version`; reads nothing itself."""
    gathered = gather(
        known,
        program_closed=program_closed,
        keys=keys,
        review_declined=review_declined,
        contested=is_contested(evidence),
        known_before=known_before,
    )
    gathered = as_assigned(gathered, evidence)
    verdict = attribute(gathered.facts, gathered.candidates, version.terms.attribution)
    due_at = _click_check_due_at(verdict, evidence, now)
    return Judged(version, gathered, verdict, due_at, _review_reason(verdict))


def _versions_of(
    session: Session,
    verdict: Attribution | Unattributed,
    version: RuleVersionInForce,
    placed_at: datetime,
) -> Mapping[int, RuleVersionInForce]:
    """Whose commission is reckoned by another version; asked only where there may be some."""
    if isinstance(verdict, Unattributed) or not version.versions_differ:
        return {}
    credited = {share.enrollment_id for share in verdict.shares}
    return commission_version(session, enrollment_ids=credited, at=placed_at)


def decision_values(judged: Judged, *, number: int, now: datetime) -> dict[str, Any]:
    """The decision's row, all but whose it is."""
    verdict = judged.verdict
    shares = verdict.shares if isinstance(verdict, Attribution) else ()
    return {
        "number": number,
        "rule_version_id": judged.version.id,
        "outcome": "attributed" if isinstance(verdict, Attribution) else "unattributed",
        "reason": None if isinstance(verdict, Attribution) else verdict.reason.value,
        "shares": [share_document(share) for share in shares],
        "trace": [trace_document(line) for line in verdict.trace],
        "snapshot": _snapshot(judged),
        "decided_at": now,
        "click_check_due_at": judged.click_check_due_at,
        "review_reason": judged.review_reason and judged.review_reason.value,
    }


def _snapshot(judged: Judged) -> dict[str, Any]:
    """Everything that was read: for whose the order is, and for what it earns."""
    gathered = judged.gathered
    document = snapshot_of(gathered.facts, gathered.candidates)
    recruiters = {str(who): by for who, by in gathered.recruiters.items() if by is not None}
    sale = {
        **read_document(judged.read),
        "names_buyer": gathered.names_buyer,
        "first_of_customer": first_of_customer(judged),
    }
    if recruiters:
        sale["recruiters"] = recruiters
    if gathered.buying_recruiters:
        sale["buying_recruiters"] = {
            str(who): by.value for who, by in gathered.buying_recruiters.items()
        }
    return {**document, "sale": sale}


def _click_check_due_at(
    verdict: Attribution | Unattributed, evidence: Mapping[str, Any], now: datetime
) -> datetime | None:
    """Until when to look again: for the verdict on a click, or for the click of a visitor.

    An order that names only its visitor may come before the visitor's clicks are loaded.
    """
    if isinstance(verdict, Attribution):
        waits = any(share.awaits_click_check for share in verdict.shares)
        return now + timedelta(hours=CLICK_CHECK_HOURS) if waits else None
    waits = visitor_of(evidence) is not None
    return now + timedelta(hours=VISITOR_CHECK_HOURS) if waits else None


def _review_reason(verdict: Attribution | Unattributed) -> ReviewReason | None:
    if isinstance(verdict, Unattributed):
        return None
    return next((share.review_reason for share in verdict.shares if share.review_reason), None)


def first_of_customer(judged: Judged) -> bool:
    """Whether it is the buyer's first order; what an earlier decision said stands."""
    said = judged.read.first_of_customer
    if said is not None:
        return said
    return is_first_of_customer(judged.gathered.facts, named=judged.gathered.names_buyer)
