"""The pixel in a real Chromium, on a shop's page of another site than Kopeck."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.pixel.conftest import Sites
from tracker.pixel.scripts import current_script

pytestmark = pytest.mark.browser

ORDER = '{order_id: "A-1", total: {amount: "4490.00", currency: "RUB"}, coupon: "ANNA10"}'


def token(number: int) -> str:
    """A token by its outer form: 79 URL-safe characters."""
    return f"EA{number:04d}".ljust(78, "x") + "_"


def opened(context: BrowserContext, address: str) -> Page:
    """The page, once the pixel has run there."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    return page


def cookies(context: BrowserContext) -> dict[str, str]:
    return {c["name"]: c["value"] for c in context.cookies()}


def test_a_token_is_taken_out_of_the_address_and_kept_first_party(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/lamp?colour=d%C3%A9j%C3%A0+vu&kpk={token(1)}&s=2#top")

    assert page.url == f"{sites.shop}/lamp?colour=d%C3%A9j%C3%A0+vu&s=2#top"
    assert page.evaluate("kopeck.tokens()") == [token(1)]
    kept = {c["name"]: c for c in context.cookies()}
    assert kept["kopeck_clicks"]["value"] == token(1)
    assert kept["kopeck_clicks"]["domain"] == "localhost"
    assert kept["kopeck_clicks"]["sameSite"] == "Lax"
    assert kept["kopeck_visitor"]["value"] == page.evaluate("kopeck.visitor()")


def test_an_address_with_nothing_but_a_token_keeps_no_question_mark(
    sites: Sites, context: BrowserContext
) -> None:
    assert opened(context, f"{sites.shop}/?kpk={token(1)}").url == f"{sites.shop}/"


def test_a_copied_address_credits_no_stranger(sites: Sites, context: BrowserContext) -> None:
    copied = opened(context, f"{sites.shop}/lamp?kpk={token(1)}").url
    stranger = context.browser.new_context()  # type: ignore[union-attr]
    try:
        assert opened(stranger, copied).evaluate("kopeck.tokens()") == []
        assert "kopeck_visitor" not in cookies(stranger)
    finally:
        stranger.close()


def test_the_twenty_first_token_drops_the_oldest(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/?kpk={token(1)}")
    for number in range(2, 22):
        page.goto(f"{sites.shop}/?kpk={token(number)}")
        page.wait_for_function("window.kopeck && !!window.kopeck.order")
    assert page.evaluate("kopeck.tokens()") == [token(n) for n in range(2, 22)]


def test_the_same_token_again_is_kept_once_and_in_its_place(
    sites: Sites, context: BrowserContext
) -> None:
    for number in (1, 2, 1):
        page = opened(context, f"{sites.shop}/?kpk={token(number)}")
    assert page.evaluate("kopeck.tokens()") == [token(1), token(2)]


@pytest.mark.parametrize(
    "bad",
    ["", "short", "x" * 121, "a|b" * 10, "%3Cscript%3Ealert%3C/script%3E", "a;b" * 9, "%00" * 9],
)
def test_a_bad_token_is_ignored_and_leaves_the_address_too(
    sites: Sites, context: BrowserContext, bad: str
) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={bad}&s=2")
    assert page.url == f"{sites.shop}/lamp?s=2"
    assert page.evaluate("kopeck.tokens()") == []
    assert cookies(context) == {}


def test_an_order_pushed_before_the_script_arrives_is_reported(
    sites: Sites, context: BrowserContext
) -> None:
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    page = opened(context, f"{sites.shop}/thanks?kpk={token(1)}")

    (event,) = sites.wait_for_events(1)
    assert event.pop("sent_at").endswith("Z")
    assert event == {
        "program": "demo",
        "type": "order",
        "order": {
            "order_id": "A-1",
            "total": {"amount": "4490.00", "currency": "RUB"},
            "coupon": "ANNA10",
        },
        "clicks": [token(1)],
        "visitor": page.evaluate("kopeck.visitor()"),
    }


def test_an_order_is_reported_once_however_often_its_page_is_loaded(
    sites: Sites, context: BrowserContext
) -> None:
    sites.page_script = f'kopeck.push(["order", {ORDER}]); kopeck.push(["order", {ORDER}]);'
    page = opened(context, f"{sites.shop}/thanks")
    sites.wait_for_events(1)
    page.wait_for_function('localStorage.getItem("kopeck_outbox") === "[]"')
    page.reload()
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    page.evaluate(f"kopeck.order({ORDER.replace('A-1', 'A-2')})")

    assert [e["order"]["order_id"] for e in sites.wait_for_events(2)] == ["A-1", "A-2"]


def test_an_order_that_was_refused_is_sent_again_when_its_page_is_mended(
    sites: Sites, context: BrowserContext
) -> None:
    sites.events_status = 202
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    page = opened(context, f"{sites.shop}/thanks")
    sites.wait_for_events(1)
    page.wait_for_function('localStorage.getItem("kopeck_reported") === "[]"')
    page.wait_for_function('localStorage.getItem("kopeck_outbox") === "[]"')
    sites.events_status = 200
    page.reload()
    sites.wait_for_events(2)
    # The answer has come back: a report without one is sent again by the next page.
    page.wait_for_function('localStorage.getItem("kopeck_outbox") === "[]"')
    page.reload()
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    page.evaluate(f"kopeck.order({ORDER.replace('A-1', 'A-2')})")

    ids = [event["order"]["order_id"] for event in sites.wait_for_events(3)]
    assert ids == ["A-1", "A-1", "A-2"]


def test_a_report_that_was_not_accepted_is_sent_again_by_the_next_page(
    sites: Sites, context: BrowserContext
) -> None:
    sites.events_status = 503
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    opened(context, f"{sites.shop}/thanks")
    sites.wait_for_events(1)
    sites.events_status = 200
    sites.page_script = ""
    page = opened(context, f"{sites.shop}/")

    first, second = sites.wait_for_events(2)
    assert first == second
    page.wait_for_function('localStorage.getItem("kopeck_outbox") === "[]"')


def test_a_page_left_at_once_still_reports(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/checkout")
    page.evaluate(f"kopeck.order({ORDER}); location.href = 'about:blank'")
    (event,) = sites.wait_for_events(1)
    assert event["order"]["order_id"] == "A-1"


def test_an_image_reports_where_neither_request_nor_beacon_can(
    sites: Sites, context: BrowserContext
) -> None:
    sites.page_script = (
        f"delete Request.prototype.keepalive; navigator.sendBeacon = function () {{ throw 1; }};"
        f'kopeck.push(["order", {ORDER}]);'
    )
    opened(context, f"{sites.shop}/thanks")
    with sites.arrived:
        assert sites.arrived.wait_for(lambda: bool(sites.images), 10)
    assert sites.images[0].startswith("/p.gif?d=%7B%22program%22%3A%22demo%22")


def test_with_cookies_refused_the_tokens_stay_in_storage(
    sites: Sites, context: BrowserContext
) -> None:
    context.add_init_script(
        "Object.defineProperty(Document.prototype, 'cookie', {get: () => '', set: () => {}})"
    )
    opened(context, f"{sites.shop}/?kpk={token(1)}")
    assert opened(context, f"{sites.shop}/other").evaluate("kopeck.tokens()") == [token(1)]


def test_with_all_storage_refused_the_page_goes_on_and_its_order_is_credited(
    sites: Sites, context: BrowserContext
) -> None:
    context.add_init_script(
        """const no = {get() { throw new DOMException("refused", "SecurityError"); },
                       set() { throw new DOMException("refused", "SecurityError"); }};
        Object.defineProperty(Document.prototype, "cookie", no);
        Object.defineProperty(window, "localStorage", no);"""
    )
    thrown: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: thrown.append(str(error)))
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    page.goto(f"{sites.shop}/thanks?kpk={token(1)}")

    (event,) = sites.wait_for_events(1)
    assert event["clicks"] == [token(1)]
    assert thrown == []


@pytest.mark.parametrize(
    "call",
    ['["order"]', '["nothing", 1]', "null", '["order", {get order_id() { throw 1; }}]', "7"],
)
def test_a_wrong_call_never_throws_into_the_page(
    sites: Sites, context: BrowserContext, call: str
) -> None:
    page = opened(context, f"{sites.shop}/")
    page.evaluate(f"kopeck.push({call})")
    page.evaluate(f"kopeck.order({ORDER})")
    assert len(sites.wait_for_events(1)) == 1


def test_a_second_copy_of_the_script_changes_nothing(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/?kpk={token(1)}")
    page.evaluate("window.first = window.kopeck")
    page.add_script_tag(url=f"{sites.kopeck}/pixel.js")
    assert page.evaluate("window.kopeck === window.first")


def test_the_browser_checks_a_fixed_version_by_its_integrity(
    sites: Sites, context: BrowserContext
) -> None:
    script = current_script()
    page = opened(context, f"{sites.shop}/")
    loads = """([source, sum]) => new Promise(done => {
        delete window.kopeck;
        const s = document.createElement("script");
        s.src = source; s.integrity = sum; s.crossOrigin = "anonymous";
        s.setAttribute("data-program", "demo");
        s.onload = () => done(true); s.onerror = () => done(false); document.head.append(s);
    })"""
    assert page.evaluate(loads, [f"{sites.kopeck}/pixel.js", script.integrity])
    assert not page.evaluate(loads, [f"{sites.kopeck}/pixel.js", "sha384-" + "A" * 64])
