"""Small withdrawals that a program's rule approves by itself, and those that it leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from approving import at_once, rules_of
from flask import Flask
from money_world import NOW
from paying import Pay
from redis import Redis

from affiliate.core import queue
from affiliate.core.audit import AuditEntry
from affiliate.core.db import db
from affiliate.people.models import Enrollment
from payouts.batches import approve, jobs
from payouts.batches.approve import NotApprovable
from payouts.batches.automatic import approve_small, undecided
from payouts.batches.cancel import hold_item
from payouts.batches.locks import LockReason, lock, unlock
from payouts.batches.models import PayeeAccount
from payouts.batches.own_accounts import NoOwnAccount
from payouts.batches.payees import set_payee
from payouts.batches.review import mark_paid
from payouts.batches.withdraw import Requested
from payouts.rails.manual import ManualRail

RULE = ("10.00", "25.00", 14)
LONG_AGO = NOW - timedelta(days=60)


def known(pay: Pay, name: str, available: str, *, paid: str = "4.00") -> None:
    """An affiliate with an account of 60 days and one payout that arrived."""
    pay.affiliate(name, paid)
    asked = pay.approved(name, paid)
    mark_paid(
        pay.session, item_id=asked.item_id, reference=f"PP {name}", by_user_id=pay.finance,
        rails=pay.rails, now=NOW,
    )  # fmt: skip
    pay.session.execute(sa.update(PayeeAccount).values(created_at=LONG_AGO))
    pay.session.commit()
    pay.world.available(name, available)


def decide(pay: Pay, asked: Requested) -> str | None:
    """Ask the rule; the policy it was approved under, or the reason that it was not."""
    approve_small(pay.session, batch_id=asked.batch_id, rails=pay.rails, now=NOW)
    pay.session.commit()
    batch = pay.batch(asked.batch_id)
    return batch.approval_policy or batch.not_automatic


@pytest.mark.parametrize("lacks", ["own account", "currency"])
def test_what_the_rail_could_not_pay_waits_for_a_person(
    by_hand: Pay, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "10.00")
    asked = by_hand.withdraw("anna", "10.00")

    def no_own_account(_session: object, **_rail: object) -> None:
        raise NoOwnAccount

    if lacks == "currency":
        monkeypatch.setattr(ManualRail, "pays", lambda _self, _currency: False)
    else:
        monkeypatch.setattr(approve, "refuse_without_own_account", no_own_account)
    assert decide(by_hand, asked) == "rail_not_configured"
    assert by_hand.batch(asked.batch_id).status == "frozen"


def test_a_small_withdrawal_of_a_known_payee_is_approved_by_nobody(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "10.00")
    asked = by_hand.withdraw("anna", "10.00")
    assert decide(by_hand, asked) == "automatic"
    batch = by_hand.batch(asked.batch_id)
    assert (batch.status, batch.approved_by, batch.signatures_needed) == ("approved", None, 0)
    entry = by_hand.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "batch.approve_by_rule")
    ).one()
    assert entry.actor == "system:payouts"
    with pytest.raises(NotApprovable, match="rule for small withdrawals approved"):
        by_hand.approve(asked.batch_id)
    by_hand.sound()


def test_what_is_above_the_limit_waits_with_its_reason(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "30.00")
    asked = by_hand.withdraw("anna", "10.01")
    assert decide(by_hand, asked) == "above_item_limit"
    assert by_hand.batch(asked.batch_id).status == "frozen"
    by_hand.approve(asked.batch_id)
    by_hand.sound()


def test_a_first_payout_waits(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    by_hand.affiliate("anna", "5.00")
    assert decide(by_hand, by_hand.withdraw("anna")) == "first_payment"


@pytest.mark.abuse("A29")
def test_a_new_account_waits_for_a_person(by_hand: Pay) -> None:
    """Whoever takes an account over names their own and asks for little."""
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "5.00")
    set_payee(
        by_hand.session, affiliate_id=by_hand.world.affiliate_id("anna"), rail="manual",
        destination="IBAN of a thief", ready=True, by="test", now=NOW,
    )  # fmt: skip
    by_hand.session.commit()
    assert decide(by_hand, by_hand.withdraw("anna")) == "destination_changed"


def test_an_account_that_came_back_young_waits(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "5.00")
    by_hand.session.execute(sa.update(PayeeAccount).values(created_at=NOW - timedelta(days=14)))
    by_hand.session.commit()
    assert decide(by_hand, by_hand.withdraw("anna")) == "account_young"


def test_a_jump_waits(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "10.00", paid="1.00")
    assert decide(by_hand, by_hand.withdraw("anna", "5.01")) == "jump"


def test_a_payout_that_was_held_keeps_the_next_with_a_person_for_ninety_days(
    by_hand: Pay,
) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "8.00")
    asked = by_hand.withdraw("anna", "2.00")
    hold_item(
        by_hand.session, item_id=asked.item_id, by_user_id=by_hand.finance, why="odd", now=NOW
    )
    by_hand.session.commit()
    again = by_hand.withdraw("anna", "2.00")
    assert decide(by_hand, again) == "troubled"


def test_a_suspended_affiliate_waits(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "5.00")
    asked = by_hand.withdraw("anna")
    by_hand.session.execute(sa.update(Enrollment).values(status="suspended"))
    by_hand.session.commit()
    assert decide(by_hand, asked) == "not_active"


def test_the_days_limit_holds_for_ten_at_once(by_hand: Pay) -> None:
    """25.00 a day: of ten withdrawals of 4.00 at the same moment six are approved, 24.00."""
    names = [f"a{number}" for number in range(10)]
    for name in names:
        known(by_hand, name, "4.00")
    rules_of(by_hand, automatic=RULE)
    asked = [by_hand.withdraw(name) for name in names]
    at_once(
        by_hand,
        [
            lambda s, b=each.batch_id: approve_small(  # type: ignore[misc]
                s, batch_id=b, rails=by_hand.rails, now=NOW
            )
            for each in asked
        ],
    )
    batches = [by_hand.batch(each.batch_id) for each in asked]
    assert (
        sorted(batch.approval_policy or batch.not_automatic or "" for batch in batches)
        == ["above_day_limit"] * 4 + ["automatic"] * 6
    )
    by_hand.sound()


def test_while_payouts_are_locked_nothing_is_decided_and_later_it_is(by_hand: Pay) -> None:
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "5.00")
    asked = by_hand.withdraw("anna")
    lock(by_hand.session, reason=LockReason.BY_HAND, detail="", now=NOW)
    by_hand.session.commit()
    assert decide(by_hand, asked) is None
    assert undecided(by_hand.session) == [asked.batch_id]
    unlock(by_hand.session, by="cli", why="seen", now=NOW)
    assert decide(by_hand, asked) == "automatic"


def test_what_waited_before_the_rule_was_made_is_left_to_the_person_who_looks(
    by_hand: Pay,
) -> None:
    known(by_hand, "anna", "5.00")
    asked = by_hand.withdraw("anna")
    rules_of(by_hand, automatic=RULE)
    by_hand.session.execute(
        sa.text("UPDATE payout_policies SET set_at = set_at + interval '1 second'")
    )
    by_hand.session.commit()
    assert undecided(by_hand.session) == []
    assert decide(by_hand, asked) is None
    assert by_hand.batch(asked.batch_id).status == "frozen"


def test_a_weekly_batch_is_never_approved_by_itself(by_hand: Pay) -> None:
    from approving import weekly

    rules_of(by_hand, automatic=("1000.00", "1000.00", 1))
    known(by_hand, "anna", "5.00")
    batch_id = weekly(by_hand)
    assert not approve_small(by_hand.session, batch_id=batch_id, rails=by_hand.rails, now=NOW)
    assert by_hand.batch(batch_id).status == "frozen"


def test_asking_rings_for_the_rule_and_the_sweep_finds_what_the_bell_lost(
    by_hand: Pay, app: Flask
) -> None:
    """Not decided where no bell arrived; approved by the sweep's ring, in the worker."""
    rules_of(by_hand, automatic=RULE)
    known(by_hand, "anna", "5.00")
    waiting = queue.queue_on(Redis.from_url(by_hand.settings.redis_url), queue.PAYOUTS)
    waiting.empty()
    asked = by_hand.withdraw("anna")
    rung = [job.func_name.rpartition(".")[2] for job in waiting.jobs]
    assert rung == ["approve_small_withdrawal"]
    waiting.empty()
    with app.app_context():
        jobs.approve_small_withdrawals()
        assert [job.args for job in waiting.jobs] == [(asked.batch_id,)] or [
            list(job.args) for job in waiting.jobs
        ] == [[asked.batch_id]]
        jobs.approve_small_withdrawal(asked.batch_id)
        db.session.remove()
    assert by_hand.batch(asked.batch_id).approval_policy == "automatic"
