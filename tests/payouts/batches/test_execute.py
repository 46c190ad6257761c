"""Sending over a real socket to the Stripe double, with every fault of the wire."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session
from stripe_double import DEADLINE_S, until

from affiliate.people.models import Enrollment
from payouts.batches import fence
from payouts.batches.cancel import ItemAlreadySent, hold_item
from payouts.batches.execute import move_item
from payouts.batches.locks import LockReason, lock, open_locks, unlock
from payouts.batches.models import Withdrawal
from payouts.batches.payees import set_payee
from payouts.batches.review import mark_paid, try_again
from payouts.rails.protocol import Order, Unknown
from payouts.rails.stripe import StripeRail


class Died(BaseException):
    """The process is gone at this line."""


def test_an_approved_withdrawal_is_paid_by_one_transfer(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "0.01")
    made = by_stripe.approved("anna", "0.01")
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert by_stripe.batch(made.batch_id).status == "done"
    assert by_stripe.balances("anna").paid == by_stripe.world.money("0.01")
    closed = by_stripe.session.scalars(sa.select(Withdrawal)).one()
    assert closed.outcome == "paid"


def test_a_second_run_finds_nothing_to_do(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    for _ in range(3):
        by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert len(by_stripe.attempts(made.item_id)) == 1


@pytest.mark.parametrize(
    "step",
    [
        "intent_written",
        "intent_committed",
        "fence_raised",
        "sending",
        "answered",
        "answer_written",
        "answer_committed",
    ],
)
def test_dying_at_any_step_pays_once(by_stripe: Pay, step: str) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")

    def die(reached: str) -> None:
        if reached == step:
            raise Died

    with pytest.raises(Died):
        by_stripe.run(made.batch_id, at=die)
    by_stripe.run(made.batch_id)
    by_stripe.wait(minutes=2)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


@pytest.mark.parametrize(
    ("kind", "switches"),
    [
        ("accept-then-drop", {}),
        ("half-body", {}),
        ("accept-then-html-502", {}),
        ("accept-then-500", {}),
        ("refuse-drop", {}),
        ("html-502", {}),
        ("refuse-500", {}),
        ("429", {"times": 3}),
        ("429", {"times": 2, "should_retry": True}),
        ("409", {"times": 2}),
    ],
)
def test_whatever_the_wire_does_the_item_is_paid_once(
    by_stripe: Pay, kind: str, switches: dict[str, object]
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault(kind, **switches)
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).status in ("unknown", "sending")
    for _ in range(4):
        by_stripe.wait(minutes=40)
        by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert len(by_stripe.attempts(made.item_id)) == 1


def test_a_lasting_500_that_moved_nothing_goes_to_a_person_and_never_to_a_new_key(
    by_stripe: Pay,
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("refuse-500", times=None, sticky=True)
    by_stripe.run(made.batch_id)
    by_stripe.wait(hours=23)
    by_stripe.run(made.batch_id)
    by_stripe.wait(minutes=61)
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).status == "needs_review"
    assert by_stripe.transfers(made.item_id) == []
    assert len(by_stripe.attempts(made.item_id)) == 1
    by_stripe.sound()
    by_stripe.double.control("DELETE", "/faults")
    try_again(
        by_stripe.session,
        item_id=made.item_id,
        by_user_id=by_stripe.finance,
        why="not at Stripe",
        now=NOW,
    )
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert [a.status for a in by_stripe.attempts(made.item_id)] == ["failed", "succeeded"]


def test_after_the_life_of_the_key_nothing_is_sent_and_the_list_settles_it(
    by_stripe: Pay,
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("accept-then-drop")
    by_stripe.run(made.batch_id)
    by_stripe.wait(hours=25)
    key = by_stripe.attempts(made.item_id)[0].idempotency_key
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    log = by_stripe.double.control(
        "GET", "/requests", query={"method": "POST", "idempotency_key": key}
    )
    assert log["count"] == 1


def test_a_transfer_missing_from_the_list_for_a_while_is_not_sent_again(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("accept-then-drop")
    by_stripe.double.fault("list-lag", lag_s=3600)
    by_stripe.run(made.batch_id)
    by_stripe.wait(hours=24)
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).status == "unknown"
    by_stripe.double.control("DELETE", "/faults")
    by_stripe.wait(hours=2)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_no_funds_fails_the_attempt_and_a_new_one_pays_after_a_top_up(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.control("POST", "/balance", {"currency": "eur", "amount": 0})
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "no_funds"
    assert by_stripe.balances("anna").in_payout == by_stripe.world.money("5")
    by_stripe.double.control("POST", "/balance", {"currency": "eur", "amount": 1_000_000})
    by_stripe.wait(minutes=15)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    keys = [a.idempotency_key.rsplit(":", 1)[1] for a in by_stripe.attempts(made.item_id)]
    assert keys == ["1", "2"]


def test_a_definite_no_returns_the_money(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    destination = by_stripe.item(made.item_id).destination
    by_stripe.double.control("POST", "/accounts", {"id": destination, "closed": True})
    by_stripe.run(made.batch_id)
    item = by_stripe.item(made.item_id)
    assert (item.status, item.reason) == ("failed", "refused")
    assert by_stripe.attempts(made.item_id)[0].error_code == "account_closed"
    assert by_stripe.balances("anna").available == by_stripe.world.money("5")
    assert by_stripe.session.scalars(sa.select(Withdrawal)).one().outcome == "returned"
    assert by_stripe.batch(made.batch_id).status == "done"
    by_stripe.sound()


def test_an_account_that_became_restricted_parks_the_item_until_it_is_ready(
    by_stripe: Pay,
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    destination = by_stripe.item(made.item_id).destination
    by_stripe.double.control("POST", "/accounts", {"id": destination, "transfers": "inactive"})
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "payee_not_ready"
    by_stripe.wait(minutes=10)
    by_stripe.run(made.batch_id)
    assert len(by_stripe.attempts(made.item_id)) == 1
    by_stripe.double.control("POST", "/accounts", {"id": destination, "transfers": "active"})
    by_stripe.wait(minutes=10)
    by_stripe.run(made.batch_id)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_another_account_named_after_approval_is_never_paid(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    other = by_stripe.double.account()
    set_payee(
        by_stripe.session,
        affiliate_id=by_stripe.world.affiliate_id("anna"),
        rail="stripe",
        destination=other,
        ready=True,
        by="test",
        now=NOW,
    )
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    item = by_stripe.item(made.item_id)
    assert (item.status, item.reason) == ("queued", "payee_changed")
    assert by_stripe.attempts(made.item_id) == []


def test_a_suspended_affiliate_is_not_paid(by_stripe: Pay) -> None:
    enrollment = by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.session.execute(
        sa.update(Enrollment).where(Enrollment.id == enrollment).values(status="suspended")
    )
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "not_active"
    hold_item(
        by_stripe.session,
        item_id=made.item_id,
        by_user_id=by_stripe.finance,
        why="suspended",
        now=NOW,
    )
    by_stripe.session.commit()
    assert by_stripe.balances("anna").available == by_stripe.world.money("5")
    assert by_stripe.batch(made.batch_id).status == "done"
    by_stripe.sound()


def test_a_refused_key_halts_the_batch_and_fails_nobody(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.control("POST", "/keys", {"keys": ["sk_test_rolled"]})
    try:
        assert not by_stripe.run(made.batch_id)
        item = by_stripe.item(made.item_id)
        assert (item.status, item.reason) == ("sending", "rail_refuses_us")
    finally:
        from stripe_double import KEY

        by_stripe.double.control("POST", "/keys", {"keys": [KEY]})
    by_stripe.wait(minutes=10)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_two_workers_on_one_item_send_one_transfer(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("delay", delay_s=0.3, times=None)
    threads = [threading.Thread(target=by_stripe.run, args=[made.batch_id]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    by_stripe.paid_once(made)


def test_an_orphaned_worker_and_its_successor_pay_once(by_stripe: Pay) -> None:
    """The first run hangs after Stripe accepted; a second one settles; the first wakes."""
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    go_on, reached = threading.Event(), threading.Event()

    def hang(step: str) -> None:
        if step == "answered":
            reached.set()
            assert go_on.wait(DEADLINE_S)

    orphan = threading.Thread(target=by_stripe.run, args=[made.batch_id, hang])
    orphan.start()
    assert reached.wait(DEADLINE_S)
    by_stripe.wait(minutes=2)
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).status == "paid"
    go_on.set()
    orphan.join(DEADLINE_S)
    by_stripe.paid_once(made)
    assert open_locks(by_stripe.session) == []


def test_a_time_out_of_the_job_after_the_provider_accepted_leaves_it_unknown_not_failed(
    by_stripe: Pay,
) -> None:
    from rq.timeouts import JobTimeoutException

    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")

    def strike(step: str) -> None:
        if step == "answered":
            raise JobTimeoutException

    with pytest.raises(JobTimeoutException):
        by_stripe.run(made.batch_id, at=strike)
    assert by_stripe.attempts(made.item_id)[0].status == "sent"
    by_stripe.wait(minutes=2)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_one_poisoned_item_does_not_stop_the_others(by_stripe: Pay) -> None:
    from payouts.batches.draft import draft_weekly, open_periods, undrafted

    for name in ("anna", "boris", "clara"):
        by_stripe.affiliate(name, "5.00")
    open_periods(by_stripe.session, now=NOW)
    drafted = [
        draft_weekly(by_stripe.session, period_id=p, rails=by_stripe.rails, now=NOW)
        for p in undrafted(by_stripe.session)
    ]
    by_stripe.session.commit()
    (batch_id,) = [b for b in drafted if b]
    by_stripe.approve(batch_id)
    first = iter([True])

    def poison(step: str) -> None:
        if step == "sending" and next(first, False):
            raise ZeroDivisionError

    by_stripe.run(batch_id, at=poison)
    assert sorted(i.status for i in items(by_stripe, batch_id)) == ["paid", "paid", "sending"]
    assert by_stripe.batch(batch_id).status == "paying"
    by_stripe.wait(minutes=2)
    by_stripe.run(batch_id)
    assert by_stripe.batch(batch_id).status == "done"
    by_stripe.sound()


def items(pay: Pay, batch_id: int) -> list[object]:
    from payouts.batches.models import PayoutItem

    pay.session.rollback()
    query = sa.select(PayoutItem).where(PayoutItem.batch_id == batch_id)
    return list(pay.session.scalars(query.execution_options(populate_existing=True)))


def test_while_locked_nothing_leaves(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    lock(by_stripe.session, reason=LockReason.INTEGRITY, detail="L1", now=NOW)
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    assert by_stripe.attempts(made.item_id) == []
    rail = by_stripe.rails["stripe"]
    assert move_item(by_stripe.sending, item_id=made.item_id, rail=rail)
    assert by_stripe.attempts(made.item_id) == []
    unlock(by_stripe.session, by="cli", why="looked", now=NOW)
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_a_database_older_than_the_fence_locks_payouts(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "9.00")
    first = by_stripe.approved("anna", "5.00")
    by_stripe.run(first.batch_id)
    made = by_stripe.approved("anna", "4.00")
    kept = fence.read(by_stripe.settings.data_dir)
    assert kept is not None
    assert kept.batch == first.batch_id
    # What a backup from before later payouts looks like: the file knows more than the rows.
    fence.raise_fence(
        by_stripe.settings.data_dir,
        installation=kept.installation,
        batch_id=made.batch_id + 1,
        attempt_id=kept.attempt,
    )
    by_stripe.run(made.batch_id)
    assert by_stripe.attempts(made.item_id) == []
    by_stripe.session.rollback()
    (found,) = open_locks(by_stripe.session)
    assert found.reason is LockReason.RESTORED_BACKUP
    fence.lower_fence(by_stripe.session, by_stripe.settings.data_dir)
    unlock(by_stripe.session, by="cli", why="reconciled", now=NOW)
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_the_fence_of_another_installation_is_not_ours(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    fence.raise_fence(by_stripe.settings.data_dir, installation="other", batch_id=99, attempt_id=99)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


@pytest.mark.abuse("A49")
def test_a_fence_that_cannot_be_read_fails_closed(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    (by_stripe.settings.data_dir / fence.FILE_NAME).write_text("{torn")
    with pytest.raises(ValueError, match="Expecting"):
        by_stripe.run(made.batch_id)
    assert by_stripe.attempts(made.item_id) == []


def test_a_sent_item_cannot_be_held(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("refuse-drop")
    by_stripe.run(made.batch_id)
    with pytest.raises(ItemAlreadySent):
        hold_item(
            by_stripe.session,
            item_id=made.item_id,
            by_user_id=by_stripe.finance,
            why="late",
            now=NOW,
        )


def test_the_manual_rail_waits_for_a_reference(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "5.00")
    by_hand.run(made.batch_id)
    assert by_hand.item(made.item_id).status == "queued"
    mark_paid(
        by_hand.session,
        item_id=made.item_id,
        reference="PO 17/2026",
        by_user_id=by_hand.finance,
        rails=by_hand.rails,
        now=NOW,
    )
    by_hand.session.commit()
    item = by_hand.item(made.item_id)
    assert item.status == "paid"
    assert by_hand.attempts(item.id)[0].params["reference"] == "PO 17/2026"
    assert by_hand.batch(made.batch_id).status == "done"
    by_hand.sound()


def test_the_answers_of_a_dead_address_are_unknown(by_stripe: Pay, session: Session) -> None:
    from dataclasses import replace

    away = StripeRail(replace(by_stripe.settings, stripe_api_base="http://127.0.0.1:9"))
    order = Order(by_stripe.world.money("1"), "acct_x", "g", 1, 1, "i")
    assert isinstance(away.send(order, key="k"), Unknown)


def test_an_unanswered_call_holds_no_database_lock(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("delay", delay_s=5.0)
    worker = threading.Thread(target=by_stripe.run, args=[made.batch_id])
    worker.start()
    double = by_stripe.double
    until(lambda: double.control("GET", "/state")["in_flight"] == 1)
    by_stripe.session.rollback()
    by_stripe.session.execute(
        sa.text("SELECT 1 FROM payout_items, payout_batches, ledger_balances FOR UPDATE NOWAIT")
    )
    by_stripe.session.rollback()
    double.control("DELETE", "/faults")
    worker.join(DEADLINE_S)
    by_stripe.paid_once(made)
