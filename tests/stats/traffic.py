"""Clicks with everything that they can say of themselves, through the loader."""

from __future__ import annotations

import secrets
from datetime import datetime

import psycopg
from world import CHROME, World

from affiliate.links.models import Link
from tracker.clicks import tokens
from tracker.clicks.loading import load_records
from tracker.clicks.records import encode, scan
from tracker.clicks.rules import DropReason

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)


def click(
    world: World,
    link: Link | None,
    at: datetime,
    *,
    agent: str = CHROME,
    s1: str = "",
    s2: str = "",
    creative: str = "",
    country: str = "",
    reason: DropReason | None = None,
    visitor: bytes | None = None,
) -> str:
    """One click; its token."""
    assert link is not None
    key = tokens.signing_keys(world.settings.keys("click-token"))[0]
    click_id = tokens.new_click_id(int(at.timestamp() * 1000), secrets.token_bytes(10))
    who = visitor or secrets.token_bytes(16)
    texts = "\0".join((agent, "", "", s1, s2, "", "", "", creative, country)).encode()
    address = visitor or secrets.token_bytes(16)
    raw = encode(click_id, link.id, who, address, reason, 0, texts)
    url = world.settings.database_url.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        load_records(connection, scan(raw, ended=True).records, {})
    return tokens.mint(key, click_id, link.id, who)
