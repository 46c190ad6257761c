"""Products on the manager's desk, in the affiliate's account, and as feeds for other sites."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa
from builders import terms_document
from flask import Flask
from flask.testing import FlaskClient
from staff import Staff, hire
from world import Person, World

from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.links.links import create_link, disable_link
from affiliate.people import limits
from affiliate.products import keys, pictures
from affiliate.products.importing import take_fetched
from affiliate.products.lookup import product_code
from affiliate.products.models import ProductFeed, ProductFeedKey, ProductImport, ShopProduct
from affiliate.programs.models import Program
from affiliate.programs.terms import CommissionTerms, Percent, PerItem, Rate
from affiliate.programs.terms_document import load
from affiliate.promo.pictures import small_picture
from tests.products.feeds import csv_feed, lamps, png, row, rss
from tracker.desks.account import products as account_products
from tracker.desks.account.product_rates import simple_rate
from tracker.orders.browser import report_from_browser
from tracker.orders.intake import report_order
from tracker.orders.rules import Item, OrderReportIn, Source
from tracker.stats.best_sellers import count_sold, programs_with_products

GOOGLE = "{http://base.google.com/ns/1.0}"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


@pytest.fixture
def anna(world: World) -> Person:
    return world.affiliate("Anna")


def have(world: World, *rows: dict[str, str], program: Program | None = None) -> None:
    """Products in a program (the ruble one), without a desk."""
    with world.app.app_context():
        taken = take_fetched(
            world.session, program_id=(program or world.program).id, raw=csv_feed(*rows),
            now=world.now,
        )  # fmt: skip
        assert taken is not None and taken.status == "done"
        world.session.commit()


def upload(manager: Staff, raw: bytes, name: str = "../feed.csv") -> Any:
    return manager.client.post("/manage/products/files", data={"file": (io.BytesIO(raw), name)})


def waiting(world: World) -> ProductImport:
    world.session.rollback()
    return world.session.scalars(
        sa.select(ProductImport).where(ProductImport.status == "waiting")
    ).one()


def skus(world: World) -> list[str]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(ShopProduct.sku).order_by(ShopProduct.sku)))


def text_of(answer: Any) -> str:
    return html.unescape(answer.get_data(as_text=True))


def shown(client: FlaskClient, query: str = "") -> list[str]:
    """Titles on the affiliate's page, in their order."""
    page = client.get(f"/account/products{query}")
    assert page.status_code == 200
    found = re.findall(r'product-card" id=".*?<h2>(.*?)</h2>', page.text, flags=re.DOTALL)
    return [html.unescape(each) for each in found]


def test_a_file_is_looked_at_and_then_imported(world: World, manager: Staff) -> None:
    assert upload(manager, lamps(3)).status_code == 303
    page = text_of(manager.client.get("/manage/products"))
    assert "An import waits for you" in page
    assert "L-0, L-1, L-2" in page
    assert skus(world) == []
    path = f"/manage/products/imports/{waiting(world).id}"
    answer = manager.client.post(f"{path}/done", follow_redirects=True)
    assert "3 products are new." in text_of(answer)
    assert skus(world) == ["L-0", "L-1", "L-2"]
    again = manager.client.post(f"{path}/done")
    assert again.status_code == 409
    assert "decided on already" in text_of(again)


def test_a_file_is_discarded_and_nothing_has_changed(world: World, manager: Staff) -> None:
    have(world, row("A"))
    upload(manager, lamps(3))
    path = f"/manage/products/imports/{waiting(world).id}/discarded"
    assert manager.client.post(path).location == "/manage/products?program=demo"
    assert skus(world) == ["A"]


def test_what_is_wrong_stands_beside_the_file_in_the_readers_words(
    world: World, manager: Staff
) -> None:
    answer = upload(manager, csv_feed(row("A"), row("B", price="free", link="")))
    assert answer.status_code == 422
    page = text_of(answer)
    assert "line 3, price: Write it as 4200.00 RUB." in page
    assert "line 3, link: Please fill this in." in page
    assert manager.client.post("/manage/products/files", data={}).status_code == 422
    assert upload(manager, b"").status_code == 422
    assert upload(manager, lamps(0)).status_code == 422
    assert world.session.scalar(sa.select(sa.func.count(ProductImport.id))) == 0


@pytest.mark.abuse("A33")
def test_a_file_that_is_too_large_is_refused_before_it_is_read(manager: Staff) -> None:
    answer = manager.client.post(
        "/manage/products/files", data=bytes(20_100_000),
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip
    assert answer.status_code == 413


@pytest.mark.abuse("A47")
def test_a_bomb_is_refused_like_any_other_file(world: World, manager: Staff) -> None:
    bomb = rss("<item/>", '<!DOCTYPE rss [<!ENTITY a "x"><!ENTITY b "&a;&a;">]>')
    answer = upload(manager, bomb)
    assert answer.status_code == 422
    assert "no document type in it" in text_of(answer)


def test_a_feed_that_has_shrunk_says_so_and_is_imported_when_a_person_says_so(
    world: World, manager: Staff
) -> None:
    have(world, *(row(f"L-{n}") for n in range(5)))
    with world.app.app_context():
        take_fetched(world.session, program_id=world.program.id, raw=lamps(1), now=world.now)
        world.session.commit()
    assert "The feed has shrunk" in text_of(manager.client.get("/manage/products"))
    path = f"/manage/products/imports/{waiting(world).id}/done"
    assert manager.client.post(path).status_code == 303
    assert skus(world) == ["L-0"]


def test_an_address_is_kept_or_refused_beside_its_field(world: World, manager: Staff) -> None:
    answer = manager.client.post(
        "/manage/products/address", data={"address": "https://evil.example/"}
    )
    assert answer.status_code == 422
    assert 'id="address-errors"' in answer.text
    good = {"address": "https://shop.example/feed.xml"}
    assert manager.client.post("/manage/products/address", data=good).status_code == 303
    world.session.rollback()
    feed = world.session.get_one(ProductFeed, world.program.id)
    assert feed.address == good["address"]
    feed.next_fetch_at, feed.trouble = None, "redirected"
    world.session.commit()
    assert "nothing is followed" in text_of(manager.client.get("/manage/products"))
    assert manager.client.post("/manage/products/fetch").status_code == 303
    world.session.refresh(feed)
    assert feed.next_fetch_at is not None
    assert manager.client.post("/manage/products/address", data={"address": ""}).status_code == 303
    assert manager.client.post("/manage/products/fetch").status_code == 409


def test_imports_that_failed_can_be_read_later(world: World, manager: Staff) -> None:
    with world.app.app_context():
        take_fetched(
            world.session, program_id=world.program.id, raw=csv_feed(row("B", price="free")),
            now=world.now,
        )  # fmt: skip
        world.session.commit()
    page = text_of(manager.client.get("/manage/products"))
    assert "line 2, price: Write it as 4200.00 RUB." in page
    assert "1 thing is wrong" in page


@pytest.mark.abuse("A25")
def test_whoever_may_only_read_changes_nothing(world: World, manager: Staff) -> None:
    upload(manager, lamps(2))
    path = f"/manage/products/imports/{waiting(world).id}"
    curator = hire(world, "curator")
    page = curator.client.get("/manage/products")
    assert page.status_code == 200
    assert ">Import it<" not in page.text
    assert "Read it" not in page.text
    for action in (f"{path}/done", f"{path}/discarded", "/manage/products/files",
                   "/manage/products/address", "/manage/products/fetch"):  # fmt: skip
        assert curator.client.post(action).status_code == 403
    assert skus(world) == []


@pytest.mark.abuse("A24")
def test_another_programs_imports_are_not_there(world: World, manager: Staff) -> None:
    upload(manager, lamps(2))
    stranger = hire(world, "manager", program=world.euros)
    for action in ("done", "discarded"):
        path = f"/manage/products/imports/{waiting(world).id}/{action}"
        assert stranger.client.post(path).status_code == 404
    for number in ("0", "9" * 30, "x", "-1", "١"):
        assert manager.client.post(f"/manage/products/imports/{number}/done").status_code == 404
    assert skus(world) == []


def test_a_product_is_shared_with_the_readers_own_link_in_one_click(
    world: World, anna: Person
) -> None:
    have(world, row("A", title="Heron lamp", link="https://shop.example/a?b=1&c=2"))
    code = product_code(world.session.scalars(sa.select(ShopProduct.id)).one())
    page = text_of(anna.client.get("/account/products"))
    assert anna.link is not None
    link = (
        f"http://127.0.0.1:8000/r/{anna.link.code}?cr={code}"
        "&to=https%3A%2F%2Fshop.example%2Fa%3Fb%3D1%26c%3D2"
    )
    assert f'data-copy="{link}"' in page
    assert "You earn 10% of the net" in page
    world.click(anna.link, at=world.now - timedelta(hours=1), creative=code)
    told = anna.client.get("/account/statistics.csv?by=creative").text
    assert f"{code},Heron lamp,1," in told


def test_products_are_found_by_words_category_and_price(world: World, anna: Person) -> None:
    have(
        world,
        row("A", title="Heron lamp", brand="Pond", category="lamps", price="100 RUB", rank="1"),
        row("B", title="100% cotton", brand="Loom", category="cloth", price="200 RUB", rank="2"),
        row("C", title="Fern", category="plants", price="300 RUB", sale_price="150 RUB", rank="3"),
        row("D", title="Tea", category="plants", price="3 EUR", rank="4"),
    )  # fmt: skip
    client = anna.client
    assert shown(client) == ["Heron lamp", "100% cotton", "Fern", "Tea"]
    assert shown(client, "?q=heron") == ["Heron lamp"]
    assert shown(client, "?q=loom") == ["100% cotton"]
    assert shown(client, "?q=%25") == ["100% cotton"]
    assert shown(client, "?q=_") == []
    assert shown(client, "?category=plants") == ["Fern", "Tea"]
    assert shown(client, "?category=nothing") == []
    assert shown(client, "?least=150&most=200") == ["100% cotton", "Fern"]
    assert shown(client, "?most=150") == ["Heron lamp", "Fern"]
    assert shown(client, "?least=1,5") == ["Heron lamp", "100% cotton", "Fern"]
    page = client.get("/account/products?least=cheap")
    assert "it was left out" in page.text
    assert "4 products" in page.text


def test_best_sellers_the_new_and_the_reduced_come_in_their_order(
    world: World, anna: Person
) -> None:
    have(world, row("A"), row("B", sale_price="4000 RUB"), row("C"))
    have(
        world, row("A"), row("B", sale_price="4000 RUB"), row("C"), row("D", sale_price="100 RUB"),
        row("E", rank="2"), row("F", rank="1"),
        row("G", sale_price="1 RUB",
            sale_price_effective_date="2020-01-01T00:00Z/2020-02-01T00:00Z"),
    )  # fmt: skip
    world.session.execute(
        sa.update(ShopProduct).where(ShopProduct.sku == "C").values(sold=5)
    )  # fmt: skip
    world.session.commit()
    client = anna.client
    assert [each[-1] for each in shown(client)] == ["F", "E", "C", "G", "D", "B", "A"]
    assert [each[-1] for each in shown(client, "?sort=new")][-1] == "A"
    assert {each[-1] for each in shown(client, "?sort=new")[:4]} == {"D", "E", "F", "G"}
    assert [each[-1] for each in shown(client, "?sort=sale")] == ["D", "B"]
    for wrong in ("?sort=price", "?after=1.2", "?after=a.b.c", "?after=" + "9" * 30):
        assert client.get(f"/account/products{wrong}").status_code == 404


@pytest.mark.abuse("A50")
@pytest.mark.parametrize("sort", ["best", "new", "sale"])
def test_pages_follow_each_other_without_a_gap_and_without_repeats(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr(account_products, "SHOWN_MAX", 3)
    have(world, *(row(f"P{n}", sale_price=f"{4000 - n % 3}.00 RUB", rank=str(n % 4 + 1))
                  for n in range(10)))  # fmt: skip
    whole: list[str] = []
    query: str | None = f"?sort={sort}"
    while query is not None:
        whole += shown(anna.client, query)
        page = anna.client.get(f"/account/products{query}").text
        following = re.search(r'rel="next" href="/account/products(\?[^"]+)"', page)
        query = html.unescape(following.group(1)) if following else None
    assert len(whole) == len(set(whole)) == 10


def test_without_products_or_without_a_link_the_page_says_what_to_do(world: World) -> None:
    vera = world.affiliate("Vera", link=False)
    assert "No products yet" in text_of(vera.client.get("/account/products"))
    have(world, row("A"))
    page = text_of(vera.client.get("/account/products"))
    assert "You have no link yet." in page
    assert "data-copy" not in page
    assert vera.client.get("/account/products/feed").status_code == 404


def test_a_page_that_the_programs_sites_no_longer_have_is_not_linked(
    world: World, anna: Person
) -> None:
    have(world, row("A", link="https://www.shop.example/a"), row("B"))
    world.program.allowed_sites = ["shop.example"]
    world.session.commit()
    assert "no longer have this page" in text_of(anna.client.get("/account/products"))
    told = list(csv.DictReader(io.StringIO(anna.client.get("/account/products/feed").text)))
    assert [each["\ufeffid"] for each in told] == ["B"]


@pytest.mark.abuse("A32")
def test_a_feed_cannot_script_a_page(world: World, anna: Person, manager: Staff) -> None:
    nasty = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
    have(world, row("A", title=nasty, brand=nasty, category=nasty, description=nasty))
    for page in (
        anna.client.get("/account/products").text,
        anna.client.get("/account/products", query_string={"q": nasty, "category": nasty}).text,
        manager.client.get("/manage/products", query_string={"q": nasty}).text,
    ):
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def feed(client: FlaskClient, kind: str, query: str = "") -> Any:
    return client.get(f"/account/products/feed?format={kind}{query}")


def test_the_whole_feed_leaves_with_the_readers_link_in_every_format(
    world: World, anna: Person
) -> None:
    have(world, row("A", sale_price="100 RUB", category="Lamps & Co"), row("B", title="=1+1"))
    assert anna.link is not None
    start = f"http://127.0.0.1:8000/r/{anna.link.code}"
    links = []
    answer = feed(anna.client, "csv")
    assert 'filename="products-demo.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    links.append([each["link"] for each in rows])
    assert [(each["id"], each["title"], each["price"], each["sale_price"]) for each in rows] == [
        ("A", "Lamp A", "4200.00 RUB", "100.00 RUB"), ("B", "'=1+1", "4200.00 RUB", ""),
    ]  # fmt: skip
    told = json.loads(feed(anna.client, "json").text)["products"]
    links.append([each["link"] for each in told])
    assert [each["title"] for each in told] == ["Lamp A", "=1+1"]
    answer = feed(anna.client, "xml")
    assert answer.content_type == "application/rss+xml; charset=utf-8"
    items = ElementTree.fromstring(answer.data).findall("./channel/item")
    links.append([each.findtext(f"{GOOGLE}link") or "" for each in items])
    assert [each.findtext(f"{GOOGLE}product_type") for each in items] == ["Lamps & Co", None]
    assert links[0] == links[1] == links[2]
    for link, sku in zip(links[0], "AB", strict=True):
        assert link.startswith(f"{start}?")
        assert parse_qs(urlsplit(link).query) == {
            "cr": ["feed"], "to": [f"https://shop.example/p/{sku}"],
        }  # fmt: skip
    assert feed(anna.client, "pdf").status_code == 404


def test_the_chosen_link_is_the_one_in_the_feed(world: World, anna: Person) -> None:
    have(world, row("A"))
    boris = world.affiliate("Boris")
    with world.app.app_context():
        other = create_link(world.session, enrollment_id=anna.enrollment.id, now=world.now)
        world.session.commit()
    assert (
        f"/r/{other.code}?" in feed(anna.client, "csv", f"&link={public_id('lnk', other.id)}").text
    )
    assert boris.link is not None
    theirs = public_id("lnk", boris.link.id)
    assert feed(anna.client, "csv", f"&link={theirs}").status_code == 404


def address_of(world: World, person: Person, kind: str = "csv") -> str:
    """A private address of the feed, made on the page."""
    assert person.link is not None
    answer = person.client.post(
        "/account/products/address", data={"link": public_id("lnk", person.link.id)}
    )
    assert answer.status_code == 303
    page = text_of(person.client.get("/account/products"))
    found = re.search(rf"http://127.0.0.1:8000(/feeds/[^\"]+\.{kind})", page)
    assert found is not None
    return found.group(1)


def test_a_private_address_is_read_without_signing_in_and_tells_what_is_news(
    world: World, anna: Person
) -> None:
    have(world, row("A"))
    path, visitor = address_of(world, anna), world.app.test_client()
    answer = visitor.get(path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Set-Cookie" not in answer.headers
    again = visitor.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    have(world, row("A"), row("B"))
    news = visitor.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert news.status_code == 200
    assert news.headers["ETag"] != answer.headers["ETag"]
    assert "Asked for last:" in text_of(anna.client.get("/account/products"))
    for other in ("json", "xml"):
        other_tag = visitor.get(path.replace(".csv", f".{other}")).headers["ETag"]
        assert other_tag != news.headers["ETag"]


@pytest.mark.abuse("A24", "A37")
def test_an_address_that_is_taken_back_forged_or_of_a_dead_link_is_not_there(
    world: World, anna: Person
) -> None:
    have(world, row("A"))
    first, visitor = address_of(world, anna), world.app.test_client()
    second = address_of(world, anna)
    assert first != second
    assert visitor.get(first).status_code == 404
    assert visitor.get(second).status_code == 200
    token = second.split("/")[2]
    for wrong in (token[:-1], token + "x", "x", token.swapcase(), "WzFd.x", "%00", "\ud800"):
        path = f"/feeds/{wrong}/products.csv".encode("utf-8", "surrogatepass")
        assert visitor.get(path.decode("latin-1")).status_code == 404
    assert visitor.get(second.replace(".csv", ".pdf")).status_code == 404
    assert anna.client.post("/account/products/address/ended").status_code == 303
    assert visitor.get(second).status_code == 404
    third = address_of(world, anna)
    anna.enrollment.status = "suspended"
    world.session.commit()
    assert visitor.get(third).status_code == 404
    anna.enrollment.status = "active"
    world.session.commit()
    assert visitor.get(third).status_code == 200
    assert anna.link is not None
    with world.app.app_context():
        disable_link(world.session, link_id=anna.link.id, now=world.now)
        world.session.commit()
    assert visitor.get(third).status_code == 404


def test_one_address_lives_however_often_it_is_asked_for(world: World, anna: Person) -> None:
    have(world, row("A"))
    address_of(world, anna)
    address_of(world, anna)
    world.session.rollback()
    live = sa.select(sa.func.count(ProductFeedKey.id)).where(ProductFeedKey.revoked_at.is_(None))
    assert world.session.scalar(live) == 1


def test_an_address_is_for_ones_own_live_link_alone(world: World, anna: Person) -> None:
    boris = world.affiliate("Boris")
    assert boris.link is not None
    for link in (public_id("lnk", boris.link.id), "", "lnk_zzzz"):
        assert anna.client.post("/account/products/address", data={"link": link}).status_code == 404
    assert anna.link is not None
    mine = {"link": public_id("lnk", anna.link.id)}
    anna.enrollment.status = "suspended"
    world.session.commit()
    answer = anna.client.post("/account/products/address", data=mine)
    assert answer.status_code == 409
    assert keys.live_key(world.session, enrollment_id=anna.enrollment.id) is None


@pytest.mark.abuse("A50")
def test_feeds_are_braked_by_reader_and_by_address(world: World, anna: Person, app: Flask) -> None:
    have(world, row("A"))
    most = int(limits.FEEDS_OF_READER.split()[0])
    statuses = [feed(anna.client, "csv").status_code for _ in range(most + 1)]
    assert statuses == [200] * most + [429]
    path, visitor = address_of(world, anna), app.test_client()
    most = int(limits.FEEDS_OF_ADDRESS.split()[0])
    assert [visitor.get(path).status_code for _ in range(most + 1)] == [200] * most + [429]
    boris = world.affiliate("Boris")
    assert visitor.get(address_of(world, boris)).status_code == 200


def test_pictures_are_our_own_and_can_do_nothing(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    source = "https://cdn.example/a.png"
    have(world, row("A", image_link=source), row("B", image_link="https://cdn.example/b.png"))
    each = pictures.Wanted(world.program.id, source, False)
    small = small_picture(png(), side_px=32)
    pictures.note_picture(world.session, each=each, answer=small, now=world.now)
    world.session.commit()
    paths = [
        re.findall(r'<img[^>]* src="(/promo/products/[^"]+)"', client.get(page).text)
        for client, page in (
            (anna.client, "/account/products"), (manager.client, "/manage/products"),
        )
    ]  # fmt: skip
    assert paths[0] == paths[1]
    (path,) = paths[0]
    assert "cdn.example" not in anna.client.get("/account/products").text
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.content_type) == (200, "image/webp")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "Set-Cookie" not in answer.headers
    again = app.test_client().get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    for wrong in ("/promo/products/ppc_zzzz.webp", "/promo/products/prd_4aB2.webp"):
        assert app.test_client().get(wrong).status_code == 404


def test_orders_say_what_sells_and_only_what_was_confirmed_counts(
    world: World, anna: Person
) -> None:
    have(world, row("A"), row("B"), row("C"))

    def sell(number: int, sku: str, quantity: int, *, by_browser: bool = False) -> None:
        price, placed_at = Money(1_000_000, "RUB"), world.now - timedelta(days=1)
        report = OrderReportIn(
            order_id=f"S-{number}", placed_at=placed_at,
            total=Money(price.micros * quantity, "RUB"), items=(Item(price, quantity, sku),),
        )  # fmt: skip
        told: dict[str, Any] = {
            "program_id": world.program.id, "report": report, "now": placed_at,
        }  # fmt: skip
        with world.app.app_context():
            if by_browser:
                report_from_browser(world.session, token=None, **told)
            else:
                report_order(world.session, source=Source.API, reported_by="key:test", **told)
            world.session.commit()

    sell(1, "A", 2)
    sell(2, "B", 3)
    sell(3, "A", 2)
    sell(4, "C", 99, by_browser=True)
    sell(5, "UNKNOWN", 5)
    assert programs_with_products(world.session) == [world.program.id]
    assert count_sold(world.session, program_id=world.program.id, now=world.now) == 2
    world.session.commit()
    assert [each[-1] for each in shown(anna.client)] == ["A", "B", "C"]
    later = world.now + timedelta(days=90)
    assert count_sold(world.session, program_id=world.program.id, now=later) == 2
    world.session.rollback()


def commission(**parts: Any) -> CommissionTerms:
    document = terms_document(
        commission={
            "level_1": {"kind": "percent", "rate_ppm": 100_000}, "level_2": None, **parts,
        }
    )  # fmt: skip
    return load(document, "RUB").commission


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, Percent(100_000)),
        ({"rules": [{"name": "lamps", "when": {"categories": ["lamps"]},
                     "earns": {"kind": "percent", "rate_ppm": 150_000}}]}, Percent(150_000)),
        ({"rules": [{"name": "this", "when": {"products": ["A"]},
                     "earns": {"kind": "per_item", "amount": "50.00"}},
                    {"name": "lamps", "when": {"categories": ["lamps"]},
                     "earns": {"kind": "percent", "rate_ppm": 150_000}}]},
         PerItem(Money(50_000_000, "RUB"))),
        ({"rules": [{"name": "pots", "when": {"categories": ["pots"]},
                     "earns": {"kind": "percent", "rate_ppm": 150_000}}]}, Percent(100_000)),
        ({"rules": [{"name": "new", "when": {"customer": "new"},
                     "earns": {"kind": "percent", "rate_ppm": 150_000}}]}, None),
        ({"tiers": {"measure": "orders", "period": "month", "apply": "marginal",
                    "bands": [{"from": 0, "rate_ppm": 100_000},
                              {"from": 10, "rate_ppm": 120_000}]}}, None),
        ({"boosts": [{"name": "now", "from": "2026-11-01T00:00:00Z",
                      "until": "2026-12-01T00:00:00Z", "add_ppm": 10_000}]}, None),
        ({"boosts": [{"name": "over", "from": "2025-11-01T00:00:00Z",
                      "until": "2025-12-01T00:00:00Z", "add_ppm": 10_000}]}, Percent(100_000)),
    ],
)  # fmt: skip
def test_what_a_product_earns_is_said_where_one_rate_says_it(
    parts: dict[str, Any], expected: Rate | None
) -> None:
    from datetime import UTC, datetime

    found = simple_rate(
        commission(**parts), sku="A", category="lamps", currency="RUB", enrollment_id=1,
        group=None, at=datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip
    assert found == expected
