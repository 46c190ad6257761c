"""The dry run: what the rail says of a batch before anybody signs it, over the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay
from stripe_double import Double

from affiliate.core import clock
from affiliate.core.db import session_for
from payouts.batches.approve import NotApprovable, RailNotConfigured, RailWouldRefuse
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider import rehearse as rehearsing
from payouts.provider.models import BatchRehearsal, ProviderAccount
from payouts.provider.rehearse import AskedJustNow, Rehearsing, last_rehearsal, rehearse
from payouts.rails.registry import rails


def drafted(pay: Pay) -> PayoutBatch:
    """Everybody who is due, in a weekly batch that waits."""
    open_periods(pay.session, now=NOW)
    (made,) = [
        batch_id
        for period_id in undrafted(pay.session)
        if (batch_id := draft_weekly(pay.session, period_id=period_id, rails=pay.rails, now=NOW))
    ][-1:]
    pay.session.commit()
    return pay.batch(made)


def look(pay: Pay, batch: PayoutBatch, *, goes_on: bool = False) -> BatchRehearsal:
    run = Rehearsing(session_for(pay.engine), rails(pay.settings), pay.sending.real_now)
    rehearse(run, batch_id=batch.id, by_user_id=pay.finance, goes_on=goes_on)
    pay.session.rollback()
    found = last_rehearsal(pay.session, batch=pay.batch(batch.id))
    assert found is not None
    return found


def account_of(pay: Pay, batch: PayoutBatch, name: str) -> tuple[int, str]:
    found = pay.session.execute(
        sa.select(PayoutItem.id, PayoutItem.destination).where(
            PayoutItem.batch_id == batch.id,
            PayoutItem.enrollment_id == pay.world.enrollments[name],
        )
    ).one()
    return found.id, found.destination


def change(double: Double, account: str, **states: object) -> None:
    double.control("POST", "/accounts", {"id": account, **states})


def test_accounts_are_asked_about_and_not_remembered(by_stripe: Pay, double: Double) -> None:
    for name, amount in (("anna", "9.00"), ("boris", "5.00"), ("vera", "2.00"), ("gleb", "1.00")):
        by_stripe.affiliate(name, amount)
    batch = drafted(by_stripe)
    stopped, account = account_of(by_stripe, batch, "boris")
    change(double, account, transfers="inactive")
    gone, account = account_of(by_stripe, batch, "vera")
    change(double, account, deauthorized=True)
    said = look(by_stripe, batch)
    assert (said.away, said.asked, said.payouts) == ("", 4, 4)
    assert said.funds_micros == 100_000_000_000
    assert [(each[0], each[1]) for each in said.objections] == [
        (stopped, "not_ready"), (gone, "gone"),
    ]  # fmt: skip
    assert said.objections_in_all == 2
    assert by_stripe.batch(batch.id).status == "frozen"
    assert by_stripe.session.scalar(sa.select(sa.func.count(PayoutAttempt.id))) == 0


def test_what_is_approved_already_is_counted_against_the_same_balance(
    by_stripe: Pay, double: Double
) -> None:
    by_stripe.affiliate("anna", "9.00")
    by_stripe.affiliate("boris", "5.00")
    made = by_stripe.withdraw("anna", "7.00")
    by_stripe.approve(made.batch_id)
    double.control("POST", "/balance", {"currency": "eur", "amount": 800})
    waiting = by_stripe.batch(by_stripe.withdraw("boris").batch_id)
    said = look(by_stripe, waiting)
    assert (said.funds_micros, said.promised_micros) == (8_000_000, 7_000_000)


def test_a_provider_that_is_away_is_said_to_be_and_the_batch_is_approved_all_the_same(
    by_stripe: Pay, double: Double
) -> None:
    by_stripe.affiliate("anna", "5.00")
    waiting = by_stripe.batch(by_stripe.withdraw("anna").batch_id)
    double.fault("html-502", method="GET", path="/v1/balance")
    said = look(by_stripe, waiting)
    assert said.away
    assert (said.funds_micros, said.asked) == (None, 0)
    by_stripe.approve(waiting.id)
    assert by_stripe.batch(waiting.id).status == "approved"


def test_a_key_of_another_account_is_named(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    waiting = by_stripe.batch(by_stripe.withdraw("anna").batch_id)
    by_stripe.session.add(
        ProviderAccount(rail="stripe", account="acct_before", seen_at=clock.real_now())
    )
    by_stripe.session.commit()
    assert look(by_stripe, waiting).away == "other_account"


def test_a_large_batch_is_looked_at_part_by_part(
    by_stripe: Pay, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "QUESTIONS_MAX", 3)  # The balance and two accounts.
    for number in range(5):
        by_stripe.affiliate(f"affiliate-{number}", f"{9 - number}.00")
    batch = drafted(by_stripe)
    item, account = account_of(by_stripe, batch, "affiliate-0")
    change(double, account, transfers="inactive")
    first = look(by_stripe, batch)
    assert (first.asked, first.payouts, first.objections_in_all) == (2, 5, 1)
    with pytest.raises(AskedJustNow):
        look(by_stripe, batch)
    second = look(by_stripe, batch, goes_on=True)
    assert (second.asked, second.began_at) == (4, first.began_at)
    third = look(by_stripe, batch, goes_on=True)
    assert (third.asked, third.objections_in_all) == (5, 1)
    assert third.objections[0][0] == item
    with pytest.raises(AskedJustNow):
        look(by_stripe, batch, goes_on=True)
    by_stripe.wait(seconds=11)
    assert look(by_stripe, batch).asked == 2


def test_a_look_stops_when_a_person_has_waited_long_enough(
    by_stripe: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "LOOK_S", -1)
    by_stripe.affiliate("anna", "5.00")
    said = look(by_stripe, by_stripe.batch(by_stripe.withdraw("anna").batch_id))
    assert (said.asked, said.away, said.funds_micros) == (0, "", None)


def test_an_old_look_is_begun_anew_and_one_at_another_batch_is_none(
    by_stripe: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "QUESTIONS_MAX", 2)
    by_stripe.affiliate("anna", "9.00")
    by_stripe.affiliate("boris", "5.00")
    batch = drafted(by_stripe)
    look(by_stripe, batch)
    by_stripe.wait(seconds=rehearsing.GOES_ON_S + 1)
    assert look(by_stripe, batch, goes_on=True).asked == 1
    by_stripe.session.execute(
        sa.update(PayoutBatch).where(PayoutBatch.id == batch.id).values(hash="0" * 64)
    )
    by_stripe.session.commit()
    assert last_rehearsal(by_stripe.session, batch=by_stripe.batch(batch.id)) is None


def test_nobody_is_asked_about_what_is_signed_or_has_no_rail(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.withdraw("anna")
    without = Rehearsing(
        session_for(by_stripe.engine),
        rails(replace(by_stripe.settings, stripe_api_key="")),
        clock.real_now,
    )
    with pytest.raises(RailNotConfigured):
        rehearse(without, batch_id=made.batch_id, by_user_id=by_stripe.finance, goes_on=False)
    by_stripe.approve(made.batch_id)
    with pytest.raises(NotApprovable):
        look(by_stripe, by_stripe.batch(made.batch_id))


def test_by_hand_there_is_nobody_to_ask(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    said = look(by_hand, by_hand.batch(by_hand.withdraw("anna").batch_id))
    assert (said.away, said.asked, said.funds_micros, said.objections) == ("", 1, None, [])


def test_a_file_carries_only_accounts_that_are_sound(pay: Callable[..., Pay]) -> None:
    by_file = pay("bank_sepa")
    by_file.affiliate("anna", "5.00")  # "IBAN of anna" is no account.
    said = look(by_file, by_file.batch(by_file.withdraw("anna").batch_id))
    assert [each[1] for each in said.objections] == ["unsound"]


def test_amounts_and_currencies_that_the_rail_cannot_pay_are_not_approved(
    by_stripe: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_stripe.affiliate("anna", "5.05")
    by_stripe.affiliate("boris", "5.00")
    odd, even = by_stripe.withdraw("anna"), by_stripe.withdraw("boris")
    rail = type(by_stripe.rails["stripe"])
    monkeypatch.setattr(rail, "granularity", lambda _self, _currency: 100)
    with pytest.raises(RailWouldRefuse, match="cannot pay 1 of its amounts"):
        by_stripe.approve(odd.batch_id)
    by_stripe.session.rollback()
    by_stripe.approve(even.batch_id)
    monkeypatch.setattr(rail, "pays", lambda _self, _currency: False)
    with pytest.raises(RailWouldRefuse, match="does not pay EUR"):
        by_stripe.approve(odd.batch_id)
