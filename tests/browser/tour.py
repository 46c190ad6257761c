"""`make tour`: the pictures of docs/tour.md, drawn on a year of demo data.

The year is loaded, and the application serves it from this process; its readers are the affiliate
who earned most, finance and a manager.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from affiliate.core.config import ROOT
from affiliate.core.embedded.servers import running
from bench.pages import Book, book, cookies_of
from tests.browser.people import person
from tests.conftest import CHROMIUM_ARGS, CHROMIUM_NAMES
from tracker.demo.plan import Sizes

OUT = ROOT / "docs" / "tour"
WIDE, PHONE = (1280, 800), (390, 844)
SHOWN_HEIGHT_MAX = 1_100
"""In CSS pixels: a long table is cut below what a reader looks at."""
QUALITY = 82
YEAR = "?program=year"


@dataclass(frozen=True)
class Shot:
    """One picture: whose page, and which links lead on from it."""

    name: str
    who: str
    path: str
    follow: tuple[str, ...] = ()
    size: tuple[int, int] = WIDE
    theme: str = "light"


SHOTS = (
    Shot("account-home", "affiliate", f"/account/{YEAR}"),
    Shot("account-home-phone", "affiliate", f"/account/{YEAR}", size=PHONE, theme="dark"),
    Shot("account-links", "affiliate", f"/account/links{YEAR}"),
    Shot("account-statistics", "affiliate", f"/account/statistics{YEAR}"),
    Shot("account-orders", "affiliate", f"/account/orders{YEAR}"),
    Shot("account-order", "affiliate", f"/account/orders{YEAR}",
         ("table a[href*='/account/orders/']",)),
    Shot("account-money", "affiliate", f"/account/money{YEAR}"),
    Shot("account-rules-phone", "affiliate", f"/account/rules{YEAR}", size=PHONE),
    Shot("manage-overview", "manager", f"/manage/{YEAR}"),
    Shot("manage-affiliate", "manager", f"/manage/{YEAR}",
         (".shares a[href*='/manage/affiliates/aff_']",)),
    Shot("manage-rules", "manager", f"/manage/rules{YEAR}"),
    Shot("finance-to-do", "finance", "/finance/"),
    Shot("finance-batch", "finance", "/finance/batches", ("a[href*='/finance/batches/bat_']",)),
    Shot("finance-item", "finance", "/finance/batches",
         ("a[href*='/finance/batches/bat_']", "a[href*='/finance/items/pay_']")),
)  # fmt: skip


@click.command()
@click.option("--affiliates", default=150, show_default=True)
@click.option("--clicks", default=6_000, show_default=True)
@click.option("--orders", default=500, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT)
def main(affiliates: int, clicks: int, orders: int, out: Path) -> None:
    """Load a year, draw the tour's pictures, put them into docs/tour."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        raise click.ClickException("There is no Chromium here (Debian: apt install chromium).")
    sizes = Sizes(affiliates=affiliates, clicks=clicks, orders=orders, days=365)
    with (
        tempfile.TemporaryDirectory(prefix="kpk-tour-", ignore_cleanup_errors=True) as name,
        running(Path(name), durable=False, keep=False) as servers,
        sync_playwright() as playwright,
    ):
        made = book(servers, Path(name), "tour", sizes)
        out.mkdir(parents=True, exist_ok=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        with serving(made.app) as base:
            for shot in SHOTS:
                _draw(browser, base, made, shot, out / f"{shot.name}.webp")
                click.echo(shot.name)
        browser.close()


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """The application on a port of this machine; the address it has there."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


def _draw(browser: Browser, base: str, made: Book, shot: Shot, file: Path) -> None:
    width, height = shot.size
    size = {"width": width, "height": height}
    with person(browser, viewport=size, color_scheme=shot.theme) as context:
        pairs = cookies_of(made.clients[shot.who]).items()
        context.add_cookies([{"name": name, "value": value, "url": base} for name, value in pairs])
        page = context.new_page()
        page.goto(base + shot.path)
        for link in shot.follow:
            with page.expect_navigation():
                page.locator(link).first.click()
        file.write_bytes(_picture(page, width))


def _picture(page: Page, width: int) -> bytes:
    height = min(page.evaluate("document.documentElement.scrollHeight"), SHOWN_HEIGHT_MAX)
    page.set_viewport_size({"width": width, "height": height})
    with Image.open(io.BytesIO(page.screenshot())) as drawn:
        out = io.BytesIO()
        drawn.convert("RGB").save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


if __name__ == "__main__":
    main()
