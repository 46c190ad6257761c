"""Unique clicks of a link and day: booked once, whatever dies, comes late or is recounted."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from paid_world import DAY, NOW, YESTERDAY, Paying
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db, engine_for, session_for
from affiliate.people import enrollments
from affiliate.programs.announcements import Grandfather, announce
from payouts.commissions.models import Commission
from tests.builders import terms_document
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.rules import DropReason
from tracker.paid_clicks import book
from tracker.paid_clicks.book import book_due
from tracker.paid_clicks.models import PaidClickDay
from tracker.paid_clicks.review import NoClicksToReview, review_clicks

HOUR = timedelta(hours=1)


def review(paying: Paying, link: Any, outcome: ReviewOutcome) -> None:
    row = paying.paid_day(link)
    paying.once(
        lambda session: (
            review_clicks(
                session,
                paid_day_id=row.id,
                outcome=outcome,
                reason="looked at",
                by="user:1",
                now=NOW,
            )  # type: ignore[func-returns-value]
            or 0
        )
    )


class TestBooking:
    def test_the_unique_clicks_of_yesterday_earn_each_of_them(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 7)
        assert paying.book() == 1
        assert paying.earned(link) == [(1, "0.021000", None)]
        assert paying.book() == 0
        paying.sound()

    def test_today_waits_until_it_is_over(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 3, at=NOW - HOUR)
        assert paying.book() == 0
        assert paying.book(now=NOW + DAY) == 1
        assert paying.earned(link, date(2026, 11, 21)) == [(1, "0.009000", None)]

    def test_days_end_where_the_program_lives(
        self, app: Flask, settings: Settings, session: Session
    ) -> None:
        paying = Paying.build_under(app, settings, session, time_zone="Asia/Tokyo")
        link = paying.link(paying.affiliate("anna"))
        # 14:59 and 15:00 of UTC are the last minute of a day and the first of the next there.
        paying.clicks(link, 1, at=datetime.fromisoformat("2026-11-19T14:59:00+00:00"))
        paying.clicks(link, 2, at=datetime.fromisoformat("2026-11-19T15:00:00+00:00"))
        paying.book()
        assert paying.earned(link, date(2026, 11, 19)) == [(1, "0.003000", None)]
        assert paying.earned(link, YESTERDAY) == [(1, "0.006000", None)]

    def test_only_unique_clicks_that_count_are_paid(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.clicks(link, 5, reason=DropReason.BOT)
        paying.book()
        assert paying.earned(link) == [(1, "0.006000", None)]

    def test_each_link_and_day_by_itself_in_any_number_of_parts(self, paying: Paying) -> None:
        links = [paying.link(paying.affiliate(name)) for name in ("anna", "boris", "clara")]
        for link in links:
            paying.clicks(link, 2)
            paying.clicks(link, 1, at=NOW - 2 * DAY)
        booked = [paying.once(lambda s: book_due(s, now=NOW, rows_max=2)) for _ in range(5)]
        assert booked == [2, 1, 2, 1, 0]
        assert all(paying.earned(link) == [(1, "0.006000", None)] for link in links)
        paying.sound()

    def test_it_is_held_from_the_end_of_its_day_and_then_released(self, paying: Paying) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 1_000)
        paying.book()
        due = datetime.fromisoformat("2026-12-05T00:00:00+00:00")
        paying.release(due - timedelta(seconds=1))
        assert paying.available(anna) == "0.00"
        paying.release(due)
        assert paying.available(anna) == "3.00"
        paying.sound()

    def test_fractions_of_a_kopeck_add_up(self, paying: Paying) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        for ago in range(1, 5):
            paying.clicks(link, 1, at=NOW - ago * DAY)
        paying.book()
        paying.release(NOW + 30 * DAY)
        assert paying.available(anna) == "0.012"

    def test_nothing_is_booked_where_nothing_was_promised(
        self, app: Flask, settings: Settings, session: Session
    ) -> None:
        paying = Paying.build_under(app, settings, session, per_click=None)
        paying.clicks(paying.link(paying.affiliate("anna")), 3)
        assert paying.book() == 0
        assert paying.session.scalar(sa.select(sa.func.count(PaidClickDay.id))) == 0

    def test_the_cap_of_the_period_holds(
        self, app: Flask, settings: Settings, session: Session
    ) -> None:
        cap = {"per_order": None, "per_period": {"amount": "0.01", "period": "month"}}
        paying = Paying.build_under(app, settings, session, caps=cap)
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 3)
        paying.clicks(link, 2, at=NOW - 2 * DAY)
        paying.book()
        assert paying.earned(link, date(2026, 11, 19)) == [(1, "0.006000", None)]
        assert paying.earned(link) == [(1, "0.004000", None)]
        paying.clicks(link, 1, at=NOW - DAY + HOUR)
        paying.book()
        assert paying.earned(link)[1:] == [(2, "0.000000", None)]
        paying.sound()


class TestVersions:
    def test_the_version_in_force_at_the_days_end_counts(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        document = terms_document()
        document["commission"]["per_click"] = "1.00"
        with paying.app.app_context():
            announce(
                paying.session, program_id=paying.program.id, document=document,
                effective_at=NOW - DAY, by=None, now=NOW - 20 * DAY,
            )  # fmt: skip
            paying.session.commit()
        for ago in (1, 2):
            paying.clicks(link, 2, at=NOW - ago * DAY - 2 * HOUR)
        paying.book()
        assert paying.earned(link) == [(1, "2.000000", None)]
        assert paying.earned(link, date(2026, 11, 19)) == [(1, "0.006000", None)]
        paying.sound()

    def test_whoever_keeps_their_terms_is_paid_by_them(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        document = terms_document()
        document["commission"]["per_click"] = None
        with paying.app.app_context():
            announce(
                paying.session, program_id=paying.program.id, document=document,
                effective_at=NOW - 5 * DAY, by=None, now=NOW - 20 * DAY,
                grandfather=Grandfather(),
            )  # fmt: skip
            paying.session.commit()
        new = paying.affiliate("boris")
        paying.session.execute(
            sa.text("UPDATE enrollments SET approved_at = :at WHERE id = :id"),
            {"at": NOW - 3 * DAY, "id": new.id},
        )
        paying.session.commit()
        other = paying.link(new)
        paying.clicks(link, 2)
        paying.clicks(other, 2)
        assert paying.book() == 2
        assert paying.earned(link) == [(1, "0.006000", None)]
        assert paying.earned(other) == []
        assert paying.paid_day(other).bookings == 0
        assert paying.book() == 0
        paying.sound()


class TestMembership:
    def test_a_suspended_affiliate_is_booked_once_they_are_let_in_again(
        self, paying: Paying
    ) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 2)
        with paying.app.app_context():
            enrollments.suspend(
                paying.session, enrollment_id=anna.id, reason="a look", by=None, now=NOW
            )
            paying.session.commit()
        assert paying.book() == 0
        with paying.app.app_context():
            enrollments.reinstate(paying.session, enrollment_id=anna.id, by=None, now=NOW)
            paying.session.commit()
        assert paying.book() == 1
        assert paying.earned(link) == [(1, "0.006000", None)]


class TestLateClicks:
    def test_a_day_waits_for_a_node_that_has_not_loaded_it(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.node("web-1", NOW - timedelta(minutes=1))
        paying.node("web-2", NOW - 4 * HOUR)  # an hour before the day's end
        assert paying.book() == 0
        paying.clicks(link, 3, at=NOW - 4 * HOUR)
        paying.node("web-2", NOW - 3 * HOUR)
        assert paying.book() == 1
        assert paying.earned(link) == [(1, "0.015000", None)]

    def test_and_not_longer_than_a_day(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.node("web-2", NOW - 10 * DAY)
        assert paying.book() == 0
        assert paying.book(now=NOW + 21 * HOUR) == 1

    def test_clicks_that_fronts_wrote_to_the_database_are_waited_for(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.session.execute(sa.text("INSERT INTO click_spill (record) VALUES ('x')"))
        paying.session.commit()
        assert paying.book() == 0

    def test_a_click_that_was_loaded_after_its_day_was_booked_is_booked_beside_it(
        self, paying: Paying
    ) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 5)
        paying.book()
        paying.release(NOW + 20 * DAY)
        paying.clicks(link, 2, at=NOW - DAY + HOUR)
        assert paying.book() == 1
        assert paying.book() == 0
        assert paying.earned(link) == [(1, "0.015000", None), (2, "0.006000", None)]
        # What was released stays released.
        assert paying.available(anna) == "0.015"
        paying.sound()

    def test_after_weeks_it_is_too_late(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 1, at=NOW - 46 * DAY)
        paying.clicks(link, 1, at=NOW - 45 * DAY)
        assert paying.book() == 1
        assert paying.earned(link, date(2026, 10, 7)) == [(1, "0.003000", None)]


class TestRecounts:
    def test_of_fewer_clicks_all_is_taken_back_and_booked_anew(self, paying: Paying) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 5)
        paying.book()
        paying.release(NOW + 20 * DAY)
        paying.recount(link, 3)
        assert paying.book(now=NOW + DAY) == 1
        assert paying.earned(link) == [
            (1, "0.015000", "clicks_recounted"),
            (2, "0.009000", None),
        ]
        paying.release(NOW + 20 * DAY)
        assert paying.available(anna) == "0.009"
        paying.sound()

    def test_of_none_nothing_is_left(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.book()
        paying.recount(link, 0)
        paying.book()
        assert paying.earned(link) == [(1, "0.006000", "clicks_recounted")]
        assert paying.book() == 0
        paying.sound()


class TestFloods:
    def test_a_flood_holds_what_the_day_earned_and_is_not_paid_itself(self, paying: Paying) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 2)
        paying.clicks(link, 9, reason=DropReason.FLOOD)
        paying.book()
        paying.release(NOW + 20 * DAY)
        assert paying.available(anna) == "0.00"
        paying.sound()
        review(paying, link, ReviewOutcome.RELEASED)
        paying.release(NOW + 20 * DAY)
        assert paying.available(anna) == "0.006"
        with pytest.raises(NoClicksToReview):
            review(paying, link, ReviewOutcome.DECLINED)
        paying.sound()

    def test_declined_nothing_of_the_day_is_paid_later_clicks_either(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.clicks(link, 1, reason=DropReason.FLOOD)
        paying.book()
        review(paying, link, ReviewOutcome.DECLINED)
        paying.clicks(link, 4, at=NOW - DAY + HOUR)
        assert paying.book() == 0
        assert paying.earned(link) == [(1, "0.006000", "review_rejected")]
        paying.sound()

    def test_a_flood_that_is_loaded_later_holds_what_was_not_released(self, paying: Paying) -> None:
        anna = paying.affiliate("anna")
        link = paying.link(anna)
        paying.clicks(link, 2)
        paying.book()
        paying.clicks(link, 1, reason=DropReason.FLOOD)
        assert paying.book() == 1
        paying.release(NOW + 20 * DAY)
        assert paying.available(anna) == "0.00"
        assert paying.book() == 0
        paying.sound()

    def test_a_day_without_a_flood_is_nobodys_to_review(self, paying: Paying) -> None:
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 2)
        paying.book()
        with pytest.raises(NoClicksToReview):
            review(paying, link, ReviewOutcome.DECLINED)


class TestExactlyOnce:
    def test_two_workers_at_once_book_once(self, paying: Paying, app: Flask) -> None:
        links = [paying.link(paying.affiliate(f"a{n}")) for n in range(6)]
        for link in links:
            paying.clicks(link, 3)
        gate = threading.Barrier(3)

        def work() -> None:
            with app.app_context():
                gate.wait()
                session = db.session()
                while book_due(session, now=NOW, rows_max=2):
                    session.commit()
                session.commit()

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert all(paying.earned(link) == [(1, "0.009000", None)] for link in links)
        paying.sound()

    def test_one_that_saw_the_past_books_nothing_twice(
        self, paying: Paying, app: Flask, settings: Settings
    ) -> None:
        """Its list is from before the other's commit; the row it then locks says otherwise."""
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 3)
        engine = engine_for(settings)
        with app.app_context(), session_for(engine)() as first:
            assert book_due(first, now=NOW) == 1
            done: list[int] = []
            second = threading.Thread(target=lambda: done.append(paying.book()))
            second.start()
            time.sleep(0.5)
            first.commit()
            second.join()
        engine.dispose()
        assert done == [0]
        assert paying.earned(link) == [(1, "0.009000", None)]
        paying.sound()

    @pytest.mark.parametrize("step", ["_book", "_earn", "earn_decided"])
    def test_killed_between_two_steps_it_books_once(
        self, paying: Paying, app: Flask, settings: Settings, step: str
    ) -> None:
        """A process of its own dies by SIGKILL behind the step, before the commit."""
        link = paying.link(paying.affiliate("anna"))
        paying.clicks(link, 3)
        paying.tick()
        child = os.fork()
        if child == 0:
            _book_and_die(app, settings, step)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert paying.earned(link) == []
        assert paying.book() == 1
        assert paying.earned(link) == [(1, "0.009000", None)]
        paying.sound()

    def test_a_link_that_cannot_be_booked_holds_up_nobody(
        self, paying: Paying, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad, good = (paying.link(paying.affiliate(name)) for name in ("anna", "boris"))
        for link in (bad, good):
            paying.clicks(link, 1)
        whole = book._earn

        def breaks(session: Session, day: Any, row: PaidClickDay, *rest: Any) -> None:
            if row.link_id == bad.id:
                raise ValueError("broken")
            whole(session, day, row, *rest)

        monkeypatch.setattr(book, "_earn", breaks)
        assert paying.book() == 1
        assert (paying.earned(bad), len(paying.earned(good))) == ([], 1)
        monkeypatch.undo()
        assert paying.book() == 1
        paying.sound()


def _book_and_die(app: Flask, settings: Settings, step: str) -> None:
    """In the child: connections of its own, and an end that no handler sees."""
    whole = getattr(book, step)

    def dies(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(book, step, dies)
    with app.app_context(), session_for(engine_for(settings))() as session:
        book_due(session, now=NOW)
    os._exit(1)


def test_every_booking_is_level_1_under_the_clicks_reference(paying: Paying) -> None:
    link = paying.link(paying.affiliate("anna"))
    paying.clicks(link, 1)
    paying.book()
    [found] = paying.session.scalars(sa.select(Commission))
    assert (found.reference, found.level) == (f"clicks:{link.id}:2026-11-20", 1)
    assert found.via_enrollment_id is None
