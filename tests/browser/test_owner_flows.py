"""What is set up once and looked after: staff, settings, keys, webhooks, a shop's system, tests.

Walked as test_desk_flows.py walks the desks.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.test_desk_flows import new_order, report
from tests.browser.test_newcomer import PASSWORD, link_in_mail
from tests.browser.test_pages import View, looking
from tests.browser.walking import VIEWS, desk_of, done, found, send, yes
from tests.story.outside import TIMEOUT_S, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.parametrize("view", VIEWS, ids=str),
]

SECRET: Final = "a-secret-of-the-shop-0123456789abcdef"
MANUAL: Final = "demo-manual"


def test_somebody_is_invited_given_another_role_and_shut_out_and_all_of_it_is_kept(
    browser: Browser, stack: Running, view: View
) -> None:
    base, email = stack.urls["kopeck"], f"kim-{secrets.token_hex(4)}@staff.example"
    with looking(browser, view) as kim, desk_of(browser, stack, "owner", view) as page:
        mine = page.locator("#people tr", has_text=email)
        invite(page, base, email, "analyst")
        done(page, view)
        first = join(kim, stack, email)
        assert opens(kim, f"{base}/manage/orders?program={MANUAL}") == 200
        assert opens(kim, f"{base}/manage/moving-in?program={MANUAL}") == 403
        invite(page, base, email, "manager")
        join(kim, stack, email, after=first)
        page.reload()
        expect(mine.locator(".grants form")).to_have_count(2)
        send(mine.locator(".grants form"))
        yes(page)
        done(page, view)
        expect(mine.locator(".grants form")).to_have_count(1)
        assert opens(kim, f"{base}/manage/moving-in?program={MANUAL}") == 200
        send(mine.locator("form[action$='/disabling']"))
        yes(page)
        done(page, view)
        kim.goto(f"{base}/manage/")
        expect(kim).to_have_url(re.compile("/sign-in"))
        page.goto(f"{base}/manage/audit")
        told = page.locator("#audit tbody tr")
        subject = told.first.locator("a").inner_text()
        page.fill(".filters [name=subject]", subject)
        send(page.locator("form.filters"))
        expect(told.locator("a").filter(has_not_text=subject)).to_have_count(0)
        assert told.count() >= 4


def test_settings_a_key_and_a_webhook_are_made_used_and_ended(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"Walk {secrets.token_hex(4)}"
    with listening() as (address, heard), desk_of(browser, stack, "owner", view) as page:
        change_the_words(page, base, view, name)
        page.goto(f"{base}/manage/keys")
        form = page.locator("form:has([name=scopes])")
        form.locator("[name=name]").fill(name)
        form.locator("[name=program]").select_option("demo")
        form.locator("[name=scopes][value='orders:read']").check()
        send(form)
        first = shown_key(page)
        mine = page.locator("#keys tr", has_text=name)
        send(mine.locator("form[action$='/rotation']"))
        yes(page)
        expect(mine).to_have_count(2)
        second = shown_key(page)
        assert (reads(base, first), reads(base, second)) == (200, 200)
        for _ in (first, second):
            send(mine.locator("form[action$='/revocation']").first)
            yes(page)
            done(page, view)
        assert (reads(base, first), reads(base, second)) == (401, 401)

        page.goto(f"{base}/manage/webhooks?program=demo")
        page.fill("[name=url]", address)
        page.fill("[name=description]", name)
        page.locator("[name=types]").first.check()
        send(page.locator("form:has([name=url])"))
        page.locator("#webhooks tr", has_text=name).get_by_role("link").click()
        send(page.locator("form[action$='/tests']"))
        done(page, view)
        delivery = page.url
        found(page, delivery, "#attempts tbody tr", "204")
        send(page.locator("form[action$='/repeats']"))
        done(page, view)
        until(lambda: len(heard) == 2, "the test comes again")
        assert heard[0] == heard[1]
        page.goto(delivery.partition("/deliveries")[0])
        send(page.locator("form[action$='/deletion']"))
        yes(page)
        done(page, view)
        expect(page.locator("#webhooks tr", has_text=name)).to_have_count(0)


def test_a_shops_system_is_mapped_and_a_test_order_and_the_canary_come_through(
    browser: Browser, stack: Running, view: View
) -> None:
    base, name = stack.urls["kopeck"], f"Walk {secrets.token_hex(4)}"
    with desk_of(browser, stack, "manager", view) as page:
        page.goto(f"{base}/manage/sources/new?kind=generic&program=demo")
        page.fill("[name=name]", name)
        page.fill("[name=secret]", SECRET)
        page.fill("[name=header]", "X-Signature")
        page.select_option("[name=scheme]", "hmac_hex")
        send(page.locator("form:has([name=secret])"))
        done(page, view)
        source = page.url
        order_id = send_to(page.locator("[data-copy*='/webhooks/shops/']"))
        found(page, source, "#deliveries tbody tr", order_id)
        page.locator("main a[href$='/mapping']").click()
        page.fill("[name=order_id]", "order.number")
        page.locator("#tried button[value=try]").click()
        expect(page.locator("#tried .alert-warning")).to_be_visible()
        page.fill("[name=order_id]", "order.id")
        page.fill("[name=total]", "order.paid")
        page.locator("#tried button[value=try]").click()
        expect(page.locator("#tried dl")).to_contain_text(order_id)
        expect(page.locator("#tried dl")).to_contain_text("90")
        page.locator("button[value=keep]").click()
        done(page, view)
        send(page.locator("form[action$='/state']"))
        yes(page)
        done(page, view)

        test_id = new_order()
        report(stack, test_id, test=True)
        at = f"{base}/manage/integration?program=demo"
        found(page, at, "#tests tbody tr", test_id)
        before = walks(page, at)
        switch = page.locator("form[action*='/integration/canary']")
        send(switch.first)
        done(page, view)
        until(lambda: walks(page, at) - before, "the canary comes through")
        send(switch.filter(has=page.locator("[name=what][value=off]")))
        done(page, view)
        expect(switch).to_have_count(1)


def invite(page: Page, base: str, email: str, role: str) -> None:
    page.goto(f"{base}/manage/staff")
    form = page.locator("form[action$='/invitations']")
    form.locator("[name=email]").fill(email)
    form.locator("[name=role]").select_option(role)
    form.locator("[name=program]").select_option(MANUAL)
    send(form)


def join(page: Page, stack: Running, email: str, *, after: str = "") -> str:
    """By the link in the mail that came after that one; who is known gives their password."""

    def look() -> str:
        newest = link_in_mail(stack, email, "/invitations/")
        return "" if newest == after else newest

    link = until(look, f"an invitation of {email}")
    page.goto(link)
    if not after:
        page.fill("[name=name]", "Kim")
    page.fill("[name=password]", PASSWORD)
    send(page.locator("main form:has([name=password])"))
    page.wait_for_url("**/manage/**")
    return link


def opens(page: Page, address: str) -> int:
    """What somebody's browser is answered there."""
    answer = page.goto(address)
    assert answer is not None
    return answer.status


def change_the_words(page: Page, base: str, view: View, words: str) -> None:
    """Of the public page, and back."""
    at = f"{base}/manage/programs/{MANUAL}"
    page.goto(at)
    before = page.input_value("[name=summary]")
    for summary in (words, before):
        page.goto(at)
        page.fill("[name=summary]", summary)
        send(page.locator("form:has([name=summary])"))
        done(page, view)
        page.goto(f"{base}/programs/{MANUAL}")
        expect(page.locator(".hero-lead")).to_have_text(summary)


def shown_key(page: Page) -> str:
    """The key that the page shows this once."""
    return str(page.locator("[data-copy^=kpk_]").get_attribute("data-copy"))


def reads(base: str, key: str) -> int:
    answer = requests.get(
        f"{base}/api/v1/orders", headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S
    )
    return answer.status_code


@contextmanager
def listening() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A shop's own system: its address, and id and body of what it was told."""
    heard: list[tuple[str, bytes]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers["webhook-id"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/kopeck", heard
        server.shutdown()
        thread.join()


def send_to(box: Locator) -> str:
    """An order, signed, to the address that the page shows; its number."""
    order_id = f"G-{secrets.token_hex(4)}"
    order = {
        "id": order_id,
        "placed_at": datetime.now(UTC).isoformat(),
        "currency": "RUB",
        "total": "100.00",
        "paid": "90.00",
    }
    raw = json.dumps({"id": f"e-{order_id}", "event": "order.paid", "order": order}).encode()
    answer = requests.post(
        str(box.first.get_attribute("data-copy")),
        data=raw,
        headers={"X-Signature": hmac.digest(SECRET.encode(), raw, "sha256").hex()},
        timeout=TIMEOUT_S,
    )
    assert answer.ok, answer.text
    return order_id


def walks(page: Page, at: str) -> set[str | None]:
    """When the canary came through."""
    page.goto(at)
    return {each.get_attribute("datetime") for each in page.locator(".run-well time").all()}
