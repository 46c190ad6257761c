"""The clock of a withdrawal: 24 hours, stopped only by what the merchant cannot move."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from payouts.batches.clocks import PAUSING, note_pauses
from payouts.batches.models import PayoutItem, Withdrawal, WithdrawalPause
from payouts.batches.rules import ItemReason
from payouts.batches.withdraw import Requested

NOT_PAUSING = [each for each in ItemReason if each not in PAUSING]


def waits_for(pay: Pay, made: Requested, reason: ItemReason | None) -> None:
    pay.session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id == made.item_id)
        .values(reason=reason and reason.value)
    )
    pay.session.commit()


def swept(pay: Pay, **delta: float) -> Withdrawal:
    """The withdrawal after a sweep this much after it was asked for."""
    note_pauses(pay.session, now=NOW + timedelta(**delta))
    pay.session.commit()
    return pay.session.scalars(
        sa.select(Withdrawal).execution_options(populate_existing=True)
    ).one()


def pauses(pay: Pay) -> list[tuple[str, timedelta, timedelta]]:
    rows = pay.session.scalars(sa.select(WithdrawalPause).order_by(WithdrawalPause.id))
    return [(row.reason, row.began_at - NOW, row.ended_at - NOW) for row in rows]


@pytest.fixture
def made(by_hand: Pay) -> Requested:
    by_hand.affiliate("anna", "9.00")
    return by_hand.approved("anna", "2.00")


@pytest.mark.parametrize("reason", PAUSING)
def test_the_clock_stops_while_only_the_affiliate_or_a_safety_wait_can_move_it(
    by_hand: Pay, made: Requested, reason: ItemReason
) -> None:
    waits_for(by_hand, made, reason)
    row = swept(by_hand, hours=5)
    assert (row.paused_at, row.paused_for) == (NOW + timedelta(hours=5), reason.value)
    assert row.deadline_at == NOW + timedelta(hours=24)


@pytest.mark.parametrize("reason", NOT_PAUSING)
def test_no_other_reason_stops_it(by_hand: Pay, made: Requested, reason: ItemReason) -> None:
    """Money that the merchant lacks, a busy provider, a lock of ours: the promise stands."""
    waits_for(by_hand, made, reason)
    assert swept(by_hand, hours=5).paused_at is None


def test_it_goes_on_with_what_was_left(by_hand: Pay, made: Requested) -> None:
    waits_for(by_hand, made, ItemReason.PAYEE_NOT_READY)
    swept(by_hand, hours=5)
    swept(by_hand, hours=6)
    waits_for(by_hand, made, None)
    row = swept(by_hand, hours=35)
    # 30 hours stood still: 24 + 30.
    assert (row.paused_at, row.paused_for) == (None, None)
    assert row.deadline_at == NOW + timedelta(hours=54)
    assert pauses(by_hand) == [
        ("payee_not_ready", timedelta(hours=5), timedelta(hours=35)),
    ]
    assert swept(by_hand, hours=36).deadline_at == NOW + timedelta(hours=54)


def test_another_reason_begins_another_pause(by_hand: Pay, made: Requested) -> None:
    waits_for(by_hand, made, ItemReason.PAYEE_NOT_READY)
    swept(by_hand, hours=5)
    waits_for(by_hand, made, ItemReason.PAYEE_CHANGED)
    row = swept(by_hand, hours=7)
    assert (row.paused_at, row.paused_for) == (NOW + timedelta(hours=7), "payee_changed")
    assert row.deadline_at == NOW + timedelta(hours=26)
    assert pauses(by_hand) == [("payee_not_ready", timedelta(hours=5), timedelta(hours=7))]


def test_a_pause_ends_with_its_withdrawal(by_hand: Pay, made: Requested) -> None:
    waits_for(by_hand, made, ItemReason.PAYEE_CHANGED)
    swept(by_hand, hours=5)
    by_hand.session.execute(
        sa.update(Withdrawal).values(closed_at=NOW + timedelta(hours=8), outcome="returned")
    )
    row = swept(by_hand, hours=20)
    assert row.paused_at is None
    assert pauses(by_hand) == [("payee_changed", timedelta(hours=5), timedelta(hours=8))]


def test_before_the_approval_the_clock_runs(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    made = by_hand.withdraw("anna", "2.00")
    waits_for(by_hand, made, ItemReason.PAYEE_NOT_READY)
    assert swept(by_hand, hours=5).paused_at is None
