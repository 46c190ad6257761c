"""Accounts at the Stripe double for the demo's affiliates.

Their own part of the onboarding (identity, bank account) is what the double's control
address does in their place; it exists at the double alone.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core.config import STRIPE_API_BASE, Settings
from affiliate.people.models import Affiliate, Enrollment
from affiliate.people.rules import Status
from affiliate.programs.models import Program
from payouts.batches.fence import installation_key
from payouts.batches.payees import payee_of, refresh_payee, set_payee
from payouts.rails.protocol import NewAccount
from payouts.rails.stripe.accounts import StripeAccounts
from tracker.demo.people import DEMO, DEMO_EUROPE
from tracker.demo.seed import refuse_in_production

RAIL: Final = "stripe"
COUNTRY: Final = "DE"
DOUBLE_TIMEOUT_S: Final = 5
DOUBLE_POLL_S: Final = 0.1

log = structlog.get_logger(__name__)


def give_accounts(session: Session, *, settings: Settings, now: datetime) -> int:
    """An account that can be paid to for every active affiliate of a demo program on Stripe.

    Returns how many were made; those who have one keep it. Refused in production.
    """
    refuse_in_production(settings)
    accounts = StripeAccounts(settings)
    if settings.stripe_api_base == STRIPE_API_BASE or not accounts.configured():
        return 0
    made = 0
    for affiliate_id in _affiliates(session):
        if payee_of(session, affiliate_id=affiliate_id, rail=RAIL) is not None:
            continue
        new = NewAccount(affiliate_id, installation_key(session), COUNTRY, cross_border=False)
        account = accounts.create(new, key=f"demo-payee-{affiliate_id}")
        _finish_onboarding(settings, account)
        payee_id = set_payee(
            session,
            affiliate_id=affiliate_id,
            rail=RAIL,
            destination=account,
            ready=False,
            by="system",
            now=now,
        )
        refresh_payee(session, payee_id=payee_id, state=accounts.state(account), now=now)
        made += 1
    return made


def wait_for_double(settings: Settings, *, timeout_s: float) -> bool:
    """Whether the double answers within the time; real Stripe is not asked."""
    if settings.stripe_api_base == STRIPE_API_BASE:
        return False
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _control(settings, "/health", None)
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                return False
            time.sleep(DOUBLE_POLL_S)
        else:
            return True


def _affiliates(session: Session) -> list[int]:
    rows = session.scalars(
        sa.select(Affiliate.id)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .join(Program, Program.id == Enrollment.program_id)
        .where(
            Program.slug.in_((DEMO, DEMO_EUROPE)),
            Program.rail == RAIL,
            Enrollment.status == Status.ACTIVE,
        )
        .distinct()
        .order_by(Affiliate.id)
    )
    return list(rows)


def _finish_onboarding(settings: Settings, account: str) -> None:
    states = {
        "id": account, "transfers": "active", "payouts_enabled": True, "bank_status": "new",
    }  # fmt: skip
    _control(settings, "/accounts", states)


def _control(settings: Settings, path: str, body: dict[str, object] | None) -> None:
    request = urllib.request.Request(  # noqa: S310 -- the double's own http address
        f"{settings.stripe_api_base}/_double{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=DOUBLE_TIMEOUT_S) as answer:  # noqa: S310
        answer.read()
