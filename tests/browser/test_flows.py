"""What each role does on a day, in a real browser: on a phone and on a wide screen, in both
languages. Nothing is found by its words, so that the same walk is taken in each language."""

from __future__ import annotations

import re
import secrets

import pytest
from playwright.sync_api import Browser, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import fill_code
from tests.browser.test_pages import View
from tests.browser.walking import VIEWS, click_by_a_buyer, desk_of, done, found, send, yes
from tests.story.outside import DEADLINE_S, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(280)]

EUROPE = "demo-europe"
"""The program in which Boris begins with a balance, paid by the Stripe double."""


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_an_affiliate_makes_a_link_finds_a_click_and_chooses_letters(
    browser: Browser, stack: Running, view: View
) -> None:
    base, code = stack.urls["kopeck"], f"day-{secrets.token_hex(4)}"
    with desk_of(browser, stack, "boris", view) as page:
        page.goto(f"{base}/account/links?program=demo")
        page.locator("details.more > summary").click()
        page.fill("[name=code]", code)
        send(page.locator("form:has([name=code])"))
        done(page, view)
        link = page.locator(f"[data-copy$='/r/{code}']").get_attribute("data-copy")
        assert link == f"{base}/r/{code}"
        click_by_a_buyer(browser, link)
        found(page, f"{base}/account/clicks?program=demo", "#clicks tbody tr", code)
        page.goto(f"{base}/account/letters?program=demo")
        box = page.locator("main form input[type=checkbox]").first
        before = box.is_checked()
        box.click()
        send(page.locator("main form:has(input[type=checkbox])"))
        done(page, view)
        assert page.locator("main form input[type=checkbox]").first.is_checked() != before
        page.goto(f"{base}/account/links?program=demo")
        send(page.locator(f"tr:has([data-copy$='/r/{code}']) form[data-confirm]"))
        yes(page)
        done(page, view)
        expect(page.locator(f"[data-copy$='/r/{code}']")).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_withdrawal_goes_from_the_affiliate_over_finance_to_paid(
    browser: Browser, stack: Running, view: View
) -> None:
    base = stack.urls["kopeck"]
    with (
        desk_of(browser, stack, "boris", view) as boris,
        desk_of(browser, stack, "finance", view) as finance,
    ):
        boris.goto(f"{base}/account/money?program={EUROPE}")
        boris.fill("[name=amount]", "0.01")
        send(boris.locator("form:has([name=amount])"))
        yes(boris)
        done(boris, view)
        finance.goto(f"{base}/finance/withdrawals")
        finance.locator("#running tr", has_text="Boris").first.get_by_role("link").first.click()
        approval = finance.locator("form[action$='/approval']")
        if approval.locator("[name=code]").count():
            fill_code(finance, base, "finance@demo.example")
        send(approval)
        yes(finance)
        done(finance, view)
        expect(finance.locator("#progress[hx-get]")).to_have_count(0, timeout=DEADLINE_S * 1000)

        def can_ask_again() -> bool:
            boris.goto(f"{base}/account/money?program={EUROPE}")
            return boris.locator("[name=amount]").is_visible()

        until(can_ask_again, "the withdrawal is paid")


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_manager_drafts_rules_offers_a_text_and_looks_somebody_up(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"Day {secrets.token_hex(4)}"
    with desk_of(browser, stack, "manager", view) as page:
        page.goto(f"{base}/manage/rules/new?program=demo")
        page.fill("[name=name]", name)
        bands = page.locator(".tier-row:visible")
        expect(bands).to_have_count(1)
        page.fill("[name=tier_rate_2]", "12")
        expect(bands).to_have_count(2)
        page.fill("[name=tier_rate_2]", "")
        expect(bands).to_have_count(1)
        page.locator("button[name=action][value=preview]").click()
        expect(page.locator("main")).to_contain_text("10")
        send(page.locator("main form:has([name=name])"))
        page.wait_for_url(re.compile(r"/manage/rules/drafts/\d+"))
        done(page, view)
        send(page.locator("form[data-confirm-tone=danger]"))
        yes(page)
        page.wait_for_url(re.compile(r"/manage/rules(\?|$)"))
        done(page, view)
        page.goto(f"{base}/manage/promo/new?kind=text&program=demo")
        page.fill("[name=name]", name)
        page.fill("[name=body]", "A lamp for the fern.")
        send(page.locator("main form:has([name=body])"))
        done(page, view)
        send(page.locator("tr", has_text=name).locator("form"))
        yes(page)
        done(page, view)
        page.goto(f"{base}/manage/affiliates?program=demo")
        page.locator("main table tbody a[href*='/manage/affiliates/']", has_text="Boris").click()
        expect(page.locator("h1")).to_contain_text("Boris")
