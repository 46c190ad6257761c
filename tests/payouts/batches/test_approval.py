"""Approval under a program's rules: two signatures, one person, and who comes late."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from approving import at_once, rules_of, signatures, weekly
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid
from affiliate.people import grants, users
from affiliate.people.models import Grant
from payouts.batches.approve import (
    BatchChanged,
    MakerCannotApprove,
    NotApprovable,
    NotFinance,
    SignedAlready,
    approve,
)
from payouts.batches.cancel import ItemTakenOut, NotCancellable, cancel_batch, hold_item
from payouts.batches.locks import LIFTED_ON_A_PAGE, LockReason, lock, open_locks, unlock
from payouts.batches.models import PayoutAttempt
from payouts.batches.queries import items_of
from payouts.policies.change import NotOwner, change_policy, policy_of
from payouts.policies.rules import Policy


def sign(pay: Pay, batch_id: int, by: int, *, seen: str | None = None) -> str:
    """Sign what the batch is now, or what was seen before: `1 of 2`."""
    came = approve(
        pay.session, batch_id=batch_id, by_user_id=by, rails=pay.rails, now=NOW,
        seen_hash=seen or pay.batch(batch_id).hash or "",
    )  # fmt: skip
    pay.session.commit()
    return f"{came.signatures} of {came.needed}"


def two_affiliates(pay: Pay) -> int:
    """A weekly batch of 5.00 and 7.00 euros."""
    pay.affiliate("anna", "5.00")
    pay.affiliate("boris", "7.00")
    return weekly(pay)


def test_above_the_amount_two_different_people_sign_the_same_hash(by_hand: Pay) -> None:
    rules_of(by_hand, second="11.99")
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    assert sign(by_hand, batch_id, by_hand.finance) == "1 of 2"
    assert by_hand.batch(batch_id).status == "frozen"
    with pytest.raises(SignedAlready):
        sign(by_hand, batch_id, by_hand.finance)
    assert sign(by_hand, batch_id, other) == "2 of 2"
    batch = by_hand.batch(batch_id)
    assert (batch.status, batch.approval_policy) == ("approved", "four_eyes")
    assert (batch.signatures_needed, batch.approved_by) == (2, other)
    assert signatures(by_hand, batch_id) == [(by_hand.finance, None), (other, None)]
    by_hand.sound()


def test_up_to_the_amount_one_is_enough(by_hand: Pay) -> None:
    """5.00 + 7.00 = 12.00, and the rule says above 12.00."""
    rules_of(by_hand, second="12.00")
    assert sign(by_hand, two_affiliates(by_hand), by_hand.finance) == "1 of 1"
    by_hand.sound()


def test_a_hold_between_the_signatures_voids_the_first(by_hand: Pay) -> None:
    rules_of(by_hand, second="1.00")
    batch_id = two_affiliates(by_hand)
    second, third = (by_hand.world.user(name, role="finance") for name in ("second", "third"))
    seen = by_hand.batch(batch_id).hash
    sign(by_hand, batch_id, by_hand.finance)
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    hold_item(by_hand.session, item_id=item.id, by_user_id=third, why="unusual", now=NOW)
    by_hand.session.commit()
    assert signatures(by_hand, batch_id) == [(by_hand.finance, "hold_item")]
    with pytest.raises(BatchChanged, match=r"third.* took payouts out of this batch"):
        sign(by_hand, batch_id, second, seen=seen)
    by_hand.session.rollback()
    assert sign(by_hand, batch_id, second) == "1 of 2", "the first has to look again"
    with pytest.raises(MakerCannotApprove):
        sign(by_hand, batch_id, third)
    by_hand.session.rollback()
    assert sign(by_hand, batch_id, by_hand.finance) == "2 of 2"
    by_hand.sound()


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("how", ["role taken", "disabled", "became a maker"])
def test_a_signature_of_somebody_who_may_not_any_more_does_not_count(
    by_hand: Pay, how: str
) -> None:
    rules_of(by_hand, second="1.00")
    batch_id, session = two_affiliates(by_hand), by_hand.session
    second, third = (by_hand.world.user(name, role="finance") for name in ("second", "third"))
    sign(by_hand, batch_id, by_hand.finance)
    if how == "role taken":
        grant = session.scalars(sa.select(Grant).where(Grant.user_id == by_hand.finance)).one()
        grants.revoke_role(session, grant_id=grant.id, by=None, now=NOW)
    elif how == "disabled":
        users.disable_user(session, user_id=by_hand.finance, by=None, now=NOW)
    else:
        session.execute(
            sa.text(
                "INSERT INTO batch_makers (batch_id, user_id, did, at) "
                "VALUES (:batch, :user, 'planted', now())"
            ),
            {"batch": batch_id, "user": by_hand.finance},
        )
    session.commit()
    assert sign(by_hand, batch_id, second) == "1 of 2"
    assert signatures(by_hand, batch_id)[0] == (by_hand.finance, "signer_left")
    assert sign(by_hand, batch_id, third) == "2 of 2"
    by_hand.sound()


def test_one_person_mode_lets_a_maker_approve_and_says_so(by_hand: Pay) -> None:
    batch_id = two_affiliates(by_hand)
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    hold_item(by_hand.session, item_id=item.id, by_user_id=by_hand.finance, why="no", now=NOW)
    by_hand.session.commit()
    with pytest.raises(MakerCannotApprove):
        sign(by_hand, batch_id, by_hand.finance)
    by_hand.session.rollback()
    rules_of(by_hand, one_person=True)
    assert sign(by_hand, batch_id, by_hand.finance) == "1 of 1"
    assert by_hand.batch(batch_id).approval_policy == "one_person"
    entry = by_hand.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "batch.approve")
    ).one()
    assert (entry.new or {})["policy"] == "one_person"
    by_hand.sound()


def test_in_one_person_mode_four_eyes_that_looked_are_called_that(by_hand: Pay) -> None:
    rules_of(by_hand, one_person=True)
    batch_id = two_affiliates(by_hand)
    sign(by_hand, batch_id, by_hand.finance)
    assert by_hand.batch(batch_id).approval_policy == "four_eyes"
    by_hand.sound()


def test_one_person_mode_gives_nobody_the_role(by_hand: Pay) -> None:
    rules_of(by_hand, one_person=True)
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    with pytest.raises(NotFinance):
        sign(by_hand, made.batch_id, by_hand.world.users["anna"])


def test_a_batch_keeps_the_rules_it_was_approved_under(by_hand: Pay) -> None:
    rules_of(by_hand, second="100.00")
    batch_id = two_affiliates(by_hand)
    sign(by_hand, batch_id, by_hand.finance)
    kept = by_hand.batch(batch_id).policy_id
    rules_of(by_hand, second="0.01")
    assert by_hand.batch(batch_id).policy_id == kept
    by_hand.sound()


def test_rules_that_grow_stricter_meanwhile_ask_for_the_second_signature(by_hand: Pay) -> None:
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    rules_of(by_hand, second="0.01")
    assert sign(by_hand, batch_id, other) == "1 of 2"
    rules_of(by_hand)
    assert sign(by_hand, batch_id, by_hand.finance) == "2 of 1"
    by_hand.sound()


def test_rules_are_changed_by_an_owner_with_a_reason_and_kept_for_good(by_hand: Pay) -> None:
    def change(by: int, why: str, wanted: Policy) -> bool:
        return change_policy(
            by_hand.session, program_id=by_hand.world.program_id, wanted=wanted, why=why,
            by_user_id=by, now=NOW,
        )  # fmt: skip

    owner = by_hand.world.user("owner", role="owner")
    with pytest.raises(NotOwner):
        change(by_hand.finance, "faster", Policy(one_person=True))
    by_hand.session.rollback()
    with pytest.raises(Invalid, match="Say why"):
        change(owner, "  ", Policy(one_person=True))
    by_hand.session.rollback()
    assert change(owner, "I am alone", Policy(one_person=True))
    assert not change(owner, "again", Policy(one_person=True))
    by_hand.session.commit()
    entry = by_hand.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "policy.change")
    ).one()
    assert (entry.old or {})["one_person"] is False
    assert (entry.new or {})["one_person"] is True
    assert entry.reason == "I am alone"


def test_who_comes_late_is_told_who_was_first(by_hand: Pay) -> None:
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    seen = by_hand.batch(batch_id).hash
    sign(by_hand, batch_id, by_hand.finance)
    with pytest.raises(NotApprovable, match=r"finance\d*@example.com approved this batch on 2026"):
        sign(by_hand, batch_id, other, seen=seen)
    by_hand.session.rollback()
    with pytest.raises(NotCancellable, match=r"finance.* approved this batch.*Hold single"):
        cancel_batch(by_hand.session, batch_id=batch_id, by_user_id=other, why="no", now=NOW)
    by_hand.session.rollback()
    hold_item(by_hand.session, item_id=item.id, by_user_id=other, why="no", now=NOW)
    by_hand.session.commit()
    with pytest.raises(ItemTakenOut, match="taken out already"):
        hold_item(by_hand.session, item_id=item.id, by_user_id=other, why="no", now=NOW)


def test_who_holds_or_approves_in_a_cancelled_batch_is_told_by_whom(by_hand: Pay) -> None:
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    cancel_batch(by_hand.session, batch_id=batch_id, by_user_id=other, why="wrong week", now=NOW)
    by_hand.session.commit()
    with pytest.raises(NotApprovable, match=r"other.* cancelled this batch.*wrong week"):
        sign(by_hand, batch_id, by_hand.finance)
    by_hand.session.rollback()
    with pytest.raises(ItemTakenOut, match=r"other.* cancelled this batch"):
        hold_item(by_hand.session, item_id=item.id, by_user_id=by_hand.finance, why="no", now=NOW)


def test_fifty_approvals_of_two_people_at_once_have_one_outcome(by_hand: Pay) -> None:
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    seen = by_hand.batch(batch_id).hash or ""

    def press(session: Session, number: int) -> None:
        approve(
            session, batch_id=batch_id, by_user_id=(by_hand.finance, other)[number % 2],
            seen_hash=seen, rails=by_hand.rails, now=NOW,
        )  # fmt: skip

    came = at_once(by_hand, [lambda s, n=n: press(s, n) for n in range(50)])  # type: ignore[misc]
    assert came == {"done": 1, "batch_not_frozen": 49}
    assert len(signatures(by_hand, batch_id)) == 1
    by_hand.sound()


def test_fifty_second_signatures_at_once_count_each_person_once(by_hand: Pay) -> None:
    rules_of(by_hand, second="1.00")
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    seen = by_hand.batch(batch_id).hash or ""

    def press(session: Session, number: int) -> None:
        approve(
            session, batch_id=batch_id, by_user_id=(by_hand.finance, other)[number % 2],
            seen_hash=seen, rails=by_hand.rails, now=NOW,
        )  # fmt: skip

    came = at_once(by_hand, [lambda s, n=n: press(s, n) for n in range(50)])  # type: ignore[misc]
    assert came["done"] == 2
    assert came["signed_already"] + came["batch_not_frozen"] == 48
    assert {user for user, _ in signatures(by_hand, batch_id)} == {by_hand.finance, other}
    assert by_hand.batch(batch_id).status == "approved"
    by_hand.sound()


@pytest.mark.parametrize("turn", range(4))
def test_approve_cancel_hold_and_pause_at_once_leave_one_story(by_hand: Pay, turn: int) -> None:
    """Whichever comes first, the others are told; the books agree and no money leaves paused."""
    batch_id, other = two_affiliates(by_hand), by_hand.world.user("other", role="finance")
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    seen = by_hand.batch(batch_id).hash or ""
    deeds = [
        lambda s: approve(
            s, batch_id=batch_id, by_user_id=by_hand.finance, seen_hash=seen,
            rails=by_hand.rails, now=NOW,
        ),
        lambda s: cancel_batch(s, batch_id=batch_id, by_user_id=other, why="no", now=NOW),
        lambda s: hold_item(s, item_id=item.id, by_user_id=other, why="no", now=NOW),
        lambda s: lock(s, reason=LockReason.BY_HAND, detail="wait", now=NOW),
    ]  # fmt: skip
    came = at_once(by_hand, deeds[turn:] + deeds[:turn])
    told = {"batch_not_frozen", "batch_changed", "payouts_locked", "batch_not_cancellable",
            "item_taken_out", "done"}  # fmt: skip
    assert set(came) <= told
    batch = by_hand.batch(batch_id)
    assert batch.status in ("frozen", "approved", "cancelled")
    assert (batch.status == "approved") == (batch.approved_at is not None)
    assert not by_hand.run(batch_id)
    assert by_hand.session.scalar(sa.select(PayoutAttempt.id)) is None
    by_hand.sound()


@pytest.mark.abuse("A25")
def test_a_role_taken_back_between_page_and_click_approves_nothing(by_hand: Pay) -> None:
    """Whoever is first: a revocation that waits for an approval under way comes after it."""
    batch_id = two_affiliates(by_hand)
    grant_id = by_hand.session.scalars(
        sa.select(Grant.id).where(Grant.user_id == by_hand.finance)
    ).one()
    began, over = threading.Event(), threading.Event()

    def revoke() -> None:
        with session_for(by_hand.engine)() as own:
            began.set()
            grants.revoke_role(own, grant_id=grant_id, by=None, now=NOW)
            own.commit()
            over.set()

    with session_for(by_hand.engine)() as approving:
        approve(
            approving, batch_id=batch_id, by_user_id=by_hand.finance, rails=by_hand.rails,
            seen_hash=by_hand.batch(batch_id).hash or "", now=NOW,
        )  # fmt: skip
        thread = threading.Thread(target=revoke)
        thread.start()
        began.wait()
        assert not over.wait(0.3), "the revocation waits until the approval is committed"
        approving.commit()
    thread.join()
    assert by_hand.batch(batch_id).status == "approved"
    by_hand.sound()
    by_hand.affiliate("vera", "3.00")
    with pytest.raises(NotFinance):
        by_hand.approve(by_hand.withdraw("vera").batch_id)


def test_rules_do_not_change_while_an_approval_reads_them(by_hand: Pay) -> None:
    batch_id = two_affiliates(by_hand)
    owner = by_hand.world.user("owner", role="owner")
    over = threading.Event()

    def change() -> None:
        with session_for(by_hand.engine)() as own:
            change_policy(
                own, program_id=by_hand.world.program_id, by_user_id=owner, why="stricter",
                wanted=Policy(second_signature_above=by_hand.world.money("1.00")), now=NOW,
            )  # fmt: skip
            own.commit()
            over.set()

    with session_for(by_hand.engine)() as approving:
        approve(
            approving, batch_id=batch_id, by_user_id=by_hand.finance, rails=by_hand.rails,
            seen_hash=by_hand.batch(batch_id).hash or "", now=NOW,
        )  # fmt: skip
        thread = threading.Thread(target=change)
        thread.start()
        assert not over.wait(0.3)
        approving.commit()
    thread.join()
    assert by_hand.batch(batch_id).signatures_needed == 1
    with session_for(by_hand.engine)() as own:
        assert policy_of(own, program_id=by_hand.world.program_id).second_signature_above
    by_hand.sound()


def test_a_page_lifts_locks_but_not_that_of_a_restored_backup(by_hand: Pay) -> None:
    session = by_hand.session
    for reason in LockReason:
        lock(session, reason=reason, detail="why", now=NOW)
    assert unlock(session, by="user:1", why="seen", reasons=LIFTED_ON_A_PAGE, now=NOW) == 2
    # These two need the provider's list to be compared first, which the command does.
    assert [each.reason for each in open_locks(session)] == [
        LockReason.RESTORED_BACKUP,
        LockReason.RECONCILIATION,
    ]
