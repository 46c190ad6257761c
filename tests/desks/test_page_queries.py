"""The median page asks PostgreSQL at most twelve things, and none asks row by row."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from bench.pages import QUERIES_MAX, readers_of
from bench.walk import signed_in, walk
from tracker.demo import plan
from tracker.demo.year import load_year

ANY_PAGE_MAX = 26
SIZES = plan.Sizes(affiliates=60, clicks=2_000, orders=400, days=60)


@pytest.mark.slow
@pytest.mark.abuse("A50")
def test_pages_ask_a_few_things_however_much_there_is_to_show(
    app: Flask, session: Session, settings: Settings
) -> None:
    with app.app_context():
        load_year(session, settings=settings, sizes=SIZES, now=real_now())
        session.commit()
        readers = readers_of(session)
    asked: dict[str, int] = {}
    for who, (user_id, starts) in readers.items():
        for visit in walk(app, signed_in(app, user_id), starts):
            asked[f"{who} {visit.path}"] = len(visit.statements)
    seen = Counter(address.split()[0] for address in asked)
    assert all(seen[who] > 10 for who in readers), seen
    assert statistics.median(asked.values()) <= QUERIES_MAX
    # An affiliate's page on the manager's desk has the most kinds of things on it.
    too_many = {address: number for address, number in asked.items() if number > ANY_PAGE_MAX}
    assert not too_many
