"""The test link of a program: a token that credits nobody, and nothing written down."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from click_support import Ask, Shop, ask_of, flask_stand_in
from sqlalchemy.orm import Session
from test_click_front import eventually, journalled, read_token

from affiliate.core.config import Settings
from affiliate.programs.models import Program
from tests.builders import make_program
from tracker.clicks.front import ClickFront
from tracker.clicks.testing import TEST_LINK_ID, path_of


def path_to(session: Session) -> str:
    return path_of(session.scalars(sa.select(Program.slug)).one())


def test_it_leads_to_the_landing_page_with_a_token_of_no_link(
    ask: Ask, settings: Settings, shop: Shop, session: Session
) -> None:
    assert shop.link_id != TEST_LINK_ID
    assert eventually(lambda: ask(path_to(session)).status == "302 Found")
    answer = ask(path_to(session))
    landing = session.scalars(sa.select(Program.landing_url)).one()
    assert answer.location.startswith(landing.partition("?")[0])
    token = read_token(settings, answer.token)
    assert token.link_id == TEST_LINK_ID
    assert token.visitor_id is not None
    assert answer.headers["Cache-Control"] == "no-store"
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert "Set-Cookie" not in answer.headers


def test_nothing_of_it_is_written_down(
    ask: Ask, settings: Settings, shop: Shop, session: Session
) -> None:
    assert shop
    assert eventually(lambda: ask(path_to(session)).status == "302 Found")
    assert journalled(settings) == []


def test_another_programs_name_is_as_unknown_as_any_code(ask: Ask, shop: Shop) -> None:
    assert shop
    for path in ("/r/~nobody", "/r/~", "/r/~~", "/r/~../x"):
        assert ask(path).status == "404 Not Found", path


def test_a_program_that_was_made_just_now_has_its_test_link_at_once(
    ask: Ask, shop: Shop, session: Session
) -> None:
    assert shop
    assert eventually(lambda: ask(path_to(session)).status == "302 Found"), "it is running"
    for slug in ("made-just-now", "and-another"):
        make_program(session, now=datetime.now(UTC), slug=slug)
        session.commit()
        assert ask(path_of(slug)).status == "302 Found"


def test_a_program_is_found_by_a_front_that_has_just_begun(
    settings: Settings, shop: Shop, session: Session
) -> None:
    assert shop
    front = ClickFront(flask_stand_in, settings)
    try:
        ask = ask_of(front)
        assert eventually(lambda: ask(path_to(session)).status == "302 Found")
    finally:
        front.stop()
