"""Walk the pages and forms of every role in Russian: no English sentence is left on any."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from world import World

from affiliate.core import languages
from affiliate.core.config import Settings
from affiliate.people.models import User
from tests.desks.staff import hire
from tests.security.walk import STARTS, Form, Installation
from translations import catalogues

HOLE = re.compile(r"%\(\w+\)[sdr]")
LETTERS = re.compile(r"[A-Za-z]{2}")
LATIN = re.compile(r"[A-Za-z][a-z']+(?:[ ,:;-]+[A-Za-z][a-z']+)+")
"""Two words in Latin letters that follow each other."""
OWN_WORDS = re.compile(
    r"Lamp & Leaf(?: partners)?|Nordic Tea|Anna Lamp|Stripe double|Chrome Windows|"
    r"A blog about lamps and plants, two posts a week\.|Authorization: Bearer|"
    r"'.*' is not a valid choice for this field\.|"  # WTForms' own, for forms no page has
    r"\S*(?:[/_=@]|\w[.:]\w)\S*|\bdemo-manual\b|GET|HEAD|"
    r"Google Merchant|Lamp L-\d+|Payment Links|Standard Webhooks|"
    r"currency,date,rate"
)
"""What people of the test's world are called and have written, and words of code."""
SHOWN = ("title", "alt", "placeholder", "aria-label", "data-label", "data-confirm", "label")
# Options are time zones, and whatever the audit log tells of changes stands as it is recorded.
UNREAD = ("script", "style", "code", "pre", "option", "textarea")
NO_PAGES = re.compile(r"\.(csv|xlsx|svg|json|pdf|png)(\?|$)|format=|download=")


class Reader(HTMLParser):
    """The texts of a page, those of attributes that are read out among them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside: list[str] = []
        self._foreign = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        recorded = tag == "dl" and ("class", "diff") in attrs
        # What says that it is in another language, such as the letter that is shown in each.
        foreign = tag == "bdi" and dict(attrs).get("lang", "ru") != "ru"
        if tag in UNREAD or recorded or foreign:
            self._inside.append(tag)
        self.texts += [value for name, value in attrs if name in SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside and data.strip():
            self.texts.append(" ".join(data.split()))


def english() -> tuple[set[str], list[re.Pattern[str]]]:
    """Texts of the catalogue that say something else in Russian: plain ones, and patterns."""
    plain, patterns = set(), []
    for message in catalogues.read("ru"):
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        for text in texts:
            if not text or text in strings:
                continue
            if "%(" in text and not LETTERS.search(HOLE.sub("", text)):
                continue
            if "%(" in text:
                holes = re.sub(r"%\\?\(\w+\\?\)[sdr]", ".+?", re.escape(text).replace("%%", "%"))
                patterns.append(re.compile(holes))
            else:
                plain.add(text.replace("%%", "%"))
    return plain, patterns


PLAIN, PATTERNS = english()


def english_left(html: str) -> set[str]:
    """Texts of the page that stand in the catalogue in English, or look like English."""
    reader = Reader()
    reader.feed(html)
    left = set()
    for text in reader.texts:
        bare = OWN_WORDS.sub("", text)
        known = text in PLAIN or any(each.fullmatch(text) for each in PATTERNS)
        if LETTERS.search(bare) and (known or LATIN.search(bare)):
            left.add(text)
    return left


@pytest.fixture
def installation(app: Flask, settings: Settings, session: Session) -> Installation:
    with app.app_context():
        world = World.build(app, settings, session)
    built = Installation.build(world)
    built.browsers["finance"] = hire(world, "finance").client
    for user in session.query(User):
        user.locale = "ru"
    session.commit()
    built.browsers["anonymous"].set_cookie(languages.COOKIE, "ru")
    return built


@pytest.mark.slow
@pytest.mark.parametrize("role", ["anonymous", "affiliate", "finance", "owner"])
def test_no_page_of_a_role_has_an_english_sentence_left(
    installation: Installation, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STARTS, role, STARTS.get(role, ("/finance/", "/profile")))
    found, forms = installation.pages(role)
    client = installation.browsers[role]
    left: dict[str, Any] = {}
    seen = 0
    for path in found:
        if NO_PAGES.search(path) or path.startswith("/api/"):
            continue
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert '<html lang="ru">' in answer.text, path
        seen += 1
        if english_left(answer.text):
            left[path] = english_left(answer.text)
    for form in forms:
        left.update(refused(installation, role, form))
    assert left == {}
    assert seen >= 5


def refused(installation: Installation, role: str, form: Form) -> dict[str, set[str]]:
    """What the page says when its form comes empty, and when each field holds nonsense."""
    client = installation.browsers[role]
    found = {}
    if form.method != "post" or form.action.startswith("/language/"):
        return found
    for nonsense in ("", "\N{CYRILLIC SMALL LETTER YU}" * 400):
        token = _token(client.get(form.page).text)
        data = {name: nonsense for name in form.fields if name != "csrf_token"}
        answer = client.post(form.action, data={**data, "csrf_token": token})
        assert answer.status_code < 500, form.action
        if answer.status_code in (400, 403, 404, 409, 422):
            left = english_left(answer.text)
            if left:
                found[f"{form.action} {nonsense[:2]!r}"] = left
    return found


def _token(html: str) -> str:
    return html.partition('name="csrf_token" value="')[2].partition('"')[0]


def test_the_search_itself_finds_english() -> None:
    page = "<p>Доступно сейчас</p><p>Available now</p><p title='Copy'>12 orders</p><p>a b</p>"
    assert english_left(page) == {"Available now", "Copy", "12 orders"}
    assert english_left("<p>Some new sentence of nobody's.</p>")
    assert not english_left("<p>Lamp & Leaf partners: 5 заказов</p>")
