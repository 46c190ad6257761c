"""A newcomer's shop of two plain pages, and docs/shops/html.md: by its words alone to the first
test order that is credited.

What is pasted is what the desk shows under the words that the page names, and nothing else. What
it costs a person is reckoned from the page itself: reading at READING_WPM, and HAND_S for each act
of the hand. A reckoning is no person: docs/decisions/0038-integration-desk.md tells of who walked.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from affiliate.core.embedded.launch import Running
from tests.browser.people import person, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "shops"
STEPS = (DOCS / "html.md").read_text(encoding="utf-8").partition("\n1. ")[2].partition("\nNow ")[0]
READING_WPM = 150
"""Slow, as of a page that one acts upon."""
HAND_S = 5
"""By the keystroke-level model (Card, Moran, Newell, 1980) to think, point and press takes three
seconds; a short word that is typed takes two more."""
HANDS = {
    "Sign in as the owner": 8,  # the address, e-mail, password, a press; the code: three, a press
    "*Programs → New program*": 2,
    "a name": 1,
    "an address": 1,
    "the\n   currency": 1,
    "your shop's first page": 1,
    "*Create*": 1,
    "Copy the line under": 1,
    "paste it into the `<head>` of every page": 6,  # two files: open, paste, save
    "Copy what stands under": 1,
    "paste it into the page that thanks": 3,
    "Copy the address under": 1,
    "open it in a private window": 3,
    "Go on to the page": 1,
    "Back on *Integration*": 1,
}
"""What the hand does where the page says so."""
FIVE_MINUTES_S = 300
BARE = "<!doctype html><html><head><title>{title}</title>{pixel}</head><body>{body}</body></html>"


class Pages(SimpleHTTPRequestHandler):
    """Files of a folder, without a word about it."""

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The shop's address; `localhost`, as Kopeck is 127.0.0.1: another site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_page_takes_less_than_five_minutes_of_reading_and_pasting() -> None:
    reading_s = len(STEPS.split()) / READING_WPM * 60
    assert [words for words in HANDS if words not in STEPS] == [], "the page says it otherwise"
    hands_s = sum(HANDS.values()) * HAND_S
    assert reading_s + hands_s < FIVE_MINUTES_S


def test_two_plain_pages_have_a_credited_test_order_by_the_docs_alone(
    browser: Browser, stack: Running, tmp_path: Path
) -> None:
    with serving(tmp_path) as shop, signed_in(browser, stack, "owner") as desk:
        write_shop(tmp_path)
        new_program(desk, stack.urls["kopeck"], shop)
        pixel = under(desk, "On every page of the shop")
        order = under(desk, "A test order from a page")
        write_shop(tmp_path, pixel=pixel, thanks=order)
        with person(browser) as private:
            buyer = private.new_page()
            buyer.goto(under(desk, "A test click"))
            expect(buyer).to_have_title("My shop")
            buyer.wait_for_function("window.kopeck && kopeck.tokens && kopeck.tokens().length == 1")
            assert buyer.url == f"{shop}/"
            buyer.click("text=Order")
            expect(buyer).to_have_title("Thank you")
            credited(desk)


def write_shop(folder: Path, *, pixel: str = "", thanks: str = "") -> None:
    """The two pages, at first as they were before anybody heard of Kopeck."""
    first = BARE.format(title="My shop", pixel=pixel, body='<a href="thanks.html">Order</a>')
    (folder / "index.html").write_text(first)
    (folder / "thanks.html").write_text(
        BARE.format(title="Thank you", pixel=pixel, body=f"<p>Thank you.</p>{thanks}")
    )


def new_program(desk: Page, base: str, shop: str) -> None:
    """Step 1."""
    slug = f"shop-{secrets.token_hex(3)}"
    desk.goto(f"{base}/manage/programs")
    desk.click("text=New program")
    desk.fill("[name=name]", "My shop")
    desk.fill("[name=slug]", slug)
    desk.fill("[name=currency]", "EUR")
    desk.fill("[name=landing_url]", f"{shop}/")
    desk.click("main form button.btn-primary")
    desk.wait_for_url(f"{base}/manage/integration**")


def under(desk: Page, words: str) -> str:
    """What is to be copied under a heading that the docs quote."""
    assert f"**{words}**" in STEPS
    heading = desk.get_by_role("heading", name=words, exact=True)
    box = heading.locator("xpath=following::*[@data-copy][1]")
    text = box.get_attribute("data-copy")
    assert text
    return text


def credited(desk: Page) -> None:
    """Step 6."""
    assert "**Test orders**" in STEPS
    row = desk.locator("#tests tbody tr").first

    expect(row).to_contain_text("T-", timeout=20_000)  # By itself: nobody reloads the page.
    expect(row).to_contain_text("EUR")
    expect(row.locator(".cell-sub").filter(has_text="test")).to_have_count(1)
    expect(desk.locator("#checklist .check-green").first).to_contain_text("Seen on")
