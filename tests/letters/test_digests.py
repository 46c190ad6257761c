"""The weekly digest: on Monday, against the week before, only where there is something to tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from letter_mails import letters
from world import World

from affiliate.letters.choices import ChosenBy, choose
from affiliate.letters.rules import Choice, Kind
from affiliate.promo.banner_rules import Design, Look
from affiliate.promo.banners import keep_banner
from affiliate.promo.creatives import add_creative
from affiliate.promo.pictures import Picture
from affiliate.promo.rules import Kind as MaterialKind
from affiliate.promo.rules import Wording
from tracker.letters.digests import tell_weeks
from tracker.letters.rules import DIGEST_FOR, DIGEST_HOUR, local_instant

NBSP = "\N{NO-BREAK SPACE}"
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
Sweep = Callable[..., int]


@pytest.fixture
def anna(world: World) -> World:
    world.affiliate("Anna")
    return world


def monday(world: World) -> datetime:
    """Nine o'clock of the next Monday in the program's zone."""
    days = 7 - world.local.weekday()
    return local_instant(world.local.date() + days * DAY, DIGEST_HOUR, world.program.time_zone)


def in_week(world: World, *, weeks_ago: int) -> datetime:
    """Noon of Monday in the week that the next digest tells of, or so many before it; what lies
    ahead is loaded like anything else."""
    first = monday(world) - (7 + 7 * weeks_ago) * DAY
    return first + timedelta(hours=3)


def traffic(world: World, name: str, *, weeks_ago: int, clicks: int, total: str | None) -> None:
    link = world.people[name].link
    assert link is not None
    at = in_week(world, weeks_ago=weeks_ago)
    tokens = [world.click(link, at=at + i * MINUTE) for i in range(clicks)]
    if total:
        world.order(total, at=at + timedelta(hours=1), clicks=(tokens[0],))


def test_a_week_is_told_once_against_the_week_before(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=2, clicks=2, total="400.00")
    traffic(anna, "Anna", weeks_ago=1, clicks=3, total="1000.00")
    now = monday(anna) - 7 * DAY
    assert sweep(tell_weeks, now=now - MINUTE) == 0
    assert sweep(tell_weeks, now=now) == 1
    assert sweep(tell_weeks, now=now + DIGEST_FOR - MINUTE) == 0
    (mail,) = letters(anna.session, Kind.DIGEST)
    for text in (mail.text, mail.html):
        assert "Clicks: 3, before: 2" in text
        assert "Orders: 1, before: 1" in text
        assert f"Earned: 100.00{NBSP}RUB, before: 40.00{NBSP}RUB" in text
        assert f"Pending: 140.00{NBSP}RUB" in text
    assert mail.unsubscribe_url and mail.unsubscribe_url in mail.text
    assert mail.unsubscribe_url in mail.html


def test_the_link_shows_that_very_week(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=3, total=None)
    sweep(tell_weeks, now=monday(anna) - 7 * DAY)
    (mail,) = letters(anna.session, Kind.DIGEST)
    path = next(part for part in mail.text.split() if "/account/statistics" in part)
    page = anna.people["Anna"].client.get(path.removeprefix(anna.settings.public_url))
    assert page.status_code == 200


def test_whoever_has_nothing_to_read_gets_no_letter(anna: World, sweep: Sweep) -> None:
    assert sweep(tell_weeks, now=monday(anna) - 7 * DAY) == 0


def test_a_week_of_nothing_after_a_week_of_something_is_told(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=2, clicks=2, total=None)
    assert sweep(tell_weeks, now=monday(anna) - 7 * DAY) == 1
    assert "Nobody followed your links" in letters(anna.session, Kind.DIGEST)[0].text


def test_a_monday_that_was_missed_is_not_told_of_on_wednesday(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    assert sweep(tell_weeks, now=monday(anna) - 7 * DAY + DIGEST_FOR) == 0


def test_every_week_has_its_own_letter(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=2, clicks=2, total=None)
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    assert sweep(tell_weeks, now=monday(anna) - 14 * DAY) == 1
    assert sweep(tell_weeks, now=monday(anna) - 7 * DAY) == 1


def test_whoever_turned_it_off_gets_none(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    choose(
        anna.session, user_id=anna.people["Anna"].user_id, program_id=anna.program.id,
        wanted={Choice.DIGEST: False}, by=ChosenBy.PAGE, now=anna.now,
    )  # fmt: skip
    assert sweep(tell_weeks, now=monday(anna) - 7 * DAY) == 0


def test_it_is_written_in_the_readers_language(anna: World, sweep: Sweep) -> None:
    anna.app.config["WTF_CSRF_ENABLED"] = False
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    anna.people["Anna"].client.post(
        "/profile", data={"name": "Анна", "locale": "ru", "time_zone": "UTC"}
    )
    sweep(tell_weeks, now=monday(anna) - 7 * DAY)
    (mail,) = letters(anna.session, Kind.DIGEST)
    assert 'lang="ru"' in mail.html


def test_two_sweeps_at_once_write_each_digest_once(
    anna: World, side_by_side: Callable[..., list[int]]
) -> None:
    for name in ("Boris", "Vera"):
        anna.affiliate(name)
    for name in ("Anna", "Boris", "Vera"):
        traffic(anna, name, weeks_ago=1, clicks=1, total=None)
    found = side_by_side(tell_weeks, now=monday(anna) - 7 * DAY)
    assert sum(found) == 3
    assert len({mail.recipient for mail in letters(anna.session, Kind.DIGEST)}) == 3


def test_a_jump_of_the_demo_clock_tells_of_no_old_week(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    year = monday(anna) + 52 * 7 * DAY
    assert year.astimezone(UTC) == year
    assert sweep(tell_weeks, now=year) == 0


def test_what_is_over_and_what_somebody_made_for_themselves_is_no_news(
    anna: World, sweep: Sweep
) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    at = in_week(anna, weeks_ago=1)
    told_on = (monday(anna) - 7 * DAY).astimezone(ZoneInfo(anna.program.time_zone)).date()
    for name, ends_on in (("Over", told_on - DAY), ("Last day", told_on)):
        add_creative(
            anna.session, program_id=anna.program.id, kind=MaterialKind.TEXT,
            wording=Wording(name, body="Lamps", ends_on=ends_on), by=None, now=at,
        )  # fmt: skip
    boris = anna.affiliate("Boris")
    keep_banner(
        anna.session, program_id=anna.program.id, enrollment_id=boris.enrollment.id,
        design=Design(300, 250, "Mine", "Look", Look.FULL), destination="",
        picture=Picture(b"x", "png", 300, 250), by=boris.user_id, now=at,
    )  # fmt: skip
    anna.session.commit()
    sweep(tell_weeks, now=monday(anna) - 7 * DAY)
    (mail,) = letters(anna.session, Kind.DIGEST)
    assert "1 new promo material" in mail.text


def test_it_tells_what_changed_in_the_program(anna: World, sweep: Sweep) -> None:
    traffic(anna, "Anna", weeks_ago=1, clicks=2, total=None)
    for weeks_ago, name in ((1, "New"), (2, "Older")):
        add_creative(
            anna.session, program_id=anna.program.id, kind=MaterialKind.TEXT,
            wording=Wording(name, body="Lamps"), by=None, now=in_week(anna, weeks_ago=weeks_ago),
        )  # fmt: skip
    anna.session.commit()
    sweep(tell_weeks, now=monday(anna) - 7 * DAY)
    (mail,) = letters(anna.session, Kind.DIGEST)
    assert "1 new promo material" in mail.text and "1 new promo material" in mail.html
    assert "New rules" not in mail.text
