"""The open page of the integration in a real browser: it follows what comes in by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from staff import hire
from werkzeug.serving import make_server
from world import World

from tracker.integration.notebook import flush

pytestmark = pytest.mark.browser
_numbers = itertools.count()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def looking(
    world: World, app: Flask, browser: Browser, width: int, *, scripts: bool = True
) -> Iterator[Page]:
    """A manager's browser at the page."""
    cookie = hire(world, "manager", name=f"manager{next(_numbers)}").client.get_cookie("kopeck")
    assert cookie is not None
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, java_script_enabled=scripts
    )
    try:
        context.add_cookies([{"name": "kopeck", "value": cookie.value, "url": base}])
        page = context.new_page()
        page.goto(f"{base}/manage/integration")
        yield page
    finally:
        context.close()
        server.shutdown()
        thread.join()
        server.server_close()


def pixel_is_fetched(world: World, app: Flask) -> None:
    app.test_client().get("/pixel.js", headers={"Referer": "https://shop.example/"})
    flush(world.app)


@pytest.mark.parametrize("width", [390, 1440])
def test_the_open_page_turns_green_by_itself(
    world: World, app: Flask, browser: Browser, width: int
) -> None:
    with looking(world, app, browser, width) as page:
        first = page.locator(".check-lines > li").first
        expect(first).to_contain_text("No page of this site has fetched it yet.")
        found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}})
        grave = [one for one in found.response["violations"] if one["impact"] != "minor"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in grave] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        pixel_is_fetched(world, app)
        expect(page.locator("#checklist .check-green").first).to_contain_text(
            "Seen on", timeout=12_000
        )
        expect(page.locator("h1")).to_have_count(1)


def test_without_scripts_one_looks_again(world: World, app: Flask, browser: Browser) -> None:
    with looking(world, app, browser, 390, scripts=False) as page:
        pixel_is_fetched(world, app)
        page.get_by_role("link", name="Look again").click()
        expect(page.locator("#checklist .check-green").first).to_contain_text("Seen on")
