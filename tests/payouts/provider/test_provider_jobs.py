"""Jobs and commands: what the scheduler wakes, and what a person types after a restore."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from click.testing import Result
from hooked import Hooked
from redis import Redis
from test_reconciliation import by_hand, found, locked

from affiliate.core import queue
from affiliate.core.config import Settings
from payouts.batches.jobs import execute_batch
from payouts.batches.locks import LockReason
from payouts.cli import payouts_group
from payouts.provider import jobs
from payouts.provider.models import Reconciliation
from payouts.provider.receive import forget_old

Paid = Callable[..., int]


def command(hooked: Hooked, *words: str) -> Result:
    return hooked.app.test_cli_runner().invoke(payouts_group, list(words))


def call(hooked: Hooked, job: Callable[..., None], *args: int) -> None:
    with hooked.app.app_context():
        job(*args)


def comparisons(hooked: Hooked) -> list[str]:
    hooked.pay.session.rollback()
    return list(
        hooked.pay.session.scalars(sa.select(Reconciliation.status).order_by(Reconciliation.id))
    )


def test_an_event_rings_and_its_job_settles(hooked: Hooked, settings: Settings) -> None:
    item_id = hooked.unanswered("anna")
    with Redis.from_url(settings.redis_url) as redis:
        hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
        waiting = [job.func_name for job in queue.queue_on(redis, queue.PAYOUTS).jobs]
        assert waiting.count("payouts.provider.jobs.digest") == 1
    call(hooked, jobs.digest)
    assert hooked.pay.item(item_id).status == "paid"


def test_a_lost_bell_costs_a_tick_of_the_scheduler(hooked: Hooked, settings: Settings) -> None:
    item_id = hooked.unanswered("anna")
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
    with Redis.from_url(settings.redis_url) as redis:
        redis.flushall()
    periodic = {entry.job.path: entry.every_s for entry in hooked.app.extensions["kopeck.periodic"]}
    assert periodic["payouts.provider.jobs.digest"] <= 60
    call(hooked, jobs.digest)
    assert hooked.pay.item(item_id).status == "paid"


def test_the_daily_comparison_is_made_once_a_day_and_again_soon_after_a_failure(
    hooked: Hooked, paid: Paid
) -> None:
    paid()
    for _ in range(3):
        call(hooked, jobs.reconcile_daily)
    assert comparisons(hooked) == ["clean"]
    age(hooked, timedelta(hours=23, minutes=1))
    hooked.double.fault("html-502", method="GET", path="/v1/account")
    for _ in range(3):
        call(hooked, jobs.reconcile_daily)
    assert comparisons(hooked) == ["clean", "failed"]
    age(hooked, timedelta(minutes=16))
    call(hooked, jobs.reconcile_daily)
    assert comparisons(hooked) == ["clean", "failed", "clean"]


def age(hooked: Hooked, by: timedelta) -> None:
    with hooked.sessions.begin() as session:
        session.execute(
            sa.text("UPDATE reconciliations SET covers_until = covers_until - :by"), {"by": by}
        )


def test_the_real_job_asks_before_it_sends(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    made = hooked.pay.approved("anna", "5.00")
    by_hand(hooked, "anna", 4_711)
    call(hooked, execute_batch, made.batch_id)
    assert hooked.pay.attempts(made.item_id) == []
    assert locked(hooked) == [LockReason.RECONCILIATION]


def test_catching_up_by_the_job_heals_what_no_webhook_told(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    call(hooked, jobs.catch_up)
    call(hooked, jobs.digest)
    assert hooked.pay.item(item_id).status == "paid"


def test_events_of_long_ago_are_forgotten_and_waiting_ones_never(
    hooked: Hooked, paid: Paid
) -> None:
    transfer = hooked.transfer_of(paid())
    hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 100})
    hooked.deliver(*hooked.events("transfer.created", about=transfer))
    hooked.digest()
    hooked.deliver(*hooked.events("transfer.reversed", about=transfer))
    with hooked.pay.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE provider_events SET received_at = received_at - interval '91 days',"
                " processed_at = processed_at - interval '91 days'"
            )
        )
    with hooked.sessions.begin() as session:
        assert forget_old(session, real_now=hooked.pay.sending.real_now()) == 1
    assert [each.type for each in hooked.stored()] == ["transfer.reversed"]


def test_nothing_is_asked_where_no_key_is_set(hooked: Hooked) -> None:
    app = hooked.another_app(stripe_api_key="")
    before = hooked.double.control("GET", "/requests")["count"]
    with app.app_context():
        for job in (jobs.digest, jobs.catch_up, jobs.reconcile_daily):
            job()
    assert hooked.double.control("GET", "/requests")["count"] == before


def test_reconcile_says_what_it_found(hooked: Hooked, paid: Paid) -> None:
    paid()
    said = command(hooked, "reconcile")
    assert said.exit_code == 0, said.output
    assert "stripe: clean; 1 transfers since" in said.output
    assert command(hooked, "differences").output == "Nothing differs.\n"


def test_unlock_is_refused_until_the_providers_books_are_ours(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    by_hand(hooked, "anna", 4_711)
    assert command(hooked, "reconcile").exit_code == 1
    refused = command(hooked, "unlock", "--why", "I want to")
    assert refused.exit_code == 1
    assert "unknown_item" in refused.output
    assert "stay locked" in refused.output
    assert locked(hooked) == [LockReason.RECONCILIATION]
    listed = command(hooked, "differences")
    number = listed.output.split()[0]
    assert command(hooked, "accept", number, "--why", " ").exit_code == 1
    assert command(hooked, "accept", "999", "--why", "what?").exit_code == 1
    assert found(hooked) == [("unknown_item", None)]
    assert command(hooked, "accept", number, "--why", "deducted by hand").exit_code == 0
    done = command(hooked, "unlock", "--why", "deducted by hand")
    assert (done.exit_code, locked(hooked)) == (0, [])


@pytest.mark.parametrize("fault", [True, False], ids=["provider away", "no key"])
def test_unlock_is_refused_while_nobody_can_be_asked(
    hooked: Hooked, paid: Paid, fault: bool
) -> None:
    paid()
    assert command(hooked, "lock", "--why", "a look").exit_code == 0
    if fault:
        hooked.double.fault("html-502", method="GET", times=2)
    else:
        hooked.app = hooked.another_app(stripe_api_key="")
    refused = command(hooked, "unlock", "--why", "I want to")
    assert (refused.exit_code, locked(hooked)) == (1, [LockReason.BY_HAND])
    assert "not compared" in refused.output
    done = command(hooked, "unlock", "--despite-differences", "--why", "Stripe is closed for good")
    assert (done.exit_code, locked(hooked)) == (0, [])
    with hooked.pay.engine.connect() as connection:
        reason = connection.scalar(
            sa.text("SELECT reason FROM audit_log WHERE action = 'payouts.unlock'")
        )
    assert reason == "Despite differences: Stripe is closed for good"


def test_metrics_tell_what_waits_and_how_old_the_comparison_is(hooked: Hooked, paid: Paid) -> None:
    item_id = paid()
    hooked.reconcile()
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
    client = hooked.app.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    text = client.get("/metrics").text
    assert "kopeck_provider_events_waiting 1.0" in text
    assert "kopeck_provider_differences_open 0.0" in text
    assert 'kopeck_reconciliation_age_seconds{rail="stripe"}' in text
    assert 'kopeck_provider_webhooks_total{outcome="new"}' in text
