"""Events that no webhook brought: the endpoint was down for days, and the list tells them."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hooked import Hooked
from money_world import NOW

from payouts.batches.payees import set_payee
from payouts.provider.bank import bank_payouts_of
from payouts.provider.catch_up import catch_up
from payouts.provider.models import EventCursor, ProviderEvent
from payouts.rails.protocol import RailAway

DAYS_4_S = 4 * 86_400


def clear(hooked: Hooked) -> None:
    """All that the shared double has told before this test is listed."""
    hooked.catch_up()


def test_an_endpoint_that_was_down_for_four_days_is_healed_by_the_list(hooked: Hooked) -> None:
    """Nothing is delivered meanwhile: transfers, their reversals, accounts, banks."""
    hooked.pay.affiliate("boris", "5.00")
    clear(hooked)
    account = hooked.account_of("boris")
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 100})
    hooked.double.control("POST", "/accounts", {"id": account, "payouts_enabled": False})
    bank = hooked.double.control(
        "POST", "/payouts", {"account": hooked.account_of("anna"), "currency": "eur"}
    )
    hooked.double.control("POST", "/payouts", {"id": bank["id"], "status": "failed"})
    hooked.pay.wait(days=4)
    found = hooked.catch_up()
    assert found.new >= 5
    assert hooked.pay.item(item_id).status == "paid"
    assert hooked.pay.balances("anna").available == hooked.pay.world.money("1.00")
    assert not hooked.ready("boris")
    (seen,) = bank_payouts_of(hooked.pay.session, accounts=[hooked.account_of("anna")])
    assert seen.status == "failed"
    hooked.sound()


def test_what_a_webhook_brought_is_not_stored_again(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
    hooked.digest()
    hooked.catch_up()
    (stored,) = [each for each in hooked.stored() if each.object_id == hooked.transfer_of(item_id)]
    assert (stored.came_by, stored.outcome) == ("webhook", "settled")
    hooked.pay.wait(minutes=10)
    assert hooked.catch_up().new == 0


def test_what_the_list_showed_late_is_found_the_next_time(hooked: Hooked) -> None:
    clear(hooked)
    item_id = hooked.unanswered("anna")
    hooked.double.fault("list-lag", path="/v1/events", lag_s=60)
    hooked.catch_up()
    assert hooked.pay.item(item_id).status == "unknown"
    hooked.double.control("DELETE", "/faults")
    hooked.pay.wait(minutes=5)
    hooked.catch_up()
    assert hooked.pay.item(item_id).status == "paid"


def test_a_list_that_breaks_off_is_listed_again(hooked: Hooked) -> None:
    clear(hooked)
    item_id = hooked.unanswered("anna")
    before = cursor(hooked, "")
    hooked.double.fault("html-502", method="GET", path="/v1/events")
    with pytest.raises(RailAway):
        hooked.catch_up()
    assert cursor(hooked, "") == before
    hooked.catch_up()
    assert hooked.pay.item(item_id).status == "paid"


def test_a_payee_whose_account_is_closed_to_us_holds_up_nobody(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    hooked.pay.affiliate("boris", "5.00")
    gone, here = hooked.account_of("anna"), hooked.account_of("boris")
    hooked.double.control("POST", "/accounts", {"id": gone, "deauthorized": True})
    hooked.double.control("POST", "/accounts", {"id": here, "payouts_enabled": False})
    hooked.catch_up()
    assert not hooked.ready("boris")
    assert cursor(hooked, gone) is not None


def test_each_payee_has_a_turn_a_day_the_longest_unseen_first(hooked: Hooked) -> None:
    for name in ("anna", "boris", "clara"):
        hooked.pay.affiliate(name, "1.00")

    def turn() -> int:
        real_now = hooked.pay.sending.real_now
        return catch_up(
            hooked.sessions, hooked.provider, real_now=real_now, accounts_max=2
        ).accounts

    assert [turn(), turn(), turn()] == [2, 1, 0]
    hooked.pay.wait(days=1, minutes=1)
    assert [turn(), turn(), turn()] == [2, 1, 0]


def test_an_account_of_two_affiliates_is_listed_once(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "1.00")
    hooked.pay.affiliate("boris", "1.00")
    set_payee(
        hooked.pay.session, affiliate_id=hooked.pay.world.affiliate_id("boris"), rail="stripe",
        destination=hooked.account_of("anna"), ready=True, by="test", now=NOW,
    )  # fmt: skip
    hooked.pay.session.commit()
    assert hooked.catch_up().accounts == 1


def test_the_merchants_other_business_is_not_kept(hooked: Hooked) -> None:
    hooked.double.control("POST", "/balance", {"currency": "eur", "amount": 10_000_000})
    hooked.double.client().v1.payouts.create({"amount": 1, "currency": "eur"})
    hooked.catch_up()
    kept = {each.type for each in hooked.stored()}
    assert "payout.created" not in kept
    assert hooked.pay.session.scalar(sa.select(sa.func.count()).select_from(ProviderEvent))


def cursor(hooked: Hooked, account: str) -> object:
    hooked.pay.session.rollback()
    return hooked.pay.session.scalar(
        sa.select(EventCursor.listed_until).where(EventCursor.account == account)
    )


def test_a_cursor_never_moves_back(hooked: Hooked) -> None:
    hooked.catch_up()
    before = cursor(hooked, "")
    hooked.pay.later -= timedelta(hours=2)
    hooked.catch_up()
    assert cursor(hooked, "") == before
