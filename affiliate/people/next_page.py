"""Where a reader goes on or back to: pages of ours, never an address that came from outside."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import request

NEXT_CHARS_MAX = 1_000


def own_next() -> str:
    """The page of ours that the reader was on the way to, else nothing."""
    wanted = request.values.get("next", "")
    return wanted if is_own_path(wanted) else ""


def is_own_path(path: str) -> bool:
    """Whether a `next` leads to a page of ours: no other host by `//` or `/\\`, no control."""
    return (
        0 < len(path) <= NEXT_CHARS_MAX
        and path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isprintable()
        and path.partition("?")[0] not in ("/sign-in", "/sign-out", "/second-factor")
    )


def with_next(path: str) -> str:
    """The path with the page that the reader was on the way to."""
    wanted = own_next()
    return f"{path}?{urlencode({'next': wanted})}" if wanted else path


def page_before() -> str:
    """Where a refused form stood: the referrer's path, if it is our own."""
    own = request.host_url
    referrer = request.referrer or ""
    return "/" + referrer[len(own) :] if referrer.startswith(own) else ""
