"""The test link of a program: a token that credits nobody, and nothing written down."""

from __future__ import annotations

import sqlalchemy as sa
from click_support import Ask, Shop, ask_of, flask_stand_in
from sqlalchemy.orm import Session
from test_click_front import eventually, journalled, read_token

from affiliate.core.config import Settings
from affiliate.programs.models import Program
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
