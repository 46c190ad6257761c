"""What each scope of a key allows, in words, for the pages on which keys are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

SCOPE_WORDS: Final[Mapping[str, LazyString]] = {
    "orders:read": _l("Read orders, refunds, and why each was credited"),
    "orders:write": _l("Report, confirm, refund and cancel orders, one by one or as a file"),
    "orders:import": _l("Report orders more than 30 days old"),
    "leads:read": _l("Read leads, and why each was credited"),
    "leads:write": _l("Report and cancel leads"),
    "leads:import": _l("Report leads more than 30 days old"),
    "affiliates:read": _l("Read affiliates, their links and balances, the program and its rules"),
    "affiliates:write": _l("Propose affiliates, make links and switch them off"),
    "affiliates:manage": _l("Suspend affiliates and take them back, change groups and recruiters"),
    "applications:read": _l("Read applications, with what applicants wrote"),
    "applications:decide": _l("Approve and reject applications"),
    "coupons:read": _l("Read coupons and whose they are"),
    "coupons:write": _l("Give coupons to affiliates and switch them off"),
    "creatives:read": _l("Read promo materials"),
    "commissions:read": _l("Read commissions of everybody in the program"),
    "customers:read": _l("Read whose customer a buyer is"),
    "customers:erase": _l("Erase a buyer for good"),
    "withdrawals:read": _l("Read withdrawals and balances of everybody in the program"),
    "withdrawals:write": _l("Ask for withdrawals"),
    "batches:read": _l("Read payout batches"),
    "statements:read": _l("Read statements of everybody in the program"),
    "statistics:read": _l("Read statistics and receipts of clicks"),
    "webhooks:read": _l("Read webhooks and what was delivered to them"),
    "webhooks:write": _l("Say who is told what happens, and have it sent again"),
}
"""By the scopes of affiliate.people.api_keys; a test holds them together."""


def words_of(scope: str) -> str:
    """The words of a scope; the scope itself where none are written yet."""
    return str(SCOPE_WORDS.get(scope, scope))
