"""`make screenshots`: every page that links lead to, as each demo person, into screenshots/.

Each page is drawn four times: 1440 and 390 pixels wide, light and dark.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Page, sync_playwright

from affiliate.core.config import ROOT
from affiliate.core.embedded.launch import launched
from tests.browser.crawl import pages
from tests.browser.people import person, sign_in
from tests.conftest import CHROMIUM_ARGS, CHROMIUM_NAMES

WIDTHS = {"wide": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
PUBLIC_STARTS = ["/", "/programs/demo", "/sign-in", "/sign-up", "/demo/", "/api/", "/nowhere"]


@click.command()
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "var",
    show_default="var/",
    help="The data folder of the `make run` that is up.",
)
@click.option("--launch", is_flag=True, help="Start one of one's own, on new data, for this.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "screenshots",
    show_default="screenshots/",
)
@click.option("--only", default="", help="Only people whose address holds this word.")
def main(data_dir: Path, launch: bool, out: Path, only: str) -> None:
    """Draw the pages of a running Kopeck."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        raise click.ClickException("There is no Chromium here (Debian: apt install chromium).")
    with _running(data_dir, launch) as (urls, sign_ins), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        shutil.rmtree(out, ignore_errors=True)
        people = [(each["email"].partition("@")[0], each) for each in sign_ins]
        for who, account in [("visitor", None), *people]:
            if only in who:
                count = _draw(browser, urls["kopeck"], account, out / _file_name(who))
                click.echo(f"{who}: {count} pages")
        browser.close()
    click.echo(f"The pictures are in {out}")


@contextmanager
def _running(data_dir: Path, launch: bool) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """Addresses and demo sign-ins of a Kopeck that answers."""
    if launch:
        with launched(Path(tempfile.mkdtemp(prefix="kpk-shots-")), keep=False) as running:
            yield running.urls, running.sign_ins()
        return
    try:
        info: dict[str, Any] = json.loads((data_dir / "run.json").read_text())
    except FileNotFoundError:
        raise click.ClickException(
            f"Nothing runs in {data_dir}: start `make run`, or give ARGS=--launch."
        ) from None
    yield info["urls"], json.loads((data_dir / "demo.json").read_text())


def _draw(browser: Browser, base: str, account: dict[str, str] | None, folder: Path) -> int:
    """All pages of one person; the number of kinds of pages."""
    folder.mkdir(parents=True)
    count = 0
    with person(browser) as context:
        page = context.new_page()
        starts = PUBLIC_STARTS[:-1]
        if account:
            sign_in(page, base, account)
            starts = [page.url.removeprefix(base)]
        for path in pages(page, base, starts):
            _four_pictures(page, folder / _file_name(path))
            count += 1
        if not account:
            page.goto(base + PUBLIC_STARTS[-1])
            _four_pictures(page, folder / "404")
    return count


def _four_pictures(page: Page, name: Path) -> None:
    """The theme follows the system's, so the page is drawn anew without another visit."""
    for theme in THEMES:
        page.evaluate(
            "theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme
        )
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for label, (width, height) in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=f"{name}-{label}-{theme}.png", full_page=True)


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "start"


if __name__ == "__main__":
    sys.exit(main())
