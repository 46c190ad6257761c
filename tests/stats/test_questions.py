"""Every question by every word it can be asked with, and the refusals of the rest."""

from __future__ import annotations

import csv
import gc
import io
import itertools
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from test_statistics import key_of, rub, scope_of, span
from traffic import PHONE, click
from world import DAY, World

from affiliate.core import tables as files
from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.links.links import create_link
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.programs.models import Program
from tracker.clicks.rules import CountedBy, DeviceClass, DropReason
from tracker.stats import cursors, questions, tables
from tracker.stats.figures import Period, change, hour_of
from tracker.stats.questions import After, Asked, by_day, by_hour, page_of, whole
from tracker.stats.rules import By, CannotCombine, Filter, Sort, require_answerable

MINUTE = timedelta(minutes=1)
API = "/api/v1/statistics"


def begin_of(world: World) -> datetime:
    """When the traffic begins: so early that all of it, the order too, is on the same day."""
    return (world.local - 2 * DAY).replace(hour=2, minute=30)


@pytest.fixture
def anna(world: World) -> Link:
    """Anna's link, with traffic of two days: what it is, the tests say."""
    link = world.affiliate("Anna").link
    world.affiliate("Boris")
    assert link is not None
    at = begin_of(world)
    bought = click(world, link, at, s1="blog", country="DE", creative="banner-1")
    click(world, link, at + MINUTE, s1="blog", country="DE", agent=PHONE)
    click(world, link, at + 2 * MINUTE, s1="video", country="FR", agent=PHONE)
    click(world, link, at + 3 * MINUTE, reason=DropReason.BOT)
    click(world, link, at + 4 * MINUTE, reason=DropReason.BOT)
    click(world, link, at + 5 * MINUTE, reason=DropReason.PREFETCH)
    same = bytes(range(16))
    for seconds in (0, 20):
        click(world, link, at - DAY + timedelta(seconds=seconds), visitor=same)
    world.order("3500.00", at=at + timedelta(hours=1), clicks=(bought,))
    click(world, world.people["Boris"].link, at, country="DE", s1="secret")
    return link


def rows_of(world: World, by: By, name: str | None = "Anna", only: Filter | None = None) -> Any:
    asked = Asked(scope_of(world, name), span(world), by, only or Filter())
    world.session.rollback()
    found = questions.rows(world.session, asked)
    return {row.key: (row.figures.clicks, row.figures.orders) for row in found}


# ---- by what ----


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (By.S1, {"blog": (2, 1), "video": (1, 0)}),
        (By.S2, {}),
        (By.COUNTRY, {"DE": (2, 1), "FR": (1, 0)}),
        (By.CREATIVE, {"banner-1": (1, 1)}),
        (By.DEVICE, {"desktop": (2, 1), "mobile": (2, 0)}),
        (By.DROP_REASON, {"bot": (0, 0), "prefetch": (0, 0), "duplicate": (0, 0)}),
    ],
)
def test_clicks_and_orders_by_a_value(
    world: World, anna: Link, by: By, expected: dict[str, Any]
) -> None:
    assert rows_of(world, by) == expected


def test_the_whole_program_by_country_and_device_counts_everybody(world: World, anna: Link) -> None:
    assert rows_of(world, By.COUNTRY, None) == {"DE": (3, 1), "FR": (1, 0)}
    assert rows_of(world, By.DEVICE, None) == {"desktop": (3, 1), "mobile": (2, 0)}


def test_what_was_left_out_is_told_by_its_reason(world: World, anna: Link) -> None:
    for name in ("Anna", None):
        asked = Asked(scope_of(world, name), span(world), By.DROP_REASON)
        found = {row.key: row.figures for row in questions.rows(world.session, asked)}
        assert {key: f.dropped for key, f in found.items()} == {
            "bot": 2, "prefetch": 1, "duplicate": 0,
        }  # fmt: skip
        assert found["duplicate"].duplicates == 1
        total = whole(world.session, scope=scope_of(world, name), period=span(world))
        assert (total.dropped, total.duplicates) == (3, 1)


@pytest.mark.parametrize(
    ("only", "clicks", "uniques", "orders"),
    [
        (Filter(kind=CountedBy.S1, value="blog"), 2, 2, 1),
        (Filter(kind=CountedBy.COUNTRY, value="FR"), 1, 1, 0),
        (Filter(kind=CountedBy.S1, value="nobody's"), 0, 0, 0),
        (Filter(device=DeviceClass.MOBILE), 2, None, 0),
        (Filter(device=DeviceClass.DESKTOP), 2, None, 1),
    ],
)
def test_a_filter_leaves_its_clicks_and_the_orders_credited_to_them(
    world: World, anna: Link, only: Filter, clicks: int, uniques: int | None, orders: int
) -> None:
    found = whole(world.session, scope=scope_of(world, "Anna"), period=span(world), only=only)
    assert (found.clicks, found.uniques, found.orders) == (clicks, uniques, orders)
    assert found.earned == rub("350.00" if orders else "0.00")


def test_a_filter_by_link_answers_by_everything(world: World, anna: Link) -> None:
    with world.app.app_context():
        other = create_link(
            world.session, enrollment_id=anna.enrollment_id, name="Video", now=world.now - 9 * DAY
        )
        world.session.commit()
    click(world, other, world.now - DAY, s1="video", country="DE", agent=PHONE)
    only = Filter(link_id=other.id)
    for by in (By.DAY, By.HOUR, By.LINK, By.S1, By.COUNTRY, By.DEVICE):
        asked = Asked(scope_of(world, "Anna"), span(world), by, only)
        assert [row.figures.clicks for row in questions.rows(world.session, asked)] == [1], by
    assert rows_of(world, By.S1) == {"blog": (2, 1), "video": (2, 0)}


def test_hours_have_the_clicks_and_orders_of_their_day(world: World, anna: Link) -> None:
    for name in ("Anna", None):
        scope, period = scope_of(world, name), Period.ending(span(world).last, 7)
        hours = by_hour(world.session, scope=scope, period=period)
        days = by_day(world.session, scope=scope, period=period)
        assert len(hours) == 7 * 24
        assert questions.total(hours.values(), "RUB") == questions.total(days.values(), "RUB")
        placed = begin_of(world) + timedelta(hours=1)
        assert hours[hour_of(placed, "Europe/Moscow")].orders == 1


# ---- days and hours of a clock ----


@pytest.mark.parametrize(
    ("zone", "day", "hours", "first"),
    [
        ("Europe/Berlin", date(2026, 10, 25), 25, "2026-10-24T22:00"),
        ("Europe/Berlin", date(2026, 3, 29), 23, "2026-03-28T23:00"),
        ("Asia/Kolkata", date(2026, 11, 21), 24, "2026-11-20T18:30"),
        ("Asia/Kathmandu", date(2026, 11, 21), 24, "2026-11-20T18:15"),
        ("UTC", date(2026, 11, 21), 24, "2026-11-21T00:00"),
    ],
)
def test_a_day_has_the_hours_of_its_clock(zone: str, day: date, hours: int, first: str) -> None:
    found = Period(day, day).hours(zone)
    assert len(found) == len(set(found)) == hours
    assert found[0] == datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert {hour.astimezone(ZoneInfo(zone)).minute for hour in found} == {0}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/New_York"])
def test_clicks_stand_in_the_hour_and_day_that_the_programs_clock_showed(
    world: World, session: Session, zone: str
) -> None:
    """Also in the night in which the hour from two to three comes twice."""
    link = world.affiliate("Anna").link
    session.execute(sa.update(Program).values(time_zone=zone))
    session.commit()
    with world.app.app_context():
        world.session.refresh(world.program)
    change_at = datetime(2026, 11, 1, 5, 10, tzinfo=UTC)
    if zone == "Europe/Berlin":
        change_at = datetime(2026, 10, 25, 0, 10, tzinfo=UTC)
    made = [change_at + timedelta(minutes=35 * i) for i in range(6)]
    for at in made:
        click(world, link, at)
    on = made[0].astimezone(ZoneInfo(zone)).date()
    period = Period(on, made[-1].astimezone(ZoneInfo(zone)).date())
    for name in ("Anna", None):
        found = by_hour(session, scope=scope_of(world, name), period=period)
        told = {hour: f.clicks for hour, f in found.items() if f.clicks}
        expected: dict[datetime, int] = {}
        for at in made:
            hour = hour_of(at, zone)
            expected[hour] = expected.get(hour, 0) + 1
        assert told == expected
        days = by_day(session, scope=scope_of(world, name), period=period)
        assert sum(f.clicks for f in days.values()) == len(made)


# ---- what cannot be asked ----


@pytest.mark.parametrize(
    ("by", "only", "one", "field"),
    [
        (By.HOUR, Filter(kind=CountedBy.S1, value="a"), True, "s1"),
        (By.HOUR, Filter(device=DeviceClass.MOBILE), True, "device"),
        (By.COUNTRY, Filter(kind=CountedBy.S1, value="a"), True, "s1"),
        (By.DEVICE, Filter(kind=CountedBy.COUNTRY, value="DE"), True, "country"),
        (By.COUNTRY, Filter(device=DeviceClass.MOBILE), True, "device"),
        (By.DAY, Filter(None, CountedBy.S1, "a", DeviceClass.MOBILE), True, "device"),
        (By.COUPON, Filter(link_id=1), True, "link"),
        (By.AFFILIATE, Filter(device=DeviceClass.MOBILE), False, "device"),
        (By.DROP_REASON, Filter(kind=CountedBy.S1, value="a"), True, "s1"),
        (By.S1, Filter(), False, "affiliate"),
        (By.DAY, Filter(kind=CountedBy.S5, value="a"), False, "affiliate"),
        (By.LINK, Filter(kind=CountedBy.COUNTRY, value="DE"), False, "affiliate"),
    ],
)
def test_what_no_counter_answers_is_refused_by_name(
    by: By, only: Filter, one: bool, field: str
) -> None:
    with pytest.raises(CannotCombine) as refused:
        require_answerable(by, only, one_affiliate=one, days=30)
    assert [(e.field, e.code) for e in refused.value.errors] == [(field, "cannot_combine")]


def test_what_is_not_refused_is_answered(world: World, anna: Link) -> None:
    """Every word with every filter: an answer or a named refusal, never an error."""
    filters = [
        Filter(), Filter(link_id=anna.id), Filter(device=DeviceClass.MOBILE),
        *(Filter(kind=kind, value="DE") for kind in CountedBy),
        Filter(link_id=anna.id, kind=CountedBy.COUNTRY, value="DE"),
        Filter(link_id=anna.id, device=DeviceClass.DESKTOP),
    ]  # fmt: skip
    answered = 0
    for name, by, only, sort in itertools.product(("Anna", None), By, filters, Sort):
        if name is None and only.link_id is not None:
            continue
        asked = Asked(scope_of(world, name), span(world), by, only)
        try:
            list(questions.rows(world.session, asked, sort=sort))
        except CannotCombine:
            continue
        answered += 1
    assert answered > 100


def test_hours_of_more_than_a_month_are_refused() -> None:
    require_answerable(By.HOUR, Filter(), one_affiliate=True, days=31)
    with pytest.raises(Invalid):
        require_answerable(By.HOUR, Filter(), one_affiliate=True, days=32)


# ---- against another period ----


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [(150, 100, (50, 500_000)), (50, 100, (-50, -500_000)), (5, 0, (5, None)), (0, 0, (0, None))],
)
def test_a_change_says_how_much_and_what_part(now: int, before: int, expected: Any) -> None:
    found = change(now, before)
    assert found is not None
    assert (found.by, found.ppm) == expected
    assert change(None, before) is None


def test_the_period_before_is_as_long_and_a_year_keeps_its_weekdays() -> None:
    period = Period(date(2026, 11, 1), date(2026, 11, 30))
    assert period.before == Period(date(2026, 10, 2), date(2026, 10, 31))
    assert period.year_before == Period(date(2025, 11, 2), date(2025, 12, 1))
    assert period.first.weekday() == period.year_before.first.weekday()


def test_the_api_compares_with_the_period_before(
    world: World, anna: Link, client: FlaskClient
) -> None:
    on = questions.today(world.now - 2 * DAY, "Europe/Moscow")
    answer = client.get(
        f"{API}?from={on}&to={on}&compare=true", headers=key_of(world, "statistics:read")
    )
    body: dict[str, Any] = answer.json or {}
    compared = body["compared"]
    assert compared["from"] == compared["to"] == (on - DAY).isoformat()
    told = {each["figure"]: (each["by"], each["ppm"]) for each in compared["changes"]}
    assert told["clicks"] == (body["total"]["clicks"] - 1, 3_000_000)
    assert told["orders"] == (1, None)
    assert told["earned"] == ({"amount": "350.00", "currency": "RUB"}, None)
    assert "epc" in told and "average_order" not in told


# ---- pages ----


def test_pages_have_every_row_once_in_the_order_that_was_asked(world: World) -> None:
    link = world.affiliate("Anna").link
    at = world.now - DAY
    for i in range(12):
        for j in range(1 + i % 3):
            click(world, link, at + timedelta(minutes=i * 10 + j), s1=f"place {i:02}")
    asked = Asked(scope_of(world, "Anna"), span(world), By.S1)
    for sort in Sort:
        seen, after = [], None
        for _ in range(10):
            page = page_of(world.session, asked, sort=sort, after=after, rows_max=5)
            seen += page.rows
            text = cursors.write(page.next, asked, sort)
            after = cursors.read(text, asked, sort)
            if after is None:
                break
        assert len(seen) == len({row.key for row in seen}) == 12
        key = (lambda r: (0, r.key)) if sort is Sort.KEY else (lambda r: (-r.sorted_by, r.key))
        assert seen == sorted(seen, key=key)


def test_an_affiliates_rows_are_paged_over_the_api(world: World, client: FlaskClient) -> None:
    for name in ("Anna", "Boris", "Clara"):
        world.sale(world.affiliate(name).name, "1000.00", days_ago=2)
    headers, url = key_of(world, "statistics:read"), f"{API}?by=affiliate&sort=earned&limit=2"
    first = client.get(url, headers=headers).json or {}
    second = client.get(f"{url}&after={first['next']}", headers=headers).json or {}
    assert second["next"] is None
    keys = [row["key"] for row in first["rows"] + second["rows"]]
    assert keys == [ids.public(world.people[name].enrollment.id) for name in world.people]
    assert [row["name"] for row in second["rows"]] == ["Clara"]


def forged(after: After, asked: Asked, **parts: Any) -> str:
    text = cursors.write(after, asked, Sort.KEY) or ""
    mark, value, key = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    made = [parts.get("mark", mark), parts.get("value", value), parts.get("key", key)]
    return urlsafe_b64encode(json.dumps(made).encode()).decode().rstrip("=")


def test_a_cursor_that_is_not_ours_names_its_field(world: World, client: FlaskClient) -> None:
    world.affiliate("Anna")
    asked = Asked(scope_of(world), span(world), By.AFFILIATE)
    good = After(0, 1)
    texts = [
        "x", "%00", "eyJ9", "A" * 5_000, "null", "W10", "\u00e4",
        forged(good, asked, key="1"), forged(good, asked, key=2**63), forged(good, asked, key=None),
        forged(good, asked, value="0"), forged(good, asked, value=True),
        forged(good, asked, mark="other"),
        cursors.write(good, Asked(scope_of(world), span(world), By.LINK), Sort.KEY),
        cursors.write(good, asked, Sort.CLICKS),
    ]  # fmt: skip
    headers = key_of(world, "statistics:read")
    for text in texts:
        answer = client.get(API, query_string={"by": "affiliate", "after": text}, headers=headers)
        errors = (answer.json or {})["errors"]
        assert answer.status_code == 422, text
        assert [(e["field"], e["code"]) for e in errors] == [("after", "not_a_cursor")], text
    values = Asked(scope_of(world, "Anna"), span(world), By.S1)
    for key in ("a\0b", "\ud800", 5):
        with pytest.raises(Invalid):
            cursors.read(forged(After(0, "a"), values, key=key), values, Sort.KEY)


# ---- files ----


def read_csv(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


@pytest.mark.parametrize("how", ["address", "accept"])
def test_a_file_has_the_figures_of_the_answer(
    world: World, anna: Link, client: FlaskClient, how: str
) -> None:
    headers = key_of(world, "statistics:read")
    affiliate = ids.public(anna.enrollment_id)
    query = f"by=s1&affiliate={affiliate}"
    body: dict[str, Any] = client.get(f"{API}?{query}", headers=headers).json or {}
    if how == "address":
        answer = client.get(f"{API}.csv?{query}", headers=headers)
    else:
        answer = client.get(f"{API}?{query}", headers={**headers, "Accept": "text/csv"})
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = read_csv(answer.get_data(as_text=True))
    assert [row["s1"] for row in rows] == [row["key"] for row in body["rows"]] == ["blog", "video"]
    assert (rows[0]["clicks"], rows[0]["orders"], rows[0]["earned"]) == ("2", "1", "350.00")
    assert (rows[0]["conversion"], rows[0]["epc"], rows[0]["currency"]) == ("0.5", "175.00", "RUB")
    assert (rows[1]["average_order"], rows[1]["dropped"]) == ("", "")


@pytest.mark.abuse("A31")
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_sub_id_runs_in_a_spreadsheet(world: World, start: str) -> None:
    link = world.affiliate("Anna").link
    value = f'{start}HYPERLINK("https://evil.example")'
    click(world, link, world.now - DAY, s1=value)
    asked = Asked(scope_of(world, "Anna"), span(world), By.S1)
    text = "".join(tables.csv_of(world.session, asked))
    (row,) = read_csv(text)
    assert row["s1"].startswith("'") or not row["s1"].startswith(start)


def test_a_file_is_made_while_it_is_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = world.affiliate("Anna").link
    for i in range(30):
        click(world, link, world.now - DAY + i * MINUTE, s1=f"place {i:02}")
    monkeypatch.setattr(files, "CHUNK_CHARS", 500)
    monkeypatch.setattr(tables, "ROWS_PER_FETCH", 7)
    asked = Asked(scope_of(world, "Anna"), span(world), By.S1)
    parts = list(tables.csv_of(world.session, asked))
    assert len(parts) > 4
    assert [row["s1"] for row in read_csv("".join(parts))] == [f"place {i:02}" for i in range(30)]


# ---- over the API ----


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("by=s1", "affiliate", "cannot_combine"),
        ("by=hour&country=DE", "country", "cannot_combine"),
        ("s1=a&country=DE", "country", "cannot_combine"),
        ("by=hour&from=2026-01-01&to=2026-03-01", "from", "too_long"),
        ("device=fridge", "device", "invalid"),
        ("country=", "country", "empty"),
        ("limit=0", "limit", "invalid"),
        ("limit=1001", "limit", "invalid"),
        ("sort=luck", "sort", "invalid"),
        ("compare=perhaps", "compare", "invalid"),
        ("from=1999-12-31&to=2000-01-05", "from", "out_of_range"),
        ("from=2300-01-01&to=2300-01-05", "to", "out_of_range"),
        ("to=0001-01-05", "from", "out_of_range"),
        ("country=%00", "country", "not_text"),
    ],
)
def test_a_wrong_word_names_its_field(
    world: World, client: FlaskClient, query: str, field: str, code: str
) -> None:
    headers = key_of(world, "statistics:read")
    for path in (API, f"{API}.csv"):
        answer = client.get(f"{path}?{query}", headers=headers)
        assert answer.status_code == 422, answer.text
        errors = (answer.json or {})["errors"]
        assert [(e["field"], e["code"]) for e in errors] == [(field, code)]


def test_a_link_is_asked_by_its_code_within_its_program(
    world: World, anna: Link, client: FlaskClient
) -> None:
    headers = key_of(world, "statistics:read")
    body: dict[str, Any] = client.get(f"{API}?link={anna.code}", headers=headers).json or {}
    assert (body["total"]["clicks"], body["total"]["orders"]) == (4, 1)
    other = ids.public(world.people["Boris"].enrollment.id)
    for query in ("link=nobodys", f"link={anna.code}&affiliate={other}"):
        assert client.get(f"{API}?{query}", headers=headers).status_code == 404


def test_countries_are_asked_in_any_case(world: World, anna: Link, client: FlaskClient) -> None:
    headers = key_of(world, "statistics:read")
    body: dict[str, Any] = client.get(f"{API}?country=de", headers=headers).json or {}
    assert body["total"]["clicks"] == 3


def test_a_reader_who_leaves_midway_leaves_nothing_open(
    world: World, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a connection nor a context: what follows is answered as before."""
    link = world.affiliate("Anna").link
    for i in range(30):
        click(world, link, world.now - DAY + i * MINUTE, s1=f"place {i:02}")
    monkeypatch.setattr(files, "CHUNK_CHARS", 500)
    headers = key_of(world, "statistics:read")
    who = ids.public(world.people["Anna"].enrollment.id)

    def open_now() -> int:
        with world.app.app_context():
            return int(db.engine.pool.checkedout())  # type: ignore[attr-defined]

    before = open_now()
    for parts in (0, 1, 2):
        answer = client.get(f"{API}.csv?by=s1&affiliate={who}", headers=headers, buffered=False)
        assert len(list(itertools.islice(answer.response, parts))) == parts
        answer.close()
        gc.collect()
        assert open_now() == before
    mine = world.people["Anna"].client.get("/account/clicks.csv", buffered=False)
    assert next(iter(mine.response))
    mine.close()
    gc.collect()
    assert open_now() == before
