"""Whoever is erased is found nowhere but where the books keep them; the books stay as they are."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from marked import EMAIL, MARK, NAME, PASSWORD, Marked, books, broken, holding, marked
from sqlalchemy.orm import Session
from world import World

from affiliate.core import audit, clock
from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.outbox import NOBODY, Mail, send
from affiliate.core.personal import Fate
from affiliate.links.models import Link
from affiliate.people import account, addresses, enrollments, ids, invitations, users
from affiliate.people.grants import LastOwner
from affiliate.people.models import (
    Affiliate,
    Enrollment,
    Grant,
    Invitation,
    User,
    UserSession,
)
from affiliate.people.users import Erased
from affiliate.personal.erase import leave
from payouts.adjustments import adjust
from payouts.adjustments.rules import AdjustmentKind, Reason
from payouts.batches.models import PayeeAccount, PayoutItem
from payouts.batches.payee_stops import stop
from payouts.commissions.models import Commission
from payouts.invoices.models import TaxProfile
from payouts.invoices.parties import TaxData
from payouts.invoices.profiles import set_tax_data
from payouts.ledger.seals.sealing import newest, seal_next
from payouts.personal.owed import MoneyOpen
from payouts.rails.registry import rails
from tests.desks.staff import hire, two_in_a_batch, weekly_batch
from tracker.claims.models import Claim
from tracker.personal import erase
from tracker.personal.erase import erase_person, sweep, to_sweep
from tracker.personal.inventory import INVENTORY
from tracker.personal.jobs import forget

NOT_A_WORD = {
    "users.password", "users.fs_uniquifier", "users.locale", "users.time_zone",
    "user_sessions.token_hash", "user_sessions.challenge", "invitations.token_hash",
    "outbox_mails.last_error", "outbox_mails.subject", "affiliate_sightings.mark",
    "affiliate_sightings.kind",
}  # fmt: skip
"""Hashes, and words out of a list: no mark can stand there. Their rows go, or they are set anew."""
ON_CLICKS = {"clicks.referrer", *(f"clicks.s{number}" for number in range(1, 6))}


@pytest.fixture
def person(world: World) -> Marked:
    return marked(world)


@pytest.fixture
def lines(app: Flask) -> Iterator[io.StringIO]:
    """What the application's own handler writes."""
    assert app
    (handler,) = (h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler)
    written, root = io.StringIO(), logging.getLogger()
    level, stream = root.level, handler.setStream(written)
    root.setLevel("INFO")
    yield written
    root.setLevel(level)
    if stream is not None:
        handler.setStream(stream)


def do_erase(world: World, user_id: int, *, by: int | None = None) -> None:
    with world.app.app_context():
        erase_person(
            world.session, user_id=user_id, by=by, rails=rails(world.settings), now=world.now
        )
        world.session.commit()


def do_sweep(world: World, user_id: int) -> bool:
    with world.app.app_context():
        done = sweep(world.session, user_id=user_id, now=world.now)
        world.session.commit()
    return done


def fates(*wanted: Fate) -> set[str]:
    return {
        f"{table}.{name}"
        for table, said in INVENTORY.items()
        for name, fate in said.columns()
        if fate in wanted
    }


def seal(world: World) -> None:
    while seal_next(world.session, real_now=clock.real_now()):
        world.session.commit()
    world.session.rollback()


@pytest.mark.abuse("A40")
def test_a_person_is_found_nowhere_but_where_the_inventory_says(
    world: World, person: Marked, lines: io.StringIO
) -> None:
    before = holding(world, MARK)
    lacking = fates(Fate.ERASED, Fate.REPLACED) - before - NOT_A_WORD
    assert lacking == set(), "fill these, or the test says nothing of them"
    lines.truncate(0)
    lines.seek(0)
    answer = person.client.post("/profile/data/erasure", data={"erase-password": PASSWORD})
    assert (answer.status_code, answer.location) == (303, "/")
    left = holding(world, MARK)
    assert left <= fates(Fate.KEPT) | ON_CLICKS
    assert do_sweep(world, person.user_id)
    assert holding(world, MARK) <= fates(Fate.KEPT)
    assert holding(world, EMAIL) == set()
    assert MARK not in lines.getvalue().lower()


@pytest.mark.abuse("A40")
def test_the_books_are_the_same_to_the_byte_and_the_audit_finds_nothing(
    world: World, person: Marked, tmp_path: Path
) -> None:
    seal(world)
    page = person.client.get("/account/money").text
    month = re.search(r"/account/money/statements/(\d{4}-\d\d)", page)
    assert month
    proof = person.client.get(f"{month[0]}/proof.json")
    assert proof.status_code == 200
    before, head = books(world.session), newest(world.session).head
    assert broken(world) == []
    do_erase(world, person.user_id)
    do_sweep(world, person.user_id)
    assert books(world.session) == before
    assert newest(world.session).head == head
    assert broken(world) == []
    # The proof that they took away holds against the heads that everybody sees.
    visitor = hire(world, "owner").client
    seals = visitor.get("/seals").text
    noted = re.search(r'value="(\d+:[0-9a-f]{64})"', seals)
    script = re.search(r'href="([^"]+verify_statement\.py[^"]*)"', seals)
    assert noted and script
    (tmp_path / "proof.json").write_bytes(proof.data)
    with visitor.get(script[1]) as loaded:
        (tmp_path / "verify.py").write_bytes(loaded.data)
    done = subprocess.run(
        [sys.executable, "-I", "verify.py", "proof.json", "--head", noted[1]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.abuse("A40")
def test_every_page_says_the_pseudonym_and_none_the_name(world: World, person: Marked) -> None:
    owner = hire(world, "owner").client
    public = ids.public(person.enrollment_id)
    do_erase(world, person.user_id)
    pseudonym = f"Erased affiliate {person.affiliate_id}"
    pages = (
        "/manage/affiliates", f"/manage/affiliates/{public}", "/manage/applications",
        "/manage/audit", "/manage/claims", "/manage/orders", "/manage/staff", "/manage/rules",
        "/finance/", "/finance/batches", "/finance/payees", "/finance/statements",
        "/finance/adjustments", "/finance/invoices", "/finance/withdrawals",
    )  # fmt: skip
    told = {path: owner.get(path) for path in pages}
    assert {path: answer.status_code for path, answer in told.items()} == dict.fromkeys(pages, 200)
    assert [path for path, answer in told.items() if NAME in answer.text] == []
    assert [path for path, answer in told.items() if EMAIL in answer.text] == []
    for path in ("/manage/affiliates", f"/manage/affiliates/{public}", "/manage/audit"):
        assert pseudonym in told[path].text, path


def test_what_is_said_of_them_in_the_audit_log_is_empty_but_who_did_it_stays(
    world: World, person: Marked
) -> None:
    session = world.session
    asked = sa.select(AuditEntry.id, AuditEntry.at, AuditEntry.actor, AuditEntry.action).where(
        AuditEntry.subject == f"enrollment:{person.enrollment_id}"
    )
    before = session.execute(asked.order_by(AuditEntry.id)).all()
    assert len(before) > 5
    do_erase(world, person.user_id)
    assert session.execute(asked.order_by(AuditEntry.id)).all()[: len(before)] == before
    said = sa.or_(*(sa.func.coalesce(sa.cast(each, sa.Text), "null") != "null"
                    for each in (AuditEntry.old, AuditEntry.new, AuditEntry.reason)))  # fmt: skip
    about = AuditEntry.subject == f"enrollment:{person.enrollment_id}"
    left = session.scalars(sa.select(AuditEntry.action).where(about, said)).all()
    assert left == []
    done = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == erase.ACTION)).one()
    assert done.subject == f"user:{person.user_id}"


def test_why_staff_decided_on_their_orders_and_payouts_is_empty_and_of_others_stays(
    world: World, person: Marked
) -> None:
    session = world.session
    world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=1)
    earned = sa.select(Commission.enrollment_id, Commission.reference)
    references = {row.enrollment_id: row.reference for row in session.execute(earned)}
    mine = references.pop(person.enrollment_id)
    (hers,) = references.values()
    item = session.scalars(
        sa.select(PayoutItem.id).where(PayoutItem.enrollment_id == person.enrollment_id)
    ).first()
    for subject in (mine, hers, f"item:{item}"):
        audit.record(
            session, actor="user:1", action="order.assign", subject=subject, now=world.now,
            new={"credited": [1]}, reason=f"{MARK} wrote to us",
        )  # fmt: skip
    session.commit()
    do_erase(world, person.user_id)
    kept = session.execute(
        sa.select(AuditEntry.subject, AuditEntry.reason, AuditEntry.new)
        .where(AuditEntry.action == "order.assign")
        .order_by(AuditEntry.id)
    ).all()
    facts = {"credited": [1]}
    assert [tuple(row) for row in kept] == [
        (mine, None, facts), (hers, f"{MARK} wrote to us", facts), (f"item:{item}", None, facts),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_log SET reason = 'another'",
        "UPDATE audit_log SET actor = 'user:9', reason = NULL",
        """UPDATE audit_log SET new = '{"role": "owner"}'""",
        "UPDATE audit_log SET at = at + interval '1 day'",
        "DELETE FROM audit_log",
        "UPDATE claim_notes SET text = 'another'",
        "UPDATE claim_notes SET text = '', for_affiliate = NOT for_affiliate",
        "DELETE FROM claim_notes",
    ],
)
def test_the_log_and_the_notes_may_be_emptied_and_nothing_else(
    world: World, person: Marked, change: str
) -> None:
    assert person
    world.session.rollback()
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        world.session.execute(sa.text(change))
    world.session.rollback()


def test_nobody_can_sign_in_and_no_letter_is_written_any_more(world: World, person: Marked) -> None:
    session = world.session
    do_erase(world, person.user_id)
    session.expire_all()
    user = session.get_one(User, person.user_id)
    assert (user.active, user.password, user.confirmed_at) == (False, None, None)
    assert user.email.endswith(NOBODY)
    assert person.client.get("/profile").status_code == 303
    assert session.scalar(sa.select(sa.func.count(UserSession.id)).where(
        UserSession.user_id == person.user_id)) == 0  # fmt: skip
    letters = session.scalar(sa.select(sa.func.count(Mail.id)))
    with world.app.app_context():
        send(session, to=user.email, template="people/password_changed", name="", reset_url="/",
             now=world.now)  # fmt: skip
        with pytest.raises(Erased):
            users.enable_user(session, user_id=person.user_id, by=None, now=world.now)
        # The same address is somebody new.
        made = users.create_user(session, email=EMAIL, password=PASSWORD, now=world.now)
    assert made.id != person.user_id
    assert session.scalar(sa.select(sa.func.count(Mail.id))) == letters


@pytest.mark.abuse("A40")
def test_letters_and_invitations_of_others_stay(world: World) -> None:
    """An address asked for need not be theirs, and one given up may be somebody else's by now."""
    boris = world.affiliate("Boris")
    anna = world.affiliate("Anna")
    with world.app.app_context():
        session, now = world.session, world.now
        session.get_one(User, boris.user_id).email = "boris@example.com"
        session.flush()
        addresses.note_former(session, user_id=anna.user_id, email="boris@example.com", now=now)
        send(session, to="boris@example.com", template="enrollment_reinstated", name="Boris",
             program=world.program, now=now)  # fmt: skip
        invitations.invite(session, email="carl@example.com", role="analyst",
                           program_id=world.program.id, by=None, now=now)  # fmt: skip
        account.ask_change_email(session, user_id=anna.user_id, email="carl@example.com", now=now)
        session.commit()
    do_erase(world, anna.user_id)
    kept = world.session.execute(
        sa.select(Mail.recipient, Mail.template).where(
            Mail.recipient.in_(["boris@example.com", "carl@example.com"]),
            Mail.template != "application_received",
        )
    ).all()
    assert {tuple(row) for row in kept} == {
        ("boris@example.com", "enrollment_reinstated"),
        ("boris@example.com", "application_approved"),
        ("carl@example.com", "people/invitation"),
    }
    assert world.session.scalar(sa.select(sa.func.count()).select_from(Invitation)) == 1


def test_links_answer_as_ended_and_credit_nothing(world: World, person: Marked) -> None:
    session = world.session
    do_erase(world, person.user_id)
    session.expire_all()
    links = session.scalars(sa.select(Link).where(Link.enrollment_id == person.enrollment_id)).all()
    assert links
    for link in links:
        assert link.disabled_at == world.now
        assert link.destination == world.program.landing_url
        assert (link.name, link.s1, link.s5) == ("", None, None)
    token = world.click(links[-1], at=world.now + timedelta(minutes=1))
    order = world.order("100.00", at=world.now + timedelta(hours=1), clicks=(token,))
    session.rollback()
    earned = session.scalar(
        sa.text("SELECT count(*) FROM commissions WHERE reference = :r"), {"r": f"order:{order.id}"}
    )
    assert earned == 0


def test_a_person_is_erased_in_all_their_programs(world: World, person: Marked) -> None:
    do_erase(world, person.user_id)
    found = world.session.execute(
        sa.select(Enrollment.status, Enrollment.answers, Enrollment.decision_reason)
        .where(Enrollment.affiliate_id == person.affiliate_id)
        .order_by(Enrollment.id)
    ).all()
    assert [tuple(each) for each in found] == [("closed", {}, None), ("rejected", {}, None)]


def test_open_cases_end_and_recruits_keep_a_number_above_them(world: World, person: Marked) -> None:
    below = world.affiliate("Recruit", recruiter=NAME)
    do_erase(world, person.user_id)
    world.session.expire_all()
    statuses = set(world.session.scalars(sa.select(Claim.status)))
    assert statuses == {"declined", "withdrawn"}
    recruit = world.session.get_one(Enrollment, below.enrollment.id)
    assert recruit.recruiter_id == person.enrollment_id
    assert NAME not in below.client.get("/account/team").text


def refused(world: World, name: str) -> str:
    with pytest.raises(MoneyOpen) as refusal:
        do_erase(world, world.people[name].user_id)
    world.session.rollback()
    assert refusal.value.status == 409
    return str(refusal.value.detail)


def test_money_that_waits_can_be_withdrawn_or_is_under_way_stands_in_the_way(
    world: World,
) -> None:
    world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "100.00", days_ago=20)
    assert "in its hold period" in refused(world, "Anna")
    world.release()
    assert "10.00 RUB can be withdrawn in Lamp & Leaf partners" in refused(world, "Anna")
    requested = world.withdraw("Anna", "4.00")
    told = refused(world, "Anna")
    assert "A payout in Lamp & Leaf partners is under way (4.00 RUB)" in told
    assert "6.00 RUB can be withdrawn" in told
    world.pay(requested)
    world.pay(world.withdraw("Anna", None))
    do_erase(world, world.people["Anna"].user_id)


def test_a_negative_balance_stands_in_the_way_until_it_is_written_off(world: World) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    order = world.sale("Anna", "100.00", days_ago=20)
    world.release()
    world.pay(world.withdraw("Anna", None))
    world.refund(order, "100.00")
    assert "is negative (-10.00 RUB)" in refused(world, "Anna")
    one, two = world._finance(), hire(world, "finance", name="two").user_id
    made = adjust.propose(
        world.session, enrollment_id=anna.enrollment.id, kind=AdjustmentKind.WRITE_OFF,
        amount=world.rub("10.00"), reason=Reason.ACCOUNT_CLOSED, note="left", by_user_id=one,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    assert "waits for its second person" in refused(world, "Anna")
    with world.app.app_context():
        adjust.confirm(world.session, adjustment_id=made, by_user_id=two, now=world.now)
        world.session.commit()
    do_erase(world, anna.user_id)


def test_less_than_the_smallest_payment_stands_in_nobodys_way(world: World) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "0.05", days_ago=20)
    world.release()
    before = books(world.session)
    do_erase(world, anna.user_id)
    assert books(world.session) == before


def test_whoever_disowned_an_account_is_looked_at_first(world: World) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    with world.app.app_context():
        payee = world.session.scalars(sa.select(PayeeAccount.id)).one()
        stop(world.session, payee_id=payee, now=world.now)
        world.session.commit()
    assert "a person of the program has to look at it first" in refused(world, "Anna")
    assert anna.user_id


def test_leaving_ends_crediting_and_what_was_earned_is_still_paid(world: World) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "100.00", days_ago=2)
    with world.app.app_context():
        assert leave(world.session, user_id=anna.user_id, now=world.now) == 1
        world.session.commit()
        assert leave(world.session, user_id=anna.user_id, now=world.now) == 0
        world.session.commit()
    later = world.now + timedelta(days=20)
    world.release(at=later)
    world.pay(world.withdraw("Anna", None, at=later), at=later)
    do_erase(world, anna.user_id)


@pytest.mark.abuse("A25")
def test_whoever_is_suspended_does_not_become_payable_by_leaving(world: World) -> None:
    """What is closed is paid out, what is suspended is not."""
    anna = world.affiliate("Anna")
    with world.app.app_context():
        enrollments.suspend(
            world.session, enrollment_id=anna.enrollment.id, reason="odd clicks", by=None,
            now=world.now,
        )  # fmt: skip
        assert leave(world.session, user_id=anna.user_id, now=world.now) == 0
        world.session.commit()
    world.session.expire_all()
    assert world.session.get_one(Enrollment, anna.enrollment.id).status == "suspended"
    do_erase(world, anna.user_id)
    world.session.expire_all()
    assert world.session.get_one(Enrollment, anna.enrollment.id).status == "closed"


def test_tax_data_stay_only_of_whom_something_was_paid(world: World, person: Marked) -> None:
    anna = world.affiliate("Anna")
    set_tax_data(
        world.session, affiliate_id=anna.affiliate_id, agreed=True, by_user_id=anna.user_id,
        given=TaxData("self_employed", "Anna E.", "Riga", "LV", "010190-11111", "not_registered",
                      "", ""),
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    for user_id in (anna.user_id, person.user_id):
        do_erase(world, user_id)
    assert list(world.session.scalars(sa.select(TaxProfile.affiliate_id))) == [person.affiliate_id]


def test_the_last_owner_is_not_erased_and_any_other_is(world: World) -> None:
    first = hire(world, "owner")
    with pytest.raises(LastOwner):
        do_erase(world, first.user_id)
    world.session.rollback()
    second = hire(world, "owner", name="second")
    do_erase(world, first.user_id)
    with pytest.raises(LastOwner):
        do_erase(world, second.user_id)
    world.session.rollback()
    world.session.expire_all()
    assert world.session.get_one(User, first.user_id).name == f"Erased user {first.user_id}"


def test_whoever_approved_stays_a_number_that_four_eyes_compare(world: World) -> None:
    batch = two_in_a_batch(world)
    with world.app.app_context():
        finance = world._finance()
        world.session.commit()
        from payouts.batches.approve import approve

        approve(world.session, batch_id=batch.id, by_user_id=finance, seen_hash=batch.hash or "",
                rails=rails(world.settings), now=world.now)  # fmt: skip
        world.session.commit()
    do_erase(world, finance)
    world.session.expire_all()
    assert batch.approved_by == finance
    revoked = world.session.scalars(sa.select(Grant.revoked_at).where(Grant.user_id == finance))
    assert None not in revoked.all()
    assert broken(world) == []


def at_once(*works: Any) -> list[BaseException | None]:
    """Run each in a thread of its own; what each raised."""
    raised: list[BaseException | None] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run_one(number: int) -> None:
        barrier.wait()
        try:
            works[number]()
        except BaseException as error:  # noqa: BLE001 -- it is what is looked at
            raised[number] = error

    threads = [threading.Thread(target=run_one, args=(n,)) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def in_its_own(world: World, engine: sa.Engine, work: Any) -> Any:
    def run_one() -> None:
        with world.app.app_context(), session_for(engine)() as session:
            work(session)
            session.commit()

    return run_one


def test_two_erasures_at_once_erase_once(world: World, person: Marked, engine: sa.Engine) -> None:
    def work(session: Session) -> None:
        erase_person(session, user_id=person.user_id, by=None, rails=rails(world.settings),
                     now=world.now)  # fmt: skip

    assert at_once(*[in_its_own(world, engine, work)] * 2) == [None, None]
    world.session.rollback()
    done = sa.select(sa.func.count(AuditEntry.id)).where(AuditEntry.action == erase.ACTION)
    assert world.session.scalar(done) == 1


def test_an_erasure_waits_for_the_draft_that_reserves_and_then_refuses(
    world: World, engine: sa.Engine
) -> None:
    """The draft holds the balance; the erasure asks for it, and sees what was reserved."""
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "100.00", days_ago=30)
    world.release()
    with world.app.app_context(), session_for(engine)() as drafting:
        from payouts.batches.withdraw import withdraw

        withdraw(drafting, enrollment_id=anna.enrollment.id, amount=None, requested_by=None,
                 by="cli", rails=rails(world.settings), now=world.now)  # fmt: skip
        raised: list[BaseException] = []

        def erasing() -> None:
            try:
                in_its_own(world, engine, lambda session: erase_person(
                    session, user_id=anna.user_id, by=None, rails=rails(world.settings),
                    now=world.now))()  # fmt: skip
            except BaseException as error:  # noqa: BLE001 -- it is what is looked at
                raised.append(error)

        thread = threading.Thread(target=erasing)
        thread.start()
        thread.join(timeout=1)
        assert thread.is_alive(), "it has to wait for the reserved balance"
        drafting.commit()
        thread.join()
    assert len(raised) == 1 and isinstance(raised[0], MoneyOpen)
    assert "under way" in str(raised[0])


def test_a_weekly_draft_after_an_erasure_finds_nobody_to_pay(world: World, person: Marked) -> None:
    world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "100.00", days_ago=30)
    world.release()
    do_erase(world, person.user_id)
    batch = weekly_batch(world)
    paid = world.session.scalars(
        sa.text("SELECT enrollment_id FROM payout_items WHERE batch_id = :b"), {"b": batch.id}
    ).all()
    assert paid == [world.people["Anna"].enrollment.id]


def test_what_a_request_under_way_wrote_is_erased_an_hour_later(
    world: World, person: Marked
) -> None:
    do_erase(world, person.user_id)
    session = world.session
    session.execute(
        sa.update(Affiliate).where(Affiliate.id == person.affiliate_id).values(name=NAME)
    )
    session.commit()
    assert list(to_sweep(session, now=world.now)) == []
    assert list(to_sweep(session, now=world.now + timedelta(hours=2))) == [person.user_id]
    session.execute(sa.update(User).where(User.id == person.user_id).values(
        erased_at=world.now - timedelta(hours=2)))  # fmt: skip
    session.commit()
    with world.app.app_context():
        forget()
    session.rollback()
    assert holding(world, NAME) <= fates(Fate.KEPT)
    assert list(to_sweep(session, now=world.now + timedelta(hours=2))) == []


def test_marks_are_taken_off_a_batch_of_clicks_at_a_time(
    world: World, person: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = world.session.scalars(sa.select(Link).where(Link.code == f"{MARK}-code")).one()
    for minutes in range(3):
        world.click(link, at=world.now - timedelta(minutes=minutes), referrer=f"https://{MARK}.x/")
    monkeypatch.setattr("tracker.personal.traces.CLICKS_AT_ONCE", 3)
    monkeypatch.setattr("tracker.personal.erase.CLICKS_AT_ONCE", 3)
    do_erase(world, person.user_id)
    assert [do_sweep(world, person.user_id), do_sweep(world, person.user_id)] == [False, True]
    assert holding(world, MARK) & ON_CLICKS == set()
