"""The pages of statistics and the look-up of clicks: what they say, and to whom."""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from staff import hire
from test_account import queries, text_of
from world import DAY, Person, World

from affiliate.core.clock import real_now
from affiliate.people import api_keys, ids
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import ClickToken, new_click_id, read, signing_keys
from tracker.stats import order_sums
from tracker.stats.figures import today

MINE, THEIRS = "/account/statistics", "/manage/statistics"
QUERIES_MAX = 16


@pytest.fixture
def anna(world: World) -> Person:
    """Anna has clicks, a repeat, drops and an order; Boris, whom she recruited, a sale."""
    anna = world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    assert anna.link is not None
    at = world.now - 2 * DAY
    subs = ("newsletter", "", "", "", "")
    token = world.click(anna.link, at=at, sub_ids=subs)
    world.click(anna.link, at=at + timedelta(minutes=1), reason=DropReason.LINK_PREVIEW)
    world.order("3500.00", at=at + timedelta(minutes=30), clicks=(token,))
    world.sale("Boris", "9000.00", days_ago=2)
    return anna


def figures(text: str) -> str:
    return text.partition("The period in figures")[2]


# ---- the affiliate's ----


def test_the_page_says_what_came_of_the_period(world: World, anna: Person) -> None:
    told = figures(text_of(anna.client, MINE))
    for words in ("Clicks 1 none before", "Orders 1", "Conversion 100.0%", "Earned 350.00 RUB",
                  "Earned at level 2 180.00 RUB", "Order value 3,500.00 RUB"):  # fmt: skip
        assert words in told, (words, told)


def test_each_figure_is_shown_with_its_meaning(world: World, anna: Person) -> None:
    page = anna.client.get(MINE).text
    assert 'title="Earnings per click: earned ÷ clicks."' in page
    assert "Orders released ÷ orders decided" in text_of(anna.client, MINE)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("day", "350.00 RUB"),
        ("link", "Blog"),
        ("s1", "newsletter"),
        ("device", "Computer 1"),
        ("drop_reason", "A messenger or network fetched a preview. 1"),
        ("coupon", "Nothing by that in these days"),
        ("creative", "Nothing by that in these days"),
        ("country", "Nothing by that in these days"),
    ],
)
def test_every_tab_has_its_rows_and_its_file(
    world: World, anna: Person, by: str, words: str
) -> None:
    assert words in text_of(anna.client, f"{MINE}?by={by}")
    answer = anna.client.get(f"{MINE}.csv?by={by}")
    assert answer.status_code == 200
    rows = list(csv.reader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff"))))
    assert rows[0][0] == by
    assert all(len(row) == len(rows[0]) for row in rows)


def test_a_row_leads_to_itself_alone_and_back(world: World, anna: Person) -> None:
    page = anna.client.get(f"{MINE}?by=s1").text
    found = re.search(r'href="(/account/statistics\?[^"]*s1=newsletter[^"]*)"', page)
    assert found is not None
    narrowed = text_of(anna.client, found[1].replace("&amp;", "&"))
    assert "Only s1: newsletter" in narrowed
    assert "Clicks 1" in narrowed


def test_one_day_is_drawn_by_hour(world: World, anna: Person) -> None:
    on = today(world.now - 2 * DAY, world.program.time_zone)
    assert "Clicks an hour" in text_of(anna.client, f"{MINE}?from={on}&to={on}&by=hour")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=yesterday", 422),
        ("from=2026-11-02&to=2026-11-01", 422),
        ("from=1999-01-01&to=1999-02-01", 422),
        ("from=2020-01-01&to=2026-01-01", 422),
        ("s1=a&s2=b", 422),
        ("by=hour&from=2026-01-01&to=2026-06-01", 422),
        ("by=country&s1=a", 422),
        ("by=link&after=nonsense", 422),
        ("by=colour", 404),
        ("sort=colour", 404),
        ("device=fridge", 404),
        ("link=nobodys", 404),
    ],
)
def test_an_address_that_asks_nothing_is_refused(
    world: World, anna: Person, query: str, status: int
) -> None:
    assert anna.client.get(f"{MINE}?{query}").status_code == status


@pytest.mark.abuse("A24")
def test_nobody_sees_anothers_figures(world: World, anna: Person) -> None:
    boris = world.people["Boris"]
    assert boris.link is not None
    for path in (MINE, f"{MINE}.csv"):
        page = anna.client.get(f"{path}?affiliate={ids.public(boris.enrollment.id)}")
        assert "9,000" not in page.text and "9000.00" not in page.text
        assert anna.client.get(f"{path}?link={boris.link.code}").status_code == 404
        page = anna.client.get(f"{path}?by=affiliate")
        assert "Boris" not in page.text
    assert anna.client.get(f"/account/clicks?link={boris.link.code}").status_code == 404


def test_the_page_asks_a_bounded_number_of_questions(world: World, anna: Person) -> None:
    for by in ("day", "link", "s1", "device"):
        with queries(world) as sent:
            assert anna.client.get(f"{MINE}?by={by}").status_code == 200
        assert len(sent) <= QUERIES_MAX, sent


def test_the_figures_are_the_same_before_and_after_adding_up(world: World, anna: Person) -> None:
    before = figures(text_of(anna.client, f"{MINE}?by=day"))
    for _ in range(4):
        order_sums.add_up(world.session)
        world.session.commit()
    assert figures(text_of(anna.client, f"{MINE}?by=day")) == before


# ---- the desk's ----


def test_staff_see_the_program_and_each_affiliate(world: World, anna: Person) -> None:
    analyst = hire(world, "analyst")
    told = text_of(analyst.client, f"{THEIRS}?by=affiliate")
    assert told.index("Boris") < told.index("Anna"), "who earned most comes first"
    assert "Orders 2" in figures(told)
    alone = ids.public(anna.enrollment.id)
    narrowed = text_of(analyst.client, f"{THEIRS}?affiliate={alone}&by=s1")
    assert "Only Affiliate: Anna" in narrowed and "newsletter" in narrowed


@pytest.mark.abuse("A24")
def test_staff_of_another_program_find_no_affiliate_of_this_one(world: World, anna: Person) -> None:
    stranger = hire(world, "manager", program=world.euros)
    alone = ids.public(anna.enrollment.id)
    assert anna.link is not None
    for query in (f"affiliate={alone}", f"link={anna.link.code}"):
        assert stranger.client.get(f"{THEIRS}?{query}").status_code == 404
        assert stranger.client.get(f"{THEIRS}.csv?{query}").status_code == 404


def test_sub_ids_of_a_whole_program_are_refused_with_a_way_on(world: World, anna: Person) -> None:
    answer = hire(world, "analyst").client.get(f"{THEIRS}?by=s1")
    assert answer.status_code == 422


# ---- a click looked up ----


def found_by(client: FlaskClient, text: str) -> str:
    page = client.get("/account/clicks", query_string={"find": text})
    assert page.status_code == 200
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))
    return plain.partition("Was my test click seen?")[2].partition("What became of it")[0]


def named(world: World, token: str) -> Any:
    found = read(token, signing_keys(world.settings.keys("click-token")))
    assert isinstance(found, ClickToken)
    return found.click_id


def test_a_click_is_found_by_its_token_its_address_and_its_id(world: World, anna: Person) -> None:
    assert anna.link is not None
    at = world.now - DAY
    token = world.click(anna.link, at=at)
    order = world.order("100.00", at=at + timedelta(hours=1), clicks=(token,))
    for text in (
        token,
        f"https://shop.example/tea?a=1&kpk={token}#top",
        f" {named(world, token)} ",
    ):
        told = found_by(anna.client, text)
        assert "Seen, and counted." in told and order.order_id in told, text


def test_a_click_that_does_not_count_says_why(world: World, anna: Person) -> None:
    assert anna.link is not None
    token = world.click(anna.link, at=world.now - DAY, reason=DropReason.PREFETCH)
    told = found_by(anna.client, token)
    assert "Seen, and left out." in told and "none so far" in told


@pytest.mark.abuse("A24")
def test_anothers_click_is_not_found_as_one_that_never_was(world: World, anna: Person) -> None:
    boris = world.people["Boris"]
    assert boris.link is not None
    theirs = world.click(boris.link, at=world.now - DAY)
    assert "Not found." in found_by(anna.client, theirs)
    assert found_by(anna.client, theirs).replace(theirs, "") == found_by(
        anna.client, nobodys := old_click_id()
    ).replace(nobodys, "")


def click_id_of(at: datetime) -> str:
    return str(UUID(bytes=new_click_id(int(at.timestamp() * 1000), bytes(10))))


def old_click_id() -> str:
    return click_id_of(real_now() - DAY)


def test_a_click_of_this_moment_is_said_to_be_on_its_way(
    world: World, anna: Person, client: FlaskClient
) -> None:
    click_id = click_id_of(real_now())
    assert "On its way." in found_by(anna.client, click_id)
    _, key = api_keys.create_key(
        world.session, program_id=world.program.id, scopes=["statistics:read"], name="", by=None,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.get(f"/api/v1/clicks/{click_id}", headers=headers)
    assert (answer.status_code, (answer.json or {})["code"]) == (404, "not_loaded_yet")
    assert answer.headers["Retry-After"] == "1"
    answer = client.get(f"/api/v1/clicks/{old_click_id()}", headers=headers)
    assert (answer.status_code, (answer.json or {})["code"]) == (404, "no_receipt")


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "https://[",
        "kpk=",
        "\0",
        "6ae24cf0-1e3f-4e18-ab85-e14a897f17c0",
        "x" * 5_000,
        "https://s.example/?kpk=abc",
    ],
)
def test_what_names_no_click_is_said_to_be_unreadable(
    world: World, anna: Person, text: str
) -> None:
    assert "Not readable." in found_by(anna.client, text)


def test_the_receipt_over_the_api_names_the_order(
    world: World, anna: Person, client: FlaskClient
) -> None:
    assert anna.link is not None
    at = world.now - DAY
    token, other = (world.click(anna.link, at=at + timedelta(hours=i)) for i in (0, 3))
    order = world.order("100.00", at=at + timedelta(hours=1), clicks=(token,))
    _, key = api_keys.create_key(
        world.session, program_id=world.program.id, scopes=["statistics:read"], name="", by=None,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    headers = {"Authorization": f"Bearer {key}"}
    for click, expected in ((token, order.order_id), (other, None)):
        answer = client.get(f"/api/v1/clicks/{named(world, click)}", headers=headers)
        assert (answer.json or {})["order"] == expected
    world.cancel(order)
    answer = client.get(f"/api/v1/clicks/{named(world, token)}", headers=headers)
    assert (answer.json or {})["order"] is None


def test_the_clicks_of_one_link_are_paged_alone(world: World, anna: Person) -> None:
    assert anna.link is not None
    told = text_of(anna.client, f"/account/clicks?link={anna.link.code}")
    assert "Only clicks of Blog." in told
    world.clicks([
        (anna.link, world.now - DAY + timedelta(seconds=40 * i), None, None, "", ("",) * 5)
        for i in range(60)
    ])  # fmt: skip
    page = anna.client.get(f"/account/clicks?link={anna.link.code}").text
    assert f"link={anna.link.code}" in page and "before=" in page


def test_files_of_clicks_and_orders_have_every_row(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they are read in many pages."""
    monkeypatch.setattr("tracker.desks.account.clicks.ROWS_PER_FETCH", 2)
    monkeypatch.setattr("tracker.desks.account.orders.ROWS_PER_FETCH", 2)
    for days_ago in range(3, 10):
        world.sale("Anna", "100.00", days_ago=days_ago)
    for path, count in (("clicks", 9), ("orders", 9)):
        text = anna.client.get(f"/account/{path}.csv").get_data(as_text=True)
        rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
        assert len(rows) == len({tuple(row) for row in rows}) == count + 1, path


GARBAGE = (
    "", "\0", "<script>kpk", "9" * 400, "-1", "0001-01-01", "9999-12-31", "2026-02-30", "'; --",
    "x" * 5_000, "\u202e\ufffd", "%", "aff_", "null", "W10", "2026-11-21T00:00:00Z", "20261121",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["from", "to", "days", "by", "sort", "after", "affiliate", "link", "s1", "creative", "country",
     "device", "compare", "find"],
)  # fmt: skip
def test_garbage_in_an_address_breaks_no_page(world: World, anna: Person, name: str) -> None:
    analyst = hire(world, "analyst")
    pages = [(anna.client, MINE), (anna.client, f"{MINE}.csv"), (anna.client, "/account/clicks"),
             (analyst.client, THEIRS), (analyst.client, f"{THEIRS}.csv")]  # fmt: skip
    for client, path in pages:
        for value in GARBAGE:
            for by in ("link", "affiliate") if name == "after" else ("day",):
                query = {"by": by, name: value}
                answer = client.get(path, query_string=query)
                assert answer.status_code < 500, (path, query)
                assert "<script>kpk" not in answer.text
