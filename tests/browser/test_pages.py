"""Every page that links lead to, at both widths, in both languages and themes: no error in the
console, nothing fetched from elsewhere, nothing wider than the window, one heading, nothing
serious found by axe-core, and no more on the way than a phone can wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from affiliate.core.embedded.launch import Running
from tests.browser.crawl import pages
from tests.browser.people import person, sign_in, sign_in_of
from tests.browser.screenshots import PUBLIC_STARTS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OURS = ("127.0.0.1", "localhost")
FIRST_LOAD_BYTES_MAX = 250_000
NOT_OURS = ("/api",)
"""Swagger's own page: two headings, its own weight, and looked at by its makers."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class View:
    """How pages are looked at."""

    width: int
    height: int
    theme: str
    language: str
    axe: bool = False

    def __str__(self) -> str:
        return f"{self.width} {self.theme} {self.language}"


VIEWS = (
    View(390, 844, "light", "en", axe=True),
    View(1440, 900, "dark", "ru", axe=True),
    View(390, 844, "dark", "ru"),
    View(1440, 900, "light", "en"),
)
"""Each width in each language, each theme at each width; axe once a theme and width."""
ONE_OF_EACH = ("anna", "vera", "finance", "manager", "owner")
"""Whoever else there is in the demo sees the same pages."""


class Watch:
    """What a page did that it should not have."""

    def __init__(self, page: Page, view: View) -> None:
        self.page = page
        self.view = view
        self.seen: list[str] = []
        self.loaded_bytes = 0
        self.asked: set[str] = set()
        """Requests of this page; what the page before had asked for may still come in."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.note(f"script: {error}"))
        page.on("request", self._request)
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
        wire.on("Network.requestWillBeSent", self._begun)
        wire.on("Network.loadingFinished", self._loaded)

    def note(self, what: str) -> None:
        self.seen.append(f"{urlsplit(self.page.url).path} ({self.view}): {what}")

    def look(self) -> None:
        """Everything that is said of a page that stands there."""
        if self.page.get_attribute("html", "lang") != self.view.language:
            self.note("another language")
        if (headings := self.page.locator("h1").count()) != 1:
            self.note(f"{headings} headings of the first rank")
        width = self.page.evaluate("document.documentElement.scrollWidth")
        if width > self.view.width:
            self.note(f"{width} pixels wide")
        if self.loaded_bytes > FIRST_LOAD_BYTES_MAX:
            self.note(f"{self.loaded_bytes:,} bytes transferred")
        if not self.view.axe:
            return
        options = {"runOnly": RULES, "resultTypes": ["violations"]}
        for found in Axe().run(self.page, options=options).response["violations"]:
            if found["impact"] in SERIOUS:
                where = [node["target"] for node in found["nodes"][:3]]
                self.note(f"{found['id']}: {found['help']}, at {where}")

    def _console(self, message: ConsoleMessage) -> None:
        # A refused inline style or a blocked request by the policy is an error here too.
        if message.type in ("error", "warning"):
            self.note(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname not in OURS:
            self.note(f"asked {request.url}")

    def _begun(self, told: dict[str, Any]) -> None:
        if told.get("type") == "Document":
            self.loaded_bytes, self.asked = 0, set()
        self.asked.add(told["requestId"])

    def _loaded(self, told: dict[str, Any]) -> None:
        if told["requestId"] in self.asked:
            self.loaded_bytes += int(told["encodedDataLength"])


@contextmanager
def looking(browser: Browser, view: View) -> Iterator[Page]:
    """A browser that is so wide and likes that theme and language."""
    size = {"width": view.width, "height": view.height}
    with person(browser, viewport=size, color_scheme=view.theme, locale=view.language) as context:
        yield context.new_page()


@contextmanager
def reading(page: Page, base: str, language: str) -> Iterator[None]:
    """The person reads in that language by the switch at the foot, and in English afterwards."""
    speak(page, base, language)
    try:
        yield
    finally:
        speak(page, base, "en")


def speak(page: Page, base: str, language: str) -> None:
    page.goto(f"{base}/profile")
    page.click(f".languages button[lang={language}]")
    page.wait_for_selector(f"html[lang={language}]")


def walk(page: Page, base: str, view: View, starts: list[str]) -> list[str]:
    """All pages that links lead to; what was wrong with them."""
    watch = Watch(page, view)
    visited = 0
    for path in pages(page, base, starts):
        visited += 1
        if path.rstrip("/") not in NOT_OURS:
            watch.look()
    assert visited
    return watch.seen


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_pages_for_everybody_are_quiet_light_and_for_everybody(
    browser: Browser, stack: Running, view: View
) -> None:
    with looking(browser, view) as page:
        assert walk(page, stack.urls["kopeck"], view, PUBLIC_STARTS[:-1]) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("who", ONE_OF_EACH)
def test_pages_of_each_demo_person_are_quiet_light_and_for_everybody(
    browser: Browser, stack: Running, who: str, view: View
) -> None:
    base = stack.urls["kopeck"]
    with looking(browser, view) as page:
        sign_in(page, base, sign_in_of(who, stack.sign_ins()))
        start = page.url.removeprefix(base)
        with reading(page, base, view.language):
            assert walk(page, base, view, [start]) == []
