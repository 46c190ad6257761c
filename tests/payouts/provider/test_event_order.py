"""Events in any order, any number of times, late or never: the end is what the object is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hooked import Hooked

from affiliate.people.models import Affiliate
from payouts.batches.models import PayoutItem, PayoutReversal
from payouts.batches.review import try_again
from payouts.batches.rules import ItemReason
from payouts.ledger.models import LedgerTransaction
from payouts.provider.bank import bank_payouts_of
from payouts.provider.digest import digest_due
from payouts.provider.models import SeenAccount

Paid = Callable[..., int]


class Died(BaseException):
    """The process is gone at this line."""


def in_all_orders(hooked: Hooked, events: list[str]) -> list[tuple[str, ...]]:
    """Every order of these events, each followed by duplicates of all."""
    assert 2 <= len(events) <= 4
    return [(*order, *events) for order in itertools.permutations(events)]


def forget(hooked: Hooked) -> None:
    """As if no event had ever come."""
    with hooked.pay.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM provider_events"))


def test_an_event_alone_settles_what_had_no_answer(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    (created,) = hooked.events("transfer.created", about=hooked.transfer_of(item_id))
    assert hooked.deliver(created) == [[200]]
    assert hooked.pay.item(item_id).status == "unknown"  # stored, and not followed yet
    hooked.digest()
    assert hooked.outcomes() == ["settled"]
    item = hooked.pay.item(item_id)
    assert item.status == "paid"
    (attempt,) = hooked.pay.attempts(item_id)
    assert attempt.transfer_id == hooked.transfer_of(item_id)
    hooked.sound()


def test_an_event_settles_after_the_keys_life_and_on_the_review_desk(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    hooked.double.fault("list-lag", lag_s=999_999)
    hooked.pay.wait(hours=24)
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    hooked.double.fault("list-lag", lag_s=999_999)
    hooked.pay.wait(minutes=61)
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    assert hooked.pay.item(item_id).status == "needs_review"
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
    hooked.digest()
    assert hooked.pay.item(item_id).status == "paid"
    assert len(hooked.pay.transfers(item_id)) == 1
    hooked.sound()


def test_the_key_of_the_request_tells_whose_it_is_when_metadata_was_edited(
    hooked: Hooked,
) -> None:
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.client().v1.transfers.update(
        transfer, {"metadata": {"item_id": "", "env": "", "attempt": ""}}
    )
    hooked.deliver(*hooked.events("transfer.created", about=transfer))
    hooked.digest()
    assert hooked.outcomes() == ["settled"]
    assert hooked.pay.item(item_id).status == "paid"


def test_a_transfer_of_another_program_of_the_merchant_is_none_of_ours(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    other = hooked.double.client().v1.transfers.create(
        {
            "amount": 500,
            "currency": "eur",
            "destination": hooked.account_of("anna"),
            "metadata": {"item_id": "1", "env": "another installation"},
        }
    )
    hooked.deliver(*hooked.events("transfer.created", about=other.id))
    hooked.digest()
    assert hooked.outcomes() == ["not_ours"]
    hooked.sound()


def test_a_transfer_that_came_back_is_owed_again(hooked: Hooked, paid: Paid) -> None:
    item_id = paid("anna", "5.00")
    transfer = hooked.transfer_of(item_id)
    assert hooked.pay.balances("anna").paid == hooked.pay.world.money("5.00")
    hooked.double.control("POST", "/reversals", {"transfer": transfer})
    hooked.deliver(*hooked.events("transfer.reversed", about=transfer))
    hooked.digest()
    item, balances = hooked.pay.item(item_id), hooked.pay.balances("anna")
    assert (item.status, item.reason) == ("reversed", ItemReason.CAME_BACK)
    assert balances.available == hooked.pay.world.money("5.00")
    assert not balances.paid
    hooked.sound()
    # It goes out again, by a new item with a key of its own.
    made = hooked.pay.approved("anna", "5.00")
    hooked.pay.run(made.batch_id)
    hooked.pay.paid_once(made)


def test_parts_come_back_one_by_one_each_booked_once(hooked: Hooked, paid: Paid) -> None:
    item_id = paid("anna", "5.00")
    transfer = hooked.transfer_of(item_id)
    for amount, left in ((100, "1.00"), (250, "3.50"), (150, "5.00")):
        hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": amount})
        hooked.deliver(*hooked.events("transfer.reversed", about=transfer))
        hooked.digest()
        assert hooked.pay.balances("anna").available == hooked.pay.world.money(left)
        status = "reversed" if left == "5.00" else "paid"
        assert hooked.pay.item(item_id).status == status
        hooked.sound()
    # 1.00 + 2.50 + 1.50 = 5.00
    parts = hooked.pay.session.scalars(
        sa.select(PayoutReversal.amount_micros).order_by(PayoutReversal.id)
    ).all()
    assert list(parts) == [1_000_000, 2_500_000, 1_500_000]


@pytest.mark.slow
def test_created_updated_and_reversed_in_every_order_end_alike(hooked: Hooked) -> None:
    """Also reversed before created, of an item that has no answer yet."""
    for number in range(len(list(itertools.permutations(range(4))))):
        item_id = hooked.unanswered(f"anna{number}", "0.05")
        transfer = hooked.transfer_of(item_id)
        hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 2})
        hooked.double.client().v1.transfers.update(transfer, {"description": "looked at"})
        hooked.double.control("POST", "/reversals", {"transfer": transfer})
        events = [
            *hooked.events("transfer.created", about=transfer),
            *hooked.events("transfer.updated", about=transfer),
            *hooked.events("transfer.reversed", about=transfer),
        ]
        order = in_all_orders(hooked, events)[number]
        for each in order:
            hooked.deliver(each)
            hooked.digest()
        item, balances = hooked.pay.item(item_id), hooked.pay.balances(f"anna{number}")
        assert item.status == "reversed", order
        assert balances.available == hooked.pay.world.money("0.05"), order
        assert not balances.in_payout
    hooked.sound()


def test_a_hundred_duplicates_at_once_have_one_effect(hooked: Hooked, paid: Paid) -> None:
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 200})
    events = [
        *hooked.events("transfer.created", about=transfer),
        *hooked.events("transfer.reversed", about=transfer),
    ]
    for statuses in hooked.deliver(*events, copies=100):
        assert statuses == [200] * 100
    assert len(hooked.stored()) == 2
    runs = [threading.Thread(target=hooked.digest) for _ in range(4)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    hooked.digest()
    assert hooked.pay.item(item_id).status == "paid"
    assert hooked.pay.balances("anna").available == hooked.pay.world.money("2.00")
    booked = hooked.pay.session.scalars(
        sa.select(LedgerTransaction.reference).where(
            LedgerTransaction.kind.in_(("settle", "reversal"))
        )
    ).all()
    back = f"reversal:item:{item_id}:{transfer}:2000000"
    assert sorted(booked) == [back, f"settle:item:{item_id}"]
    hooked.sound()


def test_two_digests_that_both_have_the_event_have_one_effect(hooked: Hooked) -> None:
    """An orphan goes on with an event whose lease is over, beside whoever took it next."""
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 100})
    hooked.deliver(*hooked.events("transfer.created", about=transfer))
    inner: list[bool] = []

    def overtake(step: str) -> None:
        if step == "asked" and not inner:
            inner.append(True)
            with hooked.pay.engine.begin() as connection:
                connection.execute(
                    sa.text("UPDATE provider_events SET next_try_at = '2020-01-01 00:00+00'")
                )
            hooked.digest()

    digest_due(hooked.digestion(at=overtake))
    assert hooked.pay.item(item_id).status == "paid"
    assert hooked.pay.balances("anna").available == hooked.pay.world.money("1.00")
    hooked.sound()


@pytest.mark.parametrize("step", ["asked", "taken_in", "committed"])
def test_dying_at_any_step_leaves_the_event_to_the_next(hooked: Hooked, step: str) -> None:
    item_id = hooked.unanswered("anna")
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))

    def die(reached: str) -> None:
        if reached == step:
            raise Died

    with pytest.raises(Died):
        digest_due(hooked.digestion(at=die))
    hooked.pay.wait(minutes=2)
    hooked.digest()
    assert hooked.pay.item(item_id).status == "paid"
    assert hooked.outcomes() == ["settled"]
    hooked.sound()


def test_a_provider_that_is_away_delays_the_event_and_no_other(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.fault("html-502", method="GET", path=f"/v1/transfers/{transfer}", times=2)
    hooked.deliver(*hooked.events("transfer.created", about=transfer))
    hooked.digest()
    (stored,) = hooked.stored()
    assert stored.processed_at is None
    assert (stored.tries, stored.error) == (1, "apierror_502")
    hooked.pay.wait(minutes=1)
    hooked.digest()
    hooked.pay.wait(minutes=5)
    hooked.digest()
    assert hooked.pay.item(item_id).status == "paid"
    assert hooked.outcomes() == ["settled"]


def test_an_account_that_is_restricted_midway_parks_the_payout_until_it_is_ready(
    hooked: Hooked,
) -> None:
    hooked.pay.affiliate("anna", "5.00")
    account = hooked.account_of("anna")
    made = hooked.pay.approved("anna", "5.00")
    hooked.double.control("POST", "/accounts", {"id": account, "transfers": "inactive",
                                                "payouts_enabled": False})  # fmt: skip
    hooked.deliver(*hooked.events("capability.updated", about=account)[-1:],
                   *hooked.events("account.updated", about=account)[-1:])  # fmt: skip
    hooked.digest()
    assert not hooked.ready("anna")
    hooked.pay.run(made.batch_id)
    assert hooked.pay.item(made.item_id).reason == ItemReason.PAYEE_NOT_READY
    assert hooked.pay.attempts(made.item_id) == []
    seen = hooked.pay.session.get_one(SeenAccount, ("stripe", account))
    assert "external_account" in seen.due.split(",")
    hooked.double.control("POST", "/accounts", {"id": account, "transfers": "active",
                                                "payouts_enabled": True})  # fmt: skip
    hooked.deliver(*hooked.events("account.updated", about=account)[-1:])
    hooked.digest()
    assert hooked.ready("anna")
    hooked.pay.run(made.batch_id)
    hooked.pay.paid_once(made)


def test_old_and_new_account_events_in_every_order_end_as_the_account_is(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    account = hooked.account_of("anna")
    for ready in (False, True, False):
        hooked.double.control(
            "POST", "/accounts",
            {"id": account, "transfers": "active" if ready else "inactive",
             "payouts_enabled": ready},
        )  # fmt: skip
    events = hooked.events("account.updated", about=account)[-3:]
    for order in in_all_orders(hooked, events):
        forget(hooked)
        for each in order:
            hooked.deliver(each)
            hooked.digest()
        assert not hooked.ready("anna"), order


def test_an_answer_to_an_older_question_changes_nothing(hooked: Hooked) -> None:
    """The first asked while the account was ready, and was then overtaken by a later one."""
    hooked.pay.affiliate("anna", "5.00")
    account = hooked.account_of("anna")
    hooked.double.control("POST", "/accounts", {"id": account, "payouts_enabled": True})
    first, second = hooked.events("account.updated", about=account)[-2:]
    hooked.deliver(first)
    inner: list[bool] = []

    def overtake(step: str) -> None:
        if step == "asked" and not inner:
            inner.append(True)
            hooked.double.control("POST", "/accounts", {"id": account, "payouts_enabled": False})
            hooked.deliver(second)
            hooked.digest()
            assert not hooked.ready("anna")

    digest_due(hooked.digestion(at=overtake))
    assert not hooked.ready("anna")


def test_an_account_that_withdrew_its_leave_is_not_ready(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    account = hooked.account_of("anna")
    hooked.double.control("POST", "/accounts", {"id": account, "deauthorized": True})
    hooked.deliver(*hooked.events("account.application.deauthorized", about=account))
    hooked.digest()
    assert hooked.outcomes() == ["gone"]
    assert not hooked.ready("anna")


@pytest.mark.parametrize(
    "way", [("paid", "failed"), ("in_transit", "paid", "failed"), ("canceled",)], ids="-".join
)
def test_bank_payouts_in_every_order_end_as_the_bank_said(
    hooked: Hooked, paid: Paid, way: tuple[str, ...]
) -> None:
    item_id = paid("anna", "5.00")
    account = hooked.account_of("anna")
    bank = hooked.double.control("POST", "/payouts", {"account": account, "currency": "eur"})
    for status in way:
        hooked.double.control("POST", "/payouts", {"id": bank["id"], "status": status})
    events = [
        each["id"]
        for each in hooked.double.control("GET", "/events")["events"]
        if each["data"]["object"].get("id") == bank["id"]
        and each["type"] != "payout.reconciliation_completed"
    ]
    for order in in_all_orders(hooked, events):
        forget(hooked)
        for each in order:
            hooked.deliver(each)
            hooked.digest()
        (seen,) = bank_payouts_of(hooked.pay.session, accounts=[account])
        assert seen.status == way[-1], order
        assert seen.failure == ("account_closed" if way[-1] == "failed" else "")
        hooked.pay.session.rollback()
    # Information alone: nothing is paid again for it.
    assert hooked.pay.item(item_id).status == "paid"
    assert len(hooked.pay.transfers(item_id)) == 1
    hooked.sound()


def test_a_bank_payout_never_goes_backwards(hooked: Hooked, paid: Paid) -> None:
    """Whoever asked first, and was answered `pending`, writes last."""
    paid("anna", "5.00")
    account = hooked.account_of("anna")
    bank = hooked.double.control("POST", "/payouts", {"account": account, "currency": "eur"})
    (created,) = hooked.events("payout.created", about=bank["id"])
    hooked.deliver(created)
    inner: list[bool] = []

    def overtake(step: str) -> None:
        if step == "asked" and not inner:
            inner.append(True)
            hooked.double.control("POST", "/payouts", {"id": bank["id"], "status": "failed"})
            hooked.deliver(*hooked.events("payout.failed", about=bank["id"]))
            hooked.digest()

    digest_due(hooked.digestion(at=overtake))
    (seen,) = bank_payouts_of(hooked.pay.session, accounts=[account])
    assert seen.status == "failed"


def test_money_that_arrives_at_the_provider_moves_what_waited_for_it(hooked: Hooked) -> None:
    hooked.double.control("POST", "/balance", {"currency": "eur", "amount": 0})
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.approved("anna", "5.00")
    hooked.pay.run(made.batch_id)
    assert hooked.pay.item(made.item_id).reason == ItemReason.NO_FUNDS
    hooked.double.control("POST", "/balance", {"currency": "eur", "amount": 1_000})
    told = hooked.double.control("GET", "/events", query={"type": "balance.available"})["events"]
    hooked.deliver(told[-1]["id"])
    hooked.digest()
    hooked.pay.run(made.batch_id)
    hooked.pay.paid_once(made)


def test_a_late_transfer_of_an_attempt_that_a_person_gave_up_settles_the_item(
    hooked: Hooked,
) -> None:
    """The person was wrong; the next attempt was not sent yet, and now never is."""
    item_id = hooked.unanswered("anna")
    give_up(hooked, item_id)
    hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
    hooked.digest()
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    assert hooked.pay.item(item_id).status == "paid"
    assert len(hooked.pay.transfers(item_id)) == 1
    hooked.sound()


def give_up(hooked: Hooked, item_id: int) -> None:
    """A person looks at an unanswered payout, finds nothing, and allows a new attempt."""
    with hooked.pay.engine.begin() as connection:
        connection.execute(sa.text("UPDATE payout_items SET status = 'needs_review'"))
    try_again(
        hooked.pay.session, item_id=item_id, by_user_id=hooked.pay.finance,
        why="looked and found nothing", now=hooked.pay.sending.now(hooked.pay.session),
    )  # fmt: skip
    hooked.pay.session.commit()


def test_an_event_that_settles_a_claimed_item_keeps_its_next_attempt_off_the_wire(
    hooked: Hooked,
) -> None:
    """Claimed and waiting for its turn, as up to a hundred items do; then the event comes."""
    item_id = hooked.unanswered("anna")
    give_up(hooked, item_id)

    def told(step: str) -> None:
        if step == "fence_raised":
            hooked.deliver(*hooked.events("transfer.created", about=hooked.transfer_of(item_id)))
            hooked.digest()
            assert hooked.pay.item(item_id).status == "paid"

    hooked.pay.run(hooked.pay.item(item_id).batch_id, at=told)
    assert len(hooked.pay.transfers(item_id)) == 1
    assert hooked.pay.item(item_id).status == "paid"
    hooked.sound()


def test_a_new_attempt_looks_for_what_the_given_up_one_did(hooked: Hooked) -> None:
    """The person was wrong, and no event came: the list shows the transfer."""
    item_id = hooked.unanswered("anna")
    give_up(hooked, item_id)
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    assert len(hooked.pay.transfers(item_id)) == 1
    assert hooked.pay.item(item_id).status == "paid"
    hooked.reconcile()
    hooked.sound()


def test_no_new_attempt_is_sent_while_the_list_cannot_be_read(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    give_up(hooked, item_id)
    hooked.double.fault("html-502", times=None, path="/v1/transfers", method="GET")
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    assert len(hooked.pay.transfers(item_id)) == 1
    item = hooked.pay.item(item_id)
    assert (item.status, item.reason) == ("sending", "provider_busy")
    hooked.double.control("DELETE", "/faults")
    hooked.pay.wait(minutes=10)
    hooked.pay.run(item.batch_id)
    assert len(hooked.pay.transfers(item_id)) == 1
    assert hooked.pay.item(item_id).status == "paid"


def test_no_person_stands_in_what_is_kept_of_an_event(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    account = hooked.account_of("anna")
    hooked.double.client().v1.accounts.update(account, {"email": "anna@private.example"})
    hooked.deliver(*hooked.events("account.updated", about=account)[-1:])
    hooked.digest()
    kept: list[Any] = []
    with hooked.pay.engine.connect() as connection:
        for table in ("provider_events", "provider_payee_accounts"):
            kept += connection.execute(sa.text(f"SELECT * FROM {table}")).all()
    assert kept
    assert "private.example" not in str(kept)
    assert hooked.pay.session.scalar(sa.select(sa.func.count()).select_from(Affiliate))
    assert hooked.pay.session.scalar(sa.select(sa.func.count()).select_from(PayoutItem)) == 0
