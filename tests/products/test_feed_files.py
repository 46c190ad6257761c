"""Feeds as shops write them: read by what they are, refused by line and field, never in part."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from feeds import RULES, csv_feed, item, lamps, row, rss
from hypothesis import example, given
from hypothesis import strategies as st

from affiliate.core.errors import Invalid
from affiliate.core.money import Money
from affiliate.products import files, reading
from affiliate.products.feeds import COLUMNS, Offer, written
from affiliate.products.reading import Rules, field_texts, products_of, said
from affiliate.products.rules import (
    UNRANKED,
    Availability,
    FileKind,
    Product,
    difference,
    fingerprint,
    is_gtin,
    shrinks,
)

LAMP = Product(
    sku="LAMP-1", title="Lamp LAMP-1", link="https://shop.example/p/LAMP-1",
    price=Money(4_200_000_000, "RUB"),
)  # fmt: skip


def short(value: object) -> str:
    """A name for a case: some are megabytes."""
    return repr(value)[:30]


def errors(raw: bytes, rules: Rules = RULES) -> list[str]:
    with pytest.raises(Invalid) as caught:
        products_of(raw, rules)
    assert {error.field for error in caught.value.errors} == {"file"}
    return [str(error.message) for error in caught.value.errors]


def one(raw: bytes, rules: Rules = RULES) -> Product:
    (found,) = products_of(raw, rules)
    return found


@pytest.mark.parametrize(
    "raw",
    [
        csv_feed(row()),
        b"\xef\xbb\xbf" + csv_feed(row()),
        csv_feed(row()).replace(b",", b";"),
        csv_feed(row()).replace(b",", b"\t"),
        csv_feed(row()).replace(b"\r\n", b"\n") + b"\n\n , \n",
        csv_feed(row()).replace(b"id,title,link", b"SKU,g:Title,URL", 1),
        json.dumps([row()]).encode(),
        json.dumps({"products": [row()]}, indent=2).encode(),
        json.dumps([row() | {"price": {"amount": "4200.00", "currency": "RUB"}}]).encode(),
        json.dumps([row() | {"rank": None, "shipping": [1], "weight": 2.5}]).encode(),
        rss(item(**row())),
        rss(item(**row())).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        rss(f"<item><title>Not this</title><link>https://shop.example/rss</link>"
            f"<g:shipping><g:price>9.00 RUB</g:price></g:shipping>{item(**row())[6:]}"),
        rss("<item><title>Lamp LAMP-1</title><link>https://shop.example/p/LAMP-1</link>"
            "<g:id>LAMP-1</g:id><g:price>4200 RUB</g:price></item>"),
        b'<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><entry>'
        b"<id>https://shop.example/entries/1</id><title>Lamp LAMP-1</title>"
        b'<link rel="self" href="https://shop.example/atom"/>'
        b'<link href="https://shop.example/p/LAMP-1"/><g:id>LAMP-1</g:id>'
        b"<g:price>4200.00 RUB</g:price></entry></feed>",
    ],
    ids=short,
)  # fmt: skip
def test_every_way_to_write_a_feed_says_the_same(raw: bytes) -> None:
    assert one(raw) == LAMP


def test_everything_that_is_read_of_a_product() -> None:
    full = row(
        description="  Bends  its neck ", image_link="https://cdn.example/lamp.jpg?w=1",
        sale_price="3900.50 RUB", availability="In Stock", brand="Heron",
        sale_price_effective_date="2026-11-26T00:00+03:00/2026-12-24T21:00:00Z",
        product_type="Home > Lamps", gtin="4006381333931", rank="7",
    )  # fmt: skip
    expected = replace(
        LAMP, description="Bends its neck", image_link="https://cdn.example/lamp.jpg?w=1",
        sale_price=Money(3_900_500_000, "RUB"), brand="Heron", category="Home > Lamps",
        sale_from=datetime(2026, 11, 25, 21, tzinfo=UTC),
        sale_until=datetime(2026, 12, 24, 21, tzinfo=UTC), gtin="4006381333931", rank=7,
    )  # fmt: skip
    for raw in (
        csv_feed(full),
        json.dumps([full]).encode(),
        rss(item(**full).replace(" > ", " &gt; ")),
    ):
        assert one(raw) == expected
    assert expected.discount_ppm == 71_309  # 299.50 of 4200.00
    assert (LAMP.rank, LAMP.discount_ppm) == (UNRANKED, 0)


def test_a_price_that_is_repeated_is_no_sale_and_the_yen_has_no_hundredths() -> None:
    assert one(csv_feed(row(sale_price="4200.00 RUB"))) == LAMP
    assert one(csv_feed(row(price="1500.00 JPY"))).price == Money(1_500_000_000, "JPY")
    assert one(csv_feed(row(price="42", currency="EUR"))).price == Money(42_000_000, "EUR")
    assert one(csv_feed(row(price="42"))).price == Money(42_000_000, "RUB")
    assert one(csv_feed(row(availability="preorder"))).availability is Availability.PREORDER


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": ""}, "line 2, id: Please fill this in."),
        ({"title": " \u200b "}, "line 2, title: Please fill this in."),
        ({"link": ""}, "line 2, link: Please fill this in."),
        ({"price": ""}, "line 2, price: Please fill this in."),
        ({"id": "x" * 101}, "line 2, id: At most 100 visible characters."),
        ({"id": "-1"}, "line 2, id: An id does not begin with = + - or @"),
        ({"id": "=cmd"}, "line 2, id: An id does not begin with = + - or @"),
        ({"title": "x" * 201}, "line 2, title: At most 200"),
        ({"brand": "x" * 201}, "line 2, brand: At most 200"),
        ({"link": "https://elsewhere.example/"}, "line 2, link: Links of this program lead to"),
        ({"link": "http://shop.example/"}, "line 2, link: Links of this program lead to"),
        ({"link": "javascript:alert(1)"}, "line 2, link: Links of this program lead to"),
        ({"link": "https://shop.example@evil.example/"}, "line 2, link: Links of this program"),
        ({"link": "https://shop.example/" + "x" * 1_000}, "line 2, link: Links of this program"),
        ({"image_link": "http://cdn.example/a.png"}, "line 2, image_link: Write the whole address"),
        ({"image_link": "https://[::1"}, "line 2, image_link: Write the whole address"),
        ({"price": "4200.00"[::-1] + "x"}, "line 2, price: Write it as 4200.00 RUB."),
        ({"price": "-1 RUB"}, "line 2, price: Write it as"),
        ({"price": "1e3 RUB"}, "line 2, price: Write it as"),
        ({"price": "٤٢ RUB"}, "line 2, price: Write it as"),
        ({"price": "1.005 RUB"}, "line 2, price: The currency has fewer digits"),
        ({"price": "1 XXQ"}, "line 2, price: This is not an ISO 4217 currency."),
        ({"price": "1000000000001 RUB"}, "line 2, price: The amount is above"),
        ({"currency": "rubles"}, "line 2, currency: rubles is not an ISO 4217 currency."),
        ({"sale_price": "4200.01 RUB"}, "line 2, sale_price: It is higher than the price."),
        ({"sale_price": "1 EUR"}, "line 2, sale_price: It is in another currency"),
        ({"sale_price": "x"}, "line 2, sale_price: Write it as 4200.00 RUB."),
        ({"sale_price_effective_date": "today"}, "line 2, sale_price_effective_date: Write it as"),
        ({"sale_price_effective_date": "2026-11-26T00:00/2026-12-01T00:00"},
         "line 2, sale_price_effective_date: Write it as"),
        ({"sale_price_effective_date": "2026-13-26T00:00Z/2026-12-01T00:00Z"},
         "line 2, sale_price_effective_date: Write it as"),
        ({"sale_price_effective_date": "0001-01-01T00:00+03:00/2026-12-01T00:00Z"},
         "line 2, sale_price_effective_date: Write it as"),
        ({"sale_price_effective_date": "2026-12-01T00:00Z/2026-12-01T00:00Z"},
         "line 2, sale_price_effective_date: It ends before it begins."),
        ({"availability": "perhaps"}, "line 2, availability: One of: in_stock, out_of_stock"),
        ({"gtin": "4006381333932"}, "line 2, gtin: Its control digit does not fit"),
        ({"rank": "0"}, "line 2, rank: A place is a whole number"),
        ({"rank": "1.5"}, "line 2, rank: A place is a whole number"),
        ({"rank": "1000000"}, "line 2, rank: A place is a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_line_and_field(changes: dict[str, str], sentence: str) -> None:
    (told,) = errors(csv_feed({**row(), **changes}))
    assert told.startswith(sentence)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "The file is empty."),
        (b" \r\n\t", "The file is empty."),
        (b"x" * (files.FEED_BYTES_MAX + 1), "At most 20 MB."),
        (b"title,price\nLamp,1", "The first line names no id, link."),
        (b"id,title,link,price,id\n", "The first line names id twice."),
        (b"\xff\xd8\xff\xe0 JFIF", "The file is not text in UTF-8."),
        (b"id,title,link,price\n\x00", "The file is not text in UTF-8."),
        (b"PK\x03\x04", "The first line names no id, title, link, price."),
        (csv_feed(row()) + b",x,y", "line 2: more values than the first line has names."),
        (b'id,title,link,price\n"LAMP', "line 2 cannot be read as CSV."),
        (b"id,title,link,price\n" + b"x" * 200_000, "line 2 cannot be read as CSV."),
        (b"[{}", "line 1: this is no JSON."),
        (b"[{},]", "line 1: this is no JSON."),
        (b"[1]", "product 1 is no object."),
        (b'{"id": 1}', "Write a list of products"),
        (b'{"products": []', "line 1: this is no JSON."),
        (b"[]}", "line 1: this is no JSON."),
        (b'[{"id": "a", "id": "b"}]', "product 1: a name stands twice in it"),
        (b'[{"id": NaN}]', "product 1: a name stands twice in it"),
        (b'[{"id": "\\ud800"}]', "product 1: a name stands twice in it"),
        (b"[" + b"[" * 100_000, "product 1: a name stands twice in it"),
        (b'[{"id": "a",\n"price": 4200.5}]', "product 1, price: write it in quotation marks."),
        (b'[{"id": true}]', "product 1, id: write it in quotation marks."),
        (b"<html><item/></html>", "The file is no product feed"),
        (b"<rss><channel><item>", "The file is no product feed"),
        (rss("<item>" + "<a>" * 70 + "</a>" * 70 + "</item>"), "The file is no product feed"),
        (rss("<item>" + "<a/>" * 600 + "</item>"), "The file is no product feed"),
        (rss(item(description="x" * 300_000)), "The file is no product feed"),
    ],
    ids=short,
)  # fmt: skip
def test_what_is_no_feed_is_refused_with_what_would_do(raw: bytes, sentence: str) -> None:
    assert errors(raw)[0].startswith(sentence)


@pytest.mark.abuse("A47")
@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE rss [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>',
        '<!DOCTYPE rss [<!ENTITY file SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE rss SYSTEM "http://127.0.0.1/evil.dtd">',
        '<!DOCTYPE rss [<!ENTITY % p SYSTEM "http://127.0.0.1/p">%p;]>',
        "<!DOCTYPE rss>",
    ],
)
def test_a_document_type_is_refused_in_any_encoding(head: str) -> None:
    bomb = rss(item(**row(title="&c;")), head).decode()
    assert errors(bomb.encode())[0].startswith("The file is no product feed")
    wide = bomb.replace("UTF-8", "UTF-16").encode("utf-16")
    assert errors(wide)[0].startswith("The file is no product feed")


def test_nothing_of_a_file_counts_where_one_line_is_wrong_and_the_first_twenty_are_told() -> None:
    told = errors(csv_feed(row("A"), *(row(f"B{n}", price="x") for n in range(30))))
    assert len(told) == 21
    assert told[0].startswith("line 3, price:")
    assert told[-1] == "… and 10 more of the kind."


def test_an_id_that_comes_twice_is_told_at_its_second_place() -> None:
    assert errors(csv_feed(row("A"), row("B"), row("A"))) == ["line 4, id: A is there already."]


def test_products_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PRODUCTS_MAX", 3)
    assert len(products_of(lamps(3), RULES)) == 3
    assert errors(lamps(4)) == ["A program has at most 3 products."]


def test_a_feed_of_nothing_is_one() -> None:
    for raw in (lamps(0), b"[]", b' {"products" : [ ] } ', rss("")):
        assert products_of(raw, RULES) == ()


def test_the_line_of_an_item_is_where_it_begins() -> None:
    raw = rss("\n\n" + item(**row()) + "\n" + item(**row("B", price="x")))
    assert errors(raw)[0].startswith("line 4, price:")


def test_plain_http_is_for_a_demo_program_alone() -> None:
    local = row(link="http://localhost:8100/p/1", image_link="http://localhost:8100/1.png")
    rules = Rules("RUB", ("localhost",), plain_loopback=True)
    assert one(csv_feed(local), rules).image_link == "http://localhost:8100/1.png"
    assert len(errors(csv_feed(local), replace(rules, plain_loopback=False))) == 2


def test_invisible_characters_are_left_out_and_long_descriptions_cut() -> None:
    found = one(csv_feed(row(title="Oak\u00ad leaf\u202e", description="x" * 1_200)))
    assert found.title == "Oak leaf"
    assert len(found.description) == 1_000 and found.description.endswith("…")


@given(st.binary(max_size=300))
@example(b"<")
@example(b"[")
@example(b'{"products":[{')
@example(b"<rss><channel><item></item></channel></rss>")
@example(b"id,title,link,price\n,,,")
def test_garbage_is_refused_and_never_an_error(raw: bytes) -> None:
    try:
        products_of(raw, RULES)
    except Invalid as refusal:
        assert refusal.errors[0].field == "file"


def test_a_difference_says_what_comes_changes_and_goes() -> None:
    known = {"A": fingerprint(replace(LAMP, sku="A")), "B": b"old", "C": b"gone"}
    new = [replace(LAMP, sku=sku) for sku in ("A", "B", "D")]
    found = difference(known, new)
    assert (found.new, found.changed, found.gone, found.unchanged) == (("D",), ("B",), ("C",), 1)
    assert not found.nothing
    assert difference({"A": fingerprint(new[0])}, new[:1]).nothing


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [(0, 0, False), (0, 5, False), (1, 0, True), (2, 1, False), (3, 1, True), (100, 50, False),
     (100, 49, True), (5, 9, False)],
)  # fmt: skip
def test_a_feed_that_lost_more_than_half_is_looked_at(before: int, after: int, held: bool) -> None:
    assert shrinks(before, after) is held


@pytest.mark.parametrize("text", ["4006381333931", "96385074", "012345678905", "00012345600012"])
def test_trade_numbers_have_a_control_digit(text: str) -> None:
    assert is_gtin(text)
    assert not is_gtin(text[:-1] + str((int(text[-1]) + 1) % 10))
    assert not is_gtin(text[:-2])


def offer(title: str = "Lamp & Leaf") -> Offer:
    return Offer(
        sku="LAMP-1", title=title, description='He said "<b>bright</b>", twice',
        link="https://shop.example/r?a=1&to=https%3A%2F%2Fshop.example%2F",
        image_link="https://shop.example/1.png", price=Money(4_200_000_000, "RUB"),
        sale_price=Money(3_900_500_000, "RUB"), sale_from=datetime(2026, 11, 26, tzinfo=UTC),
        sale_until=datetime(2026, 12, 24, tzinfo=UTC), availability="in_stock", brand="Heron",
        category="Home > Lamps", gtin="4006381333931",
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(FileKind))
@pytest.mark.parametrize(
    "title", ["Lamp & Leaf", "=cmd|' /C calc'!A0", "-20% today", "@home", "'quoted", "＝1", "]]>"]
)
def test_what_is_written_is_a_feed_that_reads_as_it_was(kind: FileKind, title: str) -> None:
    raw = "".join(written(kind, [offer(title)], title="Shop & Co", home="https://x.example/?a&b"))
    found = one(raw.encode())
    assert (found.title, found.description) == (title, offer().description)
    assert (found.link, found.price) == (offer().link, offer().price)
    assert (found.sale_price, found.sale_from, found.sale_until) == (
        offer().sale_price, offer().sale_from, offer().sale_until,
    )  # fmt: skip
    assert (found.category, found.gtin) == ("Home > Lamps", "4006381333931")


@pytest.mark.abuse("A31")
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "＝1", '=HYPERLINK("https://x")'])
def test_no_cell_of_a_feed_in_csv_is_a_formula(text: str) -> None:
    import csv

    given_ = replace(offer(text), description=text, brand=text, category=text)
    raw = "".join(written(FileKind.CSV, [given_], title="", home=""))
    head, cells = csv.reader(io.StringIO(raw.removeprefix("\ufeff")))
    assert tuple(head) == COLUMNS
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "＝"))]
    assert cells[1] == f"'{text}"


def test_many_offers_are_written_in_pieces_and_none_is_a_feed_as_well() -> None:
    for kind in FileKind:
        assert len(list(written(kind, [offer()] * 1_000, title="", home=""))) > 3
        assert products_of("".join(written(kind, [], title="", home="")).encode(), RULES) == ()


def test_what_was_wrong_is_kept_as_patterns_and_can_be_said_again() -> None:
    with pytest.raises(Invalid) as caught:
        products_of(csv_feed(row(price="x"), row("B", title="")), RULES)
    kept = json.loads(json.dumps(field_texts(caught.value.errors)))
    assert [str(said(each)) for each in kept] == [str(e.message) for e in caught.value.errors]
