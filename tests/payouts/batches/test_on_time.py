"""How punctually a program pays, worked out beside each case."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from payouts.audit.run import registered, run
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutItem, PayoutPeriod, Withdrawal
from payouts.batches.on_time import (
    Measured,
    Punctuality,
    measure,
    measure_all,
    punctuality,
    waiting,
)
from payouts.batches.review import mark_paid
from payouts.commissions.models import Commission

LATER = NOW + timedelta(days=20)


def paid(pay: Pay, name: str, amount: str, *, asked: timedelta, took: timedelta) -> int:
    """A withdrawal that was asked for then and paid so much later; its item."""
    pay.affiliate(name, amount)
    made = pay.approved(name, amount)
    mark_paid(
        pay.session, item_id=made.item_id, reference="17", by_user_id=pay.finance,
        rails=pay.rails, now=NOW,
    )  # fmt: skip
    at = NOW + asked
    pay.session.execute(
        sa.update(Withdrawal)
        .where(Withdrawal.item_id == made.item_id)
        .values(requested_at=at, deadline_at=at + timedelta(hours=24), closed_at=at + took)
    )
    pay.session.execute(
        sa.update(PayoutItem).where(PayoutItem.id == made.item_id).values(paid_at=at + took)
    )
    pay.session.commit()
    return made.item_id


def measured(pay: Pay, kind: Measured) -> Punctuality:
    found = measure(pay.session, program_id=pay.world.program_id, until=LATER)
    return {each.kind: each for each in found}[kind]


def test_nothing_paid_is_no_share(by_hand: Pay) -> None:
    found = measured(by_hand, Measured.WITHDRAWAL)
    assert (found.count, found.share_ppm, found.median, found.worst) == (0, None, None, None)


def test_withdrawals_are_on_time_up_to_the_very_deadline(by_hand: Pay) -> None:
    hour = timedelta(hours=1)
    paid(by_hand, "anna", "1.00", asked=0 * hour, took=2 * hour)
    paid(by_hand, "boris", "1.00", asked=5 * hour, took=24 * hour)
    paid(by_hand, "carla", "1.00", asked=9 * hour, took=24 * hour + timedelta(seconds=1))
    found = measured(by_hand, Measured.WITHDRAWAL)
    # 2 of 3 on time; sorted 2 h, 24 h, 24 h 1 s.
    assert (found.count, found.on_time) == (3, 2)
    assert found.share_ppm == 666_000
    assert found.median == 24 * hour
    assert found.worst == 24 * hour + timedelta(seconds=1)


def test_what_is_overdue_and_open_counts_as_late(by_hand: Pay) -> None:
    """Waiting longer must not look better than paying late."""
    paid(by_hand, "anna", "1.00", asked=timedelta(), took=timedelta(hours=2))
    by_hand.affiliate("boris", "1.00")
    by_hand.withdraw("boris", "1.00")
    found = measured(by_hand, Measured.WITHDRAWAL)
    assert (found.count, found.on_time) == (2, 1)
    assert found.median == timedelta(hours=2)
    assert found.worst == LATER - NOW


def test_a_paused_clock_is_not_late(by_hand: Pay) -> None:
    by_hand.affiliate("boris", "1.00")
    by_hand.withdraw("boris", "1.00")
    by_hand.session.execute(sa.update(Withdrawal).values(paused_at=NOW))
    assert measured(by_hand, Measured.WITHDRAWAL).count == 0
    assert waiting(by_hand.session, now=LATER).overdue == 0
    assert waiting(by_hand.session, now=LATER).paused == 1


def test_payments_before_the_thirty_days_do_not_count(by_hand: Pay) -> None:
    paid(by_hand, "anna", "1.00", asked=timedelta(days=-11), took=timedelta(hours=2))
    assert measured(by_hand, Measured.WITHDRAWAL).count == 0


def test_weekly_payouts_are_counted_from_their_hour(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    now = NOW + timedelta(days=7)
    open_periods(by_hand.session, now=now)
    (batch_id,) = filter(
        None,
        [
            draft_weekly(by_hand.session, period_id=each, rails=by_hand.rails, now=now)
            for each in undrafted(by_hand.session)
        ],
    )
    by_hand.session.commit()
    by_hand.approve(batch_id)
    item = by_hand.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.batch_id == batch_id)
    ).one()
    mark_paid(
        by_hand.session, item_id=item.id, reference="18", by_user_id=by_hand.finance,
        rails=by_hand.rails, now=NOW,
    )  # fmt: skip
    by_hand.session.execute(sa.update(PayoutPeriod).values(due_at=NOW - timedelta(hours=25)))
    by_hand.session.commit()
    found = measured(by_hand, Measured.WEEKLY)
    assert (found.count, found.on_time) == (1, 0)
    assert found.worst == timedelta(hours=25)


def test_an_orders_money_came_with_the_first_payout_after_its_release(by_hand: Pay) -> None:
    """anna: a purchase 14 days before NOW, paid 2 hours after; the next one with the next."""
    paid(by_hand, "anna", "1.00", asked=timedelta(), took=timedelta(hours=2))
    first = measured(by_hand, Measured.ORDER)
    assert (first.count, first.on_time) == (1, None)
    assert first.median == first.worst == timedelta(days=14, hours=2)

    by_hand.world.available("anna", "3.00")
    second = by_hand.session.scalars(sa.select(Commission).order_by(Commission.id.desc())).first()
    assert second is not None
    second.released_at = NOW + timedelta(hours=1)
    by_hand.session.commit()
    assert measured(by_hand, Measured.ORDER).count == 1, "not paid yet"


def test_the_figures_are_kept_for_the_pages(by_hand: Pay) -> None:
    paid(by_hand, "anna", "1.00", asked=timedelta(), took=timedelta(hours=2))
    measure_all(by_hand.session, now=LATER)
    measure_all(by_hand.session, now=LATER)
    by_hand.session.commit()
    program_id = by_hand.world.program_id
    found = punctuality(by_hand.session, program_ids=[program_id])[program_id]
    assert list(found) == list(Measured)
    assert found[Measured.WITHDRAWAL] == measured(by_hand, Measured.WITHDRAWAL)


def fired(pay: Pay, app: Flask) -> set[str]:
    with app.app_context():
        checks = [each for each in registered(app) if each.name.startswith("H")]
    assert len(checks) == 3
    return {each.check.name for each in run(pay.session, checks, real_now=clock.real_now())}


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        ("H1", "UPDATE withdrawals SET deadline_at = now() - interval '1 minute'"),
        ("H2", "UPDATE payout_batches SET frozen_at = now() - interval '25 hours'"),
        ("H3", "UPDATE payout_items SET status = 'needs_review'"),
    ],
)
def test_what_waits_too_long_is_told(by_stripe: Pay, app: Flask, check: str, planted: str) -> None:
    pay = by_stripe
    pay.affiliate("anna", "2.00")
    pay.affiliate("boris", "2.00")
    pay.withdraw("boris")
    if check == "H3":
        made = pay.approved("anna", "1.00")
        pay.run(made.batch_id)
        pay.session.execute(
            sa.text("UPDATE payout_attempts SET last_tried_at = now() - interval '25 hours'")
        )
    pay.session.execute(
        sa.text(
            "UPDATE withdrawals SET deadline_at = now() + interval '1 day' WHERE closed_at IS NULL"
        )
    )
    pay.session.execute(sa.text("UPDATE payout_batches SET frozen_at = now()"))
    pay.session.commit()
    assert fired(pay, app) == set()
    pay.session.execute(sa.text(planted))
    assert fired(pay, app) == {check}


def test_metrics_tell_what_waits_and_how_punctual_it_was(by_hand: Pay, app: Flask) -> None:
    paid(by_hand, "anna", "1.00", asked=timedelta(), took=timedelta(hours=2))
    by_hand.affiliate("boris", "1.00")
    by_hand.withdraw("boris", "1.00")
    measure_all(by_hand.session, now=NOW + timedelta(hours=3))
    by_hand.session.commit()
    told = app.test_client().get("/metrics").text
    assert "kopeck_withdrawals_running 1.0" in told
    assert "kopeck_batches_waiting 1.0" in told
    assert 'kopeck_payouts_on_time_ratio{kind="withdrawal"' in told
    assert 'kind="order"' in told
