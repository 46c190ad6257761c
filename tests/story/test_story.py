"""The whole way in a real browser, with the processes that `make run` starts.

Anna recruited Boris. A buyer follows Boris's link to the shop, on another site, and buys a
floor lamp. What follows is arithmetic that anybody can do by hand:

    total 9,600.00 RUB, free shipping, 20 % tax within it: 1,600.00; net 8,000.00
    level 1, 10 % of the net: 800.00 for Boris; level 2, 2 % of the sale: 160.00 for Anna
    a quarter, 2,400.00, is refunded: a quarter of both goes back, 200.00 and 40.00
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import fill_code, person, signed_in
from tests.story.outside import DEADLINE_S, audit, transfers, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(280)]

PRODUCT = "lamp-3"
LEVEL_1, LEVEL_2 = "800.00", "160.00"
REFUND, BACK_1, BACK_2 = "2400.00", "200.00", "40.00"
LEFT_1, LEFT_2 = "600.00", "120.00"


class People:
    """Each in a browser of their own."""

    def __init__(self, browser: Browser, stack: Running, opened: ExitStack) -> None:
        self.base, self.shop = stack.urls["kopeck"], stack.urls["shop"]
        self.boris = opened.enter_context(signed_in(browser, stack, "Boris"))
        self.anna = opened.enter_context(signed_in(browser, stack, "Anna"))
        self.finance = opened.enter_context(signed_in(browser, stack, "finance"))
        self.buyer = opened.enter_context(person(browser)).new_page()


@pytest.fixture
def people(browser: Browser, stack: Running) -> Iterator[People]:
    with ExitStack() as opened:
        yield People(browser, stack, opened)


def test_a_click_becomes_money_and_a_refund_takes_back_both_levels(
    people: People, stack: Running
) -> None:
    link = copy_a_link(people)
    order_id = buy(people, link)
    boris_sees_it_pending_and_why(people, order_id)
    anna_sees_level_2(people, order_id)
    move_the_clock(people, days=15)
    wait_for_state(people.boris, f"{people.base}/account/orders", order_id, "available")

    before = transfers(stack)
    withdraw(people, "0.01")
    item = approve_what_boris_asked_for(people)
    sent = until(
        lambda: [t for t in transfers(stack)["transfers"] if t not in before["transfers"]],
        "a transfer at the Stripe double",
    )
    assert [(t["amount"], t["currency"]) for t in sent] == [(1, "rub")]
    boris_sees_it_paid(people)
    finance_sees_the_transfer(people, item, sent[0]["id"])
    statement_agrees_with_balance(people)
    audit(stack)

    refund_a_part(people, order_id)
    both_see_what_went_back(people, order_id)
    statement_agrees_with_balance(people)
    audit(stack)
    assert len(transfers(stack)["transfers"]) == len(before["transfers"]) + 1


def copy_a_link(people: People) -> str:
    """By the button beside the link; the clipboard then holds what the box shows."""
    page = people.boris
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=people.base)
    page.goto(f"{people.base}/account/links")
    button = page.locator("[data-copy*='/r/']").first
    button.click()
    expect(button).to_have_class(re.compile("is-copied"))
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert copied == button.get_attribute("data-copy")
    assert re.fullmatch(re.escape(people.base) + r"/r/[A-Za-z0-9_-]+", copied)
    return copied


def buy(people: People, link: str) -> str:
    """Follow the link to the other site and order; the shop's number of the order."""
    page = people.buyer
    page.goto(link)
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    assert page.url.startswith(people.shop)
    assert "kpk" not in page.url
    assert len(page.evaluate("kopeck.tokens()")) == 1
    page.goto(f"{people.shop}/products/{PRODUCT}")
    page.get_by_role("button", name="Put into the cart").click()
    page.get_by_role("link", name="To the checkout").click()
    page.fill("#name", "Vera")
    page.fill("#email", f"vera-{secrets.token_hex(4)}@buyers.example")
    page.click("#place-order")
    return page.locator("#order-number").inner_text()


def row_of(page: Page, order_id: str) -> Locator:
    """The order's line in the list that the page shows."""
    return page.locator("tr", has_text=order_id)


def wait_for_state(page: Page, url: str, order_id: str, state: str) -> str:
    """Reload until the badge in the order's line says so; the line's text."""

    def look() -> str:
        page.goto(url)
        row = row_of(page, order_id)
        if not row.locator(".tag", has_text=state).count():
            return ""
        return row.inner_text()

    return until(look, f"{order_id} {state} on {url}")


def boris_sees_it_pending_and_why(people: People, order_id: str) -> None:
    page = people.boris
    line = wait_for_state(page, f"{people.base}/account/orders", order_id, "pending")
    assert LEVEL_1 in line
    assert "Credited to you: your click" in line
    page.get_by_role("link", name=order_id).first.click()
    expect(page.locator("main")).to_contain_text("the order is yours")
    expect(page.locator("main")).to_contain_text("8,000.00")


def anna_sees_level_2(people: People, order_id: str) -> None:
    line = wait_for_state(people.anna, f"{people.base}/account/orders", order_id, "pending")
    assert LEVEL_2 in line
    people.anna.goto(f"{people.base}/account/team")
    expect(people.anna.locator("main")).to_contain_text("Boris")
    # Where the browser's report came before the shop's, what it had earned stands there too.
    stands = row_of(people.anna, order_id).filter(has_not_text="taken back")
    expect(stands).to_contain_text(LEVEL_2)


def move_the_clock(people: People, *, days: int) -> None:
    page = people.finance
    page.goto(f"{people.base}/demo/")
    page.click(f"button[name=days][value='{days}']")
    expect(page.locator(".alert-success")).to_be_visible()


def withdraw(people: People, amount: str) -> None:
    page = people.boris
    page.goto(f"{people.base}/account/money")
    page.fill("[name=amount]", amount)
    page.locator("form", has=page.locator("[name=amount]")).locator("button").click()
    confirm_if_asked(page)
    expect(page.locator(".alert-success")).to_contain_text(amount)


def confirm_if_asked(page: Page) -> None:
    if page.locator("#confirm-dialog[open]").count():
        page.click("#confirm-dialog [value=yes]")


def approve_what_boris_asked_for(people: People) -> str:
    """Finance looks at the batch and approves it; the address of the payout's page."""
    page = people.finance
    page.goto(f"{people.base}/finance/withdrawals")
    page.locator("#running tr", has_text="Boris").get_by_role("link").click()
    expect(page.locator("main")).to_contain_text("0.01")
    item = page.locator("#items a", has_text="Boris").get_attribute("href")
    assert item
    if page.locator("[name=code]").count():  # The sign-in was more than five minutes ago.
        fill_code(page, people.base, "finance@demo.example")
    page.get_by_role("button", name=re.compile("^Approve 1 payout")).click()
    confirm_if_asked(page)
    expect(page.locator(".alert-success")).to_contain_text("Approved")
    return item


def boris_sees_it_paid(people: People) -> None:
    def paid() -> bool:
        people.boris.goto(f"{people.base}/account/money")
        newest = people.boris.locator("#withdrawal-list tbody tr").first
        return "Paid on" in newest.inner_text()

    until(paid, "Boris's withdrawal is paid")


def finance_sees_the_transfer(people: People, item: str, transfer_id: str) -> None:
    # The page of the batch reloads itself once more when its last payout has ended.
    expect(people.finance.locator("#progress[hx-get]")).to_have_count(0, timeout=DEADLINE_S * 1000)
    people.finance.goto(people.base + item)
    expect(people.finance.locator("main")).to_contain_text(transfer_id)


def statement_agrees_with_balance(people: People) -> None:
    """The newest statement closes at what the money page says is pending and available."""
    page = people.boris
    page.goto(f"{people.base}/account/money")
    flow = page.locator(".flow .flow-value").all_inner_texts()
    page.locator("a[href*='/money/statements/2']").first.click()
    closing = page.locator("tr", has_text="Closing balance").inner_text()
    for amount in flow[:3]:
        assert amount in closing, (flow, closing)


def refund_a_part(people: People, order_id: str) -> None:
    page = people.buyer
    page.goto(f"{people.shop}/admin/orders/{order_id}")
    page.fill("#amount", REFUND)
    page.click("#refund-part")
    expect(page.locator("main")).to_contain_text("7,200.00")
    expect(page.locator("details", has_text="refund").last).to_contain_text("done")


def both_see_what_went_back(people: People, order_id: str) -> None:
    for page, back, left in ((people.boris, BACK_1, LEFT_1), (people.anna, BACK_2, LEFT_2)):
        page.goto(f"{people.base}/account/orders")
        page.get_by_role("link", name=order_id).first.click()
        text = page.locator("main").inner_text()
        assert back in text, text
        assert left in text, text
