"""Every text, document, bytes and UUID in this package's tables; and all packages' together."""

from __future__ import annotations

from typing import Final

from affiliate.core.personal import Inventory, Table, Why
from affiliate.personal import inventory as affiliates
from payouts.personal import inventory as payouts

_DECISION: Final = Table(
    # Of what was read the referring host may be an affiliate's own.
    kept={Why.EVIDENCE: "snapshot"},
    plain="outcome reason shares trace review_reason void_reason",
)
OWN: Final[Inventory] = {
    "clicks": Table(
        erased="s1 s2 s3 s4 s5",
        replaced="referrer",
        kept={Why.AGES: "visitor_id address_hash agent deep_link"},
        plain="click_id reason device creative country",
    ),
    "click_segments": Table(plain="segment node"),
    "click_nodes": Table(plain="node"),
    "click_spill": Table(kept={Why.AGES: "record"}),
    "click_quarantine": Table(kept={Why.AGES: "content"}, plain="segment reason"),
    "link_day_drops": Table(plain="reason"),
    "link_day_values": Table(erased="value", plain="kind"),
    "program_day_drops": Table(plain="reason"),
    "program_day_values": Table(plain="kind value"),
    "orders": Table(
        kept={Why.BUYER: "evidence details"},
        plain="order_id source status confirmed_by review_outcome reviewed_by currency "
        "converted_to items coupon subscription content_hash open_disputes",
    ),
    "order_reports": Table(
        kept={Why.BUYER: "body"}, plain="source reported_by content_hash outcome"
    ),
    "refunds": Table(kept={Why.BUYER: "reason body"}, plain="refund_id content_hash"),
    "parked_calls": Table(
        kept={Why.BUYER: "body"}, plain="order_id kind call_id content_hash refused_reason"
    ),
    # Rows of both go as a whole, after some weeks.
    "order_imports": Table(plain="format brought_by state"),
    "order_import_rows": Table(plain="outcome order_id code detail errors"),
    "sources": Table(
        plain="kind name secret previous_secret scheme header mapping options created_by"
    ),
    "source_deliveries": Table(
        kept={Why.BUYER: "body"},
        plain="delivery_id topic body_hash state error waits_for because errors results order_id "
        "accepted_by",
    ),
    "source_subjects": Table(plain="subject"),
    "source_references": Table(plain="reference order_id"),
    "customers": Table(kept={Why.BUYER: "shop_id email_hash"}),
    "leads": Table(
        kept={Why.BUYER: "details evidence cancel_reason"},
        plain="lead_id kind status reported_by cancelled_by review_outcome reviewed_by "
        "content_hash",
    ),
    "decisions": _DECISION,
    "lead_decisions": _DECISION,
    # Rows of it go as a whole.
    "affiliate_sightings": Table(erased="mark kind"),
    "claims": Table(
        replaced="said",
        erased="reason",
        plain="kind ground order_id click_id status remedy",
    ),
    "claim_notes": Table(replaced="text"),
    "newsletters": Table(plain="texts"),
    # Hosts, codes and the shop's ids of orders: bodies and values of fields are not kept.
    "integration_facts": Table(plain="host fact detail"),
    "refused_calls": Table(plain="route caller code fields request_id order_id"),
    "test_orders": Table(plain="order_id source reported_by answer"),
    "canary_runs": Table(plain="millis step problem detail"),
    "paid_click_days": Table(plain="review_outcome reviewed_by"),
    "rule_replays": Table(plain="name document status result"),
}
INVENTORY: Final[Inventory] = {**affiliates.INVENTORY, **payouts.INVENTORY, **OWN}
