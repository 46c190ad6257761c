"""Every page that links lead to: no error in the console, nothing fetched from elsewhere,
nothing wider than a phone, one heading."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from affiliate.core.embedded.launch import Running
from tests.browser.crawl import pages
from tests.browser.people import person, sign_in
from tests.browser.screenshots import PUBLIC_STARTS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OURS = ("127.0.0.1", "localhost")
PHONE = {"width": 390, "height": 844}


class Watch:
    """What a page did that it should not have."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seen: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on("request", self._request)

    def _note(self, what: str) -> None:
        self.seen.append(f"{urlsplit(self.page.url).path}: {what}")

    def _console(self, message: ConsoleMessage) -> None:
        # A refused inline style or a blocked request by the policy is an error here too.
        if message.type in ("error", "warning"):
            self._note(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname not in OURS:
            self._note(f"asked {request.url}")


def look(page: Page, base: str, starts: list[str]) -> list[str]:
    """Walk all pages; what was wrong with them."""
    watch = Watch(page)
    visited = []
    for path in pages(page, base, starts):
        visited.append(path)
        headings = page.locator("h1").count()
        if headings != 1 and path.rstrip("/") != "/api":
            watch.seen.append(f"{path}: {headings} headings of the first rank")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            watch.seen.append(f"{path}: {width} pixels wide on a phone")
    assert visited
    return watch.seen


def test_pages_for_everybody_are_quiet_and_our_own(browser: Browser, stack: Running) -> None:
    with person(browser, viewport=PHONE) as context:
        base = stack.urls["kopeck"]
        assert look(context.new_page(), base, PUBLIC_STARTS[:-1]) == []


def test_pages_of_each_demo_person_are_quiet_and_our_own(browser: Browser, stack: Running) -> None:
    base = stack.urls["kopeck"]
    wrong = []
    for account in stack.sign_ins():
        with person(browser, viewport=PHONE) as context:
            page = context.new_page()
            sign_in(page, base, account)
            found = look(page, base, [page.url.removeprefix(base)])
            wrong += [f"{account['who']}: {each}" for each in found]
    assert wrong == []
