"""Pages that change their address by themselves, tabs, the way back, strict policies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.conftest import CHROMIUM_ARGS
from tests.pixel.conftest import Sites
from tests.pixel.test_pixel_in_browser import ORDER, cookies, opened, token

pytestmark = pytest.mark.browser

REPORT = '{"order_id": "A-1", "total": {"amount": "4490.00", "currency": "RUB"}}'


class TestOnePage:
    """Applications of one page."""

    @pytest.mark.parametrize(
        ("step", "address"),
        [
            ("history.pushState({n: 1}, '', '/lamp?a=1&kpk=TOKEN#top')", "/lamp?a=1#top"),
            ("history.replaceState({n: 1}, '', '/lamp?kpk=TOKEN')", "/lamp"),
            ("history.pushState({n: 1}, '', '/#/lamp?kpk=TOKEN&b=2')", "/#/lamp?b=2"),
            ("history.pushState({n: 1}, '', '/#kpk=TOKEN')", "/"),
            ("location.hash = '#/lamp?kpk=TOKEN'", "/#/lamp"),
        ],
    )
    def test_a_token_that_arrives_later_is_taken(
        self, sites: Sites, context: BrowserContext, step: str, address: str
    ) -> None:
        page = opened(context, f"{sites.shop}/")
        page.evaluate(step.replace("TOKEN", token(1)))
        page.wait_for_function("kopeck.tokens().length === 1")
        assert page.url == f"{sites.shop}{address}"
        assert page.evaluate("kopeck.tokens()") == [token(1)]
        if "pushState" in step:
            assert page.evaluate("history.state") == {"n": 1}

    def test_a_token_on_the_way_back_is_taken(self, sites: Sites, context: BrowserContext) -> None:
        """The address got it before the pixel was there."""
        page = context.new_page()
        page.route("**/pixel.js", lambda route: route.abort())
        page.goto(f"{sites.shop}/lamp?kpk={token(1)}")
        page.evaluate("history.pushState({}, '', '/pot')")
        page.unroute("**/pixel.js")
        page.evaluate(
            """source => { const s = document.createElement("script");
            s.src = source; s.setAttribute("data-program", "demo"); document.head.append(s); }""",
            f"{sites.kopeck}/pixel.js",
        )
        page.wait_for_function("window.kopeck && !!window.kopeck.order")
        assert page.evaluate("kopeck.tokens()") == []
        page.go_back()
        page.wait_for_function("kopeck.tokens().length === 1")
        assert page.url == f"{sites.shop}/lamp"

    def test_addresses_without_a_token_are_left_as_they_are(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        page = opened(context, f"{sites.shop}/")
        for address in ("/lamp?colour=d%C3%A9j%C3%A0+vu&xkpk=1#a?b&c", "/?", "/#/", "/#?x=kpk="):
            page.evaluate("a => history.pushState({}, '', a)", address)
            assert page.url == f"{sites.shop}{address}"


def test_two_tabs_keep_both_clicks(sites: Sites, context: BrowserContext) -> None:
    first = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    second = opened(context, f"{sites.shop}/pot?kpk={token(2)}")
    assert first.evaluate("kopeck.tokens()") == [token(1), token(2)]
    second.evaluate(f"kopeck.order({ORDER})")
    # Tabs may be processes: what one stores comes to the other a moment later, and until then the
    # server alone knows an order reported twice.
    first.wait_for_function("(localStorage.getItem('kopeck_reported') || '').includes('A-1')")
    first.evaluate(f"kopeck.order({ORDER})")
    (event,) = sites.wait_for_events(1)
    first.wait_for_timeout(200)
    assert len(sites.events) == 1, "the other tab knows that it is reported"
    assert event["clicks"] == [token(1), token(2)]


def test_the_way_back_neither_loses_nor_repeats_anything(
    sites: Sites, context: BrowserContext
) -> None:
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    page = opened(context, f"{sites.shop}/thanks?kpk={token(1)}")
    sites.wait_for_events(1)
    page.wait_for_function('localStorage.getItem("kopeck_outbox") === "[]"')
    page.goto(f"{sites.shop}/next")
    page.go_back()
    page.wait_for_function("window.kopeck && !!window.kopeck.order")
    page.wait_for_timeout(200)
    assert page.url == f"{sites.shop}/thanks"
    assert page.evaluate("kopeck.tokens()") == [token(1)]
    assert len(sites.events) == 1


def test_a_page_closed_at_once_after_the_order_still_reports(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/checkout?kpk={token(1)}")
    page.evaluate(f"kopeck.order({ORDER})")
    page.close()
    (event,) = sites.wait_for_events(1)
    assert (event["order"]["order_id"], event["clicks"]) == ("A-1", [token(1)])


@pytest.fixture
def strict_browser(browser: Browser, chromium_path: str) -> Iterator[Browser]:
    """A Chromium that refuses cookies of third parties."""
    started = browser.browser_type.launch(
        executable_path=chromium_path,
        args=[*CHROMIUM_ARGS, "--test-third-party-cookie-phaseout"],
    )
    yield started
    started.close()


def test_with_cookies_of_third_parties_refused_nothing_is_missing(
    sites: Sites, strict_browser: Browser
) -> None:
    context = strict_browser.new_context()
    sites.page_script = f'kopeck.push(["order", {ORDER}]);'
    opened(context, f"{sites.shop}/?kpk={token(1)}")
    (event,) = sites.wait_for_events(1)
    assert event["clicks"] == [token(1)]
    assert {c["domain"] for c in context.cookies()} == {"localhost"}, "none is Kopeck's own"
    assert set(cookies(context)) == {"kopeck_clicks", "kopeck_visitor"}
    context.close()


class TestStrictPolicy:
    """A shop that allows no inline code reports orders all the same."""

    @pytest.mark.parametrize(
        "body",
        [
            f'<script type="application/json" data-kopeck-order>{REPORT}</script>',
            f"<div hidden data-kopeck-order='{REPORT}'></div>",
        ],
        ids=["block", "attribute"],
    )
    def test_an_order_stands_in_the_page_as_text(
        self, sites: Sites, context: BrowserContext, body: str
    ) -> None:
        sites.policy = self.policy(sites)
        sites.body = body
        refused: list[str] = []
        page = context.new_page()
        page.on("console", lambda message: refused.append(message.text))
        page.goto(f"{sites.shop}/thanks?kpk={token(1)}")
        (event,) = sites.wait_for_events(1)
        assert (event["order"]["order_id"], event["clicks"]) == ("A-1", [token(1)])
        assert [text for text in refused if "Content Security Policy" in text] == []

    def test_an_order_on_the_tag_itself(self, sites: Sites, context: BrowserContext) -> None:
        sites.policy = self.policy(sites)
        sites.tag = f"data-kopeck-order='{REPORT}'"
        context.new_page().goto(f"{sites.shop}/thanks")
        assert sites.wait_for_events(1)[0]["order"]["order_id"] == "A-1"

    def test_text_that_is_no_report_is_passed_over(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        sites.body = f"""<script type="application/json" data-kopeck-order>{{broken</script>
            <p data-kopeck-order="null"></p>
            <script type="application/json" data-kopeck-order>{REPORT}</script>"""
        thrown: list[str] = []
        page = context.new_page()
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.goto(f"{sites.shop}/thanks")
        assert sites.wait_for_events(1)[0]["order"]["order_id"] == "A-1"
        assert thrown == []

    def test_the_debug_panel_shows_under_it_too(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        sites.policy = self.policy(sites)
        page = opened(context, f"{sites.shop}/?kopeck_debug=1")
        page.wait_for_selector("#kopeck-debug")
        assert page.locator("#kopeck-debug").evaluate("e => getComputedStyle(e).position") == (
            "fixed"
        )

    def policy(self, sites: Sites) -> str:
        return (
            f"default-src 'none'; script-src {sites.kopeck}; connect-src {sites.kopeck}; "
            f"img-src {sites.kopeck}"
        )


class TestDebug:
    """What the pixel explains to whoever integrates a shop."""

    def panel(self, page: Page, words: str) -> str:
        page.wait_for_function(
            "words => (document.getElementById('kopeck-debug') || {innerText: ''})"
            ".innerText.includes(words)",
            arg=words,
        )
        return page.inner_text("#kopeck-debug")

    def test_nobody_else_loads_it(self, sites: Sites, context: BrowserContext) -> None:
        page = opened(context, f"{sites.shop}/?kpk={token(1)}")
        assert page.locator("#kopeck-debug").count() == 0
        assert page.evaluate("kopeck.seen") is None

    def test_it_tells_clicks_where_they_are_kept_and_what_became_of_an_order(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        page = opened(context, f"{sites.shop}/?kpk={token(1)}&kopeck_debug=1")
        page.evaluate(f"kopeck.order({ORDER})")
        text = self.panel(page, "could read the report")
        for words in ("“demo”", "1 click taken", "cookie kopeck_clicks", "Order A-1 reported"):
            assert words in text
        assert token(1) not in text
        assert sites.asked == ["/v1/events?explain=1"]

    def test_it_tells_that_consent_is_waited_for(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        sites.tag = 'data-debug data-consent="required"'
        page = opened(context, f"{sites.shop}/?kpk={token(1)}")
        self.panel(page, "in the page waits 1 click.")
        page.evaluate('kopeck.push(["consent", true])')
        self.panel(page, "Consent is given")

    def test_it_tells_that_a_policy_lets_no_report_out(
        self, sites: Sites, context: BrowserContext
    ) -> None:
        sites.policy = f"script-src {sites.kopeck}; connect-src 'none'; img-src 'none'"
        sites.tag = "data-debug"
        sites.body = f"<div hidden data-kopeck-order='{REPORT}'></div>"
        self.panel(opened(context, f"{sites.shop}/"), "connect-src")
