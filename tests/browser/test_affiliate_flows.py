"""What affiliates do beside links and withdrawals, and what comes back to them: claims and
objections with their answers, the team, rules, the profile, a key, a postback, the payout account,
materials and their own data. In a real browser, in four views; nothing is found by its words."""

from __future__ import annotations

import re
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from affiliate.core.embedded.launch import Running
from tests.bank_accounts import PAYEE_RUSSIA
from tests.browser.people import person, sign_in_of
from tests.browser.test_pages import View
from tests.browser.walking import VIEWS, click_by_a_buyer, desk_of, done, found, send, yes
from tests.story.outside import TIMEOUT_S, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(280)]

ACCEPTED = (VIEWS[1], VIEWS[2])
"""Crosswise, so that each width and each language reads either answer."""
PRODUCT = "lamp-3"
ROBOT = "curl/8.5.0"
BY_HAND, BY_BANK = "demo-manual", "demo-bank"


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_an_order_that_is_missed_is_asked_for_and_answered(
    browser: Browser, stack: Running, view: View
) -> None:
    base, order_id = stack.urls["kopeck"], buy(browser, stack)
    reason = f"I looked at {order_id}."
    with (
        desk_of(browser, stack, "boris", view) as boris,
        desk_of(browser, stack, "manager", view) as manager,
    ):
        boris.goto(f"{base}/account/orders/claims?program=demo")
        boris.fill("[name=order_id]", order_id)
        boris.fill("[name=day]", boris.get_attribute("[name=day]", "max") or "")
        send(boris.locator("form:has([name=order_id])"))
        case = case_of(boris)
        open_case(manager, base, case)
        found(manager, manager.url, "dl a[href*='/manage/orders/']", order_id)
        decide(manager, view, "acceptance" if view in ACCEPTED else "refusal", reason)
        boris.reload()
        expect(boris.locator("main")).to_contain_text(reason)
        boris.goto(f"{base}/account/orders?program=demo")
        orders = boris.locator("tr", has_text=order_id)
        expect(orders).to_have_count(1 if view in ACCEPTED else 0)
        boris.goto(f"{base}/account/orders/claims")
        expect(boris.locator(f"#claims tr:has([href$='{case}']) .tag")).to_have_class(
            re.compile("tag-success" if view in ACCEPTED else "tag-neutral")
        )


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_second_reader_has_the_last_word_on_an_objection(
    browser: Browser, stack: Running, view: View
) -> None:
    base, mark = stack.urls["kopeck"], secrets.token_hex(4)
    first, last = f"A robot, says {mark}.", f"Read once more, says {mark}."
    with (
        desk_of(browser, stack, "boris", view) as boris,
        desk_of(browser, stack, "manager", view) as manager,
        desk_of(browser, stack, "owner", view) as owner,
    ):
        receipt = receipt_of_a_robots_click(boris, base, mark)
        case = object_to_it(boris, f"That was me, trying {mark}.")
        open_case(manager, base, case)
        decide(manager, view, "refusal", first)
        boris.reload()
        expect(boris.locator("main")).to_contain_text(first)
        boris.goto(receipt)
        case = object_to_it(boris, "It was me all the same.")
        open_case(manager, base, case)
        expect(manager.locator("form[action$='/refusal']")).to_have_count(0)
        open_case(owner, base, case)
        decide(owner, view, "acceptance" if view in ACCEPTED else "refusal", last)
        boris.reload()
        expect(boris.locator("main")).to_contain_text(last)
        boris.goto(receipt)
        expect(boris.locator("form[action$='/objection']")).to_have_count(0)
        counted = boris.locator("#clicks tr", has_text=mark).locator(".verdict-counted")
        expect(counted).to_have_count(1 if view in ACCEPTED else 0)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_recruiter_copies_the_link_and_sees_what_level_2_brought(
    browser: Browser, stack: Running, view: View
) -> None:
    base = stack.urls["kopeck"]
    with (
        desk_of(browser, stack, "anna", view) as anna,
        desk_of(browser, stack, "boris", view) as boris,
    ):
        anna.goto(f"{base}/account/team?program=demo")
        link = copied(anna.locator("[data-copy]"))
        with person(browser) as stranger:
            page = stranger.new_page()
            page.goto(link)
            expect(
                page.locator("main a[href*='/programs/demo/apply?by=aff_']").first
            ).to_be_visible()
        order_id = buy(browser, stack, link_of(boris, base))
        found(anna, f"{base}/account/team", "#derived tbody tr", order_id)
        row = anna.locator("#derived tbody tr", has_text=order_id).first
        expect(row.locator(".formula")).to_contain_text("×")
        earned = row.locator("td.num").get_attribute("data-sort")
        assert int(earned or 0) > 0
        row.get_by_role("link").first.click()
        expect(anna.locator("h1")).to_contain_text(order_id)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_rules_that_are_announced_are_read_and_accepted(
    browser: Browser, stack: Running, view: View
) -> None:
    base = stack.urls["kopeck"]
    with (
        desk_of(browser, stack, "boris", view) as boris,
        desk_of(browser, stack, "manager", view) as manager,
    ):
        number = announce(manager, base, view)
        boris.goto(f"{base}/account/rules?program=demo")
        boris.click(f".switch a[href='?program={BY_HAND}']")
        expect(boris.locator(f".switch [aria-current][href='?program={BY_HAND}']")).to_have_count(1)
        boris.click(f".alert-warning a[href$='/account/rules/{number}']")
        expect(boris.locator(".changes .before").first).to_be_visible()
        submit(boris.locator("form:has([value=accepted])"), view)
        boris.goto(f"{base}/account/rules/{number}")
        expect(boris.locator("form[action$='/answer']")).to_have_count(0)
        manager.goto(f"{base}/manage/rules/versions/{number}?program={BY_HAND}")
        expect(manager.locator("#answers .tag-success")).to_have_count(1)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_name_a_language_and_a_time_zone_are_changed_and_a_key_is_shown_once(
    browser: Browser, stack: Running, view: View
) -> None:
    base, other = stack.urls["kopeck"], "en" if view.language == "ru" else "ru"
    with desk_of(browser, stack, "anna", view) as page:
        page.goto(f"{base}/profile")
        before = {name: page.input_value(f"[name={name}]") for name in ("name", "time_zone")}
        save_profile(
            page, name=f"Anna of {secrets.token_hex(3)}", time_zone="Asia/Tokyo", locale=other
        )
        expect(page.locator(f"html[lang={other}]")).to_have_count(1)
        expect(page.locator("[name=time_zone]")).to_have_value("Asia/Tokyo")
        save_profile(page, **before, locale=view.language)
        done(page, view)
        page.goto(f"{base}/account/api?program=demo")
        page.fill("[name=name]", name := f"Key {secrets.token_hex(3)}")
        send(page.locator("form:has([name=scopes])"))
        key = page.locator("[data-copy^='kpk_']").get_attribute("data-copy")
        assert figures_by(base, key) == 200
        page.goto(f"{base}/account/api")
        expect(page.locator("[data-copy^='kpk_']")).to_have_count(0)
        submit(page.locator("#keys tr", has_text=name).locator("form"), view)
        assert figures_by(base, key) == 401


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_postback_is_added_tried_and_removed(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"Tracker {secrets.token_hex(3)}"
    with desk_of(browser, stack, "boris", view) as page:
        page.goto(f"{base}/account/postbacks?program=demo")
        page.fill("[name=url]", f"{stack.urls['shop']}/?click={{click_id}}")
        page.fill("[name=description]", name)
        page.locator("[name=types]").first.check()
        submit(page.locator("form:has([name=url])"), view)
        submit(page.locator("form[action$='/tests']"), view)
        delivery = page.url

        def delivered() -> int:
            page.goto(delivery)
            return page.locator("dl .tag-success").count()

        until(delivered, "the test is delivered")
        expect(page.locator("#attempts")).to_contain_text("200")
        page.goto(f"{base}/account/postbacks")
        page.locator("#webhooks tr", has_text=name).get_by_role("link").click()
        submit(page.locator("form[action$='/deletion']"), view)
        expect(page.locator("#webhooks", has_text=name)).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_another_bank_account_is_named_and_the_one_before_taken_again(
    browser: Browser, stack: Running, view: View
) -> None:
    base = stack.urls["kopeck"]
    with desk_of(browser, stack, "boris", view) as page:
        page.goto(f"{base}/account/money?program={BY_BANK}#payee")
        shown = page.locator("#payee .payee .strong")
        before = shown.inner_text()
        with another_tab(page) as tab:
            name_account(tab, {**PAYEE_RUSSIA, "account": "40817810000000000000"})
            expect(tab.locator("#payee .form-error").first).to_be_visible()
            expect(tab.locator("#payee [name=name]")).to_have_value(PAYEE_RUSSIA["name"])
        name_account(page, PAYEE_RUSSIA)
        done(page, view)
        assert shown.inner_text() != before
        submit(page.locator("form[action$='/payee/former']"), view)
        assert shown.inner_text() == before


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_materials_and_products_are_copied_with_the_own_link_in_them(
    browser: Browser, stack: Running, view: View
) -> None:
    base = stack.urls["kopeck"]
    with desk_of(browser, stack, "boris", view) as page:
        page.goto(f"{base}/account/promo?program=demo&kind=text")
        text = copied(page.locator(".promo-card [data-copy]").first)
        link = re.search(rf"{base}/r/\S+", text)
        assert link, text
        click_by_a_buyer(browser, link[0])
        page.goto(f"{base}/account/products?program=demo&q=lamp")
        card = page.locator(".product-card").first
        product = copied(card.locator("[data-copy]"))
        click_by_a_buyer(browser, product)
        submit(page.locator("#feed form[action$='/products/address']"), view)
        feed = page.locator("#feed [data-copy*='.csv']").get_attribute("data-copy") or ""
        assert product.partition("?")[0] in requests.get(feed, timeout=TIMEOUT_S).text
        submit(page.locator("#feed form[action$='/ended']"), view)
        assert requests.get(feed, timeout=TIMEOUT_S).status_code == 404


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_own_data_is_taken_away_and_nobody_is_erased_who_is_owed_money(
    browser: Browser, stack: Running, view: View
) -> None:
    base, who = stack.urls["kopeck"], "anna" if view.width < 1000 else "boris"
    account = sign_in_of(who, stack.sign_ins())
    with desk_of(browser, stack, who, view) as page:
        page.goto(f"{base}/profile/data")
        with page.expect_download() as taken:
            send(page.locator("form[action$='/archive']"))
        with zipfile.ZipFile(taken.value.path()) as archive:
            told = "".join(archive.read(name).decode() for name in archive.namelist())
        assert account["email"] in told
        shown = page.locator("#erase .alert-warning li").count()
        assert shown, "whoever is owed nothing would be erased here"
        with another_tab(page) as tab:
            refused_to_erase(tab, "not this one")
            expect(tab.locator("#erase .form-error")).to_have_count(1)
            refused_to_erase(tab, account["password"])
            expect(tab.locator("#erase .alert-danger li")).to_have_count(shown)
        page.goto(f"{base}/account/")
        assert page.url == f"{base}/account/", "still there, and still signed in"


def buy(browser: Browser, stack: Running, link: str = "") -> str:
    """By a buyer who followed the link, or none; the shop's number of the order."""
    shop = stack.urls["shop"]
    with person(browser) as context:
        page = context.new_page()
        if link:
            page.goto(link)
            page.wait_for_function("window.kopeck && !!window.kopeck.order")
        page.goto(f"{shop}/products/{PRODUCT}")
        page.click("form.buy button")
        page.goto(f"{shop}/checkout")
        page.fill("#name", "Vera")
        page.fill("#email", f"vera-{secrets.token_hex(4)}@buyers.example")
        page.click("#place-order")
        return page.locator("#order-number").inner_text()


def link_of(page: Page, base: str) -> str:
    """The first link of whoever is signed in."""
    page.goto(f"{base}/account/links?program=demo")
    link = page.locator("#links [data-copy*='/r/']").first.get_attribute("data-copy")
    assert link
    return link


def copied(button: Locator) -> str:
    """What the clipboard holds once it is pressed."""
    page = button.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button.click()
    expect(button).to_have_class(re.compile("is-copied"))
    text = str(page.evaluate("navigator.clipboard.readText()"))
    assert text == button.get_attribute("data-copy")
    return text


def submit(form: Locator, view: View) -> None:
    """Send it, and say yes where the page asks back; the next page tells that it is done."""
    page = form.page
    with page.expect_navigation():
        send(form)
        yes(page)
    done(page, view)


def case_of(page: Page) -> str:
    """The public id of the case that stands there."""
    page.wait_for_url(re.compile(r"/claims/clm_\w+"))
    return page.url.rpartition("/")[2]


def open_case(page: Page, base: str, case: str) -> None:
    """From the list of those that wait."""
    page.goto(f"{base}/manage/claims?program=demo")
    page.locator(f"#claims a[href$='{case}']").click()


def decide(page: Page, view: View, verdict: str, reason: str) -> None:
    """Answer the case that stands there."""
    form = f"form[action$='/{verdict}']"
    page.locator(f"details:has({form}) > summary").click()
    page.fill(f"{form} [name=reason]", reason)
    submit(page.locator(form), view)


def receipt_of_a_robots_click(page: Page, base: str, mark: str) -> str:
    """A click that is left out; the address of its receipt, which stands there then."""
    link = f"{link_of(page, base)}?s1={mark}"
    requests.get(link, headers={"User-Agent": ROBOT}, timeout=TIMEOUT_S, allow_redirects=False)
    found(page, f"{base}/account/clicks?program=demo", "#clicks tbody tr", mark)
    page.locator("#clicks tr", has_text=mark).locator("a[href*='find=']").click()
    page.wait_for_url(re.compile("find="))
    return page.url


def object_to_it(page: Page, said: str) -> str:
    """On the page that offers it; the public id of the case."""
    page.locator("details.object > summary").click()
    page.fill("details.object [name=said]", said)
    send(page.locator("details.object form"))
    return case_of(page)


def announce(page: Page, base: str, view: View) -> int:
    """Rules of the program that is paid by hand, each time with another hold; their number."""
    page.goto(f"{base}/manage/rules?program={BY_HAND}")
    before = highest_version(page)
    page.goto(f"{base}/manage/rules/new?program={BY_HAND}")
    page.fill("[name=hold_days]", str(int(page.input_value("[name=hold_days]")) + before))
    send(page.locator("main form:has([name=hold_days])"))
    page.wait_for_url(re.compile(r"/manage/rules/drafts/\d+"))
    submit(page.locator("form[action$='/announcement']"), view)
    assert highest_version(page) == before + 1
    return before + 1


def highest_version(page: Page) -> int:
    """On the manager's page of rules."""
    links = page.locator("main a[href*='/manage/rules/versions/']")
    found = links.evaluate_all("links => links.map(l => Number(l.pathname.split('/').pop()))")
    return int(max(found))


def save_profile(page: Page, *, name: str, time_zone: str, locale: str) -> None:
    page.fill("[name=name]", name)
    page.select_option("[name=time_zone]", time_zone)
    page.select_option("[name=locale]", locale)
    with page.expect_navigation():
        send(page.locator("form[action='/profile']"))


def figures_by(base: str, key: str | None) -> int:
    """The status of the answer to whoever asks for figures with it."""
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{base}/api/v1/statistics?by=day"
    return requests.get(url, headers=headers, timeout=TIMEOUT_S).status_code


@contextmanager
def another_tab(page: Page) -> Iterator[Page]:
    """Where a refusal may be an error in the console: browsers tell its status there."""
    tab = page.context.new_page()
    tab.goto(page.url)
    yield tab
    tab.close()


def refused_to_erase(page: Page, password: str) -> None:
    page.fill("[name=erase-password]", password)
    with page.expect_response(lambda answer: answer.url.endswith("/erasure")) as answered:
        send(page.locator("form[action$='/erasure']"))
        yes(page)
    assert 400 <= answered.value.status < 500
    page.wait_for_load_state()


def name_account(page: Page, typed: dict[str, str]) -> None:
    folded = page.locator("#payee details:has([name=account]):not([open]) > summary")
    if folded.count():
        folded.click()
    for name, value in typed.items():
        page.fill(f"#payee [name={name}]", value)
    with page.expect_navigation():
        send(page.locator("#payee form:has([name=account])"))
