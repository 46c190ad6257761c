"""First click and first sale: one letter each, while it is news."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from letter_mails import letters
from world import DAY, World

from affiliate.letters.choices import ChosenBy, choose
from affiliate.letters.models import Letter
from affiliate.letters.rules import Choice, Kind
from affiliate.people import enrollments
from affiliate.people.models import User
from payouts.commissions.models import Commission
from tracker.attribution.subject import WaitsFor
from tracker.clicks.rules import DropReason
from tracker.letters.firsts import tell_first_clicks, tell_first_sales
from tracker.letters.rules import FIRST_DAYS_MAX

HOUR = timedelta(hours=1)
NBSP = "\N{NO-BREAK SPACE}"
Sweep = Callable[..., int]


def click(world: World, name: str = "Anna", *, ago: timedelta = HOUR, **more: object) -> None:
    link = world.people[name].link
    assert link is not None
    world.click(link, at=world.now - ago, **more)  # type: ignore[arg-type]


def turn_off(world: World, name: str, choice: Choice, *, program_id: int | None = None) -> None:
    choose(
        world.session, user_id=world.people[name].user_id,
        program_id=program_id or world.program.id, wanted={choice: False}, by=ChosenBy.PAGE,
        now=world.now,
    )  # fmt: skip
    world.session.commit()


@pytest.fixture
def anna(world: World) -> World:
    world.affiliate("Anna")
    return world


def test_the_first_click_is_told_once_and_names_the_link(anna: World, sweep: Sweep) -> None:
    assert sweep(tell_first_clicks) == 0, "nobody has clicked"
    click(anna)
    assert (sweep(tell_first_clicks), sweep(tell_first_clicks)) == (1, 0)
    click(anna)
    assert sweep(tell_first_clicks, after=DAY) == 0
    (mail,) = letters(anna.session, Kind.FIRST_CLICK)
    assert mail.recipient == "anna@example.com"
    assert "your link Blog" in mail.text and "your link Blog" in mail.html
    assert f"/account/letters?program={anna.program.slug}" in mail.text
    assert (mail.scope, mail.unsubscribe_url) == (anna.program.id, None)


def test_clicks_that_do_not_count_are_not_the_first(anna: World, sweep: Sweep) -> None:
    click(anna, reason=DropReason.BOT)
    click(anna, reason=DropReason.DUPLICATE)
    assert sweep(tell_first_clicks) == 0
    click(anna)
    assert sweep(tell_first_clicks) == 1


def test_whoever_had_clicks_before_has_no_first_one_now(anna: World, sweep: Sweep) -> None:
    click(anna, ago=10 * DAY)
    click(anna)
    assert sweep(tell_first_clicks) == 0


def test_after_a_week_of_being_off_nobody_gets_an_old_first_click(
    anna: World, sweep: Sweep
) -> None:
    click(anna)
    assert sweep(tell_first_clicks, after=FIRST_DAYS_MAX * DAY) == 0
    assert sweep(tell_first_clicks, after=(FIRST_DAYS_MAX - 1) * DAY - HOUR) == 1


def test_each_program_and_each_affiliate_has_a_first_click(anna: World, sweep: Sweep) -> None:
    anna.affiliate("Boris")
    click(anna)
    click(anna, "Boris")
    assert sweep(tell_first_clicks) == 2
    about = set(anna.session.scalars(sa.select(Letter.about)))
    assert about == {f"enrollment:{anna.people[name].enrollment.id}" for name in ("Anna", "Boris")}


def test_a_first_click_that_is_not_wanted_is_not_written(anna: World, sweep: Sweep) -> None:
    turn_off(anna, "Anna", Choice.FIRST_CLICK)
    click(anna)
    assert sweep(tell_first_clicks) == 0


def test_what_is_turned_off_in_one_program_comes_from_another(anna: World, sweep: Sweep) -> None:
    turn_off(anna, "Anna", Choice.FIRST_CLICK, program_id=anna.euros.id)
    turn_off(anna, "Anna", Choice.FIRST_SALE)
    click(anna)
    assert sweep(tell_first_clicks) == 1


def test_suspended_and_disabled_people_get_none(anna: World, sweep: Sweep) -> None:
    anna.affiliate("Boris")
    click(anna)
    click(anna, "Boris")
    with anna.app.app_context():
        enrollments.suspend(
            anna.session, enrollment_id=anna.people["Anna"].enrollment.id, reason="spam", by=None,
            now=anna.now,
        )  # fmt: skip
    anna.session.execute(
        sa.update(User).where(User.id == anna.people["Boris"].user_id).values(active=False)
    )
    assert sweep(tell_first_clicks) == 0


def test_two_sweeps_at_once_tell_of_a_first_click_once(
    anna: World, side_by_side: Callable[..., list[int]]
) -> None:
    click(anna)
    assert side_by_side(tell_first_clicks) == [0, 1]
    assert len(letters(anna.session, Kind.FIRST_CLICK)) == 1


def test_a_letter_of_a_sweep_that_failed_is_not_lost(anna: World, sweep: Sweep) -> None:
    click(anna)
    with anna.app.app_context():
        tell_first_clicks(anna.session, settings=anna.settings, now=anna.now)
    anna.session.rollback()
    assert letters(anna.session, Kind.FIRST_CLICK) == []
    assert sweep(tell_first_clicks) == 1


def test_the_first_sale_is_told_once_with_amount_and_day(anna: World, sweep: Sweep) -> None:
    order = anna.sale("Anna", "1000.00", days_ago=0.1)
    assert (sweep(tell_first_sales), sweep(tell_first_sales)) == (1, 0)
    anna.sale("Anna", "500.00", days_ago=0.05)
    assert sweep(tell_first_sales) == 0
    (mail,) = letters(anna.session, Kind.FIRST_SALE)
    for text in (mail.text, mail.html):
        assert f"Order {order.order_id} of" in text
        assert f"net 1,000.00{NBSP}RUB" in text
        assert f"Your commission: 100.00{NBSP}RUB" in text
        assert "becomes available on" in text and "(Europe/Moscow)" in text
    path = next(part for part in mail.text.split() if "/account/orders/" in part)
    client = anna.people["Anna"].client
    assert client.get(path.removeprefix(anna.settings.public_url)).status_code == 200


def test_the_recruiter_of_a_sale_has_not_sold(anna: World, sweep: Sweep) -> None:
    anna.affiliate("Boris", recruiter="Anna")
    anna.sale("Boris", "1000.00", days_ago=0.1)
    assert sweep(tell_first_sales) == 1
    assert letters(anna.session, Kind.FIRST_SALE)[0].recipient == "boris@example.com"


def test_a_sale_that_was_taken_away_is_not_the_first(anna: World, sweep: Sweep) -> None:
    anna.cancel(anna.sale("Anna", "1000.00", days_ago=0.2))
    assert sweep(tell_first_sales) == 0
    later = anna.sale("Anna", "500.00", days_ago=0.1)
    assert sweep(tell_first_sales) == 1
    assert later.order_id in letters(anna.session, Kind.FIRST_SALE)[0].text


@pytest.mark.parametrize("reason", list(WaitsFor))
def test_a_sale_counts_once_it_waits_for_nothing_but_time(
    anna: World, sweep: Sweep, reason: WaitsFor
) -> None:
    anna.sale("Anna", "1000.00", days_ago=0.1)
    anna.session.execute(sa.update(Commission).values(waits_for=reason.value))
    assert sweep(tell_first_sales) == 0
    anna.session.execute(sa.update(Commission).values(waits_for=None))
    assert sweep(tell_first_sales) == 1


def test_an_old_first_sale_is_no_news_and_a_second_one_is_not_the_first(
    anna: World, sweep: Sweep
) -> None:
    anna.sale("Anna", "1000.00", days_ago=FIRST_DAYS_MAX + 1)
    anna.sale("Anna", "500.00", days_ago=0.1)
    assert sweep(tell_first_sales) == 0


def test_a_first_sale_that_is_not_wanted_is_not_written(anna: World, sweep: Sweep) -> None:
    turn_off(anna, "Anna", Choice.FIRST_SALE)
    anna.sale("Anna", "1000.00", days_ago=0.1)
    assert sweep(tell_first_sales) == 0


def test_two_sweeps_at_once_tell_of_a_first_sale_once(
    anna: World, side_by_side: Callable[..., list[int]]
) -> None:
    anna.sale("Anna", "1000.00", days_ago=0.1)
    assert side_by_side(tell_first_sales) == [0, 1]
