"""The test link of a program, `/r/~<slug>`: a click that is nobody's and is recorded nowhere.

`~` is no character of codes, so that no link of an affiliate can have such an address. The token
is signed like any other and names the link 0, which does not exist: an order that carries it is
credited to nobody, a test order to an affiliate who exists for that test alone
(tracker.integration.trying). Docs: docs/integration.md, "Looking at your integration".
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Final

from tracker.clicks.destinations import split_destination
from tracker.clicks.link_rows import LinkProgram
from tracker.clicks.tokens import CLICK_ID_NOISE_BYTES, SigningKey, mint, new_click_id

MARK: Final = "~"
TEST_LINK_ID: Final = 0
"""No link has this number: they are counted from 1."""
VISITOR_BYTES: Final = 16


def path_of(slug: str) -> str:
    """Where the test link of a program is clicked."""
    return f"/r/{MARK}{slug}"


def program_of(code: str, programs: Iterable[LinkProgram]) -> LinkProgram | None:
    """The program whose test link this is; None for anything else."""
    if not code.startswith(MARK):
        return None
    slug = code[len(MARK) :].rstrip("/")
    return next((program for program in programs if program.slug == slug), None)


def destination_of(program: LinkProgram, key: SigningKey, *, offset_ms: int) -> str:
    """The landing page with the token of a test click that is made now."""
    now_ms = time.time_ns() // 1_000_000 + offset_ms
    click_id = new_click_id(now_ms, secrets.token_bytes(CLICK_ID_NOISE_BYTES))
    token = mint(key, click_id, TEST_LINK_ID, secrets.token_bytes(VISITOR_BYTES))
    prefix, suffix = split_destination(program.landing_url)
    return prefix + token + suffix
