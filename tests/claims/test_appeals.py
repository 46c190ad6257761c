"""Objections: what may be objected to, who reads it, and what accepting one changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa
from world import DAY, World

from affiliate.core.errors import Invalid, NotFound
from affiliate.people import enrollments, grants
from affiliate.people.models import Grant
from payouts.audit.checks import CHECKS as MONEY_CHECKS
from payouts.audit.run import run
from tests.claims.asking import Cases
from tests.desks.staff import Staff
from tracker.attribution.checks import CHECKS as ORDER_CHECKS
from tracker.attribution.models import Decision
from tracker.attribution.subject import ReviewOutcome
from tracker.claims import decide, notes
from tracker.claims.models import Claim, ClaimNote
from tracker.claims.refusals import (
    AppealTooLate,
    ClaimClosed,
    Final,
    NothingToAppeal,
    OpenAlready,
    OwnClaim,
    RemedyNotThere,
    SecondReaderNeeded,
    TooManyNotes,
)
from tracker.claims.rules import APPEAL_DAYS, NOTES_MAX, Remedy
from tracker.clicks.clearing import ClickCounts, clear_click
from tracker.clicks.models import Click
from tracker.clicks.rebuild import days_of, differences
from tracker.clicks.rules import DropReason
from tracker.orders.cancellation import cancel_order
from tracker.orders.models import Order
from tracker.orders.review import review_order

HOUR = timedelta(hours=1)


def lost_by_anna(world: World) -> Order:
    at = world.now - DAY
    anna, boris = world.people["Anna"].link, world.people["Boris"].link
    assert anna is not None and boris is not None
    clicks = (world.click(anna, at=at - 3 * HOUR), world.click(boris, at=at - HOUR))
    return world.order("900.00", at=at, clicks=clicks)


def flooded(world: World) -> Order:
    """An order of Anna's that waits for a person because of its click."""
    anna = world.people["Anna"].link
    assert anna is not None
    at = world.now - DAY
    token = world.click(anna, at=at - HOUR, reason=DropReason.FLOOD)
    return world.order("900.00", at=at, clicks=(token,))


def review(cases: Cases, order: Order, outcome: ReviewOutcome, by: Staff) -> None:
    cases.do(
        review_order, program_id=order.program_id, order_id=order.order_id, outcome=outcome,
        reason="a farm", by=f"user:{by.user_id}",
    )  # fmt: skip


def click_of(world: World, name: str) -> UUID:
    world.session.rollback()
    click_id = world.session.scalars(
        sa.select(Click.click_id)
        .where(Click.enrollment_id == world.people[name].enrollment.id)
        .order_by(Click.clicked_at.desc())
    ).first()
    assert click_id is not None
    return click_id


def books_agree(world: World) -> None:
    world.session.rollback()
    checks = (*ORDER_CHECKS, *MONEY_CHECKS)
    assert [str(each) for each in run(world.session, checks, real_now=world.now)] == []


class TestOpened:
    def test_about_an_order_that_an_own_click_lost(self, world: World, cases: Cases) -> None:
        claim = cases.get(cases.object("Anna", lost_by_anna(world)))
        assert (claim.kind, claim.ground, claim.first_decided_by) == (
            "appeal", "not_credited", None,
        )  # fmt: skip
        assert len(cases.mails("claims/opened")) == 1

    def test_not_twice_and_not_about_what_is_in_order(self, world: World, cases: Cases) -> None:
        order = lost_by_anna(world)
        cases.object("Anna", order)
        with pytest.raises(OpenAlready):
            cases.object("Anna", order)
        with pytest.raises(NothingToAppeal):
            cases.object("Boris", order)

    def test_not_by_somebody_without_a_part_in_it(self, world: World, cases: Cases) -> None:
        order = world.sale("Boris", "700.00", days_ago=1)
        with pytest.raises(NotFound):
            cases.object("Anna", order)
        order.id = 999_999
        with pytest.raises(NotFound):
            cases.object("Anna", order)

    def test_within_its_days(self, world: World, cases: Cases) -> None:
        order = world.sale("Anna", "500.00", days_ago=1)
        world.cancel(order)  # at world.now
        with pytest.raises(AppealTooLate):
            cases.object("Anna", order, after=APPEAL_DAYS * DAY + timedelta(microseconds=1))
        assert cases.get(cases.object("Anna", order, after=APPEAL_DAYS * DAY)).ground == (
            "taken_back"
        )

    def test_with_a_reason(self, world: World, cases: Cases) -> None:
        order = lost_by_anna(world)
        for said in ("", " \u200b ", "x" * 1_001):
            with pytest.raises(Invalid) as refused:
                cases.object("Anna", order, said=said)
            assert refused.value.errors[0].field == "said"

    def test_about_a_click_that_was_left_out(self, world: World, cases: Cases) -> None:
        anna = world.people["Anna"].link
        assert anna is not None
        world.click(anna, at=world.now - HOUR, reason=DropReason.BOT)
        click_id = click_of(world, "Anna")
        claim = cases.get(cases.object("Anna", click_id))
        assert (claim.ground, claim.click_id) == ("click_not_counted", click_id)
        with pytest.raises(NotFound):
            cases.object("Boris", click_id)
        with pytest.raises(NotFound):
            cases.object("Anna", uuid4())
        world.click(anna, at=world.now - HOUR)
        with pytest.raises(NothingToAppeal):
            cases.object("Anna", _counted(world))

    def test_persons_who_decided_first_are_named(self, world: World, cases: Cases) -> None:
        declined, cancelled = flooded(world), world.sale("Anna", "10.00", days_ago=2)
        review(cases, declined, ReviewOutcome.DECLINED, cases.second)
        cases.do(
            cancel_order, program_id=cancelled.program_id, order_id=cancelled.order_id,
            reason="fraud", by=f"user:{cases.manager.user_id}",
        )  # fmt: skip
        first = [cases.get(cases.object("Anna", each)).first_decided_by
                 for each in (declined, cancelled)]  # fmt: skip
        assert first == [cases.second.user_id, cases.manager.user_id]


def _counted(world: World) -> UUID:
    world.session.rollback()
    found = world.session.scalars(sa.select(Click.click_id).where(Click.reason.is_(None))).first()
    assert found is not None
    return found


class TestAccepted:
    def test_the_order_is_given_to_whoever_objected(self, world: World, cases: Cases) -> None:
        order = lost_by_anna(world)
        claim_id = cases.object("Anna", order)
        cases.accept(claim_id, Remedy.ASSIGN)
        claim = cases.get(claim_id)
        assert (claim.status, claim.remedy, claim.decided_by, claim.reason) == (
            "accepted", "assign", cases.manager.user_id, "You are right.",
        )  # fmt: skip
        assert cases.credited(order) == [cases.enrollment("Anna")]
        [mail] = cases.mails("claims/decided")
        assert "was accepted" in mail.text and "You are right." in mail.text
        books_agree(world)

    def test_a_missing_order_of_nobody_is_given_to_who_missed_it(
        self, world: World, cases: Cases
    ) -> None:
        order = world.order("800.00", at=world.now - DAY)
        claim_id = cases.ask("Anna", order.order_id).claim_id
        assert claim_id is not None
        cases.accept(claim_id, Remedy.ASSIGN)
        assert cases.get(claim_id).order_row_id == order.id
        assert cases.credited(order) == [cases.enrollment("Anna")]

    def test_a_held_order_is_released(self, world: World, cases: Cases) -> None:
        order = flooded(world)
        claim_id = cases.object("Anna", order)
        assert cases.get(claim_id).ground == "held"
        cases.accept(claim_id, Remedy.RELEASE)
        world.session.rollback()
        assert world.session.get_one(Order, order.id).review_outcome == "released"

    def test_a_declined_click_credits_after_all(self, world: World, cases: Cases) -> None:
        order = flooded(world)
        review(cases, order, ReviewOutcome.DECLINED, cases.manager)
        claim_id = cases.object("Anna", order)
        cases.accept(claim_id, Remedy.OVERTURN, by=cases.second)
        assert cases.credited(order) == [cases.enrollment("Anna")]
        books_agree(world)

    def test_a_filtered_click_counts_and_its_order_is_decided_anew(
        self, world: World, cases: Cases
    ) -> None:
        anna = world.people["Anna"].link
        assert anna is not None
        at = world.now - DAY
        token = world.click(
            anna, at=at - HOUR, reason=DropReason.BOT, sub_ids=("mail", "", "", "", "")
        )
        order = world.order("900.00", at=at, clicks=(token,))
        assert cases.credited(order) == []
        claim_id = cases.object("Anna", click_of(world, "Anna"))
        cases.accept(claim_id, Remedy.CLEAR_CLICK)
        assert cases.credited(order) == [cases.enrollment("Anna")]
        books_agree(world)
        counters_agree(world)

    def test_a_held_order_goes_with_its_click(self, world: World, cases: Cases) -> None:
        order = flooded(world)
        claim_id = cases.object("Anna", click_of(world, "Anna"))
        cases.accept(claim_id, Remedy.CLEAR_CLICK)
        world.session.rollback()
        live = world.session.execute(
            sa.select(Decision.number, Decision.review_reason).where(
                Decision.order_id == order.id, Decision.voided_at.is_(None)
            )
        ).one()
        assert tuple(live) == (2, None)
        counters_agree(world)

    def test_what_is_not_there_any_more_is_refused(self, world: World, cases: Cases) -> None:
        order = lost_by_anna(world)
        claim_id = cases.object("Anna", order)
        for remedy in (Remedy.RELEASE, Remedy.OVERTURN, Remedy.CLEAR_CLICK):
            with pytest.raises(RemedyNotThere):
                cases.accept(claim_id, remedy)
        world.cancel(order)
        with pytest.raises(RemedyNotThere):
            cases.accept(claim_id, Remedy.ASSIGN)
        unknown = cases.ask("Anna", "X-1").claim_id
        assert unknown is not None
        with pytest.raises(RemedyNotThere):
            cases.accept(unknown, Remedy.ASSIGN)
        with cases.work() as session:
            enrollments.suspend(
                session, enrollment_id=cases.enrollment("Anna"), reason="spam", by=None,
                now=world.now,
            )  # fmt: skip
        other = world.order("800.00", at=world.now - DAY)
        missed = cases.ask("Anna", other.order_id).claim_id
        assert missed is not None
        with pytest.raises(RemedyNotThere):
            cases.accept(missed, Remedy.ASSIGN)
        assert cases.get(claim_id).status == "open", "refused, so nothing was written"


def counters_agree(world: World) -> None:
    """Every counter is what a recount of the rows says."""
    with psycopg.connect(world.settings.database_url.replace("+psycopg", "")) as connection:
        whole, _gone = days_of(connection)
        assert whole
        assert [str(each) for day in whole for each in differences(connection, day)] == []


class TestReaders:
    def test_who_decided_first_does_not_read_the_objection(
        self, world: World, cases: Cases
    ) -> None:
        order = flooded(world)
        review(cases, order, ReviewOutcome.DECLINED, cases.manager)
        claim_id = cases.object("Anna", order)
        for verb in (cases.decline, cases.explain):
            with pytest.raises(SecondReaderNeeded):
                verb(claim_id)
        with pytest.raises(SecondReaderNeeded):
            cases.accept(claim_id, Remedy.OVERTURN)
        cases.decline(claim_id, by=cases.second)
        assert cases.get(claim_id).decided_by == cases.second.user_id
        with pytest.raises(Final):
            cases.object("Anna", order)

    def test_a_program_of_one_person_reads_it_twice_and_the_case_says_so(
        self, world: World, cases: Cases
    ) -> None:
        world.session.execute(
            sa.update(Grant)
            .where(Grant.user_id == cases.second.user_id)
            .values(revoked_at=world.now)
        )
        world.session.commit()
        order = flooded(world)
        review(cases, order, ReviewOutcome.DECLINED, cases.manager)
        claim_id = cases.object("Anna", order)
        cases.decline(claim_id)
        claim = cases.get(claim_id)
        assert claim.decided_by == claim.first_decided_by == cases.manager.user_id

    def test_a_manager_who_is_an_affiliate_decides_no_case_of_their_own(
        self, world: World, cases: Cases
    ) -> None:
        anna = world.people["Anna"]
        with cases.work() as session:
            grants.grant_role(
                session, user_id=anna.user_id, role="manager", program_id=world.program.id,
                by=None, now=world.now,
            )  # fmt: skip
        claim_id = cases.object("Anna", lost_by_anna(world))
        with pytest.raises(OwnClaim):
            cases.do(decide.accept, claim_id=claim_id, remedy=Remedy.ASSIGN, reason="mine",
                     by=anna.user_id)  # fmt: skip
        with pytest.raises(OwnClaim):
            cases.do(notes.add_staff_note, claim_id=claim_id, text="ok", for_affiliate=False,
                     by=anna.user_id)  # fmt: skip
        told = "not_decided_by_claimant"
        with pytest.raises(sa.exc.IntegrityError, match=told), cases.work() as session:
            session.execute(
                sa.update(Claim).values(
                    status="declined", decided_at=world.now, decided_by=anna.user_id
                )
            )

    def test_the_first_of_two_decisions_at_once_stands(
        self, world: World, cases: Cases, meanwhile: Callable[[Callable[[], None]], Any]
    ) -> None:
        order = lost_by_anna(world)
        claim_id = cases.object("Anna", order)
        with cases.work() as session:
            decide.decline(
                session, claim_id=claim_id, reason="no", by=cases.manager.user_id, now=world.now
            )
            other = meanwhile(lambda: cases.accept(claim_id, Remedy.ASSIGN, by=cases.second))
        assert isinstance(other.result(), ClaimClosed)
        assert cases.get(claim_id).status == "declined"
        assert cases.credited(order) == [cases.enrollment("Boris")]

    def test_it_is_closed_for_everybody_once_decided(self, world: World, cases: Cases) -> None:
        claim_id = cases.object("Anna", lost_by_anna(world))
        cases.explain(claim_id)
        assert cases.get(claim_id).status == "answered"
        with pytest.raises(ClaimClosed):
            cases.decline(claim_id, by=cases.second)
        with pytest.raises(ClaimClosed):
            cases.note("Anna", claim_id)
        with pytest.raises(ClaimClosed):
            cases.do(decide.withdraw, claim_id=claim_id, enrollment_id=cases.enrollment("Anna"))
        with pytest.raises(NotFound):
            cases.decline(999_999)

    @pytest.mark.parametrize("reason", ["", " \n ", "x" * 501])
    def test_an_answer_gives_its_reason(self, cases: Cases, reason: str) -> None:
        claim_id = cases.ask("Anna", "X-1").claim_id
        for verb in (decide.decline, decide.explain):
            with pytest.raises(Invalid) as refused:
                cases.do(verb, claim_id=claim_id, reason=reason, by=cases.manager.user_id)
            assert refused.value.errors[0].field == "reason"


class TestConversation:
    def test_both_sides_write_and_colleagues_among_themselves(
        self, world: World, cases: Cases
    ) -> None:
        claim_id = cases.ask("Anna", "X-1").claim_id
        assert claim_id is not None
        cases.note("Anna", claim_id)
        for text, seen in (("Who is the buyer?", True), ("Looks odd.", False)):
            cases.do(notes.add_staff_note, claim_id=claim_id, text=text, for_affiliate=seen,
                     by=cases.manager.user_id)  # fmt: skip
        world.session.rollback()
        rows = world.session.execute(
            sa.select(ClaimNote.text, ClaimNote.from_staff, ClaimNote.for_affiliate).order_by(
                ClaimNote.id
            )
        ).all()
        assert [tuple(row) for row in rows] == [
            ("Here is the receipt.", False, True),
            ("Who is the buyer?", True, True),
            ("Looks odd.", True, False),
        ]
        [mail] = cases.mails("claims/asked")
        assert "Who is the buyer?" in mail.text
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), cases.work() as session:
            session.execute(sa.update(ClaimNote).values(text="another"))

    def test_notes_of_others_empty_ones_and_endless_ones_are_refused(
        self, world: World, cases: Cases
    ) -> None:
        claim_id = cases.ask("Anna", "X-1").claim_id
        assert claim_id is not None
        with pytest.raises(NotFound):
            cases.note("Boris", claim_id)
        with pytest.raises(NotFound):
            cases.do(decide.withdraw, claim_id=claim_id, enrollment_id=cases.enrollment("Boris"))
        for text in ("", "\u200b", "x" * 1_001):
            with pytest.raises(Invalid):
                cases.note("Anna", claim_id, text)
        for _ in range(NOTES_MAX):
            cases.note("Anna", claim_id)
        with pytest.raises(TooManyNotes):
            cases.note("Anna", claim_id)

    def test_a_withdrawn_case_is_closed_and_nobodys_decision(self, cases: Cases) -> None:
        claim_id = cases.ask("Anna", "X-1").claim_id
        cases.do(decide.withdraw, claim_id=claim_id, enrollment_id=cases.enrollment("Anna"))
        claim = cases.get(claim_id)
        assert (claim.status, claim.decided_by) == ("withdrawn", None)
        assert cases.ask("Anna", "X-1").claim_id != claim_id


def test_an_appeal_is_answered_by_itself_when_what_it_asked_for_has_happened(
    world: World, cases: Cases
) -> None:
    held = flooded(world)
    appeal = cases.object("Anna", held)
    assert cases.upkeep()[0] == 0, "it is credited, and still held"
    review(cases, held, ReviewOutcome.RELEASED, cases.manager)
    assert cases.upkeep()[0] == 1
    assert cases.get(appeal).status == "answered"


def test_a_click_that_counts_cannot_be_cleared(world: World, cases: Cases) -> None:
    world.sale("Anna", "10.00", days_ago=1)
    click_id = click_of(world, "Anna")
    with pytest.raises(ClickCounts):
        cases.do(clear_click, click_id=click_id, program_id=world.program.id, reason="r", by="u")
    with pytest.raises(NotFound):
        cases.do(clear_click, click_id=click_id, program_id=world.euros.id, reason="r", by="u")
