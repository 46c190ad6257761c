"""A person asks the provider about a payout in question: what is found closes it, nothing else."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hooked import Hooked

from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.core.errors import NotFound
from payouts.batches.locks import open_locks
from payouts.batches.models import PayoutAttempt, PayoutItem
from payouts.batches.review import NotWaitingForAPerson, try_again
from payouts.provider.look_up import LookedUp, NotSureYet, look_up, refuse_unsure
from payouts.provider.models import ProviderAccount
from payouts.provider.reconcile import Comparing
from payouts.provider.transfers import Outcome


def ask(hooked: Hooked, item_id: int) -> LookedUp:
    sending = hooked.pay.sending
    run = Comparing(hooked.sessions, hooked.provider, sending.now, sending.real_now)
    looked = look_up(run, item_id=item_id, by_user_id=hooked.pay.finance)
    hooked.pay.session.rollback()
    return looked


def lost(hooked: Hooked, name: str = "anna") -> int:
    """An item that was never accepted, and is on the desk: its number."""
    hooked.pay.affiliate(name, "5.00")
    made = hooked.pay.approved(name, "5.00")
    hooked.double.fault("refuse-500")
    hooked.pay.run(made.batch_id)
    to_the_desk(hooked, made.item_id)
    return made.item_id


def by_a_person(hooked: Hooked, amount: int) -> str:
    """A transfer to Anna that somebody made on the provider's own pages."""
    made = hooked.double.client().v1.transfers.create(
        {"amount": amount, "currency": "eur", "destination": hooked.account_of("anna")}
    )
    return str(made.id)


def to_the_desk(hooked: Hooked, item_id: int) -> None:
    hooked.pay.session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id == item_id)
        .values(status="needs_review", reason="not_found", next_try_at=None)
    )
    hooked.pay.session.commit()


def looks(hooked: Hooked, item_id: int) -> list[AuditEntry]:
    return list(
        hooked.pay.session.scalars(
            sa.select(AuditEntry).where(
                AuditEntry.subject == f"item:{item_id}", AuditEntry.action == "item.look_up"
            )
        )
    )


@pytest.mark.parametrize("status", ["unknown", "needs_review"])
def test_what_the_list_has_closes_the_payout(hooked: Hooked, status: str) -> None:
    item_id = hooked.unanswered("anna")
    if status == "needs_review":
        to_the_desk(hooked, item_id)
    looked = ask(hooked, item_id)
    assert looked.transfer is not None
    assert (looked.transfer.id, looked.outcome) == (hooked.transfer_of(item_id), Outcome.SETTLED)
    assert looked.settled
    item = hooked.pay.item(item_id)
    assert item.status == "paid"
    assert hooked.pay.batch(item.batch_id).status == "done"
    assert len(hooked.pay.transfers(item_id)) == 1
    (entry,) = looks(hooked, item_id)
    assert (entry.actor, entry.new) == (
        f"user:{hooked.pay.finance}",
        {"transfer": looked.transfer.id, "outcome": "settled"},
    )
    hooked.sound()


@pytest.mark.parametrize("by_webhook", [True, False])
def test_the_key_finds_it_when_metadata_was_edited(hooked: Hooked, by_webhook: bool) -> None:
    item_id = hooked.unanswered("anna")
    transfer = hooked.transfer_of(item_id)
    hooked.double.client().v1.transfers.update(
        transfer, {"metadata": {"item_id": "", "env": "", "attempt": ""}}
    )
    to_the_desk(hooked, item_id)
    if by_webhook:  # Stored, and not followed yet; and the provider's own list is away.
        hooked.deliver(*hooked.events("transfer.created", about=transfer))
        hooked.double.fault("html-502", method="GET", path="/v1/events")
    looked = ask(hooked, item_id)
    assert looked.transfer is not None
    assert looked.transfer.id == transfer
    assert hooked.pay.item(item_id).status == "paid"
    hooked.sound()


def test_nothing_found_changes_nothing_and_says_little_within_the_hour(hooked: Hooked) -> None:
    item_id = lost(hooked)
    before = hooked.pay.item(item_id).next_try_at
    looked = ask(hooked, item_id)
    assert looked.nothing
    assert looked.safe_from is not None
    with pytest.raises(NotSureYet, match="less than an hour ago"):
        refuse_unsure(looked, seen=())
    item = hooked.pay.item(item_id)
    assert (item.status, item.next_try_at) == ("needs_review", before)
    assert [entry.new for entry in looks(hooked, item_id)] == [
        {"transfer": None, "outcome": "not_found"}
    ]
    hooked.pay.wait(minutes=61)
    later = ask(hooked, item_id)
    assert later.safe_from is None
    refuse_unsure(later, seen=())


def test_after_a_whole_look_a_new_attempt_pays_once(hooked: Hooked) -> None:
    item_id = lost(hooked)
    hooked.pay.wait(minutes=61)
    refuse_unsure(ask(hooked, item_id), seen=())
    try_again(
        hooked.pay.session, item_id=item_id, by_user_id=hooked.pay.finance, why="not there",
        now=hooked.pay.sending.now(hooked.pay.session),
    )  # fmt: skip
    hooked.pay.session.commit()
    hooked.pay.run(hooked.pay.item(item_id).batch_id)
    assert hooked.pay.item(item_id).status == "paid"
    assert len(hooked.pay.transfers(item_id)) == 1


def test_other_transfers_to_the_account_are_shown_and_pay_nothing(hooked: Hooked) -> None:
    item_id = lost(hooked)
    other = by_a_person(hooked, 499)
    hooked.pay.wait(minutes=61)
    looked = ask(hooked, item_id)
    assert looked.nothing
    assert [(each.id, each.item_id) for each in looked.others] == [(other, None)]
    assert looked.doubtful == ()
    refuse_unsure(looked, seen=())
    assert hooked.pay.item(item_id).status == "needs_review"


def test_one_of_the_same_amount_must_be_seen_before_a_new_attempt(hooked: Hooked) -> None:
    item_id = lost(hooked)
    same = by_a_person(hooked, 500)
    hooked.pay.wait(minutes=61)
    looked = ask(hooked, item_id)
    assert (looked.nothing, looked.doubtful) == (True, (same,))
    with pytest.raises(NotSureYet, match="went to the account"):
        refuse_unsure(looked, seen=("tr_other",))
    refuse_unsure(looked, seen=("tr_other", same))


@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/events", "/v1/account"])
def test_a_provider_that_is_away_proves_nothing(hooked: Hooked, path: str) -> None:
    item_id = lost(hooked)
    by_a_person(hooked, 500)  # Without it nobody has to ask for events.
    hooked.pay.wait(minutes=61)
    hooked.double.fault("html-502", method="GET", path=path)
    looked = ask(hooked, item_id)
    assert looked.away
    assert not looked.nothing
    with pytest.raises(NotSureYet, match="does not answer"):
        refuse_unsure(looked, seen=())
    assert looks(hooked, item_id) == []


def test_a_key_of_another_account_is_not_asked_with(hooked: Hooked) -> None:
    item_id = lost(hooked)
    hooked.pay.session.execute(sa.delete(ProviderAccount))
    hooked.pay.session.add(
        ProviderAccount(rail="stripe", account="acct_before", seen_at=clock.real_now())
    )
    hooked.pay.session.commit()
    assert ask(hooked, item_id).away == "other_account"
    assert open_locks(hooked.pay.session)


def test_a_transfer_that_does_not_agree_locks_payouts(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    to_the_desk(hooked, item_id)
    hooked.pay.session.execute(
        sa.update(PayoutAttempt).values(status="failed", finished_at=clock.real_now())
    )
    hooked.pay.session.commit()
    looked = ask(hooked, item_id)
    assert looked.outcome is Outcome.DIFFERS
    assert open_locks(hooked.pay.session)
    with pytest.raises(NotSureYet, match="has a transfer"):
        refuse_unsure(looked, seen=())
    assert hooked.pay.item(item_id).status == "needs_review"


def test_only_a_payout_in_question_is_asked_about(hooked: Hooked) -> None:
    item_id = hooked.unanswered("anna")
    ask(hooked, item_id)
    with pytest.raises(NotWaitingForAPerson):
        ask(hooked, item_id)
    with pytest.raises(NotFound):
        ask(hooked, item_id + 1_000_000)
