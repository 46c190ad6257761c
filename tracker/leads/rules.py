"""What a shop says of a lead (pure). Rules: docs/rules.md, "Leads and clicks"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tracker.orders.rules import CustomerIn, customer_document


class Status(StrEnum):
    """Where a lead stands; only the shop's server reports one, so that it is confirmed."""

    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """What a report did."""

    CREATED = "created"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class LeadReportIn:
    """A report of a lead, parsed; the moment in UTC."""

    lead_id: str
    placed_at: datetime
    kind: str | None = None
    customer: CustomerIn | None = None
    clicks: tuple[str, ...] = ()
    """Click tokens, oldest first."""
    visitor: str | None = None
    coupon: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def report_document(report: LeadReportIn) -> dict[str, Any]:
    """The report as plain JSON values, every default filled in: what "same content" means."""
    return {
        "lead_id": report.lead_id,
        "placed_at": report.placed_at.isoformat(),
        "kind": report.kind,
        "customer": customer_document(report.customer),
        "clicks": list(report.clicks),
        "visitor": report.visitor,
        "coupon": report.coupon,
        "metadata": dict(report.metadata),
    }
