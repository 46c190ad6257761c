"""What those who walk through the desks share: the four views, a desk of one's own, and what is
pressed and looked for there. Nothing is found by its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import person, sign_in, sign_in_of
from tests.browser.test_pages import View, looking, reading
from tests.story.outside import until

VIEWS = (
    View(390, 844, "light", "en"),
    View(390, 844, "dark", "ru"),
    View(1440, 900, "dark", "en"),
    View(1440, 900, "light", "ru"),
)
REFUSED = "status of 422"
"""What the browser's console says where a form is refused: the page tells the reader itself."""


@contextmanager
def desk_of(browser: Browser, stack: Running, who: str, view: View) -> Iterator[Page]:
    """A page of somebody of the demo, signed in, in that view and language; quiet to its end."""
    with looking(browser, view) as page:
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        sign_in(page, stack.urls["kopeck"], sign_in_of(who, stack.sign_ins()))
        # Not before: a code that another walk of the same person has used is refused with 401.
        page.on("console", lambda m: said.append(m.text) if is_trouble(m) else None)
        with reading(page, stack.urls["kopeck"], view.language):
            yield page
            assert said == [], said


def is_trouble(message: ConsoleMessage) -> bool:
    """An error, unless somebody walks into a refusal on purpose."""
    return message.type == "error" and REFUSED not in message.text


def send(form: Locator) -> None:
    """By its first button that is not for looking only."""
    form.first.locator("button[type=submit]:not([name=action])").first.click()


def yes(page: Page) -> None:
    """Where the page asks back."""
    dialog = page.locator("#confirm-dialog[open]")
    if dialog.count():
        dialog.locator("[value=yes]").click()


def done(page: Page, view: View) -> None:
    """The page says so, in the reader's language, and nothing stands out of the window.

    What it said is taken away, so that it is not heard again after the next press.
    """
    told = page.locator(".alert-success").first
    expect(told).to_be_visible()
    russian = bool(re.search("[а-яё]", told.inner_text(), re.IGNORECASE))
    assert russian == (view.language == "ru"), told.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= view.width
    told.evaluate("alert => alert.remove()")


def click_by_a_buyer(browser: Browser, link: str) -> None:
    with person(browser) as context:
        page = context.new_page()
        page.goto(link)
        page.wait_for_function("window.kopeck && !!window.kopeck.order")


def found(page: Page, address: str, rows: str, text: str) -> None:
    """Reload until one of the rows holds the text."""

    def look() -> int:
        page.goto(address)
        return page.locator(rows, has_text=text).count()

    until(look, f"{text} on {address}")
