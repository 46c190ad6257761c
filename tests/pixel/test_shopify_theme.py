"""The theme snippet of docs/shops/shopify.md in Chromium, on a page that has Shopify's names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route

from tests.pixel.conftest import Sites
from tests.sandbox.test_shop import wait_until
from tracker.clicks import tokens

DOC = Path(__file__).resolve().parents[2] / "docs/shops/shopify.md"
ATTRIBUTE_CHARS_MAX = 254
"""What Shopify keeps of an attribute's value."""

pytestmark = pytest.mark.browser


def minted(number: int) -> str:
    key = tokens.SigningKey.of(b"k" * 32)
    id_ = tokens.new_click_id(1_795_000_000_000 + number, number.to_bytes(10))
    return tokens.mint(key, id_, 2**40 + number, bytes(16))


@pytest.fixture
def carts(sites: Sites, context: BrowserContext) -> list[dict[str, Any]]:
    """What the shop's cart was told, one by one; its page has the snippet."""
    told: list[dict[str, Any]] = []

    def cart(route: Route, request: Request) -> None:
        assert request.method == "POST"
        told.append(json.loads(request.post_data or "")["attributes"])
        route.fulfill(status=200, json={})

    context.route("**/de/cart/update.js", cart)
    snippet = DOC.read_text(encoding="utf-8").split("```liquid\n")[1].split("```")[0]
    tag, script = snippet.split("\n", 1)
    assert tag == (
        '<script async src="https://kopeck.example/pixel.js" data-program="demo"></script>'
    )
    sites.page_script = 'window.Shopify = {routes: {root: "/de/"}};'
    sites.body = f'<form action="/cart" target="none"><button>Buy</button></form>{script}'
    return told


def arrive(page: Page, sites: Sites, *clicks: str) -> None:
    for click in clicks:
        page.goto(f"{sites.shop}/?kpk={click}")
        page.wait_for_function("location.search === ''")


def test_a_cart_is_told_the_clicks_and_the_visitor_once(
    sites: Sites, context: BrowserContext, carts: list[dict[str, Any]]
) -> None:
    page = context.new_page()
    arrive(page, sites, minted(1))
    wait_until(lambda: page.evaluate("sessionStorage.getItem('kopeck_brought')") == minted(1))
    kept = {cookie["name"]: cookie["value"] for cookie in context.cookies()}
    assert carts == [{"kopeck_clicks": minted(1), "kopeck_visitor": kept["kopeck_visitor"]}]
    page.goto(f"{sites.shop}/another")
    page.wait_for_timeout(1_600)
    assert len(carts) == 1


def test_a_cart_that_is_filled_at_once_is_told_as_well_and_of_many_the_first_and_the_last(
    sites: Sites, context: BrowserContext, carts: list[dict[str, Any]]
) -> None:
    page = context.new_page()
    arrive(page, sites, *(minted(number) for number in range(1, 6)))
    page.click("button")
    wait_until(lambda: len(carts) > 0)
    assert carts[-1]["kopeck_clicks"] == "|".join((minted(1), minted(4), minted(5)))
    assert len(carts[-1]["kopeck_clicks"]) <= ATTRIBUTE_CHARS_MAX


def test_whoever_came_by_no_link_tells_the_cart_nothing(
    sites: Sites, context: BrowserContext, carts: list[dict[str, Any]]
) -> None:
    page = context.new_page()
    page.goto(sites.shop)
    page.wait_for_timeout(1_600)
    page.click("button")
    page.wait_for_timeout(200)
    assert carts == []
