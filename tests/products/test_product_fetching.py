"""The feed's address, asked every day against a real server; pictures of products."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
import sqlalchemy as sa
from builders import make_program
from feeds import csv_feed, item, png, row, rss
from flask import Flask
from moments import NOW
from PIL import Image
from served import serving
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.fetch import FetchFailed, Trouble
from affiliate.products import fetching, jobs, pictures
from affiliate.products.fetching import (
    NoAddress,
    ask,
    ask_soon,
    claim_due,
    note_answer,
    pause_after,
    set_address,
)
from affiliate.products.models import ProductFeed, ProductImport, ProductPicture, ShopProduct
from affiliate.programs.models import Program


class Shop:
    """What a shop's server holds."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        body = self.files.get(handler.path)
        handler.send_response(404 if body is None else 200)
        handler.send_header("Content-Length", str(len(body or b"")))
        handler.end_headers()
        handler.wfile.write(body or b"")


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    with serving(made.answer) as url:
        made.url = url.replace("127.0.0.1", "localhost")
        yield made


@pytest.fixture
def program(session: Session, shop: Shop) -> Program:
    """A demo's program, whose shop is on this machine."""
    made = make_program(
        session, now=NOW, landing_url=f"{shop.url}/", allowed_sites=["localhost"],
        plain_loopback=True,
    )  # fmt: skip
    session.commit()
    return made


def product(shop: Shop, sku: str = "A", **changes: str) -> dict[str, str]:
    return row(sku, link=f"{shop.url}/p/{sku}", **changes)


def feed_of(session: Session, program: Program) -> ProductFeed:
    session.expire_all()
    return session.get_one(ProductFeed, program.id)


def go(session: Session, program: Program, shop: Shop, now: datetime = NOW) -> ProductFeed:
    """Ask what is due, as the job does."""
    while (due := claim_due(session, now=now)) is not None:
        session.commit()
        note_answer(session, due=due, answer=ask(due, production=False), now=now)
        session.commit()
    return feed_of(session, program)


def address(session: Session, program: Program, shop: Shop, path: str = "/feed.xml") -> None:
    set_address(session, program_id=program.id, address=f"{shop.url}{path}", by=None, now=NOW)
    session.commit()


def test_an_address_is_asked_at_once_and_then_every_day(
    session: Session, program: Program, shop: Shop
) -> None:
    shop.files["/feed.xml"] = rss(item(**product(shop)))
    address(session, program, shop)
    feed = go(session, program, shop)
    assert (feed.products, feed.trouble, feed.failures) == (1, None, 0)
    assert (feed.fetched_at, feed.next_fetch_at) == (NOW, NOW + timedelta(days=1))
    assert go(session, program, shop, NOW + timedelta(hours=23)).fetched_at == NOW
    shop.files["/feed.xml"] = rss(item(**product(shop)) + item(**product(shop, "B")))
    assert go(session, program, shop, NOW + timedelta(days=1)).products == 2
    assert shop.asked == ["/feed.xml", "/feed.xml"]


def test_a_failure_is_named_and_asked_again_after_a_pause_that_grows(
    session: Session, program: Program, shop: Shop
) -> None:
    address(session, program, shop)
    now, pauses = NOW, []
    for _ in range(4):
        feed = go(session, program, shop, now)
        assert feed.trouble == Trouble.REFUSED
        assert feed.next_fetch_at is not None
        pauses.append(feed.next_fetch_at - now)
        now = feed.next_fetch_at
    assert pauses == [timedelta(minutes=minutes) for minutes in (5, 10, 20, 40)]
    assert pause_after(50) == timedelta(hours=6)
    shop.files["/feed.xml"] = csv_feed(product(shop))
    feed = go(session, program, shop, now)
    assert (feed.trouble, feed.failures, feed.products) == (None, 0, 1)


def test_a_feed_that_cannot_be_read_is_a_trouble_with_its_lines(
    session: Session, program: Program, shop: Shop
) -> None:
    shop.files["/feed.xml"] = csv_feed(product(shop, price="free"))
    address(session, program, shop)
    feed = go(session, program, shop)
    assert (feed.trouble, feed.products) == (fetching.UNREADABLE, 0)
    (kept,) = session.scalars(sa.select(ProductImport))
    assert (kept.status, len(kept.errors)) == ("refused", 1)


@pytest.mark.abuse("A30")
@pytest.mark.parametrize(
    "wrong",
    [
        "https://elsewhere.example/feed", "https://127.0.0.1/feed", "https://10.0.0.1/",
        "http://shop.example/feed", "file:///etc/passwd", "https://shop.example:8443/",
        "https://user@shop.example/", "gopher://shop.example/", "feed.xml",
        "https://shop.example/" + "x" * 1_000,
    ],
)  # fmt: skip
def test_a_feed_lies_on_the_programs_own_sites(session: Session, wrong: str) -> None:
    strict = make_program(session, now=NOW)
    with pytest.raises(Invalid) as caught:
        set_address(session, program_id=strict.id, address=wrong, by=None, now=NOW)
    assert [each.field for each in caught.value.errors] == ["address"]


@pytest.mark.abuse("A30")
def test_production_asks_nothing_of_its_own_machine_whatever_the_program_says(
    session: Session, program: Program, shop: Shop
) -> None:
    shop.files["/feed.xml"] = csv_feed(product(shop))
    address(session, program, shop)
    due = claim_due(session, now=NOW)
    assert due is not None and due.plain_loopback
    answer = ask(due, production=True)
    assert isinstance(answer, FetchFailed)
    assert answer.trouble is Trouble.NOT_ALLOWED
    assert shop.asked == []


def test_addresses_come_and_go(session: Session, program: Program, shop: Shop) -> None:
    with pytest.raises(NoAddress):
        ask_soon(session, program_id=program.id, now=NOW)
    address(session, program, shop)
    feed = go(session, program, shop)
    address(session, program, shop)
    assert feed.trouble == Trouble.REFUSED  # The same address again is no news.
    ask_soon(session, program_id=program.id, now=NOW)
    assert claim_due(session, now=NOW) is not None
    set_address(session, program_id=program.id, address=" ", by=None, now=NOW)
    session.commit()
    feed = feed_of(session, program)
    assert (feed.address, feed.next_fetch_at, feed.trouble) == ("", None, None)
    assert claim_due(session, now=NOW + timedelta(days=9)) is None
    with pytest.raises(NotFound):
        set_address(session, program_id=9_999, address="", by=None, now=NOW)


def test_an_answer_of_an_address_that_was_changed_meanwhile_is_dropped(
    session: Session, program: Program, shop: Shop
) -> None:
    address(session, program, shop)
    due = claim_due(session, now=NOW)
    assert due is not None
    address(session, program, shop, "/other.xml")
    note_answer(session, due=due, answer=csv_feed(product(shop)), now=NOW)
    session.commit()
    feed = feed_of(session, program)
    assert (feed.products, feed.next_fetch_at) == (0, NOW)


def test_what_a_crash_cut_off_is_begun_again_after_an_hour(
    session: Session, program: Program, shop: Shop
) -> None:
    address(session, program, shop)
    assert claim_due(session, now=NOW) is not None
    session.commit()
    assert claim_due(session, now=NOW + timedelta(minutes=59)) is None
    assert claim_due(session, now=NOW + timedelta(minutes=60)) is not None


def test_two_schedulers_ask_once(
    session: Session, program: Program, shop: Shop, engine: sa.Engine
) -> None:
    address(session, program, shop)
    assert claim_due(session, now=NOW) is not None
    with Session(engine) as other:
        assert claim_due(other, now=NOW) is None


def test_a_closed_program_is_not_asked_for(session: Session, program: Program, shop: Shop) -> None:
    address(session, program, shop)
    program.status = "closed"
    session.commit()
    assert claim_due(session, now=NOW) is None


def test_the_job_brings_products_and_their_pictures(
    app: Flask, session: Session, program: Program, shop: Shop
) -> None:
    shop.files = {
        "/feed.xml": csv_feed(
            product(shop, "A", image_link=f"{shop.url}/a.png"),
            product(shop, "B", image_link=f"{shop.url}/b.svg"),
            product(shop, "C", image_link=f"{shop.url}/none.png"),
            product(shop, "D", image_link=f"{shop.url}/a.png"),
            product(shop, "E"),
        ),
        "/a.png": png(),
        "/b.svg": b"<svg onload='alert(1)'/>",
    }
    address(session, program, shop)
    with app.app_context():
        jobs.fetch_feeds()
        jobs.fetch_pictures()
        jobs.fetch_pictures()
    kept = {each.source.rpartition("/")[2]: each for each in session.scalars(
        sa.select(ProductPicture))}  # fmt: skip
    assert {name: each.trouble for name, each in kept.items()} == {
        "a.png": None, "b.svg": "no_picture", "none.png": "refused",
    }  # fmt: skip
    assert (kept["a.png"].width, kept["a.png"].height) == (320, 107)
    assert sorted(shop.asked) == ["/a.png", "/b.svg", "/feed.xml", "/none.png"]
    content = pictures.content_of(session, program_id=program.id, source=f"{shop.url}/a.png")
    with Image.open(io.BytesIO(content or b"")) as shown:
        assert (shown.format, shown.size) == ("WEBP", (320, 107))


@pytest.mark.abuse("A33")
def test_what_is_no_picture_is_tried_again_after_days_and_what_is_gone_is_forgotten(
    session: Session, program: Program, shop: Shop
) -> None:
    shop.files["/feed.xml"] = csv_feed(product(shop, image_link=f"{shop.url}/a.png"))
    shop.files["/a.png"] = b"\x89PNG\r\n\x1a\n" + b"x" * 60
    address(session, program, shop)
    go(session, program, shop)

    def try_at(now: datetime) -> list[str | None]:
        for each in pictures.wanted(session, now=now):
            answer = pictures.ask(each, production=False)
            pictures.note_picture(session, each=each, answer=answer, now=now)
        session.commit()
        session.expire_all()
        return list(session.scalars(sa.select(ProductPicture.trouble)))

    assert try_at(NOW) == ["no_picture"]
    shop.files["/a.png"] = png()
    assert try_at(NOW + timedelta(days=2)) == ["no_picture"]
    assert try_at(NOW + timedelta(days=3)) == [None]
    asked = len(shop.asked)
    assert try_at(NOW + timedelta(days=30)) == [None]
    assert len(shop.asked) == asked
    session.execute(sa.update(ShopProduct).values(image_link=""))
    assert pictures.forget_pictures(session) == 1


def test_pictures_have_an_end_and_best_sellers_come_first(
    session: Session, program: Program, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PICTURES_AT_ONCE", 2)
    shop.files["/feed.xml"] = csv_feed(*(
        product(shop, f"P{number}", image_link=f"{shop.url}/{number}.png", rank=str(9 - number))
        for number in range(4)
    ))  # fmt: skip
    address(session, program, shop)
    go(session, program, shop)
    first = pictures.wanted(session, now=NOW)
    assert [each.source.rpartition("/")[2] for each in first] == ["3.png", "2.png"]
    monkeypatch.setattr(pictures, "PICTURES_PER_PROGRAM_MAX", 0)
    assert pictures.wanted(session, now=NOW) == []


@pytest.mark.abuse("A30")
def test_a_picture_of_a_private_address_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("169.254.169.254", "localhost", "10.0.0.1"):
        each = pictures.Wanted(1, f"https://{host}/a.png", False)
        assert pictures.ask(each, production=True) == Trouble.PRIVATE


def test_a_clock_that_jumps_asks_once(
    app: Flask, session: Session, program: Program, shop: Shop, settings: Settings
) -> None:
    shop.files["/feed.xml"] = csv_feed(product(shop))
    address(session, program, shop)
    with app.app_context():
        for _ in itertools.repeat(None, 2):
            jobs.fetch_feeds()
        now = clock.now(session, settings)
    assert shop.asked == ["/feed.xml"]
    feed = feed_of(session, program)
    assert feed.next_fetch_at is not None
    assert feed.next_fetch_at > now
