"""Another bank account behind the same account at the provider: a letter, a wait, a stop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay, at_once
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.outbox import Mail
from payouts.audit.checks import PAYEES
from payouts.audit.run import run
from payouts.batches.clocks import note_pauses
from payouts.batches.models import PayeeAccount, Withdrawal
from payouts.batches.payee_banks import changed_bank_alone
from payouts.batches.payee_stops import (
    BankIsTheProviders,
    NotStopped,
    Outcome,
    is_of_bank,
    lift,
    open_stop,
    stop,
)
from payouts.batches.payee_waits import SafetyWait
from payouts.batches.payees import COOLING_OFF, Payee, payee_of, refresh_payee, set_payee
from payouts.rails.protocol import AccountState, Standing

pytestmark = pytest.mark.abuse("A29")

HERS = AccountState(True, Standing.READY, bank="print-of-hers", bank_masked="…3000")
THIEFS = AccountState(True, Standing.READY, bank="print-of-a-thief", bank_masked="…6666")
NONE = AccountState(False, Standing.DETAILS_MISSING)
HOUR = timedelta(hours=1)


@pytest.fixture
def anna(by_stripe: Pay, app: Flask) -> Iterator[Pay]:
    """Anna has 9.00 and an account whose bank is known."""
    with app.test_request_context():
        by_stripe.affiliate("anna", "9.00")
        told(by_stripe, HERS, NOW - 30 * HOUR)
        yield by_stripe


def told(pay: Pay, state: AccountState, now: datetime = NOW) -> bool:
    """The provider says so."""
    changed = refresh_payee(pay.session, account=live(pay).destination, state=state, now=now)
    pay.session.commit()
    return changed


def live(pay: Pay) -> Payee:
    pay.session.rollback()
    found = payee_of(pay.session, affiliate_id=pay.world.affiliate_id("anna"), rail=pay.world.rail)
    assert found is not None
    return found


def letters(pay: Pay) -> list[Mail]:
    of_bank = Mail.template == "payee_bank_changed"
    return list(pay.session.scalars(sa.select(Mail).where(of_bank).order_by(Mail.id)))


def rows(pay: Pay) -> int:
    return pay.session.scalar(sa.select(sa.func.count()).select_from(PayeeAccount)) or 0


def test_the_first_bank_that_is_seen_is_no_change(anna: Pay) -> None:
    assert live(anna).pays_from is None
    assert not told(anna, HERS)
    assert (rows(anna), letters(anna)) == (1, [])


def test_another_bank_waits_is_told_and_is_in_the_log(anna: Pay) -> None:
    before = live(anna)
    assert told(anna, THIEFS)
    now = live(anna)
    assert (now.destination, now.ready, now.since) == (before.destination, True, NOW)
    assert now.pays_from == NOW + COOLING_OFF
    assert now.id != before.id
    (mail,) = letters(anna)
    assert "…6666" in mail.text
    assert "Nothing goes there before" in mail.text
    assert "/account/disowned/" in mail.text
    assert mail.one_time
    change = AuditEntry.action == "payee.bank_change"
    (entry,) = anna.session.scalars(sa.select(AuditEntry).where(change))
    assert (entry.old, entry.new["bank"]) == ({"bank": "…3000"}, "…6666")
    assert not told(anna, THIEFS, NOW + HOUR)
    assert (rows(anna), len(letters(anna))) == (2, 1)


def test_a_bank_that_was_taken_away_first_is_still_a_change(anna: Pay) -> None:
    told(anna, NONE)
    assert live(anna).pays_from is None
    assert told(anna, THIEFS, NOW + HOUR)
    assert live(anna).pays_from == NOW + HOUR + COOLING_OFF


def test_what_was_approved_waits_with_it_and_then_goes_to_the_same_account(anna: Pay) -> None:
    made = anna.approved("anna", "5.00")
    told(anna, THIEFS, NOW + HOUR / 2)
    anna.run(made.batch_id)
    assert anna.item(made.item_id).reason == "cooling_off"
    told(anna, HERS, NOW + HOUR)
    assert live(anna).pays_from is None
    anna.run(made.batch_id)
    anna.paid_once(made)
    assert not run(anna.session, PAYEES, real_now=NOW)


def test_what_was_not_approved_cannot_be_until_the_wait_is_over(anna: Pay) -> None:
    told(anna, THIEFS)
    made = anna.withdraw("anna", "5.00")
    with pytest.raises(SafetyWait):
        anna.approve(made.batch_id)
    anna.session.rollback()
    assert not run(anna.session, PAYEES, real_now=NOW)


@pytest.mark.parametrize("approved", [False, True], ids=["asked", "approved"])
def test_the_clock_of_a_withdrawal_stands_still_for_a_wait_that_began_after_it(
    anna: Pay, approved: bool
) -> None:
    made = anna.approved("anna", "5.00") if approved else anna.withdraw("anna", "5.00")

    def clock_at(now: datetime) -> Withdrawal:
        note_pauses(anna.session, now=now)
        anna.session.commit()
        return anna.session.scalars(
            sa.select(Withdrawal).execution_options(populate_existing=True)
        ).one()

    told(anna, THIEFS, NOW + 2 * HOUR)
    if approved:
        anna.run(made.batch_id)
    row = clock_at(NOW + 3 * HOUR)
    assert (row.paused_at, row.paused_for) == (NOW + 3 * HOUR, "cooling_off")
    assert clock_at(NOW + 70 * HOUR).paused_at == NOW + 3 * HOUR
    row = clock_at(NOW + 2 * HOUR + COOLING_OFF)
    assert row.paused_at is None
    assert row.deadline_at == NOW + (24 + 71) * HOUR


def test_a_wait_that_ran_already_is_in_the_deadline_alone(anna: Pay) -> None:
    told(anna, THIEFS)
    anna.withdraw("anna", "5.00")
    assert note_pauses(anna.session, now=NOW + HOUR) == 0
    row = anna.session.scalars(sa.select(Withdrawal)).one()
    assert row.deadline_at == NOW + COOLING_OFF + 24 * HOUR


def test_an_approval_right_after_her_own_bank_is_back_is_sound(anna: Pay) -> None:
    told(anna, THIEFS, NOW - HOUR)
    told(anna, HERS, NOW - timedelta(seconds=30))
    anna.approved("anna", "5.00")
    assert run(anna.session, PAYEES, real_now=NOW) == []


def test_a_wait_that_the_approval_could_see_is_found_by_the_audit(anna: Pay) -> None:
    told(anna, THIEFS, NOW - HOUR)
    anna.session.execute(sa.update(PayeeAccount).values(pays_from=None))
    anna.approved("anna", "5.00")
    anna.session.execute(sa.update(PayeeAccount).values(pays_from=NOW + HOUR))
    assert [found.check.name for found in run(anna.session, PAYEES, real_now=NOW)] == ["Y1"]


def test_an_account_that_was_taken_away_and_named_again_can_be_put_back(anna: Pay) -> None:
    affiliate_id, destination = anna.world.affiliate_id("anna"), live(anna).destination
    anna.session.execute(sa.update(PayeeAccount).values(replaced_at=NOW))
    payee_id = set_payee(
        anna.session, affiliate_id=affiliate_id, rail=anna.world.rail, destination=destination,
        ready=True, by="user:1", now=NOW,
    )  # fmt: skip
    stop(anna.session, payee_id=payee_id, now=NOW)
    lift(
        anna.session, affiliate_id=affiliate_id, outcome=Outcome.PUT_BACK, by="user:1",
        why="We spoke by phone.", now=NOW,
    )  # fmt: skip
    assert open_stop(anna.session, affiliate_id=affiliate_id) is None


def test_her_own_bank_given_back_after_the_wait_waits_again(anna: Pay) -> None:
    told(anna, THIEFS)
    later = NOW + COOLING_OFF + HOUR
    assert told(anna, HERS, later)
    assert live(anna).pays_from == later + COOLING_OFF


def test_a_third_bank_begins_the_wait_anew(anna: Pay) -> None:
    told(anna, THIEFS)
    third = AccountState(True, Standing.READY, bank="another", bank_masked="…7777")
    told(anna, third, NOW + HOUR)
    assert live(anna).pays_from == NOW + HOUR + COOLING_OFF
    assert len(letters(anna)) == 2


def test_a_disowned_bank_is_put_back_at_the_provider_alone(anna: Pay) -> None:
    told(anna, THIEFS)
    assert stop(anna.session, payee_id=live(anna).id, now=NOW)
    anna.session.commit()
    affiliate_id = anna.world.affiliate_id("anna")
    found = open_stop(anna.session, affiliate_id=affiliate_id)
    assert found is not None
    assert is_of_bank(anna.session, found)

    def lifted(outcome: Outcome) -> None:
        lift(
            anna.session, affiliate_id=affiliate_id, outcome=outcome, by="user:1",
            why="We spoke by phone.", now=NOW + 2 * HOUR,
        )  # fmt: skip
        anna.session.commit()

    with pytest.raises(BankIsTheProviders):
        lifted(Outcome.PUT_BACK)
    anna.session.rollback()
    # What the provider says is taken in while payouts are stopped.
    assert told(anna, HERS, NOW + HOUR)
    lifted(Outcome.KEPT)
    assert (live(anna).pays_from, live(anna).state) == (None, HERS)
    with pytest.raises(NotStopped):
        lifted(Outcome.KEPT)


def test_another_account_is_no_change_of_the_bank_alone(anna: Pay) -> None:
    set_payee(
        anna.session, affiliate_id=anna.world.affiliate_id("anna"), rail=anna.world.rail,
        destination="acct_other", ready=True, by="user:1", now=NOW,
    )  # fmt: skip
    anna.session.commit()
    payee = anna.session.get_one(PayeeAccount, live(anna).id)
    assert not changed_bank_alone(payee)
    assert not told(anna, THIEFS)
    assert letters(anna) == []


def test_of_a_change_here_and_one_at_the_provider_at_once_neither_fails(
    anna: Pay, app: Flask
) -> None:
    destination, affiliate_id = live(anna).destination, anna.world.affiliate_id("anna")

    def at_the_provider(session: Session) -> object:
        with app.test_request_context():
            return refresh_payee(session, account=destination, state=THIEFS, now=NOW)

    def here(session: Session) -> object:
        return set_payee(
            session, affiliate_id=affiliate_id, rail=anna.world.rail, destination="acct_other",
            ready=True, by="user:1", now=NOW,
        )  # fmt: skip

    found = at_once(anna, at_the_provider, here)
    assert not [each for each in found if isinstance(each, Exception)]
    assert live(anna).destination == "acct_other"
