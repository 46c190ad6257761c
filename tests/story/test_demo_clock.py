"""Moving the demo clock: payout days that are jumped over take what was available then."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from affiliate.programs.rule_versions import in_force
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.payees import set_payee
from payouts.commissions.earn import earn
from payouts.commissions.release import release_due
from payouts.commissions.rules import Credit, Sale
from payouts.ledger.balances import balances
from tests.people.browsing import Browser
from tracker.demo.seed import seed

HOLD = timedelta(days=14)


def sell(
    session: Session, boris: Enrollment, reference: str, net: str, placed_at: datetime
) -> None:
    """A sale credited to Boris alone; a tenth of it is his."""
    version = in_force(session, program_id=boris.program_id, at=clock.real_now())
    credit = Credit(boris.id, Fraction(1), version.terms.commission, version.id, None)
    sale = Sale(boris.program_id, reference, 1, Money.parse(net, "RUB"), (credit,), placed_at, HOLD)
    earn(session, sale=sale, waits_for=None, now=placed_at)


def test_a_jump_pays_weekly_what_was_available_and_leaves_what_it_releases(
    app: Flask, settings: Settings, session: Session
) -> None:
    now = clock.real_now()
    with app.app_context():
        seed(session, settings=settings, now=now)
    boris = session.scalars(
        sa.select(Enrollment)
        .join(Affiliate)
        .join(Program, Program.id == Enrollment.program_id)
        .where(Affiliate.name == "Boris", Program.slug == "demo")
    ).one()
    set_payee(
        session, affiliate_id=boris.affiliate_id, rail="stripe", destination="acct_1", ready=True,
        by="test", now=now,
    )  # fmt: skip
    sell(session, boris, "order:1", "500.00", now - timedelta(days=20))
    sell(session, boris, "order:2", "8000.00", now)
    release_due(session, now=now, rows_max=100)
    session.commit()

    assert Browser(app).post("/demo/clock", page="/demo/", days="15").status_code == 303

    session.rollback()
    items = session.execute(
        sa.select(PayoutBatch.kind, PayoutItem.amount_micros)
        .join(PayoutItem, PayoutItem.batch_id == PayoutBatch.id)
        .where(PayoutBatch.program_id == boris.program_id)
    ).all()
    assert items == [("weekly", 50_000_000)]
    release_due(session, now=now + timedelta(days=15), rows_max=100)
    left = balances(session, enrollment_id=boris.id, currency="RUB")
    assert str(left.available.decimal) == "800.00"
    assert not left.pending
