"""Wake the drafting of weekly batches and the sending of approved ones."""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from flask import current_app
from rq.timeouts import BaseTimeoutException

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db, session_for
from affiliate.people import addresses
from payouts.batches import on_time
from payouts.batches.automatic import approve_small, undecided
from payouts.batches.cancel import finish_batch
from payouts.batches.clocks import note_pauses
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.execute import run_batch
from payouts.batches.fence import check_fence
from payouts.batches.finance_letters import tell_of_batches, tell_of_withdrawals
from payouts.batches.intents import leased, movable
from payouts.batches.models import PayeeAccount, PayoutBatch
from payouts.batches.money_letters import LETTERS_MAX, tell_of_accounts, tell_of_payouts
from payouts.batches.payee_onboarding import to_ask_about
from payouts.batches.payees import refresh_payee
from payouts.batches.sending import SENDERS, Sending
from payouts.rails.protocol import RailAway
from payouts.rails.registry import payee_accounts, rails

AGREES = "kopeck.provider_agrees"
"""Where payouts.provider leaves the question that is asked before a run; without it none runs."""

log = structlog.get_logger(__name__)


@queue.job(queue.PAYOUTS)
def execute_batch(batch_id: int) -> None:
    """Send what of a batch should move."""
    if run_batch(_sending(), batch_id=batch_id):
        execute_batch.after_commit(db.session(), batch_id)


@queue.job(queue.PAYOUTS)
def approve_small_withdrawal(batch_id: int) -> None:
    """Approve a withdrawal by the program's rule, or note why a person has to."""
    session = db.session()
    approve_small(session, batch_id=batch_id, rails=rails(_settings()), now=clock.now(session))


@queue.job(queue.PAYOUTS)
def approve_small_withdrawals() -> None:
    """Ring for every withdrawal that the rule has not been asked about yet."""
    session = db.session()
    for batch_id in undecided(session):
        approve_small_withdrawal.after_commit(session, batch_id)


@queue.job(queue.PAYOUTS)
def draft_weekly_batches() -> None:
    """Draft the batch of every payout day that has come; each in its own transaction.

    A period whose drafting raises is left to the next tick, and the others go on.
    """
    session, known = db.session(), rails(_settings())
    open_periods(session, now=clock.now(session))
    session.commit()
    for period_id in undrafted(session):
        try:
            draft_weekly(session, period_id=period_id, rails=known, now=clock.now(session))
            session.commit()
        except BaseTimeoutException:
            raise
        except Exception:
            session.rollback()
            log.exception("payout.period_failed", period=period_id)


@queue.job(queue.PAYOUTS)
def sweep() -> None:
    """Ring for every approved batch with an item that should move; close those that are done.

    This, not RQ, is what makes a payout come to its end: a lost job, a killed worker or an
    emptied Valkey cost a minute (docs/reliability.md, "RQ").
    """
    session, settings = db.session(), _settings()
    known, real_now = rails(settings), clock.real_now()
    check_fence(session, settings.data_dir, now=clock.now(session))
    note_pauses(session, now=clock.now(session))
    open_batches = session.execute(
        sa.select(PayoutBatch.id, PayoutBatch.rail, PayoutBatch.paused_at)
        .where(PayoutBatch.status.in_(("approved", "paying")))
        .order_by(PayoutBatch.id)
    ).all()
    for batch_id, rail, paused_at in open_batches:
        if finish_batch(session, batch_id=batch_id, now=clock.now(session)):
            continue
        if paused_at is not None:
            continue
        if rail not in known:
            log.error("payout.no_such_rail", batch=batch_id, rail=rail)
        elif known[rail].by_hand or session.scalar(leased(real_now, batch_id).limit(1)):
            # By hand, or a run is at it and rings for the next one: a bell a minute more would
            # pile up before drafts and other batches. A run that died has no lease soon.
            continue
        elif session.scalar(movable(real_now, batch_id).limit(1)):
            execute_batch.after_commit(session, batch_id)


@queue.job(queue.GENERAL)
def measure_punctuality() -> None:
    """Keep how punctually each program has paid."""
    session = db.session()
    on_time.measure_all(session, now=clock.now(session))


@queue.job(queue.GENERAL)
def ask_about_payees() -> None:
    """Ask providers about accounts for which money waits.

    Their webhooks say the same sooner; what a lost one would have said is known in half an
    hour, and of an account that was ready within a day. Each answer is committed by itself; when
    nobody answers, the next bell asks.
    """
    session, known = db.session(), payee_accounts(_settings())
    served = tuple(name for name, provider in known.items() if provider.configured())
    waiting = to_ask_about(session, rails=served, real_now=clock.real_now())
    session.commit()
    for payee_id in waiting:
        payee = session.get_one(PayeeAccount, payee_id)
        rail, destination = payee.rail, payee.destination
        session.commit()  # No transaction stays open while a provider is asked.
        asked_at = clock.real_now()
        try:
            state = known[rail].state(destination)
        except RailAway as away:
            log.warning("payee.rail_away", rail=rail, error=str(away))
            return
        now = clock.now(session)
        refresh_payee(session, payee_id=payee_id, state=state, asked_at=asked_at, now=now)
        session.commit()


@queue.job(queue.GENERAL)
def forget_addresses() -> None:
    """Delete addresses that people gave up longer ago than notices go to them."""
    session = db.session()
    addresses.forget(session, now=clock.now(session))


@queue.job(queue.GENERAL)
def tell_payees() -> None:
    """Write to affiliates whose payouts came to their end; a full turn rings again."""
    session = db.session()
    if tell_of_payouts(session, settings=_settings(), now=clock.now(session)) >= LETTERS_MAX:
        tell_payees.after_commit(session)


@queue.job(queue.GENERAL)
def tell_of_missing_accounts() -> None:
    """Write to affiliates whose money waits for an account; a full turn rings again."""
    session = db.session()
    if tell_of_accounts(session, settings=_settings(), now=clock.now(session)) >= LETTERS_MAX:
        tell_of_missing_accounts.after_commit(session)


@queue.job(queue.GENERAL)
def tell_finance() -> None:
    """Write to finance about what waits for their approval."""
    session = db.session()
    tell_of_batches(session, settings=_settings(), now=clock.now(session))
    tell_of_withdrawals(session, settings=_settings(), now=clock.now(session))


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


def _sending() -> Sending:
    settings = _settings()
    return Sending(
        sessions=session_for(db.engine),
        rails=rails(settings),
        data_dir=settings.data_dir,
        # With its settings: the threads that send are outside the application's context.
        now=lambda session: clock.now(session, settings),
        real_now=clock.real_now,
        stopping=queue.stopping,
        # The calling thread claims while they send; each has one connection at a time.
        senders=min(SENDERS, max(1, 2 * settings.database_pool_size - 1)),
        agrees=current_app.extensions[AGREES],
    )
