"""Migrations of payouts, taken back and made again under rows that use what they add."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from bank_world import made_bank
from money_world import NOW
from paying import Pay

from affiliate.core.db import Model
from affiliate.core.migrate import alembic_config
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.holds import hold_payouts
from payouts.batches.pause import pause_batch
from payouts.batches.payee_stops import stop
from payouts.batches.payees import payee_of
from payouts.policies.change import change_policy
from payouts.policies.rules import Policy

BEFORE_PAYOUTS = "0010"


def test_every_migration_can_be_taken_back_and_made_again(pay: Callable[..., Pay]) -> None:
    """A signed batch in a file, stopped; a hold, a stop, absences, a policy; then down and up."""
    bank = made_bank(pay("bank_sepa"), "bank_sepa")
    session, world = bank.session, bank.pay.world
    owner = world.user("owner", role="owner")
    two_hands = Policy(None, world.money("1.00"))
    change_policy(
        session, program_id=bank.program_id, wanted=two_hands, why="x", by_user_id=owner, now=NOW
    )
    for name in ("anna", "boris", "vera"):
        bank.affiliate(name, "9.00")
    made = bank.pay.withdraw("anna", "5.00")
    bank.pay.approve(made.batch_id)
    bank.pay.approve(made.batch_id, by=owner)
    bank.file(made.batch_id)
    pause_batch(session, batch_id=made.batch_id, by_user_id=owner, why="x", now=NOW)
    held = world.enrollments["vera"]
    hold_payouts(session, enrollment_id=held, by_user_id=owner, why="x", now=NOW)
    open_periods(session, now=NOW)
    for period_id in undrafted(session):
        draft_weekly(session, period_id=period_id, rails=bank.pay.rails, now=NOW)
    payee = payee_of(session, affiliate_id=world.affiliate_id("boris"), rail="bank_sepa")
    assert payee is not None
    stop(session, payee_id=payee.id, now=NOW)
    session.commit()
    session.close()

    command.downgrade(alembic_config(bank.pay.engine), BEFORE_PAYOUTS)
    command.upgrade(alembic_config(bank.pay.engine), "head")
    with bank.pay.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = [
            each
            for each in compare_metadata(context, Model.metadata)
            if "alembic_version" not in str(each) and "clicks_" not in str(each)
        ]
        assert differences == []
        kept = sa.text("SELECT count(*) FROM payout_items WHERE status <> 'cancelled'")
        assert connection.scalar(kept) == 3  # anna's withdrawal; anna and boris weekly
