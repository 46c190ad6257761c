"""The demo shop's feed is one that Kopeck reads, and its pictures are ones that Kopeck takes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from affiliate.core.money import Money
from affiliate.products.reading import Rules, products_of
from affiliate.promo.pictures import small_picture
from sandbox.shop.catalogue import PRODUCTS
from sandbox.shop.feed import RANKED, feed

SHOP = Path(__file__).resolve().parents[2] / "sandbox" / "shop"
RULES = Rules("RUB", ("localhost",), plain_loopback=True)


@pytest.mark.parametrize("currency", ["RUB", "EUR"])
def test_the_feed_has_the_whole_catalogue_at_its_prices(currency: str) -> None:
    found = products_of(feed("http://localhost:8100/", currency).encode(), RULES)
    assert [each.sku for each in found] == [product.sku for product in PRODUCTS]
    for each, product in zip(found, PRODUCTS, strict=True):
        paid = each.sale_price or each.price
        assert paid == Money(product.price(currency) * 10_000, currency)
        assert (each.sale_price is not None) == (product.before > 0)
        assert each.link == f"http://localhost:8100/products/{product.slug}"
        assert each.category == product.category
    ranked = sorted((each for each in found if each.sku in RANKED), key=lambda each: each.rank)
    assert [each.sku for each in ranked] == list(RANKED)
    assert [each.rank for each in ranked] == [1, 2, 3]


def test_every_picture_that_the_feed_names_is_there_and_is_one() -> None:
    for each in products_of(feed("http://localhost:8100/", "RUB").encode(), RULES):
        path = urlsplit(each.image_link).path
        made = small_picture((SHOP / path.lstrip("/")).read_bytes(), side_px=320)
        assert (made.width, made.height) == (320, 320)
