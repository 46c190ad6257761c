"""A stranger becomes an affiliate: program page, account, verified address, application, link."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import person, signed_in
from tests.story.outside import TIMEOUT_S, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a fern, a lamp and a window"
PRESSES_MAX = 6
WALK_S_MAX = 120
COUNT_PRESSES = """
document.addEventListener("click", function (event) {
  if (!event.target.closest("a, button")) { return; }
  localStorage.setItem("presses", 1 + Number(localStorage.getItem("presses")));
}, true);
"""
"""Links and buttons; what is ticked in a form is writing, not walking."""


def test_a_stranger_applies_is_approved_and_makes_a_first_link(
    browser: Browser, stack: Running
) -> None:
    name = f"Nadia {secrets.token_hex(3)}"
    email = f"{name.lower().replace(' ', '-')}@newcomers.example"
    with person(browser) as context:
        page = context.new_page()
        register(page, stack, name, email)
        verify(page, stack, email)
        apply(page, name)
        with signed_in(browser, stack, "manager") as manager:
            approve(manager, stack, name)
        page.goto(f"{stack.urls['kopeck']}/account/links")
        make_a_link(page, stack)


def test_a_newcomers_first_link_is_six_presses_and_no_two_minutes_away(
    browser: Browser, stack: Running
) -> None:
    """In a program that approves by itself: apply, account, mail, address, application, link."""
    name = f"Nina {secrets.token_hex(3)}"
    email = f"{name.lower().replace(' ', '-')}@newcomers.example"
    with approving_by_itself(browser, stack, "demo-manual"), person(browser) as context:
        context.add_init_script(COUNT_PRESSES)
        page = context.new_page()
        page.goto(f"{stack.urls['kopeck']}/programs/demo-manual")
        began = time.monotonic()
        register(page, stack, name, email, slug="demo-manual")
        verify(page, stack, email, slug="demo-manual")
        apply(page, name)
        page.wait_for_url("**/account/links**")
        assert "/r/" in first_link(page)
        # One of the presses is on the link in the mail, which is another page.
        presses = 1 + page.evaluate("Number(localStorage.getItem('presses'))")
        assert presses <= PRESSES_MAX
        assert time.monotonic() - began < WALK_S_MAX


@contextmanager
def approving_by_itself(browser: Browser, stack: Running, slug: str) -> Iterator[None]:
    """The program lets everybody with a verified address in, meanwhile."""

    def set_to(wanted: bool) -> None:
        with signed_in(browser, stack, "owner") as owner:
            owner.goto(f"{stack.urls['kopeck']}/manage/programs/{slug}")
            box = owner.locator("[name=auto_approve]")
            if box.is_checked() != wanted:
                box.click()
            with owner.expect_navigation():
                owner.locator("main form button[type=submit]").first.click()

    set_to(True)
    try:
        yield
    finally:
        set_to(False)


def register(page: Page, stack: Running, name: str, email: str, *, slug: str = "demo") -> None:
    """From the public page by its own buttons, as a stranger finds the way."""
    page.goto(f"{stack.urls['kopeck']}/programs/{slug}")
    page.locator(f"main a[href$='/programs/{slug}/apply']").first.click()
    page.fill("[name=name]", name)
    page.fill("[name=email]", email)
    page.fill("[name=password]", PASSWORD)
    page.click("main form button[type=submit]")
    expect(page.locator("main")).to_contain_text(email)


def link_in_mail(stack: Running, email: str, path: str) -> str:
    """The link of that path in the newest mail to the address."""

    def look() -> str:
        url = f"{stack.urls['mail']}/messages.json"
        mails = requests.get(url, timeout=TIMEOUT_S).json()
        texts = [mail["text"] for mail in mails if email in mail["to"]]
        found = [re.search(rf"https?://\S+{path}\S+", text) for text in texts]
        return next((each[0] for each in found if each), "")

    return until(look, f"a mail to {email}")


def verify(page: Page, stack: Running, email: str, *, slug: str = "demo") -> None:
    """The browser that chose the password goes on without giving it again."""
    page.goto(link_in_mail(stack, email, "/verify/"))
    page.click("main form button")
    page.wait_for_url(f"**/programs/{slug}/apply**")


def apply(page: Page, name: str) -> None:
    page.fill("[name=name]", name)
    page.check("[name=channels][value=blog]")
    page.fill("[name=how]", "I write about ferns and the lamps beside them, once a week.")
    page.locator("[name=audience]").first.check()
    page.check("[name=agreement]")
    page.get_by_role("button", name="Send the application").click()
    expect(page.locator(".alert-success")).to_be_visible()


def approve(manager: Page, stack: Running, name: str) -> None:
    manager.goto(f"{stack.urls['kopeck']}/manage/applications?program=demo")
    card = manager.locator("section.card", has_text=name)
    card.get_by_role("button", name=re.compile("^Approve")).first.click()
    if manager.locator("#confirm-dialog[open]").count():
        manager.click("#confirm-dialog [value=yes]")
    expect(manager.locator(".alert-success")).to_be_visible()


def make_a_link(page: Page, stack: Running) -> None:
    """The approval holds at once; the link redirects as soon as it is shown."""
    url = first_link(page)
    page.goto(url)
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    assert page.url.startswith(stack.urls["shop"])


def first_link(page: Page) -> str:
    """On the page of links: made with one press; its address."""
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("[data-copy*='/r/']").first.get_attribute("data-copy")
    assert url
    return url
