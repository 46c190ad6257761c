"""Decisions as stored JSON: what was read, whose it is, what each check said (pure).

`facts_from` and `candidates_from` give back exactly what `snapshot_of` took, so that a
replay reads the same. What is as it mostly is takes no room, and what older snapshots do not
say is as it was then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tracker.attribution.facts import BuyerBy, Candidate, Kind, OrderFacts, Share, TraceLine
from tracker.attribution.own import LASTING
from tracker.clicks.rules import DropReason


def snapshot_of(order: OrderFacts, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Everything that attribution read."""
    facts: dict[str, Any] = {
        "placed_at": order.placed_at.isoformat(),
        "customer_since": _text(order.customer_since),
        "says_new": order.says_new,
        "program_closed": order.program_closed,
        "review_declined": order.review_declined,
    }
    if order.contested:
        facts["contested"] = True
    if order.assigned_to is not None:
        facts["assigned_to"] = order.assigned_to
    return {"order": facts, "candidates": [_candidate(candidate) for candidate in candidates]}


def facts_from(document: Mapping[str, Any]) -> OrderFacts:
    """The order's facts of a snapshot."""
    order = document["order"]
    return OrderFacts(
        placed_at=datetime.fromisoformat(order["placed_at"]),
        customer_since=_moment(order["customer_since"]),
        says_new=order["says_new"],
        program_closed=order["program_closed"],
        # Decisions of before there were reviews do not say.
        review_declined=order.get("review_declined", False),
        contested=order.get("contested", False),
        assigned_to=order.get("assigned_to"),
    )


def candidates_from(document: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """The candidates of a snapshot."""
    return tuple(
        Candidate(
            kind=Kind(found["kind"]),
            enrollment_id=found["enrollment_id"],
            click_id=found["click_id"],
            at=_moment(found["at"]),
            genuine=found["genuine"],
            in_program=found["in_program"],
            by_test_link=found.get("by_test_link", False),
            disabled_at=_moment(found["disabled_at"]),
            valid_until=_moment(found["valid_until"]),
            active=found["active"],
            buyer_by=_buyer_by(found),
            drop=DropReason(found["drop"]) if found["drop"] else None,
            loaded=found["loaded"],
            unrecorded=found["unrecorded"],
            group=found.get("group"),
            referrer_host=found.get("referrer_host"),
            paid_search=found.get("paid_search", False),
        )
        for found in document["candidates"]
    )


def buyers_in(document: Mapping[str, Any]) -> dict[int, BuyerBy]:
    """Who was known to be the buyer by a browser, a network or what paid, by enrollment.

    Customer ids and e-mail addresses are read anew: they are facts that a person may correct.
    """
    return {
        found["enrollment_id"]: by
        for found in document["candidates"]
        if (by := _buyer_by(found)) is not None and by not in LASTING
    }


def share_document(share: Share) -> dict[str, Any]:
    """A share as the decision's row keeps it."""
    found: dict[str, Any] = {
        "enrollment_id": share.enrollment_id,
        "weight": str(share.weight),
        "evidence": share.evidence.value,
        "click_id": share.click_id,
        "clicked_at": _text(share.clicked_at),
        "existing_customer": share.existing_customer,
    }
    if share.other_clicks:
        found["other_clicks"] = [
            {"click_id": click.click_id, "clicked_at": _text(click.clicked_at)}
            for click in share.other_clicks
        ]
    return found


def trace_document(line: TraceLine) -> dict[str, Any]:
    """A line of the trace; what does not apply is left out."""
    found = {
        "candidate": line.candidate.value,
        "enrollment_id": line.enrollment_id,
        "click_id": line.click_id,
        "age_seconds": line.age_s,
        "check": line.check.value,
        "outcome": line.outcome.value,
        "reason": line.reason and line.reason.value,
        "weight": None if line.weight is None else str(line.weight),
        "buyer_by": line.buyer_by and line.buyer_by.value,
    }
    return {key: value for key, value in found.items() if value is not None}


def _candidate(found: Candidate) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": found.kind.value,
        "enrollment_id": found.enrollment_id,
        "click_id": found.click_id,
        "at": _text(found.at),
        "genuine": found.genuine,
        "in_program": found.in_program,
        "disabled_at": _text(found.disabled_at),
        "valid_until": _text(found.valid_until),
        "active": found.active,
        "is_buyer": found.buyer_by is not None,
        "drop": found.drop and found.drop.value,
        "loaded": found.loaded,
        "unrecorded": found.unrecorded,
    }
    if found.buyer_by is not None:
        document["buyer_by"] = found.buyer_by.value
    if found.group is not None:
        document["group"] = found.group
    if found.referrer_host is not None:
        document["referrer_host"] = found.referrer_host
    if found.by_test_link:
        document["by_test_link"] = True
    if found.paid_search:
        document["paid_search"] = True
    return document


def _buyer_by(found: Mapping[str, Any]) -> BuyerBy | None:
    """Before it was said by what, buyers were known by their address alone."""
    if not found["is_buyer"]:
        return None
    return BuyerBy(found.get("buyer_by", BuyerBy.EMAIL))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
