"""Clicks out of a flood: their orders are held for a person, never refused by a machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from affiliate.core.audit import AuditEntry
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from payouts.commissions.release import release_due
from tests.orders.shop_world import DAY, World, earned, of
from tracker.attribution.click_checks import check_clicks
from tracker.attribution.models import Decision
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.rules import DropReason
from tracker.orders.refusals import NothingToReview, OrderCancelled
from tracker.orders.review import review_order

HOUR = timedelta(hours=1)
FLOOD = DropReason.FLOOD


@pytest.fixture
def anna(world: World) -> Enrollment:
    return world.affiliate("anna")


@pytest.fixture
def link(world: World, anna: Enrollment) -> Link:
    return world.link(anna)


def check(world: World, after: timedelta = HOUR) -> int:
    with world.app.app_context():
        moved = check_clicks(world.session, now=world.now + after)
        world.session.commit()
    return moved


def review(world: World, outcome: ReviewOutcome, order_id: str = "A-10042") -> None:
    with world.app.app_context():
        review_order(
            world.session,
            program_id=world.program.id,
            order_id=order_id,
            outcome=outcome,
            reason="looked at it",
            by="user:7",
            now=world.now + HOUR,
        )
        world.session.commit()


def waits(world: World) -> list[object]:
    return [commission["waits_for"] for commission in world.get()["commissions"]]


@pytest.mark.abuse("A18")
class TestHeld:
    def test_an_order_of_a_flooded_click_is_credited_and_held(
        self, world: World, link: Link, anna: Enrollment
    ) -> None:
        body = world.post(world.order(clicks=[world.click(link, reason=FLOOD)])).get_json()
        assert earned(body) == [(of(anna), 1, "350.00", "pending", "review")]

    def test_a_late_verdict_of_a_flood_holds_and_does_not_void(
        self, world: World, link: Link, anna: Enrollment
    ) -> None:
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[token]))
        world.load(token, link, reason=FLOOD)
        assert check(world) == 1
        assert earned(world.get()) == [(of(anna), 1, "350.00", "pending", "review")]
        assert check(world) == 0

    def test_a_flood_that_the_loader_finds_after_the_order_holds_it(
        self, world: World, link: Link
    ) -> None:
        """The whole way: journal, order on the token, loader, check."""
        settings = replace(world.settings, flood_device_per_minute=10)
        with ClickRecorder(settings) as recorder:
            tokens = [
                recorder.click(
                    link_id=link.id,
                    clicked_at=world.now - DAY + timedelta(seconds=number),
                    address="203.0.113.9",
                    agent="Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
                    visitor_id=uuid4(),
                    visitor_known=True,
                )
                for number in range(30)
            ]
        world.post(world.order("A-1", clicks=[tokens[0]]))
        world.post(world.order("A-2", clicks=[tokens[-1]]))
        loader = Loader(settings)
        try:
            assert loader.round() == len(tokens)
        finally:
            loader.close()
        assert check(world) == 2
        found = [world.get(order)["commissions"][0]["waits_for"] for order in ("A-1", "A-2")]
        assert found == ["hold_period", "review"]

    def test_nothing_is_released_before_somebody_has_looked(self, world: World, link: Link) -> None:
        world.post(world.order(clicks=[world.click(link, reason=FLOOD)]))
        assert release_due(world.session, now=world.now + 400 * DAY) == 0

    def test_a_flooded_click_that_does_not_win_holds_nothing(
        self, world: World, link: Link, anna: Enrollment
    ) -> None:
        flooded = world.click(world.link(world.affiliate("boris")), ago=2 * DAY, reason=FLOOD)
        body = world.post(world.order(clicks=[flooded, world.click(link)])).get_json()
        assert earned(body) == [(of(anna), 1, "350.00", "pending", "hold_period")]

    def test_a_claim_waits_for_its_confirmation_first(self, world: World, link: Link) -> None:
        order = {"order_id": "A-10042", "total": {"amount": "10.00", "currency": "RUB"}}
        world.event(order, clicks=[world.click(link, reason=FLOOD)])
        assert waits(world) == ["confirmation"]
        world.post({}, "/A-10042/confirmation")
        assert waits(world) == ["review"]


@pytest.mark.abuse("A18")
class TestReview:
    def test_a_released_order_waits_for_its_hold_period_alone(
        self, world: World, link: Link
    ) -> None:
        world.post(world.order(clicks=[world.click(link, reason=FLOOD)]))
        review(world, ReviewOutcome.RELEASED)
        assert waits(world) == ["hold_period"]
        entry = world.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert entry is not None
        assert (entry.actor, entry.action) == ("user:7", "order.review_released")
        assert (entry.old, entry.reason) == ({"suspicion": "flood"}, "looked at it")

    def test_a_declined_click_leaves_the_order_to_the_next_best(
        self, world: World, link: Link
    ) -> None:
        boris = world.affiliate("boris")
        older = world.click(world.link(boris), ago=2 * DAY)
        world.post(world.order(clicks=[older, world.click(link, reason=FLOOD)]))
        review(world, ReviewOutcome.DECLINED)
        assert earned(world.get()) == [(of(boris), 1, "350.00", "pending", "hold_period")]
        voided = world.session.execute(
            sa.select(Decision.number, Decision.void_reason).order_by(Decision.number)
        ).all()
        assert [tuple(row) for row in voided] == [(1, "review_rejected"), (2, None)]

    def test_a_declined_only_click_leaves_nobody_and_says_so(
        self, world: World, link: Link
    ) -> None:
        world.post(world.order(clicks=[world.click(link, reason=FLOOD)]))
        review(world, ReviewOutcome.DECLINED)
        body = world.get()
        assert (body["attribution"]["reason"], body["commissions"]) == ("review_declined", [])

    def test_the_word_of_a_person_outlasts_a_new_decision(self, world: World, link: Link) -> None:
        """A browser's report was looked at; the server's then takes its place."""
        token = world.click(link, reason=FLOOD)
        order = {"order_id": "A-10042", "total": {"amount": "10.00", "currency": "RUB"}}
        world.event(order, clicks=[token])
        review(world, ReviewOutcome.RELEASED)
        world.post(world.order(clicks=[token]))
        assert waits(world) == ["hold_period"]

    def test_a_flood_that_shows_after_the_word_was_no_needs_no_second_one(
        self, world: World, link: Link
    ) -> None:
        late = world.click(link, loaded=False)
        world.post(world.order(clicks=[world.click(link, ago=HOUR, reason=FLOOD), late]))
        review(world, ReviewOutcome.DECLINED)
        assert waits(world) == ["click_check"]
        world.load(late, link, reason=FLOOD)
        assert check(world) == 1
        assert world.get()["commissions"] == []

    @pytest.mark.parametrize("outcome", ReviewOutcome)
    def test_a_second_word_is_refused(
        self, world: World, link: Link, outcome: ReviewOutcome
    ) -> None:
        world.post(world.order(clicks=[world.click(link, reason=FLOOD)]))
        review(world, ReviewOutcome.RELEASED)
        with pytest.raises(NothingToReview):
            review(world, outcome)

    def test_an_order_without_suspicion_is_not_reviewed(self, world: World, link: Link) -> None:
        world.post(world.order(clicks=[world.click(link)]))
        with pytest.raises(NothingToReview):
            review(world, ReviewOutcome.DECLINED)

    def test_a_cancelled_order_is_not_reviewed(self, world: World, link: Link) -> None:
        world.post(world.order(clicks=[world.click(link, reason=FLOOD)]))
        world.post({}, "/A-10042/cancellation")
        with pytest.raises(OrderCancelled):
            review(world, ReviewOutcome.RELEASED)


class TestVisitorAlone:
    """An order that names its visitor and no click, reported before the click was loaded."""

    VISITOR = "00010203-0405-0607-0809-0a0b0c0d0e0f"

    def test_is_decided_again_when_the_click_is_loaded(
        self, world: World, link: Link, anna: Enrollment
    ) -> None:
        token = world.click(link, ago=HOUR, loaded=False)
        body = world.post(world.order(visitor=self.VISITOR)).get_json()
        assert body["attribution"]["reason"] == "no_evidence"
        assert check(world, timedelta(minutes=1)) == 0
        world.load(token, link)
        assert check(world, timedelta(minutes=2)) == 1
        assert earned(world.get()) == [(of(anna), 1, "350.00", "pending", "hold_period")]
        assert check(world, timedelta(minutes=3)) == 0

    def test_is_decided_again_once_where_the_click_does_not_count(
        self, world: World, link: Link
    ) -> None:
        token = world.click(link, ago=HOUR, loaded=False)
        world.post(world.order(visitor=self.VISITOR))
        world.load(token, link, reason=DropReason.BOT)
        assert [check(world, timedelta(minutes=2)), check(world, timedelta(minutes=3))] == [1, 0]
        assert world.get()["attribution"]["reason"] == "not_a_person"

    def test_is_left_alone_after_an_hour(self, world: World, link: Link) -> None:
        token = world.click(link, ago=HOUR, loaded=False)
        world.post(world.order(visitor=self.VISITOR))
        assert check(world, timedelta(hours=2)) == 0
        waiting = sa.select(Decision.click_check_due_at)
        assert world.session.scalars(waiting).all() == [None]
        world.load(token, link)
        assert check(world, timedelta(hours=3)) == 0

    @pytest.mark.parametrize("visitor", ["42", "x" * 36, "00010203"])
    def test_a_visitor_of_the_shops_own_is_none_of_ours(
        self, world: World, link: Link, visitor: str
    ) -> None:
        world.post(world.order(visitor=visitor))
        world.load(world.click(link, ago=HOUR, loaded=False), link)
        assert check(world, timedelta(minutes=2)) == 0
