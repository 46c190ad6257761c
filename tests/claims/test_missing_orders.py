"""Orders that an affiliate misses: answered at once, or a case; nothing to fish for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from world import DAY, World

from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.people import enrollments
from payouts.audit.run import run
from tests.claims.asking import Cases
from tracker.claims.ask import ask_about_order
from tracker.claims.checks import CHECKS
from tracker.claims.models import Claim
from tracker.claims.refusals import (
    Final,
    NotAMember,
    OpenAlready,
    TooManyClaims,
    TooManyOpen,
)
from tracker.claims.rules import CASES_OPEN_MAX, CASES_PER_DAY_MAX, due_at

HOUR = timedelta(hours=1)


def lost_by_anna(world: World) -> Any:
    """An order of Boris's on which Anna had the earlier click."""
    at = world.now - DAY
    anna, boris = world.people["Anna"].link, world.people["Boris"].link
    assert anna is not None and boris is not None
    clicks = (world.click(anna, at=at - 3 * HOUR), world.click(boris, at=at - HOUR))
    return world.order("900.00", at=at, clicks=clicks)


class TestAnsweredAtOnce:
    def test_an_own_order_leads_to_its_page_whatever_day_is_named(
        self, world: World, cases: Cases
    ) -> None:
        order = world.sale("Anna", "500.00", days_ago=20)
        asked = cases.ask("Anna", order.order_id, days_ago=3)
        assert (asked.order_row_id, asked.claim_id) == (order.id, None)

    def test_an_order_that_an_own_click_lost_is_answered_with_its_trace(
        self, world: World, cases: Cases
    ) -> None:
        order = lost_by_anna(world)
        asked = cases.ask("Anna", order.order_id)
        claim = cases.get(asked.claim_id)
        assert (claim.status, claim.order_row_id, claim.decided_by) == ("answered", order.id, None)
        assert cases.mails("claims/opened") == []
        assert cases.ask("Anna", order.order_id) == asked, "asked again, it is the same answer"

    def test_who_does_not_name_its_day_learns_nothing_of_a_lost_order(
        self, world: World, cases: Cases
    ) -> None:
        order = lost_by_anna(world)
        claim = cases.get(cases.ask("Anna", order.order_id, days_ago=9).claim_id)
        assert (claim.status, claim.order_row_id) == ("open", None)
        # Naming the right day afterwards closes it with the trace.
        assert cases.ask("Anna", order.order_id).claim_id == claim.id
        claim = cases.get(claim.id)
        assert (claim.status, claim.order_row_id) == ("answered", order.id)

    def test_answers_at_once_do_not_count_against_the_limit(
        self, world: World, cases: Cases
    ) -> None:
        order = lost_by_anna(world)
        for number in range(CASES_PER_DAY_MAX - 1):
            cases.ask("Anna", f"X-{number}")
        cases.ask("Anna", order.order_id)
        cases.ask("Anna", "X-last")
        with pytest.raises(TooManyClaims):
            cases.ask("Anna", "X-beyond")
        assert cases.ask("Anna", order.order_id).claim_id is not None


class TestCase:
    def test_an_unknown_number_opens_a_case_with_a_deadline_and_a_letter(
        self, world: World, cases: Cases
    ) -> None:
        claim = cases.get(cases.ask("Anna", " X-1 ", said="a friend\u202e bought").claim_id)
        assert (claim.status, claim.order_id, claim.said) == ("open", "X-1", "a friend bought")
        assert claim.due_at == due_at(world.now, "Europe/Moscow")
        [mail] = cases.mails("claims/opened")
        assert mail.recipient == "anna@example.com"
        assert "order X-1" in mail.text and "/account/orders/claims/clm_" in mail.text

    def test_one_case_about_a_number_is_open_at_a_time(self, cases: Cases) -> None:
        cases.ask("Anna", "X-1")
        with pytest.raises(OpenAlready):
            cases.ask("Anna", "X-1")
        assert cases.ask("Boris", "X-1").claim_id, "others may ask about it too"

    def test_a_number_that_two_people_declined_is_final(self, cases: Cases) -> None:
        first = cases.ask("Anna", "X-1").claim_id
        assert first is not None
        cases.decline(first)
        second = cases.get(cases.ask("Anna", "X-1").claim_id)
        assert second.first_decided_by == cases.manager.user_id
        cases.decline(second.id, by=cases.second)
        with pytest.raises(Final):
            cases.ask("Anna", "X-1")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"order_id": "no such"}, "order_id"),
            ({"order_id": ""}, "order_id"),
            ({"days_ago": -3}, "day"),
            ({"days_ago": 92}, "day"),
            ({"said": "x" * 1_001}, "said"),
        ],
    )
    def test_what_cannot_be_asked_names_its_field(
        self, cases: Cases, changes: dict[str, Any], field: str
    ) -> None:
        values = {"order_id": "X-1", **changes}
        with pytest.raises(Invalid) as refused:
            cases.ask("Anna", **values)
        assert [error.field for error in refused.value.errors] == [field]

    def test_a_day_must_be_named(self, world: World, cases: Cases) -> None:
        anna = world.people["Anna"]
        with pytest.raises(Invalid):
            cases.do(ask_about_order, enrollment_id=anna.enrollment.id, order_id="X-1", day=None,
                     said="", by=anna.user_id)  # fmt: skip

    def test_applicants_ask_nothing_and_those_who_left_may(
        self, world: World, cases: Cases
    ) -> None:
        world.affiliate("Newcomer", approved=False)
        with pytest.raises(NotAMember):
            cases.ask("Newcomer", "X-1")
        with cases.work() as session:
            enrollments.suspend(
                session, enrollment_id=cases.enrollment("Anna"), reason="spam", by=None,
                now=world.now,
            )  # fmt: skip
        assert cases.ask("Anna", "X-1").claim_id


@contextmanager
def statements(cases: Cases) -> Iterator[list[str]]:
    """The text of every statement that is sent meanwhile."""
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        seen.append(text)

    with cases.world.app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.abuse("A24")
class TestFishing:
    def test_a_strangers_order_and_no_order_are_one_answer_in_words_and_work(
        self, world: World, cases: Cases
    ) -> None:
        """Every statement, every column and the letter are the same, but for the number."""
        order = world.sale("Boris", "700.00", days_ago=1)
        unknown = "A" + order.order_id[1:][::-1]
        cases.ask("Anna", "warm-up")
        told: list[tuple[Any, ...]] = []
        for number in (order.order_id, unknown):
            with statements(cases) as sent:
                claim = cases.get(cases.ask("Anna", number).claim_id)
            columns = {
                column.key: getattr(claim, column.key)
                for column in sa.inspect(Claim).columns
                if column.key not in ("id", "order_id")
            }
            mail = cases.mails("claims/opened")[-1]
            text = re.sub(r"clm_\w+", "clm", mail.text.replace(number, "N"))
            told.append((sent, columns, mail.subject, text))
        assert told[0] == told[1]

    def test_a_thousand_guesses_reveal_nothing(self, world: World, cases: Cases) -> None:
        """Whoever asks about every number finds ten answers a day, all the same."""
        orders = [world.sale("Boris", "100.00", days_ago=1) for _ in range(3)]
        real = [order.order_id for order in orders]
        first = int(real[0].partition("-")[2])
        seen: dict[str, set[str]] = {"real": set(), "none": set()}
        refused = 0
        with cases.work() as session:
            for number in range(first - 500, first + 500):
                guess = f"A-{number}"
                try:
                    with session.begin_nested():
                        claim = cases_ask(session, cases, guess)
                    said = f"{claim.status} {claim.order_row_id} {claim.due_at}"
                except TooManyClaims as refusal:
                    refused += 1
                    said = refusal.detail
                seen["real" if guess in real else "none"].add(said)
        assert refused == 1_000 - CASES_PER_DAY_MAX
        assert seen["real"] <= seen["none"]
        assert not [said for said in seen["none"] if "answered" in said]

    def test_the_limit_is_for_a_day_of_the_program_and_one_affiliate(
        self, world: World, cases: Cases
    ) -> None:
        for number in range(CASES_PER_DAY_MAX):
            cases.ask("Anna", f"X-{number}")
        with pytest.raises(TooManyClaims) as refused:
            cases.ask("Anna", "X-10")
        assert refused.value.status == 429
        assert cases.ask("Boris", "X-10").claim_id
        assert cases.ask("Anna", "X-10", now=world.now + DAY).claim_id

    def test_withdrawing_gives_no_guesses_back(self, world: World, cases: Cases) -> None:
        from tracker.claims.decide import withdraw

        anna = world.people["Anna"].enrollment.id
        for number in range(CASES_PER_DAY_MAX):
            claim_id = cases.ask("Anna", f"X-{number}").claim_id
            cases.do(withdraw, claim_id=claim_id, enrollment_id=anna)
        with pytest.raises(TooManyClaims):
            cases.ask("Anna", "X-10")

    def test_open_cases_of_many_days_are_limited_too(self, world: World, cases: Cases) -> None:
        for number in range(CASES_OPEN_MAX):
            cases.ask("Anna", f"X-{number}", now=world.now + number // CASES_PER_DAY_MAX * DAY)
        with pytest.raises(TooManyOpen):
            cases.ask("Anna", "X-beyond", now=world.now + 5 * DAY)

    def test_two_questions_at_once_are_counted_one_after_the_other(
        self, world: World, cases: Cases, meanwhile: Callable[[Callable[[], None]], Any]
    ) -> None:
        for number in range(CASES_PER_DAY_MAX - 1):
            cases.ask("Anna", f"X-{number}")
        with cases.work() as session:
            cases_ask(session, cases, "X-last")
            other = meanwhile(lambda: cases.ask("Anna", "X-beyond"))
        assert isinstance(other.result(), TooManyClaims)


def cases_ask(session: Any, cases: Cases, order_id: str) -> Claim:
    anna, world = cases.world.people["Anna"], cases.world
    asked = ask_about_order(
        session, enrollment_id=anna.enrollment.id, order_id=order_id,
        day=(world.now - DAY).date(), said="", by=anna.user_id, now=world.now,
    )  # fmt: skip
    claim: Claim = session.get_one(Claim, asked.claim_id)
    return claim


class TestUpkeep:
    def test_a_case_is_answered_by_itself_when_its_order_comes_and_is_credited(
        self, world: World, cases: Cases
    ) -> None:
        order = world.sale("Anna", "500.00", days_ago=1)
        world.session.execute(
            sa.text("UPDATE orders SET order_id = 'late' WHERE id = :id"), {"id": order.id}
        )
        world.session.commit()
        claim_id = cases.ask("Anna", order.order_id).claim_id
        theirs = cases.ask("Boris", order.order_id).claim_id
        assert cases.upkeep()[0] == 0
        world.session.execute(
            sa.text("UPDATE orders SET order_id = :name WHERE id = :id"),
            {"id": order.id, "name": order.order_id},
        )
        world.session.commit()
        assert [cases.upkeep()[0], cases.upkeep()[0]] == [1, 0]
        claim = cases.get(claim_id)
        assert (claim.status, claim.order_row_id, claim.decided_by) == ("answered", order.id, None)
        assert cases.get(theirs).status == "open", "others learn nothing of it"
        [mail] = cases.mails("claims/decided")
        assert mail.recipient == "anna@example.com"
        assert "credited to you now" in mail.text

    def test_who_can_decide_is_reminded_once_a_day_before_the_deadline(
        self, world: World, cases: Cases
    ) -> None:
        claim = cases.get(cases.ask("Anna", "X-1").claim_id)
        left = claim.due_at - world.now
        assert cases.upkeep(after=left - DAY - HOUR)[1] == 0
        assert [cases.upkeep(after=left - DAY)[1], cases.upkeep(after=left)[1]] == [1, 0]
        mails = cases.mails("claims/due_soon")
        assert sorted(mail.recipient for mail in mails) == [
            "manager@example.com", "second@example.com",
        ]  # fmt: skip
        assert "/manage/claims" in mails[0].text

    def test_the_audit_names_a_case_past_its_deadline(self, world: World, cases: Cases) -> None:
        claim = cases.get(cases.ask("Anna", "X-1").claim_id)
        assert run(world.session, CHECKS, real_now=claim.due_at) == []
        [finding] = run(world.session, CHECKS, real_now=claim.due_at + HOUR)
        assert (finding.check.name, finding.rows[0]["claim_id"]) == ("Q1", claim.id)
        assert cases.manager.client.get("/metrics").text.count("kopeck_claims_open 1.0") == 1
        cases.decline(claim.id)
        world.session.rollback()
        assert run(world.session, CHECKS, real_now=claim.due_at + HOUR) == []
