"""Consent mode in a real Chromium: nothing is stored before the answer, a no leaves a number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.pixel.conftest import Sites
from tests.pixel.test_pixel_in_browser import ORDER, cookies, opened, token

pytestmark = pytest.mark.browser

YES, NO = 'kopeck.push(["consent", true])', 'kopeck.push(["consent", false])'


@pytest.fixture
def sites(sites: Sites) -> Sites:
    """The same sites; the shop asks for consent."""
    sites.tag = 'data-consent="required"'
    return sites


def stored(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("({...localStorage})")
    return found


def nothing_is_kept(page: Page) -> bool:
    return page.evaluate("document.cookie") == "" and stored(page) == {}


def test_nothing_is_stored_before_the_answer(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}&s=2")
    assert page.url == f"{sites.shop}/lamp?s=2"
    assert nothing_is_kept(page)
    assert page.evaluate("[kopeck.tokens(), kopeck.visitor()]") == [[], ""]
    assert nothing_is_kept(page)


def test_a_yes_keeps_the_click_that_waited_in_the_page(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    page.evaluate(YES)
    assert page.evaluate("kopeck.tokens()") == [token(1)]
    assert cookies(context)["kopeck_clicks"] == token(1)
    later = opened(context, f"{sites.shop}/pot?kpk={token(2)}")
    assert later.evaluate("kopeck.tokens()") == [token(1), token(2)], "the answer is remembered"


def test_an_answer_that_the_page_gives_before_the_script_arrives_counts(
    sites: Sites, context: BrowserContext
) -> None:
    sites.page_script = YES
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    assert page.evaluate("kopeck.tokens()") == [token(1)]


def test_a_no_forgets_and_tells_a_number_alone(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}&kpk={token(2)}")
    page.evaluate(NO)
    assert sites.wait_for_events(1) == [{"program": "demo", "type": "lost", "clicks": 2}]
    assert nothing_is_kept(page)
    assert page.evaluate("kopeck.tokens()") == []


def test_a_no_after_a_yes_takes_everything_back(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    page.evaluate(YES)
    page.evaluate(f"kopeck.order({ORDER})")
    sites.wait_for_events(1)
    page.evaluate(NO)
    assert nothing_is_kept(page)
    assert opened(context, f"{sites.shop}/").evaluate("kopeck.tokens()") == []


def test_who_leaves_without_an_answer_is_counted_and_not_named(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    page.goto("about:blank")
    assert sites.wait_for_events(1) == [{"program": "demo", "type": "lost", "clicks": 1}]


def test_an_order_waits_for_the_answer_and_goes_with_its_clicks(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/thanks?kpk={token(1)}")
    page.evaluate(f"kopeck.order({ORDER})")
    page.wait_for_timeout(200)
    assert sites.events == []
    page.evaluate(YES)
    (event,) = sites.wait_for_events(1)
    assert (event["clicks"], len(event["visitor"])) == ([token(1)], 32)
    assert "consent" not in event


@pytest.mark.parametrize("leaves", [f"{NO};", "location.href = 'about:blank';"])
def test_without_consent_an_order_is_reported_without_who(
    sites: Sites, context: BrowserContext, leaves: str
) -> None:
    page = opened(context, f"{sites.shop}/thanks?kpk={token(1)}")
    page.evaluate(f"kopeck.order({ORDER}); {leaves}")
    events = {event["type"]: event for event in sites.wait_for_events(2)}
    sent = events["order"]
    assert (sent["clicks"], sent["consent"], "visitor" in sent) == ([], False, False)
    assert events["lost"]["clicks"] == 1
    assert token(1) not in json.dumps(sites.events)
    if leaves != f"{NO};":
        page.wait_for_url("about:blank")


def test_in_an_application_of_one_page_the_click_waits_across_its_addresses(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/")
    page.evaluate(f"history.pushState({{}}, '', '/lamp?kpk={token(1)}')")
    page.evaluate(f"history.pushState({{}}, '', '/pot?kpk={token(2)}')")
    assert page.url == f"{sites.shop}/pot"
    assert nothing_is_kept(page)
    page.evaluate(YES)
    assert page.evaluate("kopeck.tokens()") == [token(1), token(2)]


def test_after_a_no_a_further_click_of_the_same_page_is_lost_at_once(
    sites: Sites, context: BrowserContext
) -> None:
    page = opened(context, f"{sites.shop}/")
    page.evaluate(NO)
    page.evaluate(f"history.pushState({{}}, '', '/lamp?kpk={token(1)}')")
    assert sites.wait_for_events(1) == [{"program": "demo", "type": "lost", "clicks": 1}]
    assert nothing_is_kept(page)


def test_one_tab_says_yes_and_the_other_keeps_what_it_held(
    sites: Sites, context: BrowserContext
) -> None:
    first = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    second = opened(context, f"{sites.shop}/pot?kpk={token(2)}")
    first.evaluate(YES)
    second.evaluate(YES)
    assert first.evaluate("kopeck.tokens()") == [token(1), token(2)]


def test_the_answer_twice_changes_nothing(sites: Sites, context: BrowserContext) -> None:
    page = opened(context, f"{sites.shop}/lamp?kpk={token(1)}")
    page.evaluate(f"{YES}; {YES}")
    assert page.evaluate("kopeck.tokens()") == [token(1)]
    page.evaluate(f"{NO}; {NO}")
    page.goto("about:blank")
    page.wait_for_timeout(200)
    lost: list[Any] = [event for event in sites.events if event["type"] == "lost"]
    assert lost == [], "what had been agreed to was not lost for want of consent"
