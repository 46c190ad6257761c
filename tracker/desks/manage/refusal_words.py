"""Refusals in words, by the codes that are kept of them."""

from __future__ import annotations

from collections import deque
from functools import cache

from affiliate.core.errors import Refusal
from affiliate.core.pages import say


def refusal(code: str) -> str:
    """What a caller was told under this code; empty for one that no refusal has any more."""
    title = _titles().get(code)
    return say(title) if title else ""


@cache
def _titles() -> dict[str, str]:
    """The title of each code. Of two under one code the more general one, which stands nearer
    to the class of all."""
    found: dict[str, str] = {}
    waiting = deque(Refusal.__subclasses__())
    while waiting:
        each = waiting.popleft()
        found.setdefault(each.code, each.title)
        waiting.extend(each.__subclasses__())
    return found
