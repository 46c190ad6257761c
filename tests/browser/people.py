"""People in a real Chromium: a context each, sign-in by the form."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from affiliate.core.embedded.launch import Running

AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)
"""Chromium calls itself headless here, and the clicks of such are left out as robots'."""
PAGE_TIMEOUT_MS = 20_000
CODE_TRIES = 4
CODE_PAUSE_MS = 12_000


@contextmanager
def person(browser: Browser, **more: Any) -> Iterator[BrowserContext]:
    """A browser of one's own: no cookies of anybody else's."""
    context = browser.new_context(user_agent=AGENT, **more)
    context.set_default_timeout(PAGE_TIMEOUT_MS)
    try:
        yield context
    finally:
        context.close()


def sign_in_of(who: str, sign_ins: Iterable[dict[str, str]]) -> dict[str, str]:
    """The demo sign-in whose address begins with that word."""
    found = [each for each in sign_ins if each["email"].startswith(f"{who.lower()}@")]
    assert found, f"no demo sign-in of {who}"
    return found[0]


def sign_in(page: Page, base: str, account: dict[str, str]) -> None:
    """By the form, as a person does."""
    page.goto(f"{base}/sign-in")
    page.fill("[name=email]", account["email"])
    page.fill("[name=password]", account["password"])
    page.click("main form button[type=submit], main form input[type=submit]")
    page.wait_for_url(lambda url: not url.startswith(f"{base}/sign-in"))
    for _ in range(CODE_TRIES):
        if not page.url.startswith(f"{base}/second-factor"):
            return
        give_code(page, base, account["email"])
    raise AssertionError(f"no code of {account['email']} was taken")


def give_code(page: Page, base: str, email: str) -> None:
    """What the demo's page shows of their app; after three at once a step has to pass."""
    fill_code(page, base, email)
    with page.expect_navigation():
        page.click("main form button[type=submit]")
    if page.url.startswith(f"{base}/second-factor"):
        page.wait_for_timeout(CODE_PAUSE_MS)


def fill_code(page: Page, base: str, email: str) -> None:
    """Type the code that the demo's page shows for them."""
    page.fill("[name=code]", page.request.get(f"{base}/demo/codes").json()[email])


@contextmanager
def signed_in(browser: Browser, stack: Running, who: str, **more: Any) -> Iterator[Page]:
    """A page of somebody of the demo, signed in."""
    opened: AbstractContextManager[BrowserContext] = person(browser, **more)
    with opened as context:
        page = context.new_page()
        sign_in(page, stack.urls["kopeck"], sign_in_of(who, stack.sign_ins()))
        yield page
