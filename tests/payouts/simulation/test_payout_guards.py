"""Each guard of the payout protocol, alone: with it all is well, without it the oracle sees it.

Every scenario lets one thing go wrong while the other guards that could catch it are switched
off. The table in docs/reliability.md, "Guards", names them.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from affiliate.core import clock
from payouts.batches import jobs
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from tests.payouts.simulation import payout_guards as off
from tests.payouts.simulation.payout_guards import switched
from tests.payouts.simulation.provider import Fault
from tests.payouts.simulation.scene import Scene


def killed_after_acceptance(scene: Scene) -> int:
    """A worker dies between the provider's acceptance and its own record of it."""
    item_id = scene.approved()
    worker = scene.worker(item_id)
    scene.until(worker, "answer on its way")
    scene.dies(worker)
    return item_id


def answer_lost(scene: Scene) -> int:
    """The provider accepts, and its answer is lost."""
    item_id = scene.approved()
    scene.fail_next(Fault.ACCEPT_DROP)
    scene.moved(item_id)
    return item_id


def a_day_later_by_the_sweeper(scene: Scene, item_id: int) -> None:
    for hours in (25, 1.1, 1.1):
        scene.wait(hours=hours)
        scene.moved(item_id)


# The attempt's row before the call.


def attempt_row(scene: Scene) -> None:
    """A worker dies after acceptance; a day later only the row knows that a key is too old."""
    item_id = killed_after_acceptance(scene)
    a_day_later_by_the_sweeper(scene, item_id)
    assert scene.item(item_id).status == "needs_review", scene.item(item_id)
    # Finance looks it up at the provider.
    scene.alone(lambda: scene.acts.review(scene.town.finance[1]))


OTHERS_THAN_THE_ROW = (off.no_key_reuse, off.no_look_up)


def test_the_attempt_row_alone_keeps_a_killed_worker_from_paying_again(scene: Scene) -> None:
    with switched(scene, *OTHERS_THAN_THE_ROW):
        attempt_row(scene)
        assert scene.verdict() == []


def test_without_the_attempt_row_a_killed_worker_pays_again(scene: Scene) -> None:
    with switched(scene, *OTHERS_THAN_THE_ROW, off.no_attempt_row):
        item_id = killed_after_acceptance(scene)
        a_day_later_by_the_sweeper(scene, item_id)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# The same key again.


def key_reuse(scene: Scene) -> int:
    """The answer is lost; the retry comes while the list shows nothing yet."""
    item_id = answer_lost(scene)
    scene.wait(minutes=2)
    scene.moved(item_id)
    return item_id


def test_the_same_key_alone_makes_a_retry_harmless(scene: Scene) -> None:
    with switched(scene, off.no_look_up):
        item_id = key_reuse(scene)
        assert scene.item(item_id).status == "paid"
        assert scene.verdict() == []


def test_a_new_key_for_each_try_pays_again(scene: Scene) -> None:
    with switched(scene, off.no_look_up, off.no_key_reuse):
        item_id = key_reuse(scene)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# The look-up after the key's life.


def test_the_look_up_alone_settles_what_was_paid_when_its_key_is_forgotten(scene: Scene) -> None:
    with switched(scene, off.no_key_reuse, off.keys_forgotten):
        item_id = answer_lost(scene)
        a_day_later_by_the_sweeper(scene, item_id)
        assert scene.item(item_id).status == "paid"
        assert scene.verdict() == []


def test_without_the_look_up_what_was_paid_lies_on_a_desk(scene: Scene) -> None:
    with switched(scene, off.no_key_reuse, off.keys_forgotten, off.no_look_up):
        item_id = answer_lost(scene)
        a_day_later_by_the_sweeper(scene, item_id)
        (said, *_) = scene.verdict()
        assert said.startswith(("transfers are", f"item {item_id} is on the desk"))
        assert f"item {item_id} is on the desk though the provider lists its transfer" in (
            scene.verdict()
        )


# The end of the key's life.


def test_the_end_of_a_keys_life_alone_keeps_it_from_being_sent(scene: Scene) -> None:
    with switched(scene, off.no_look_up):
        item_id = answer_lost(scene)
        a_day_later_by_the_sweeper(scene, item_id)
        assert scene.paid(item_id) == 1
        scene.alone(lambda: scene.acts.review(scene.town.finance[1]))
        assert scene.verdict() == []


def test_a_key_that_is_sent_at_any_age_pays_again(scene: Scene) -> None:
    with switched(scene, off.no_look_up, off.no_key_life):
        item_id = answer_lost(scene)
        a_day_later_by_the_sweeper(scene, item_id)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# At most one live attempt.

OTHERS_THAN_ONE_ATTEMPT = (
    off.no_claim, off.no_live_attempt, off.no_key_reuse, off.no_look_up,
    off.no_other_attempt_indexes,
)  # fmt: skip


def two_claims_at_once(scene: Scene) -> int:
    """Two workers take one item, neither sees the other's attempt."""
    item_id = scene.approved()
    one, other = scene.worker(item_id, "one"), scene.worker(item_id, "other")
    scene.until(one, "sending")
    scene.conductor.finish(other)
    scene.conductor.finish(one)
    return item_id


def test_one_live_attempt_alone_keeps_two_workers_from_paying_both(scene: Scene) -> None:
    with switched(scene, *OTHERS_THAN_ONE_ATTEMPT):
        item_id = two_claims_at_once(scene)
        assert scene.item(item_id).status == "paid"
        assert scene.verdict() == []


def test_without_one_live_attempt_two_workers_pay_both(scene: Scene) -> None:
    with switched(scene, *OTHERS_THAN_ONE_ATTEMPT, off.no_live_index):
        item_id = two_claims_at_once(scene)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# The claim: an item that is taken is left alone.


def test_the_claim_alone_keeps_a_second_worker_away(scene: Scene) -> None:
    with switched(scene, off.no_key_reuse, off.no_look_up):
        item_id = two_claims_at_once(scene)
        assert scene.verdict() == []
        assert scene.paid(item_id) == 1


def test_without_the_claim_a_second_worker_sends_as_well(scene: Scene) -> None:
    with switched(scene, off.no_key_reuse, off.no_look_up, off.no_claim):
        item_id = two_claims_at_once(scene)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# One period, one batch.


def two_schedulers(scene: Scene) -> None:
    """Both look for payout days that have come before either has written one."""
    scene.wait(days=3)

    def tick() -> str:
        with scene.house.app.app_context(), scene.town.sessions() as session:
            open_periods(session, now=clock.now(session))
            scene.conductor.point("periods are written")
            session.commit()
            scene.conductor.point("periods are committed")
            for period_id in undrafted(session):
                draft_weekly(
                    session, period_id=period_id, rails=scene.house.rails(),
                    now=clock.now(session),
                )  # fmt: skip
                session.commit()
        return "drafted"

    one, other = scene.start("one", tick), scene.start("other", tick)
    scene.until(one, "periods are written")
    scene.conductor.step(other)
    while other.state == "ready" and other.at != "periods are written":
        scene.conductor.step(other)
    for actor in (one, other):
        scene.conductor.finish(actor)
        assert actor.error is None, actor.error
    while scene.house.books.waiting().frozen:
        scene.alone(lambda: scene.acts.approve(scene.town.finance[0]))
    scene.sweep()


def test_one_row_a_week_alone_makes_one_batch_of_two_schedulers(scene: Scene) -> None:
    two_schedulers(scene)
    assert scene.verdict() == []


def test_without_one_row_a_week_two_schedulers_make_it_twice(scene: Scene) -> None:
    with switched(scene, off.no_unique_period):
        two_schedulers(scene)
        assert "the week of 2026-11-23 stands 2 times" in scene.verdict()


# The fence.


def restored_unnoticed(scene: Scene) -> int:
    """A batch is paid; two days later its database is the one from before, and nobody said so."""
    item_id = scene.approved()
    backup = scene.backup()
    scene.moved(item_id)
    assert scene.paid(item_id) == 1
    scene.wait(days=2)
    scene.restore(backup)
    scene.sweep()
    return item_id


def test_the_fence_alone_stops_a_restored_database_from_paying_again(scene: Scene) -> None:
    with switched(scene, off.no_look_up):
        item_id = restored_unnoticed(scene)
        assert scene.paid(item_id) == 1
        with scene.house.engine.begin() as connection:
            reason = connection.scalar(sa.text("SELECT reason FROM payout_locks"))
        assert reason == "restored_backup"


def test_without_the_fence_a_restored_database_pays_again(scene: Scene) -> None:
    with switched(scene, off.no_look_up, off.no_fence):
        item_id = restored_unnoticed(scene)
        assert f"item {item_id} was paid 2 times" in scene.verdict()


# The payee as it was approved.


def payee_changes_after_approval(scene: Scene) -> int:
    item_id = scene.approved()
    scene.alone(lambda: scene.acts.change_payee("anna"))
    scene.moved(item_id)
    return item_id


def accounts_paid(scene: Scene) -> set[str]:
    return {transfer.order.destination for transfer in scene.provider.transfers}


def test_an_item_whose_payee_changed_is_parked(scene: Scene) -> None:
    item_id = payee_changes_after_approval(scene)
    assert accounts_paid(scene) == set()
    assert scene.item(item_id).reason == "payee_changed"


def test_the_frozen_payee_alone_keeps_money_from_an_account_nobody_approved(scene: Scene) -> None:
    with switched(scene, off.no_parking):
        payee_changes_after_approval(scene)
        assert accounts_paid(scene) == {"acct_anna1"}
        assert scene.verdict() == []


def test_without_the_frozen_payee_money_goes_where_nobody_approved(scene: Scene) -> None:
    with switched(scene, off.no_parking, off.no_frozen_payee):
        payee_changes_after_approval(scene)
        assert accounts_paid(scene) == {"acct_anna5"}
        assert any(said.startswith("P16 ") for said in scene.verdict())


# The hash that was approved.


def changed_after_the_look(scene: Scene) -> int:
    """Somebody with a database client turns an item to an account of their own."""
    item_id = scene.withdrawn()
    scene.alone(lambda: scene.acts.change_payee("boris"))
    scene.sql("UPDATE payout_items SET destination = 'acct_boris5'")
    scene.sql(
        "UPDATE payee_accounts SET destination = 'acct_boris5' WHERE destination = 'acct_anna1'"
    )
    return item_id


def test_the_hash_alone_keeps_finance_from_approving_what_it_did_not_see(scene: Scene) -> None:
    changed_after_the_look(scene)
    with pytest.raises(RuntimeError, match="not what its hash says"):
        scene.alone(lambda: scene.acts.approve(scene.town.finance[0]))
    scene.sweep()
    assert accounts_paid(scene) == set()


def test_without_the_hash_finance_approves_what_it_did_not_see(scene: Scene) -> None:
    with switched(scene, off.no_hash):
        changed_after_the_look(scene)
        scene.alone(lambda: scene.acts.approve(scene.town.finance[0]))
        scene.sweep()
        assert accounts_paid(scene) == {"acct_boris5"}
        assert any(said.startswith("P16 ") for said in scene.verdict())


# The balance's lock.


def two_requests_at_once(scene: Scene) -> None:
    """The week is drafted while a withdrawal of the same balance is under way."""
    scene.wait(days=3)
    asks = scene.start("anna", lambda: scene.acts.withdraw("anna"))
    drafts = scene.start("scheduler", lambda: scene.acts.work(jobs.draft_weekly_batches, ()))
    scene.until(asks, "commit")
    scene.conductor.finish(drafts)
    if asks.state != "done":
        scene.conductor.finish(asks)
    while scene.house.books.waiting().frozen:
        scene.alone(lambda: scene.acts.approve(scene.town.finance[0]))
    scene.sweep()
    scene.sweep()


def test_the_balances_lock_alone_keeps_one_balance_from_two_batches(scene: Scene) -> None:
    with switched(scene, off.no_program_lock):
        two_requests_at_once(scene)
        assert scene.verdict() == []


def test_without_the_balances_lock_two_batches_pay_one_balance(scene: Scene) -> None:
    with switched(scene, off.no_program_lock, off.no_balance_lock):
        two_requests_at_once(scene)
        assert any(said.startswith("P12 ") for said in scene.verdict())
