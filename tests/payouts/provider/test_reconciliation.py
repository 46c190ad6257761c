"""The provider's list against our attempts, in both directions, and a database that went back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hooked import Hooked
from money_world import NOW

from affiliate.core.backup import dump, load
from affiliate.core.money import Money
from payouts.batches import fence
from payouts.batches.execute import run_batch
from payouts.batches.locks import LockReason, PayoutsLocked, open_locks, unlock
from payouts.batches.review import mark_paid
from payouts.provider import differences
from payouts.provider.gate import Gate
from payouts.provider.models import Difference, ProviderAccount, Reconciliation
from payouts.provider.reconcile import last_reconciliation
from payouts.rails.protocol import funds
from payouts.rails.registry import rails

Paid = Callable[..., int]


def found(hooked: Hooked) -> list[tuple[str, int | None]]:
    """Open differences by kind and item."""
    hooked.pay.session.rollback()
    return [(row.kind, row.item_id) for row in differences.open_differences(hooked.pay.session)]


def locked(hooked: Hooked) -> list[LockReason]:
    hooked.pay.session.rollback()
    return [each.reason for each in open_locks(hooked.pay.session)]


def gate(hooked: Hooked) -> Gate:
    sending = hooked.pay.sending
    return Gate(lambda: hooked.sessions, sending.now, sending.real_now)


def run_behind_gate(hooked: Hooked, batch_id: int) -> bool:
    return run_batch(replace(hooked.pay.sending, agrees=gate(hooked)), batch_id=batch_id)


def by_hand(hooked: Hooked, name: str, item_id: int, *, amount: int = 500, **more: Any) -> str:
    """A transfer with this installation's metadata that no attempt made; its id."""
    made = hooked.double.client().v1.transfers.create(
        {
            "amount": amount,
            "currency": "eur",
            "destination": hooked.account_of(name),
            "transfer_group": f"kopeck_{fence.installation_key(hooked.pay.session)}_batch_1",
            "metadata": {
                "item_id": str(item_id),
                "attempt": "1",
                "env": fence.installation_key(hooked.pay.session),
            },
            **more,
        }
    )
    hooked.pay.session.commit()
    return str(made.id)


def test_what_agrees_is_clean_and_the_next_comparison_goes_on_from_there(
    hooked: Hooked, paid: Paid
) -> None:
    paid("anna")
    first = hooked.reconcile()
    assert (first.status, first.transfers, first.settled) == ("clean", 1, 0)
    hooked.pay.wait(hours=72)
    paid("boris")
    second = hooked.reconcile()
    assert second.covers_from == first.covers_until - timedelta(hours=48)
    assert second.clean
    assert locked(hooked) == []
    hooked.sound()


def test_an_answer_that_was_lost_is_found_in_the_list(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    compared = hooked.reconcile()
    assert (compared.status, compared.settled) == ("clean", 1)
    assert hooked.pay.item(item_id).status == "paid"
    hooked.sound()


def test_a_list_of_many_pages_is_read_to_its_end(hooked: Hooked, paid: Paid) -> None:
    paid("anna")
    client = hooked.double.client()
    for number in range(205):
        client.v1.transfers.create(
            {"amount": 1, "currency": "eur", "destination": hooked.account_of("anna"),
             "metadata": {"env": "another", "item_id": str(number)}}
        )  # fmt: skip
    assert (hooked.reconcile().transfers, found(hooked)) == (1, [])


def test_a_transfer_for_an_item_that_is_not_there_locks_payouts(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    by_hand(hooked, "anna", 4_711)
    compared = hooked.reconcile()
    assert (compared.status, compared.open_differences) == ("differs", 1)
    assert found(hooked) == [("unknown_item", None)]
    assert locked(hooked) == [LockReason.RECONCILIATION]
    made = hooked.pay.withdraw("anna", "1.00")
    with pytest.raises(PayoutsLocked, match="4711"):
        hooked.pay.approve(made.batch_id)
    # A database that was restored never gives out the number again.
    assert made.item_id > 4_711


def test_metadata_that_somebody_edited_cannot_use_up_our_numbers(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    by_hand(hooked, "anna", 10**15)
    hooked.reconcile()
    assert hooked.pay.withdraw("anna", "1.00").item_id < 1_000


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"amount": 501}, "other_content"), ({"currency": "usd"}, "other_content"),
     ({}, "second_transfer")],
    ids=["amount", "currency", "second"],
)  # fmt: skip
def test_a_transfer_that_is_not_the_items_payment_locks_payouts(
    hooked: Hooked, paid: Paid, changes: dict[str, Any], kind: str
) -> None:
    item_id = paid("anna")
    hooked.double.control("POST", "/balance", {"currency": "usd", "amount": 10_000})
    by_hand(hooked, "anna", item_id, **changes)
    assert hooked.reconcile().status == "differs"
    assert found(hooked) == [(kind, item_id)]
    assert locked(hooked) == [LockReason.RECONCILIATION]


def test_a_transfer_to_another_account_than_the_items_locks_payouts(
    hooked: Hooked, paid: Paid
) -> None:
    item_id = paid("anna")
    by_hand(hooked, "anna", item_id, destination=hooked.double.account())
    hooked.reconcile()
    assert found(hooked) == [("other_content", item_id)]


def test_a_transfer_for_a_batch_that_is_not_approved_locks_payouts(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.withdraw("anna", "5.00")
    by_hand(hooked, "anna", made.item_id)
    hooked.reconcile()
    assert found(hooked) == [("not_approved", made.item_id)]
    assert hooked.pay.item(made.item_id).status == "queued"


def test_a_transfer_for_an_item_whose_money_went_back_locks_payouts(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00", closed=True)
    made = hooked.pay.approved("anna", "5.00")
    hooked.pay.run(made.batch_id)
    assert hooked.pay.item(made.item_id).status == "failed"
    hooked.double.control("POST", "/accounts", {"id": hooked.account_of("anna"), "closed": False})
    by_hand(hooked, "anna", made.item_id)
    hooked.reconcile()
    assert found(hooked) == [("returned", made.item_id)]


def test_a_reference_that_a_person_typed_is_looked_up(hooked: Hooked, paid: Paid) -> None:
    """A transfer that is not there, and one that paid somebody else's item."""
    for name, reference, kind in (
        ("anna", "tr_typed_at_random", "missing_transfer"),
        ("boris", None, "other_content"),
    ):
        hooked.pay.affiliate(name, "5.00")
        made = hooked.pay.approved(name, "5.00")
        hooked.double.fault("refuse-500", sticky=True)
        hooked.pay.run(made.batch_id)
        with hooked.pay.engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE payout_items SET status = 'needs_review' WHERE id = :id"),
                {"id": made.item_id},
            )
        typed = reference or str(
            hooked.double.client()
            .v1.transfers.create(
                {"amount": 500, "currency": "eur", "destination": hooked.account_of(name)}
            )
            .id
        )
        mark_paid(
            hooked.pay.session, item_id=made.item_id, reference=typed,
            by_user_id=hooked.pay.finance, rails=hooked.pay.rails, now=NOW,
        )  # fmt: skip
        hooked.pay.session.commit()
        hooked.reconcile()
        assert (kind, made.item_id) in found(hooked)
        with hooked.sessions.begin() as session:
            unlock(session, by="test", why="next", now=NOW)


def test_a_transfer_that_stands_as_another_items_payment_locks_payouts(hooked: Hooked) -> None:
    """Somebody typed the id of Boris' transfer for Anna's payout."""
    of_boris = hooked.unanswered("boris")
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.approved("anna", "5.00")
    hooked.double.fault("refuse-500", sticky=True)
    hooked.pay.run(made.batch_id)
    with hooked.pay.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE payout_items SET status = 'needs_review' WHERE id = :id"),
            {"id": made.item_id},
        )
    mark_paid(
        hooked.pay.session, item_id=made.item_id, reference=hooked.transfer_of(of_boris),
        by_user_id=hooked.pay.finance, rails=hooked.pay.rails, now=NOW,
    )  # fmt: skip
    hooked.pay.session.commit()
    hooked.reconcile()
    assert ("other_item", of_boris) in found(hooked)


def test_a_comparison_without_an_answer_is_failed_and_moves_nothing(
    hooked: Hooked, paid: Paid
) -> None:
    paid("anna")
    first = hooked.reconcile()
    hooked.double.fault("html-502", method="GET", times=1)
    hooked.pay.wait(hours=30)
    second = hooked.reconcile()
    assert (second.status, second.error) == ("failed", "apierror_502")
    assert locked(hooked) == []
    last = last_reconciliation(hooked.pay.session, rail="stripe")
    assert last is not None
    assert last.covers_until == first.covers_until


def test_what_was_put_right_is_closed_by_the_next_comparison(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.withdraw("anna", "5.00")
    by_hand(hooked, "anna", made.item_id)
    hooked.reconcile()
    assert found(hooked) == [("not_approved", made.item_id)]
    with hooked.sessions.begin() as session:
        unlock(session, by="test", why="approving what was paid", now=NOW)
    hooked.pay.approve(made.batch_id)
    compared = hooked.reconcile()
    assert (compared.status, compared.settled) == ("clean", 1)
    assert hooked.pay.item(made.item_id).status == "paid"
    assert len(hooked.pay.transfers(made.item_id)) == 1


def test_what_a_person_accepted_is_not_told_again(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    by_hand(hooked, "anna", 4_711)
    hooked.reconcile()
    (row,) = differences.open_differences(hooked.pay.session)
    for why in ("", " ", "x" * 501):
        with pytest.raises(Exception, match="in a few words"):
            accept(hooked, row, why)
    accept(hooked, row, "5.00 EUR deducted by an adjustment")
    with pytest.raises(differences.AlreadyResolved):
        accept(hooked, row, "again")
    with hooked.sessions.begin() as session:
        unlock(session, by="test", why="accepted", now=NOW)
    assert hooked.reconcile().clean
    assert locked(hooked) == []
    hooked.sound()


def accept(hooked: Hooked, row: Difference, why: str) -> None:
    with hooked.sessions.begin() as session:
        differences.accept(
            session, difference_id=row.id, by="cli", why=why, now=NOW,
            real_now=hooked.pay.sending.real_now(),
        )  # fmt: skip


def test_reversals_that_no_event_told_of_are_found(hooked: Hooked, paid: Paid) -> None:
    item_id = paid("anna", "5.00")
    hooked.reconcile()
    hooked.double.control(
        "POST", "/reversals", {"transfer": hooked.transfer_of(item_id), "amount": 300}
    )
    hooked.reconcile()
    assert hooked.pay.balances("anna").available == hooked.pay.world.money("3.00")
    hooked.sound()


def test_two_comparisons_at_once_settle_once(hooked: Hooked) -> None:
    item_ids = [hooked.unanswered(name, "1.00") for name in ("anna", "boris", "clara")]
    runs = [threading.Thread(target=hooked.reconcile) for _ in range(3)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert {hooked.pay.item(item_id).status for item_id in item_ids} == {"paid"}
    hooked.sound()


# Before the first call of a run.


def test_a_batch_begins_with_a_comparison_and_its_next_runs_do_not(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.approved("anna", "5.00")
    run_behind_gate(hooked, made.batch_id)
    hooked.pay.paid_once(made)
    assert comparisons(hooked) == 1
    run_behind_gate(hooked, made.batch_id)
    assert comparisons(hooked) == 1


def test_a_batch_that_waits_for_its_payee_is_compared_each_time_in_one_row(
    hooked: Hooked,
) -> None:
    hooked.pay.affiliate("anna", "5.00", transfers="inactive", payouts_enabled=False)
    made = hooked.pay.approved("anna", "5.00")
    with hooked.sessions.begin() as session:
        session.execute(sa.text("UPDATE payee_accounts SET ready_at = NULL"))
    for _ in range(3):
        run_behind_gate(hooked, made.batch_id)
        hooked.pay.wait(minutes=6)
    assert comparisons(hooked) == 1
    last = last_reconciliation(hooked.pay.session, rail="stripe")
    assert last is not None
    assert last.covers_until - last.covers_from > timedelta(hours=1, minutes=10)


def test_nothing_is_sent_while_the_list_cannot_be_read(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "5.00")
    made = hooked.pay.approved("anna", "5.00")
    hooked.double.fault("html-502", method="GET", path="/v1/transfers", times=1)
    assert not run_behind_gate(hooked, made.batch_id)
    assert hooked.pay.attempts(made.item_id) == []
    run_behind_gate(hooked, made.batch_id)
    hooked.pay.paid_once(made)


def test_a_surprise_in_the_list_stops_the_batch(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "9.00")
    made = hooked.pay.approved("anna", "4.00")
    by_hand(hooked, "anna", 4_711)
    assert not run_behind_gate(hooked, made.batch_id)
    assert hooked.pay.attempts(made.item_id) == []
    assert locked(hooked) == [LockReason.RECONCILIATION]


def test_a_key_of_another_account_sends_nothing_and_locks(hooked: Hooked, tmp_path: Path) -> None:
    """Its idempotency keys are its own: what had no answer would be paid a second time."""
    item_id = hooked.unanswered("anna")
    hooked.reconcile()
    with hooked.sessions.begin() as session:
        session.execute(sa.update(ProviderAccount).values(account="acct_before"))
    batch_id = hooked.pay.item(item_id).batch_id
    hooked.pay.wait(minutes=5)
    assert not run_behind_gate(hooked, batch_id)
    assert found(hooked) == [("other_account", None)]
    assert hooked.reconcile().status == "failed"
    (row,) = differences.open_differences(hooked.pay.session)
    accept(hooked, row, "the merchant moved to another account")
    assert hooked.pay.session.scalar(sa.select(ProviderAccount.account)) == "acct_platform"
    assert hooked.reconcile().clean


def test_a_key_that_comes_back_after_another_move_locks_again(hooked: Hooked) -> None:
    """From one account to another, back, and the other one's key by mistake."""
    hooked.reconcile()
    for _ in range(2):
        with hooked.sessions.begin() as session:
            session.execute(sa.update(ProviderAccount).values(account="acct_before"))
            unlock(session, by="test", why="moved back", now=NOW)
        assert hooked.reconcile().status == "failed"
        assert locked(hooked) == [LockReason.RECONCILIATION]
        (row,) = differences.open_differences(hooked.pay.session)
        accept(hooked, row, "the merchant moved to another account")
        hooked.pay.session.rollback()


def test_the_account_is_not_changed_while_an_answer_is_awaited(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    with hooked.sessions.begin() as session:
        session.add(
            ProviderAccount(rail="stripe", account="acct_before",
                            seen_at=hooked.pay.sending.real_now())
        )  # fmt: skip
    hooked.pay.wait(minutes=5)
    assert not run_behind_gate(hooked, hooked.pay.item(item_id).batch_id)
    (row,) = differences.open_differences(hooked.pay.session)
    with pytest.raises(differences.AnswersAwaited):
        accept(hooked, row, "the merchant moved to another account")


def comparisons(hooked: Hooked) -> int:
    hooked.pay.session.rollback()
    return int(
        hooked.pay.session.scalar(sa.select(sa.func.count()).select_from(Reconciliation)) or 0
    )


# F39: the database is restored from a backup taken before some transfers were sent.


class Restored:
    """Three payouts: one sent before the backup, one after it, one drafted after it."""

    def __init__(self, hooked: Hooked, path: Path) -> None:
        self.hooked, pay = hooked, hooked.pay
        for name in ("anna", "boris", "clara"):
            pay.affiliate(name, "5.00")
        self.before = pay.approved("anna", "5.00")
        pay.run(self.before.batch_id)
        hooked.reconcile()
        self.waiting = pay.approved("boris", "5.00")
        pay.session.rollback()
        dump(pay.settings.database_url, path)
        pay.run(self.waiting.batch_id)
        self.drafted = pay.approved("clara", "5.00")
        pay.run(self.drafted.batch_id)
        self.sent = self.transfers()
        assert len(self.sent) == 3
        pay.session.close()
        load(pay.settings.database_url, path, and_then="SELECT 1")
        pay.engine.dispose()

    def transfers(self) -> set[str]:
        env = fence.installation_key(self.hooked.pay.session)
        self.hooked.pay.session.rollback()
        told = self.hooked.double.control("GET", "/transfers")["transfers"]
        return {each["id"] for each in told if each["metadata"].get("env") == env}


@pytest.fixture
def restored(hooked: Hooked, tmp_path: Path) -> Restored:
    return Restored(hooked, tmp_path / "before.dump")


def test_a_restored_database_pays_nobody_twice_though_its_fence_is_lost(
    hooked: Hooked, restored: Restored
) -> None:
    (hooked.pay.settings.data_dir / fence.FILE_NAME).unlink()
    assert hooked.pay.item(restored.waiting.item_id).status == "queued"
    assert not run_behind_gate(hooked, restored.waiting.batch_id)
    # Boris' item was waiting in the backup: it gets the attempt and settlement that it had.
    item = hooked.pay.item(restored.waiting.item_id)
    assert item.status == "paid"
    (attempt,) = hooked.pay.attempts(item.id)
    assert (attempt.number, attempt.status) == (1, "succeeded")
    assert attempt.idempotency_key.endswith(f":{item.id}:1")
    # Clara's is not there at all: a person must look, and nothing leaves until then.
    assert [kind for kind, _ in found(hooked)] == ["unknown_item"]
    assert LockReason.RECONCILIATION in locked(hooked)
    assert restored.transfers() == restored.sent
    made = hooked.pay.withdraw("clara", "5.00")
    assert made.item_id > restored.drafted.item_id
    with pytest.raises(PayoutsLocked):
        hooked.pay.approve(made.batch_id)
    assert restored.transfers() == restored.sent


def test_the_comparison_after_a_restore_says_what_a_person_must_do(
    hooked: Hooked, restored: Restored
) -> None:
    compared = hooked.reconcile()
    assert (compared.status, compared.settled, compared.open_differences) == ("differs", 1, 1)
    (row,) = differences.open_differences(hooked.pay.session)
    assert hooked.account_of("clara") in row.detail
    assert "5.00 EUR" in row.detail
    accept(hooked, row, "deducted 5.00 EUR from Clara's balance")
    assert hooked.reconcile().clean
    with hooked.sessions.begin() as session:
        fence.lower_fence(session, hooked.pay.settings.data_dir)
        unlock(session, by="test", why="compared", now=NOW)
    hooked.pay.affiliate("dora", "2.00")
    made = hooked.pay.approved("dora", "2.00")
    run_behind_gate(hooked, made.batch_id)
    hooked.pay.paid_once(made)
    assert len(restored.transfers()) == 4
    hooked.sound()


def test_the_fence_of_this_node_notices_a_restore_by_itself(
    hooked: Hooked, restored: Restored
) -> None:
    assert not run_behind_gate(hooked, restored.waiting.batch_id)
    assert LockReason.RESTORED_BACKUP in locked(hooked)
    assert restored.transfers() == restored.sent


def test_funds_are_what_the_provider_has_available(hooked: Hooked) -> None:
    hooked.double.control("POST", "/balance", {"currency": "eur", "amount": 12_345})
    rail = hooked.pay.rails["stripe"]
    assert funds(rail, "EUR") == Money.parse("123.45", "EUR")
    assert funds(rail, "SEK") == Money.zero("SEK")
    assert funds(hooked.pay.rails["manual"], "EUR") is None
    hooked.double.fault("html-502", method="GET", path="/v1/balance")
    assert funds(rail, "EUR") is None
    nobody = rails(replace(hooked.pay.settings, stripe_api_key=""))["stripe"]
    assert funds(nobody, "EUR") is None
