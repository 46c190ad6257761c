"""A stranger becomes an affiliate: program page, account, verified address, application, link."""

from __future__ import annotations

import re
import secrets

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import person, signed_in
from tests.story.outside import TIMEOUT_S, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a fern, a lamp and a window"


def test_a_stranger_applies_is_approved_and_makes_a_first_link(
    browser: Browser, stack: Running
) -> None:
    name = f"Nadia {secrets.token_hex(3)}"
    email = f"{name.lower().replace(' ', '-')}@newcomers.example"
    with person(browser) as context:
        page = context.new_page()
        register(page, stack, name, email)
        page.goto(link_in_mail(stack, email, "/verify/"))
        page.click("main form button")
        sign_in_on_the_way(page, email)
        apply(page, name)
        with signed_in(browser, stack, "manager") as manager:
            approve(manager, stack, name)
        make_a_link(page, stack)


def register(page: Page, stack: Running, name: str, email: str) -> None:
    """From the public page by its own buttons, as a stranger finds the way."""
    page.goto(f"{stack.urls['kopeck']}/programs/demo")
    page.locator("main a[href$='/programs/demo/apply']").first.click()
    page.get_by_role("link", name="I am new here").click()
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


def sign_in_on_the_way(page: Page, email: str) -> None:
    """The page that was wanted at first follows the sign-in."""
    page.fill("[name=email]", email)
    page.fill("[name=password]", PASSWORD)
    page.click("main form button[type=submit]")
    page.wait_for_url("**/programs/demo/apply**")


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
    page.goto(f"{stack.urls['kopeck']}/account/links")
    page.fill("[name=name]", "First")
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("[data-copy*='/r/']").first.get_attribute("data-copy")
    assert url
    page.goto(url)
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    assert page.url.startswith(stack.urls["shop"])
