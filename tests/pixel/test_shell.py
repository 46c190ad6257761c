"""The shell of the pages, rendered by the application itself."""

from __future__ import annotations

from flask.testing import FlaskClient


def test_the_start_page_offers_to_sign_in_and_says_whom_to_write_to(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "Write to us" in page.text
    assert 'href="#content"' in page.text


def test_an_unknown_page_says_what_to_do_and_gives_the_request_id(client: FlaskClient) -> None:
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert answer.headers["X-Request-Id"] in answer.text
    assert "To the start page" in answer.text


def test_the_style_page_shows_every_macro(client: FlaskClient) -> None:
    page = client.get("/demo/styleguide")
    assert page.status_code == 200
    for sign in (
        'class="trace"',
        'class="copy-box',
        'class="flow"',
        'class="events"',
        "money-word",
    ):
        assert sign in page.text
