"""What managers, finance and the owner do now and then, walked as test_flows.py walks a day."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page, expect
from requests.adapters import HTTPAdapter

from affiliate.core.embedded.launch import Running
from tests.browser.people import AGENT, person
from tests.browser.test_newcomer import register, verify
from tests.browser.test_pages import View, looking
from tests.browser.walking import VIEWS, desk_of, done, found, send, yes
from tests.story.outside import TIMEOUT_S, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.parametrize("view", VIEWS, ids=str),
]

EUROPE: Final = "demo-europe"
SITE_POINTS: Final = 15 + 15 + 10 + 15
"""Verified, a site, an address of that site, up to 10,000 readers: 0032-screening.md."""
FLOOD_CLICKS: Final = 200
"""More than one and a half times what one device may click a minute."""


def test_a_correction_takes_two_persons_and_the_affiliate_reads_why(
    browser: Browser, stack: Running, view: View
) -> None:
    base, note = stack.urls["kopeck"], f"Walked {secrets.token_hex(4)}"
    with desk_of(browser, stack, "finance", view) as page:
        page.goto(f"{base}/finance/adjustments")
        form = page.locator("form:has([name=kind])")
        form.locator("[name=affiliate]").fill("boris@demo.example")
        form.locator("[name=kind]").select_option("adjust")
        form.locator("[name=amount]").fill("1.25")
        form.locator("[name=reason]").select_option("agreed_bonus")
        form.locator("[name=note]").fill(note)
        send(form)
        several = page.locator("#affiliate-errors").inner_text()
        [boris] = re.findall(r"(aff_\w+) \([^()]*in euros\)", several)
        form.locator("[name=affiliate]").fill(boris)
        send(form)
        done(page, view)
        mine = page.locator(".todo li", has_text=note)
        expect(mine).to_be_visible()
        expect(mine.locator("form[action$='/confirmation']")).to_have_count(0)
    with desk_of(browser, stack, "finance2", view) as page:
        page.goto(f"{base}/finance/adjustments")
        send(page.locator(".todo li", has_text=note).locator("form[action$='/confirmation']"))
        done(page, view)
        expect(page.locator("#decided tbody tr", has_text=note)).to_be_visible()
    with desk_of(browser, stack, "boris", view) as page:
        page.goto(f"{base}/account/money?program={EUROPE}")
        page.locator("#statements .months a").first.click()
        expect(page.locator("main tbody tr", has_text=note)).to_contain_text(
            "1,25" if view.language == "ru" else "1.25"
        )


def test_a_list_is_mended_and_brought_in_and_whoever_came_by_it_is_erased(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"moved-{secrets.token_hex(4)}"
    at = f"{base}/manage/moving-in?program=demo-manual"
    people = f"{base}/manage/affiliates?program=demo-manual&q={name}"
    row = f"{name}@moved.example,{name}\n"
    with desk_of(browser, stack, "manager", view) as page:
        page.goto(at)
        choose(page, "affiliates", f"email,name\n{row},Nobody\n")
        press(page, "try")
        wrong = page.locator("#tried .alert-danger")
        expect(wrong).to_contain_text("3, email:")
        choose(page, "affiliates", f"email,name\n{row}")
        press(page, "try")
        expect(page.locator("#tried .alert-success")).to_be_visible()
        page.goto(people)
        expect(page.locator("main tbody a", has_text=name)).to_have_count(0)
        for kind, text in (
            ("affiliates", f"email,name\n{row}"),
            ("links", f"email,code\n{name}@moved.example,{name}\n"),
        ):
            page.goto(at)
            choose(page, kind, text)
            press(page, "bring")
            yes(page)
            done(page, view)
        assert "kpk=" in led_to(f"{base}/r/{name}")
        page.goto(people)
        page.locator("main tbody a", has_text=name).first.click()
        expect(page.locator("#links tbody")).to_contain_text(f"/r/{name}")
        page.locator("a[href$='/erasure']").click()
        page.fill("main [name=affiliate]", page.url.split("/")[-2])
        send(page.locator("main form:has([name=affiliate])"))
        done(page, view)
        expect(page.locator("main")).not_to_contain_text(f"{name}@")
        until(lambda: "kpk=" not in led_to(f"{base}/r/{name}"), "the link ends")


def test_an_applicant_is_weighed_rejected_reads_why_and_is_let_in_after_all(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"fern-{secrets.token_hex(4)}"
    with looking(browser, view) as page, desk_of(browser, stack, "manager", view) as manager:
        register(page, stack, name, f"me@{name}.example")
        verify(page, stack, f"me@{name}.example")
        page.check("[name=channels][value=blog]")
        page.fill("[name=how]", "Ferns, and the lamps beside them.")
        page.fill("[name=site]", f"https://{name}.example/")
        page.check("[name=audience][value=under_10000]")
        page.check("[name=agreement]")
        send(page.locator("main form:has([name=how])"))
        done(page, view)
        manager.goto(f"{base}/manage/applications?program=demo")
        card = manager.locator("section.card", has_text=name)
        expect(card.locator(".signals .tag")).to_contain_text(str(SITE_POINTS))
        expect(card.locator(".signals .seen")).to_have_count(4)
        card.locator("details.ask > summary").click()
        card.locator("[name=reason]").fill("The ferns are not yours.")
        send(card.locator("form[action$='/rejection']"))
        done(manager, view)
        page.goto(f"{base}/programs/demo")
        expect(page.locator(".hero")).to_contain_text("The ferns are not yours.")
        manager.locator(".todo a", has_text=name).click()
        send(manager.locator("form[action$='/approval']"))
        done(manager, view)
        page.goto(f"{base}/account/links?program=demo")
        expect(page.locator("main form [name=code]")).to_have_count(1)


def test_orders_are_found_by_id_traced_cancelled_and_a_flooded_one_is_declined(
    browser: Browser, stack: Running, view: View
) -> None:
    base, plain, flooded = stack.urls["kopeck"], new_order(), new_order()
    report(stack, plain, clicks=[click(base, "boris")])
    report(stack, flooded, clicks=[flood(base, "boris", VIEWS.index(view))])
    with desk_of(browser, stack, "manager", view) as page:
        page.goto(f"{base}/manage/orders?program=demo")
        page.fill(".filters [name=q]", plain)
        send(page.locator("form.filters"))
        page.locator("#orders tbody a", has_text=plain).click()
        expect(page.locator(".trace-won").first).to_be_visible()
        expect(page.locator("main a[href*='/manage/affiliates/']").first).to_have_text("Boris")
        say_why(page, "cancellation")
        done(page, view)
        expect(page.locator("form[action$='/cancellation']")).to_have_count(0)
        found(page, f"{base}/manage/orders?program=demo&credit=review", "#orders tr", flooded)
        page.locator("#orders tbody a", has_text=flooded).click()
        say_why(page, "refusal")
        done(page, view)
        expect(page.locator("form[action$='/release'], form[action$='/refusal']")).to_have_count(0)
        page.goto(f"{base}/manage/orders?program=demo&q={flooded}&credit=unattributed")
        expect(page.locator("#orders tbody a", has_text=flooded)).to_be_visible()


def test_what_browsers_claimed_is_confirmed_by_a_person_and_by_a_file(
    browser: Browser, stack: Running, view: View
) -> None:
    base, first, second = stack.urls["kopeck"], new_order(), new_order()
    claimed_by_a_buyer(browser, f"{base}/r/boris", first, second)
    waiting = f"{base}/manage/orders?program=demo&status=unconfirmed"
    with desk_of(browser, stack, "manager", view) as page:
        found(page, waiting, "#orders tbody tr", second)
        page.locator("#orders tbody a", has_text=first).click()
        send(page.locator("form[action$='/confirmation']"))
        done(page, view)
        page.goto(waiting)
        expect(page.locator("#orders tbody a", has_text=first)).to_have_count(0)
        page.locator("a[href*='/manage/confirmations']").click()
        choose(page, "", f"order_id,total\n{second},99.00\n")
        press(page, "try")
        expect(page.locator("#tried .alert-warning")).to_contain_text(f"2 ({second})")
        choose(page, "", f"order_id,total\n{second},100.00\n")
        press(page, "confirm")
        yes(page)
        done(page, view)
        page.goto(f"{base}/manage/orders?program=demo&status=confirmed&q={second}")
        expect(page.locator("#orders tbody a", has_text=second)).to_be_visible()


def new_order() -> str:
    return f"W-{secrets.token_hex(4)}"


def choose(page: Page, kind: str, text: str) -> None:
    """A file, and what it brings where the page asks for that."""
    if kind:
        page.check(f"[name=kind][value={kind}]")
    file = {"name": "list.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.set_input_files("[name=file]", file)  # type: ignore[arg-type]


def press(page: Page, what: str) -> None:
    """One of a form's several buttons; what the script fetches for it has come then."""
    button = page.locator(f"button[name=what][value={what}]").first
    if not button.get_attribute("hx-post"):
        return button.click()
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        button.click()
    return None


def say_why(page: Page, what: str) -> None:
    """Open the form that asks for a reason, give one, send it."""
    form = page.locator(f"details.ask:has(form[action$='/{what}'])")
    form.locator("summary").click()
    form.locator("[name=reason]").fill("Seen by a walk.")
    send(form.locator("form"))


def led_to(link: str, **more: Any) -> str:
    """Where a link leads a browser."""
    answer = requests.get(
        link, headers={"User-Agent": AGENT}, allow_redirects=False, timeout=TIMEOUT_S, **more
    )
    return answer.headers.get("Location", "")


def click(base: str, code: str) -> str:
    """The token of a click."""
    return token_in(led_to(f"{base}/r/{code}"))


def token_in(address: str) -> str:
    return parse_qs(urlsplit(address).query)["kpk"][0]


class From(HTTPAdapter):
    """Another address of this machine, so that the flood is nobody else's."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> Any:
        return super().init_poolmanager(*args, source_address=(self.address, 0), **more)


def flood(base: str, code: str, number: int) -> str:
    """The token of the last of many clicks of one device, which keeps no cookie."""
    with requests.Session() as http:
        http.mount("http://", From(f"127.0.1.{number + 1}"))
        http.headers["User-Agent"] = AGENT
        for _ in range(FLOOD_CLICKS):
            answer = http.get(f"{base}/r/{code}", allow_redirects=False, timeout=TIMEOUT_S)
            http.cookies.clear()
    return token_in(answer.headers["Location"])


def report(stack: Running, order_id: str, **more: Any) -> None:
    """An order, by the shop's server."""
    key = (stack.data_dir / "shop-api-key").read_text().strip()
    order = {
        "order_id": order_id,
        "placed_at": datetime.now(UTC).isoformat(),
        "total": {"amount": "100.00", "currency": "RUB"},
        **more,
    }
    answer = requests.post(
        f"{stack.urls['kopeck']}/api/v1/orders",
        json=order,
        headers={"Authorization": f"Bearer {key}", "Idempotency-Key": order_id},
        timeout=TIMEOUT_S,
    )
    assert answer.ok, answer.text


def claimed_by_a_buyer(browser: Browser, link: str, *orders: str) -> None:
    """By the pixel alone, as a page without a server does."""
    with person(browser) as context:
        page = context.new_page()
        page.goto(link)
        page.wait_for_function("window.kopeck && !!window.kopeck.order")
        for each in orders:
            with page.expect_response("**/v1/events*"):
                page.evaluate(
                    """id => kopeck.push(["order", {
                        order_id: id, total: {amount: "100.00", currency: "RUB"}}])""",
                    each,
                )
