"""A new affiliate sets up the payout account at the Stripe double, in a real browser."""

from __future__ import annotations

import re
import secrets

import pytest
from playwright.sync_api import Browser, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import person, signed_in
from tests.browser.test_newcomer import apply, approve, link_in_mail, register, verify

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_new_affiliate_sets_up_the_account_leaves_comes_back_and_is_ready(
    browser: Browser, stack: Running
) -> None:
    name = f"Nora {secrets.token_hex(3)}"
    email = f"{name.lower().replace(' ', '-')}@newcomers.example"
    with person(browser) as context:
        page = context.new_page()
        become_an_affiliate(page, browser, stack, name, email)
        page.goto(f"{stack.urls['kopeck']}/account/money?program=demo")
        page.select_option("[name=country]", "FR")
        press(page, "Set up your payout account with Stripe")
        at_the_double(page, stack, "Leave without giving anything")
        expect(page.locator("#payee")).to_contain_text("details missing")
        expect(page.locator("#payee")).to_contain_text("the bank account that your money goes to")
        press(page, "Go on at Stripe")
        link = page.url
        page.reload()  # A link is good once: Stripe sends back, and a new one is given.
        page.wait_for_url(re.compile("/connect/onboarding/"))
        assert page.url != link
        at_the_double(page, stack, "Give the details and enable payouts")
        expect(page.locator("#payee .payee")).to_contain_text("ready")
        expect(page.locator("main")).to_contain_text("Stripe says that your account is ready.")
        assert link_in_mail(stack, email, "/account/disowned/")


def become_an_affiliate(
    page: Page, browser: Browser, stack: Running, name: str, email: str
) -> None:
    """As any stranger does; a manager approves."""
    register(page, stack, name, email)
    verify(page, stack, email)
    apply(page, name)
    with signed_in(browser, stack, "manager") as manager:
        approve(manager, stack, name)


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).first.click()
    page.wait_for_url(re.compile("/connect/onboarding/"))


def at_the_double(page: Page, stack: Running, button: str) -> None:
    """On the page that stands in for Stripe's; it leads back to ours."""
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_url(f"{stack.urls['kopeck']}/account/money*")
