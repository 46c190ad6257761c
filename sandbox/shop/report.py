"""An order as Kopeck's API takes it (pure): docs/api.md, "Orders"."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox.shop.catalogue import Bill, decimal

TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,120}")
VISITOR = re.compile(r"[A-Za-z0-9_-]{16,64}")
TOKENS_MAX = 20
CLICKS_COOKIE = "kopeck_clicks"
VISITOR_COOKIE = "kopeck_visitor"


def clicks_from(cookies: Mapping[str, str]) -> list[str]:
    """The click tokens that the pixel keeps on this site, oldest first."""
    found = [t for t in cookies.get(CLICKS_COOKIE, "").split("|") if TOKEN.fullmatch(t)]
    return list(dict.fromkeys(found))[-TOKENS_MAX:]


def visitor_from(cookies: Mapping[str, str]) -> str:
    """The visitor id that the pixel keeps on this site, or nothing."""
    visitor = cookies.get(VISITOR_COOKIE, "")
    return visitor if VISITOR.fullmatch(visitor) else ""


def order_report(order_id: str, bill: Bill) -> dict[str, Any]:
    """What the browser may say: the order itself, nothing about the person."""
    report: dict[str, Any] = {
        "order_id": order_id,
        "total": _money(bill.total, bill),
        "discount": _money(bill.discount, bill),
        "tax": _money(bill.tax, bill),
        "tax_included": True,
        "shipping": _money(bill.shipping, bill),
        "items": [
            {
                "sku": line.product.sku,
                "name": line.product.name,
                "category": line.product.category,
                "quantity": line.quantity,
                "price": _money(line.price, bill),
            }
            for line in bill.lines
        ],
    }
    if bill.coupon:
        report["coupon"] = bill.coupon
    return report


def server_report(
    order_id: str,
    bill: Bill,
    *,
    placed_at: datetime,
    email: str,
    customer_id: str,
    is_new: bool,
    clicks: list[str],
    visitor: str,
) -> dict[str, Any]:
    """What the shop's server says: the order, who bought, and what their browser remembered."""
    report = order_report(order_id, bill) | {
        "placed_at": placed_at.isoformat(timespec="milliseconds"),
        "customer": {"id": customer_id, "email_sha256": email_hash(email), "is_new": is_new},
        "clicks": clicks,
        "metadata": {"channel": "web"},
    }
    if visitor:
        report["visitor"] = visitor
    return report


def email_hash(email: str) -> str:
    """SHA-256 of the address, trimmed and in lower case."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _money(hundredths: int, bill: Bill) -> dict[str, str]:
    return {"amount": decimal(hundredths), "currency": bill.currency}
