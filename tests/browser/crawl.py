"""Walk the pages that links lead to: one address for each kind of page, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urldefrag

from playwright.sync_api import Page

from bench.walk import is_page, kind_of

PAGES_MAX = 100


def pages(page: Page, base: str, starts: list[str]) -> Iterator[str]:
    """Visit each kind of page of `base` once, as whoever is signed in; yield its path.

    The page stands there when its path is yielded.
    """
    waiting, seen = list(starts), {kind_of(start) for start in starts}
    for _ in range(PAGES_MAX):
        if not waiting:
            return
        path = waiting.pop(0)
        answer = page.goto(base + path, wait_until="load")
        assert answer is not None
        assert answer.status < 400, f"{path} answered {answer.status}"
        yield path
        # The caller may have led the page elsewhere in the meantime.
        if not page.url.startswith(base):
            page.goto(base + path)
        # The demo's doors lead everybody to every desk, also those that are not theirs.
        for found in page.eval_on_selector_all(
            "a[href]:not(.door, [download])", "links => links.map(l => l.href)"
        ):
            address = urldefrag(str(found))[0]
            if not address.startswith(base + "/"):
                continue
            path = address.removeprefix(base)
            if is_page(path) and kind_of(path) not in seen:
                seen.add(kind_of(path))
                waiting.append(path)
    raise AssertionError(f"more than {PAGES_MAX} kinds of pages: {sorted(seen)}")
