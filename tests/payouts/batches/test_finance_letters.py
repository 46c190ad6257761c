"""Letters to finance: who may approve is told once of each batch, reminded once, not its makers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from approving import rules_of, weekly
from flask import Flask
from money_world import NOW
from paying import Pay, at_once
from sqlalchemy.orm import Session

from affiliate.core.outbox import Mail
from affiliate.letters.choices import ChosenBy, choose
from affiliate.letters.rules import Choice, Kind
from affiliate.people.models import Grant, User
from payouts.batches import finance_letters
from payouts.batches.cancel import cancel_batch
from payouts.batches.finance_letters import (
    DUE_WITHIN,
    OLD_AFTER,
    REMIND_AFTER,
    UNDECIDED_FOR,
    tell_of_batches,
    tell_of_withdrawals,
)
from payouts.batches.withdraw import DEADLINE_H

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Tell = Callable[..., int]


@pytest.fixture
def tell(app: Flask, by_hand: Pay) -> Tell:
    """Run a sweep as a job would; how many letters."""

    def run(verb: Callable[..., int], *, after: timedelta = timedelta(), own: Session | None = None
            ) -> int:  # fmt: skip
        session = own or by_hand.session
        with app.app_context():
            written = verb(session, settings=by_hand.settings, now=NOW + after)
        session.commit()
        return written

    return run


def letters(pay: Pay, kind: Kind) -> list[Mail]:
    pay.session.rollback()
    query = sa.select(Mail).where(Mail.template == kind.template).order_by(Mail.id)
    return list(pay.session.scalars(query))


def address(pay: Pay, name: str) -> str:
    return pay.session.get_one(User, pay.world.users[name]).email


def waiting(pay: Pay) -> int:
    """Two payouts in a frozen weekly batch."""
    pay.affiliate("anna", "5.00")
    pay.affiliate("boris", "2.17")
    return weekly(pay)


def test_a_batch_that_waits_is_told_once_to_whoever_may_approve_it(
    by_hand: Pay, tell: Tell
) -> None:
    by_hand.world.user("olga", role="owner")
    by_hand.world.user("mia", role="manager")
    batch_id = waiting(by_hand)
    assert (tell(tell_of_batches), tell(tell_of_batches)) == (2, 0)
    found = letters(by_hand, Kind.BATCH_WAITING)
    assert {mail.recipient for mail in found} == {
        address(by_hand, "finance"), address(by_hand, "olga"),
    }  # fmt: skip
    for text in (found[0].text, found[0].html):
        assert "2 payouts, 7.17\N{NO-BREAK SPACE}EUR in all" in text
        assert "/finance/batches/bat_" in text
    assert f"Batch {by_hand.batch(batch_id).number} of Lamps" in found[0].subject


def test_it_is_told_again_a_day_later_if_it_still_waits(by_hand: Pay, tell: Tell) -> None:
    waiting(by_hand)
    tell(tell_of_batches)
    assert tell(tell_of_batches, after=REMIND_AFTER - MINUTE) == 0
    assert tell(tell_of_batches, after=REMIND_AFTER) == 1
    assert tell(tell_of_batches, after=REMIND_AFTER + HOUR) == 0
    assert len(letters(by_hand, Kind.BATCH_STILL_WAITING)) == 1


def test_an_approved_or_cancelled_batch_waits_for_nobody(by_hand: Pay, tell: Tell) -> None:
    batch_id = waiting(by_hand)
    by_hand.approve(batch_id)
    assert tell(tell_of_batches) == 0


def test_a_cancelled_batch_is_not_reminded_of(by_hand: Pay, tell: Tell) -> None:
    batch_id = waiting(by_hand)
    tell(tell_of_batches)
    cancel_batch(
        by_hand.session, batch_id=batch_id, by_user_id=by_hand.finance, why="twice", now=NOW
    )
    by_hand.session.commit()
    assert tell(tell_of_batches, after=REMIND_AFTER) == 0


def test_a_batch_of_long_ago_is_no_news(by_hand: Pay, tell: Tell) -> None:
    waiting(by_hand)
    assert tell(tell_of_batches, after=OLD_AFTER) == 0


def test_a_new_approver_is_told_first_and_reminded_later(by_hand: Pay, tell: Tell) -> None:
    """Not twice at once, because the batch happens to be a day old."""
    waiting(by_hand)
    tell(tell_of_batches)
    by_hand.world.user("gleb", role="finance")
    after = REMIND_AFTER + HOUR
    tell(tell_of_batches, after=after)
    mine = [
        mail.template
        for kind in (Kind.BATCH_WAITING, Kind.BATCH_STILL_WAITING)
        for mail in letters(by_hand, kind)
        if mail.recipient == address(by_hand, "gleb")
    ]
    assert mine == [Kind.BATCH_WAITING.template]


def test_whoever_turned_it_off_or_lost_the_role_is_not_told(by_hand: Pay, tell: Tell) -> None:
    gleb = by_hand.world.user("gleb", role="finance")
    choose(
        by_hand.session, user_id=by_hand.finance, program_id=by_hand.world.program_id,
        wanted={Choice.BATCHES: False}, by=ChosenBy.PAGE, now=NOW,
    )  # fmt: skip
    by_hand.session.execute(sa.update(Grant).where(Grant.user_id == gleb).values(revoked_at=NOW))
    waiting(by_hand)
    assert tell(tell_of_batches) == 0


def test_who_has_signed_is_not_reminded(by_hand: Pay, tell: Tell) -> None:
    rules_of(by_hand, second="1.00")
    by_hand.world.user("gleb", role="finance")
    batch_id = waiting(by_hand)
    by_hand.approve(batch_id)
    assert by_hand.batch(batch_id).status == "frozen"
    tell(tell_of_batches)
    told = {mail.recipient for mail in letters(by_hand, Kind.BATCH_WAITING)}
    assert told == {address(by_hand, "gleb"), address(by_hand, "owner")}


def test_a_withdrawal_is_told_of_and_again_before_its_deadline(by_hand: Pay, tell: Tell) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.withdraw("anna", "3.00")
    assert (tell(tell_of_withdrawals), tell(tell_of_withdrawals)) == (1, 0)
    (mail,) = letters(by_hand, Kind.WITHDRAWALS_WAITING)
    assert "anna: 3.00\N{NO-BREAK SPACE}EUR, by" in mail.text
    assert "/finance/withdrawals?program=" in mail.html
    deadline = DEADLINE_H * HOUR
    assert tell(tell_of_withdrawals, after=deadline - DUE_WITHIN - MINUTE) == 0
    assert tell(tell_of_withdrawals, after=deadline - DUE_WITHIN) == 1
    assert tell(tell_of_withdrawals, after=deadline - HOUR) == 0
    assert len(letters(by_hand, Kind.WITHDRAWALS_DUE)) == 1


def test_several_withdrawals_stand_in_one_letter(by_hand: Pay, tell: Tell) -> None:
    for name in ("anna", "boris", "vera"):
        by_hand.affiliate(name, "5.00")
        by_hand.withdraw(name, "3.00")
    assert tell(tell_of_withdrawals) == 1
    (mail,) = letters(by_hand, Kind.WITHDRAWALS_WAITING)
    assert mail.subject.startswith("3 withdrawals of Lamps")
    assert all(name in mail.text for name in ("anna", "boris", "vera"))


def test_withdrawals_that_were_told_of_do_not_stand_before_new_ones(
    by_hand: Pay, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them may wait than one sweep looks at."""
    monkeypatch.setattr(finance_letters, "WITHDRAWALS_MAX", 1)
    for name in ("anna", "boris"):
        by_hand.affiliate(name, "5.00")
        by_hand.withdraw(name, "3.00")
    assert [tell(tell_of_withdrawals) for _ in range(3)] == [1, 1, 0]
    told = "\n".join(mail.text for mail in letters(by_hand, Kind.WITHDRAWALS_WAITING))
    assert "anna: 3.00" in told
    assert "boris: 3.00" in told


def test_a_withdrawal_that_is_approved_is_not_told_of(by_hand: Pay, tell: Tell) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.approved("anna", "3.00")
    assert tell(tell_of_withdrawals) == 0


def test_the_rule_for_small_withdrawals_has_the_first_word(by_hand: Pay, tell: Tell) -> None:
    rules_of(by_hand, automatic=("50.00", "500.00", 1))
    by_hand.affiliate("anna", "5.00")
    by_hand.withdraw("anna", "3.00")
    assert tell(tell_of_withdrawals, after=UNDECIDED_FOR - MINUTE) == 0
    assert tell(tell_of_withdrawals, after=UNDECIDED_FOR) == 2, "finance and owner"


def test_finance_is_not_asked_to_approve_what_they_asked_for(by_hand: Pay, tell: Tell) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.session.add(
        Grant(user_id=by_hand.world.users["anna"], program_id=by_hand.world.program_id,
              role="finance", granted_at=NOW)
    )  # fmt: skip
    by_hand.session.commit()
    by_hand.withdraw("anna", "3.00")
    tell(tell_of_withdrawals)
    told = {mail.recipient for mail in letters(by_hand, Kind.WITHDRAWALS_WAITING)}
    assert told == {address(by_hand, "finance")}


def test_in_one_person_mode_they_are(by_hand: Pay, tell: Tell) -> None:
    rules_of(by_hand, one_person=True)
    by_hand.affiliate("anna", "5.00")
    by_hand.session.add(
        Grant(user_id=by_hand.world.users["anna"], program_id=by_hand.world.program_id,
              role="finance", granted_at=NOW)
    )  # fmt: skip
    by_hand.session.commit()
    by_hand.withdraw("anna", "3.00")
    tell(tell_of_withdrawals)
    told = {mail.recipient for mail in letters(by_hand, Kind.WITHDRAWALS_WAITING)}
    assert address(by_hand, "anna") in told


def test_two_sweeps_at_once_write_one_letter(by_hand: Pay, tell: Tell) -> None:
    waiting(by_hand)
    by_hand.world.affiliate("vera")
    found = at_once(by_hand, *[lambda own: tell(tell_of_batches, own=own)] * 3)
    assert sorted(found, key=str) == [0, 0, 1]
    assert len(letters(by_hand, Kind.BATCH_WAITING)) == 1
