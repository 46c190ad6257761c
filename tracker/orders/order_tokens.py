"""Signed order tokens: a shop's own word for an order, carried by the buyer's browser (pure).

    k1~<unix seconds>~<net>~<HMAC-SHA256, hexadecimal>

The HMAC is over `kopeck-order-token`, `k1`, order id, total, currency, unix seconds and net,
joined by newlines, under the program's own key. Amounts are decimal strings with exactly the
currency's digits. The net is signed too: tax and shipping as the page names them could be
changed by whoever sits before it. Docs: docs/api.md, "Signed order tokens".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from affiliate.core.money import Money, MoneyError
from tracker.orders.rules import PLACED_AHEAD_MAX, OrderReportIn

VERSION: Final = "k1"
LIFE_HOURS: Final = 24
"""A page that could not reach us sends again when the buyer next opens the shop."""
TOKEN_CHARS_MAX: Final = 200
_SHAPE = re.compile(r"k1~([0-9]{1,12})~([0-9.]{1,24})~([0-9a-f]{64})")


class TokenProblem(StrEnum):
    """Why an order token was not believed."""

    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_THIS_ORDER = "not_this_order"


@dataclass(frozen=True, slots=True)
class OrderToken:
    """What a believed token says besides the order's id and total."""

    signed_at: datetime
    net: Money


def mint(key: bytes, *, order_id: str, total: Money, net: Money, signed_at: datetime) -> str:
    """The token that a shop's server makes; documented so that a shop can make it too."""
    seconds = str(int(signed_at.timestamp()))
    mac = _mac(key, order_id, total, seconds, net.decimal)
    return f"{VERSION}~{seconds}~{net.decimal}~{mac}"


def read(
    token: str, *, report: OrderReportIn, keys: Sequence[bytes], now: datetime
) -> OrderToken | TokenProblem:
    """Believe a token for this very order id and total, or say why not. Never raises."""
    shape = _SHAPE.fullmatch(token)
    if shape is None:
        return TokenProblem.MALFORMED
    seconds, net_text, mac = shape.groups()
    expected = [_mac(key, report.order_id, report.total, seconds, net_text) for key in keys]
    if not any(hmac.compare_digest(one.encode(), mac.encode()) for one in expected):
        return TokenProblem.BAD_SIGNATURE
    try:
        net = Money.parse(net_text, report.currency)
    except MoneyError:
        return TokenProblem.MALFORMED
    signed_at = datetime.fromtimestamp(int(seconds), UTC)
    if signed_at - now > PLACED_AHEAD_MAX or now - signed_at > timedelta(hours=LIFE_HOURS):
        return TokenProblem.EXPIRED
    if net > report.total:
        return TokenProblem.NOT_THIS_ORDER
    return OrderToken(signed_at, net)


def believed(report: OrderReportIn, token: OrderToken) -> OrderReportIn:
    """The report with what the token signs in place of what the page says."""
    zero = Money.zero(report.currency)
    return replace(
        report,
        placed_at=token.signed_at,
        tax=report.total - token.net,
        tax_included=True,
        shipping=zero,
        fees=zero,
    )


def _mac(key: bytes, order_id: str, total: Money, seconds: str, net: str) -> str:
    text = "\n".join(
        ("kopeck-order-token", VERSION, order_id, total.decimal, total.currency, seconds, net)
    )
    return hmac.digest(key, text.encode("ascii", "replace"), "sha256").hex()
