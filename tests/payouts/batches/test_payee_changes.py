"""Changed accounts: the wait, the letter, the stop, the release, and races of two sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay, at_once
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid
from affiliate.core.outbox import Mail
from affiliate.people import addresses, sessions
from affiliate.people.mail_links import LinkInvalid
from affiliate.people.models import FormerAddress, User, UserSession
from affiliate.programs.models import Program
from payouts.batches.approve import NotFinance
from payouts.batches.cancel import hold_item
from payouts.batches.candidates import DUE, asked, lock_due
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayeeAccount, PayoutPeriod, Withdrawal
from payouts.batches.payee_guard import PayeeStopped
from payouts.batches.payee_letters import link_token, payee_of_link, tell_of_account
from payouts.batches.payee_release import NotWaitingForItsPayee, release_to_approved
from payouts.batches.payee_sharing import shared_accounts, shared_by
from payouts.batches.payee_stops import LookedAt, NotStopped, Outcome, lift, stop
from payouts.batches.payee_waits import SafetyWait, safety_waits
from payouts.batches.payees import (
    COOLING_OFF,
    NamedFrom,
    Payee,
    history,
    payee_of,
    refresh_payee,
    set_payee,
)
from payouts.rails.protocol import AccountState, Standing

END = NOW + COOLING_OFF
READY = AccountState(True, Standing.READY)
NOT_READY = AccountState(False, Standing.RESTRICTED, disabled_reason="listed")


def name(pay: Pay, who: str, destination: str, **changes: Any) -> int:
    given: dict[str, Any] = {"ready": True, "by": f"user:{pay.world.users[who]}", "now": NOW}
    payee_id = set_payee(
        pay.session,
        affiliate_id=pay.world.affiliate_id(who),
        rail=pay.world.rail,
        destination=destination,
        **given | changes,
    )
    pay.session.commit()
    return payee_id


def live(pay: Pay, who: str) -> Payee:
    pay.session.rollback()
    found = payee_of(pay.session, affiliate_id=pay.world.affiliate_id(who), rail=pay.world.rail)
    assert found is not None
    return found


def disown(pay: Pay, payee_id: int) -> bool:
    made = stop(pay.session, payee_id=payee_id, now=NOW)
    pay.session.commit()
    return made


def lifted(pay: Pay, who: str, outcome: Outcome, *, hours: int = 5) -> None:
    lift(
        pay.session, affiliate_id=pay.world.affiliate_id(who), outcome=outcome, by="user:1",
        why="We spoke by phone.", now=NOW + timedelta(hours=hours),
    )  # fmt: skip
    pay.session.commit()


# ---- the wait ----


@pytest.mark.abuse("A29")
def test_another_account_waits_and_a_withdrawal_to_it_cannot_be_approved_before(
    by_hand: Pay,
) -> None:
    by_hand.affiliate("anna", "5.00")
    name(by_hand, "anna", "IBAN of a thief", named_from=NamedFrom("3f9a", "new"))
    assert live(by_hand, "anna").pays_from == END
    made = by_hand.withdraw("anna", "5.00")
    assert made.deadline_at == END + timedelta(hours=24)
    with pytest.raises(SafetyWait, match=r"anna.*Hold these payouts"):
        by_hand.approve(made.batch_id)
    by_hand.session.rollback()
    (waiting,) = safety_waits(by_hand.session, batch_id=made.batch_id, now=NOW)
    assert (waiting.affiliate, waiting.why.value, waiting.until) == ("anna", "cooling_off", END)
    assert safety_waits(by_hand.session, batch_id=made.batch_id, now=END) == []
    told = by_hand.session.scalars(
        sa.select(AuditEntry.new).where(AuditEntry.action == "payee.change")
    ).all()[-1]
    assert told is not None
    assert (told["network"], told["browser"]) == ("3f9a", "new")


def test_a_weekly_batch_leaves_out_who_waits_and_takes_them_afterwards(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.affiliate("boris", "7.00")
    name(by_hand, "anna", "IBAN 2")
    program = by_hand.session.get_one(Program, by_hand.world.program_id)

    def due(now: Any) -> list[int]:
        values = asked(program, "manual", by_hand.rails, now)
        lock_due(by_hand.session, values)
        found = by_hand.session.scalars(
            sa.text(f"WITH {DUE} SELECT enrollment_id FROM due ORDER BY 1"),
            values,
        ).all()
        by_hand.session.rollback()
        return list(found)

    anna, boris = by_hand.world.enrollments["anna"], by_hand.world.enrollments["boris"]
    assert due(END - timedelta(microseconds=1)) == [boris]
    assert due(END) == [anna, boris]
    open_periods(by_hand.session, now=NOW)
    batch = draft_weekly(
        by_hand.session, period_id=undrafted(by_hand.session)[-1], rails=by_hand.rails, now=NOW
    )
    assert batch is not None
    by_hand.session.commit()
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutPeriod))
    by_hand.approve(batch)


def test_an_item_that_was_approved_by_another_way_still_waits_before_it_is_sent(
    by_stripe: Pay,
) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.session.execute(sa.update(PayeeAccount).values(pays_from=END))
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    item = by_stripe.item(made.item_id)
    assert (item.status, item.reason) == ("queued", "cooling_off")
    assert by_stripe.attempts(made.item_id) == []


def test_the_first_account_waits_where_the_address_was_changed_lately(by_hand: Pay) -> None:
    by_hand.world.affiliate("anna")
    user_id = by_hand.world.users["anna"]
    addresses.note_former(
        by_hand.session, user_id=user_id, email="old@example.com", now=NOW - timedelta(days=29)
    )
    name(by_hand, "anna", "IBAN")
    assert live(by_hand, "anna").pays_from == END
    by_hand.world.affiliate("boris")
    name(by_hand, "boris", "IBAN of boris")
    assert live(by_hand, "boris").pays_from is None


def test_going_back_in_time_costs_no_wait(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    name(by_hand, "anna", "IBAN 2")
    name(by_hand, "anna", "IBAN of anna")
    assert live(by_hand, "anna").pays_from is None
    name(by_hand, "anna", "IBAN 2")
    assert live(by_hand, "anna").pays_from == END
    name(by_hand, "anna", "IBAN of anna", now=END)
    assert live(by_hand, "anna").pays_from == END + COOLING_OFF
    rows = history(by_hand.session, affiliate_id=by_hand.world.affiliate_id("anna"))
    assert [row.replaced_at is None for row in rows] == [True, False, False, False, False]


@pytest.mark.abuse("A29")
def test_a_withdrawal_to_an_account_that_was_taken_back_in_time_is_never_approved(
    by_hand: Pay,
) -> None:
    by_hand.affiliate("anna", "5.00")
    name(by_hand, "anna", "IBAN of a thief")
    made = by_hand.withdraw("anna", "5.00")
    name(by_hand, "anna", "IBAN of anna")
    (waiting,) = safety_waits(by_hand.session, batch_id=made.batch_id, now=END + COOLING_OFF)
    assert (waiting.why.value, waiting.until) == ("cooling_off", None)
    with pytest.raises(SafetyWait):
        by_hand.approve(made.batch_id)
    by_hand.session.rollback()
    hold_item(
        by_hand.session, item_id=made.item_id, by_user_id=by_hand.finance, why="not hers", now=NOW
    )
    by_hand.session.commit()
    by_hand.approved("anna", "5.00")
    by_hand.sound()


# ---- an approved item keeps its destination ----


@pytest.mark.abuse("A29")
def test_a_person_lets_a_parked_item_go_to_the_approved_account(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    approved_to = by_stripe.item(made.item_id).destination
    name(by_stripe, "anna", by_stripe.double.account())  # type: ignore[union-attr]
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "payee_changed"
    for by, why, refusal in (
        (by_stripe.finance, "  ", Invalid),
        (by_stripe.world.users["anna"], "I may", NotFinance),
    ):
        with pytest.raises(refusal):
            release_to_approved(
                by_stripe.session, item_id=made.item_id, by_user_id=by, why=why, now=NOW
            )
        by_stripe.session.rollback()
    release_to_approved(
        by_stripe.session, item_id=made.item_id, by_user_id=by_stripe.finance,
        why="Both are hers.", now=NOW,
    )  # fmt: skip
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    (transfer,) = by_stripe.transfers(made.item_id)
    assert transfer["destination"] == approved_to
    assert by_stripe.item(made.item_id).released_by == by_stripe.finance
    with pytest.raises(NotWaitingForItsPayee):
        release_to_approved(
            by_stripe.session, item_id=made.item_id, by_user_id=by_stripe.finance, why="Again",
            now=NOW,
        )  # fmt: skip


def test_a_parked_item_is_held_back_and_its_money_returns(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    name(by_stripe, "anna", by_stripe.double.account())  # type: ignore[union-attr]
    by_stripe.run(made.batch_id)
    hold_item(
        by_stripe.session, item_id=made.item_id, by_user_id=by_stripe.finance,
        why="to the new account", now=NOW,
    )  # fmt: skip
    by_stripe.session.commit()
    assert by_stripe.balances("anna").available == by_stripe.world.money("5.00")
    by_stripe.sound()


def test_an_item_of_an_unchanged_account_cannot_be_let_go(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "5.00")
    with pytest.raises(NotWaitingForItsPayee):
        release_to_approved(
            by_hand.session, item_id=made.item_id, by_user_id=by_hand.finance, why="Why not",
            now=NOW,
        )  # fmt: skip


# ---- "this was not me" ----


@pytest.mark.abuse("A29")
def test_a_stop_ends_sign_ins_and_holds_everything_until_a_person_puts_it_back(
    by_stripe: Pay,
) -> None:
    by_stripe.affiliate("anna", "9.00")
    made = by_stripe.approved("anna", "5.00")
    user = by_stripe.session.get_one(User, by_stripe.world.users["anna"])
    before = user.fs_uniquifier
    sessions.begin(by_stripe.session, user_id=user.id, agent="a thief", now=clock.real_now())
    stolen = name(by_stripe, "anna", by_stripe.double.account())  # type: ignore[union-attr]
    assert disown(by_stripe, stolen)
    assert not disown(by_stripe, stolen)
    by_stripe.session.refresh(user)
    assert user.fs_uniquifier != before
    assert by_stripe.session.scalars(sa.select(UserSession.revoked_at)).one() is not None
    assert by_stripe.item(made.item_id).reason == "payee_stopped"
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "payee_stopped"
    for refused in (
        lambda: name(by_stripe, "anna", "acct_third"),
        lambda: by_stripe.withdraw("anna", "1.00"),
        lambda: release_to_approved(
            by_stripe.session, item_id=made.item_id, by_user_id=by_stripe.finance, why="Go",
            now=NOW,
        ),
    ):  # fmt: skip
        with pytest.raises(PayeeStopped):
            refused()
        by_stripe.session.rollback()
    deadline = by_stripe.session.scalars(sa.select(Withdrawal.deadline_at)).one()
    lifted(by_stripe, "anna", Outcome.PUT_BACK, hours=5)
    assert by_stripe.session.scalars(sa.select(Withdrawal.deadline_at)).one() == (
        deadline + timedelta(hours=5)
    )
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert live(by_stripe, "anna").pays_from is None
    with pytest.raises(NotStopped):
        lifted(by_stripe, "anna", Outcome.KEPT)
    by_stripe.session.rollback()
    with pytest.raises(LookedAt):
        disown(by_stripe, stolen)


def test_a_stopped_affiliate_is_in_no_batch_and_stops_an_approval(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna", "5.00")
    disown(by_hand, live(by_hand, "anna").id)
    with pytest.raises(SafetyWait):
        by_hand.approve(made.batch_id)
    by_hand.session.rollback()
    lifted(by_hand, "anna", Outcome.KEPT)
    by_hand.approve(made.batch_id)


def test_a_first_account_that_was_disowned_leaves_none_and_the_next_one_waits(
    by_hand: Pay,
) -> None:
    by_hand.affiliate("anna", "5.00")
    disown(by_hand, live(by_hand, "anna").id)
    lifted(by_hand, "anna", Outcome.PUT_BACK)
    affiliate_id = by_hand.world.affiliate_id("anna")
    assert payee_of(by_hand.session, affiliate_id=affiliate_id, rail="manual") is None
    name(by_hand, "anna", "IBAN 2")
    assert live(by_hand, "anna").pays_from == END


@pytest.mark.parametrize("why", ["", "x" * 501], ids=["empty", "endless"])
def test_a_stop_is_not_lifted_without_a_reason(by_hand: Pay, why: str) -> None:
    by_hand.affiliate("anna", "5.00")
    disown(by_hand, live(by_hand, "anna").id)
    with pytest.raises(Invalid):
        lift(
            by_hand.session, affiliate_id=by_hand.world.affiliate_id("anna"),
            outcome=Outcome.KEPT, by="user:1", why=why, now=NOW,
        )  # fmt: skip


# ---- the letter ----


@pytest.mark.abuse("A29")
def test_the_letter_goes_to_the_address_before_as_well(by_hand: Pay, app: Flask) -> None:
    by_hand.world.affiliate("anna")
    user = by_hand.session.get_one(User, by_hand.world.users["anna"])
    for days, email in ((31, "older@example.com"), (29, "old@example.com"), (3, user.email)):
        addresses.note_former(
            by_hand.session, user_id=user.id, email=email, now=NOW - timedelta(days=days)
        )
    payee_id = name(by_hand, "anna", "DE89 3704 0044 0532 0130 00")
    program = by_hand.session.get_one(Program, by_hand.world.program_id)
    with app.test_request_context():
        told = tell_of_account(
            by_hand.session, payee_id=payee_id, program=program, settings=by_hand.settings,
            now=NOW,
        )  # fmt: skip
    mails = by_hand.session.scalars(sa.select(Mail).order_by(Mail.id)).all()
    assert told == 2
    assert [mail.recipient for mail in mails] == [user.email, "old@example.com"]
    for mail in mails:
        assert "/account/disowned/" in mail.text
        assert "…3000" in mail.text and "DE89" not in mail.text
        assert mail.one_time
    assert "until lately" in mails[1].text and "until lately" not in mails[0].text
    addresses.forget(by_hand.session, now=NOW)
    kept = by_hand.session.scalars(sa.select(FormerAddress.email)).all()
    assert sorted(kept) == sorted(["old@example.com", user.email])


@pytest.mark.parametrize("token", ["", "x", "WzFd.Zg.AAAA"], ids=["empty", "word", "forged"])
def test_a_link_that_is_not_ours_is_refused(by_hand: Pay, token: str) -> None:
    with pytest.raises(LinkInvalid):
        payee_of_link(by_hand.session, by_hand.settings, token)


def test_a_link_outlives_a_new_password_and_address(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    payee_id = live(by_hand, "anna").id
    token = link_token(by_hand.settings, payee_id)
    user = by_hand.session.get_one(User, by_hand.world.users["anna"])
    user.password, user.email, user.fs_uniquifier = "other", "thief@example.com", "other"
    by_hand.session.commit()
    assert payee_of_link(by_hand.session, by_hand.settings, token).id == payee_id


# ---- readiness ----


def test_an_older_answer_does_not_replace_a_newer_one(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    payee = live(by_stripe, "anna")
    first, second = clock.real_now(), clock.real_now() + timedelta(seconds=1)

    def told(state: AccountState, asked_at: Any) -> bool:
        changed = refresh_payee(
            by_stripe.session, account=payee.destination, state=state, asked_at=asked_at, now=NOW
        )
        by_stripe.session.commit()
        return changed

    assert told(NOT_READY, second)
    assert not told(READY, first)
    assert not live(by_stripe, "anna").ready
    assert live(by_stripe, "anna").state == NOT_READY
    assert told(READY, second + timedelta(seconds=1))
    assert not told(READY, second + timedelta(seconds=2))


def test_a_parked_payout_moves_once_its_account_is_ready(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    payee = live(by_stripe, "anna")
    states = {"id": payee.destination, "transfers": "inactive"}
    by_stripe.double.control("POST", "/accounts", states)  # type: ignore[union-attr]
    refresh_payee(by_stripe.session, payee_id=payee.id, state=NOT_READY, now=NOW)
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "payee_not_ready"
    by_stripe.double.control(  # type: ignore[union-attr]
        "POST", "/accounts", states | {"transfers": "active"}
    )
    refresh_payee(by_stripe.session, payee_id=payee.id, state=READY, now=NOW)
    by_stripe.session.commit()
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


# ---- one account of several ----


def test_one_account_of_two_affiliates_is_seen_however_it_is_typed(by_hand: Pay) -> None:
    for who, destination in (
        ("anna", "DE89 3704 0044"), ("boris", "de8937040044"), ("vera", "DE89 3704 0045"),
    ):  # fmt: skip
        by_hand.world.affiliate(who)
        name(by_hand, who, destination)
    ids = {who: by_hand.world.affiliate_id(who) for who in ("anna", "boris", "vera")}
    assert shared_by(by_hand.session, affiliate_ids=ids.values()) == {
        ids["anna"]: ("boris",),
        ids["boris"]: ("anna",),
    }
    (shared,) = shared_accounts(by_hand.session, program_ids=[by_hand.world.program_id])
    assert [who for _enrollment, who in shared.affiliates] == ["anna", "boris"]
    name(by_hand, "boris", "another")
    assert shared_accounts(by_hand.session, program_ids=[by_hand.world.program_id]) == []


# ---- races ----


def change(pay: Pay, destination: str) -> Callable[[Session], object]:
    affiliate_id = pay.world.affiliate_id("anna")
    return lambda session: set_payee(
        session, affiliate_id=affiliate_id, rail=pay.world.rail, destination=destination,
        ready=True, by="user:1", now=NOW,
    )  # fmt: skip


def test_of_two_first_accounts_at_once_one_is_first_and_the_other_waits(by_hand: Pay) -> None:
    by_hand.world.affiliate("anna")
    for number in range(5):
        at_once(by_hand, change(by_hand, f"A{number}"), change(by_hand, f"B{number}"))
    by_hand.session.rollback()
    rows = history(by_hand.session, affiliate_id=by_hand.world.affiliate_id("anna"))
    assert len(rows) == 10
    assert sum(row.replaced_at is None for row in rows) == 1
    assert [row.pays_from for row in rows][-1] is None
    assert all(row.pays_from == END for row in rows[:-1])


def test_a_change_during_an_approval_or_a_sending_redirects_nothing(by_stripe: Pay) -> None:
    double = by_stripe.double
    assert double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.withdraw("anna", "5.00")
    destination = by_stripe.item(made.item_id).destination
    others = [double.account(), double.account()]
    at_once(
        by_stripe,
        change(by_stripe, others[0]),
        lambda _session: by_stripe.approve(made.batch_id),
    )

    def changes(step: str) -> None:
        if step == "intent_committed":
            with session_for(by_stripe.engine)() as session:
                change(by_stripe, others[1])(session)
                session.commit()

    # Back in time, so that the item may go; the change then comes between intent and wire.
    name(by_stripe, "anna", destination)
    by_stripe.wait(minutes=6)
    by_stripe.run(made.batch_id, at=changes)
    by_stripe.paid_once(made)
    (transfer,) = by_stripe.transfers(made.item_id)
    assert transfer["destination"] == destination
    assert live(by_stripe, "anna").destination == others[1]


def test_of_a_stop_and_a_change_at_once_no_money_goes_to_either(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    stolen = name(by_hand, "anna", "IBAN of a thief")
    at_once(
        by_hand,
        lambda session: stop(session, payee_id=stolen, now=NOW),
        change(by_hand, "IBAN of the thief, the second"),
    )
    with pytest.raises(PayeeStopped):
        by_hand.withdraw("anna", "1.00")
    by_hand.session.rollback()
    lifted(by_hand, "anna", Outcome.PUT_BACK)
    assert live(by_hand, "anna").destination == "IBAN of anna"
