"""Every letter as its reader gets it: both languages, both parts, dark and narrow, no strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import make_affiliate
from flask import Flask
from letter_mails import read, urls, words
from world import World

from affiliate.core.languages import LANGUAGES
from affiliate.core.outbox import SUBJECT_CHARS_MAX, Rendered
from affiliate.letters.rules import Kind
from tests.desks.staff import hire
from tracker.letters.catalogue import ENTRIES, Audience, Entry, Frame, render

TEMPLATES = Path(__file__).resolve().parents[2] / "templates/emails"
EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}'
TURNED = "An\u202ena\u2066\x07 \r\nBcc: x@y.example"


@pytest.fixture
def frame(world: World, app: Flask) -> Iterator[Frame]:
    with app.app_context():
        yield Frame(world.program, world.settings, world.now)


def test_no_letter_is_missing_in_the_catalogue() -> None:
    there = {
        str(path.relative_to(TEMPLATES).with_suffix(""))
        for path in TEMPLATES.rglob("*.txt")
        if not path.name.startswith("_")
    }
    assert {entry.template for entry in ENTRIES} == there
    assert {entry.kind for entry in ENTRIES if entry.kind} == set(Kind)
    assert len({entry.slug for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
def test_a_letter_is_whole_in_every_language(frame: Frame, entry: Entry, language: str) -> None:
    letter = render(entry, frame, language=language)
    page = read(letter.html)
    assert letter.subject and len(letter.subject) <= SUBJECT_CHARS_MAX
    assert page.loads == [], "nothing is fetched when a letter is read"
    assert page.tags.isdisjoint({"script", "img", "form", "iframe", "link", "object"})
    assert f'lang="{language}"' in letter.html
    assert 'content="light dark"' in letter.html and "prefers-color-scheme: dark" in letter.html
    assert 'name="viewport"' in letter.html and "max-width:560px" in letter.html
    assert "%(" not in letter.text + letter.html + letter.subject
    assert "None" not in letter.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "entry", [each for each in ENTRIES if each.kind], ids=lambda entry: entry.slug
)
def test_both_parts_say_the_same(frame: Frame, entry: Entry, language: str) -> None:
    letter = render(entry, frame, language=language)
    page = read(letter.html)
    shown = words(" ".join(page.found))
    body = letter.text.partition("\n--\n")[0]
    for line in filter(None, (line.strip(" *") for line in body.splitlines())):
        if not line.startswith("http"):
            assert words(line) in shown, line
    assert {link for link in page.links if link.startswith("http")} <= urls(letter.text) | {
        link for link in page.links if "/unsubscribe/" in link
    }


def _evil(entry: Entry, frame: Frame, text: str) -> Rendered:
    """The letter with the text in the place of each name that a person writes."""
    frame.program.name = text
    frame.program.contact_email = ""
    return render(
        Entry(entry.template, entry.audience, "", "",
              lambda at: {**entry.sample(at), **_named(entry.sample(at), text)}, entry.kind),
        frame, language="en",
    )  # fmt: skip


def _named(sample: dict[str, object], text: str) -> dict[str, object]:
    mine: dict[str, object] = {"name": text}
    for key in ("reason", "note", "text", "destination", "inviter", "order_id"):
        if isinstance(sample.get(key), str):
            mine[key] = text
    return mine


@pytest.mark.abuse("A3", "A32", "A47")
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
def test_no_strangers_text_makes_markup_or_turns_what_follows(frame: Frame, entry: Entry) -> None:
    letter = _evil(entry, frame, EVIL)
    assert read(letter.html).tags.isdisjoint({"script", "img"})
    assert "49" not in re.findall(r"\}\}(\d+)", letter.html + letter.text)
    turned = _evil(entry, frame, TURNED)
    assert "\n" not in turned.subject and "\r" not in turned.subject
    for part in (turned.subject, turned.text, turned.html):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]", part)


@pytest.mark.parametrize("name", ["Анна" * 60, "نور الهدى", "W" * 250, "李" * 120])
def test_long_and_right_to_left_names_stay_readable(frame: Frame, name: str) -> None:
    for entry in ENTRIES:
        letter = _evil(entry, frame, name)
        assert len(letter.subject) <= SUBJECT_CHARS_MAX
        assert "overflow-wrap:anywhere" in letter.html
        if "Hello" in letter.text:
            assert name in letter.text, entry.slug


def test_managers_see_every_letter_and_how_many_went_out(world: World) -> None:
    manager = hire(world, "manager").client
    world.affiliate("Anna")  # Let in half a year ago.
    with world.app.app_context():
        make_affiliate(world.session, world.program, "boris@example.com", now=world.now)
    world.session.commit()
    page = manager.get("/manage/letters")
    assert page.status_code == 200
    row = re.search(r"Application approved</a>.*?</tr>", page.text, flags=re.S)
    assert row is not None and re.search(r"<span>1\s*</span>", row[0]), row and row[0]
    for entry in ENTRIES:
        shown = manager.get(f"/manage/letters/{entry.slug}")
        assert shown.status_code == 200, entry.slug
        assert shown.text.count("<iframe") == len(LANGUAGES)
        for language in LANGUAGES:
            path = f"/manage/letters/{entry.slug}/{language}.html"
            assert path in shown.text and manager.get(path).status_code == 200
    assert "can be turned off" in page.text
    for wrong in ("none-such", "letters-digest/de.html", "letters-digest/en.txt"):
        assert manager.get(f"/manage/letters/{wrong}").status_code == 404


def test_letters_of_another_program_are_not_counted(world: World) -> None:
    with world.app.app_context():
        make_affiliate(world.session, world.program, "boris@example.com", now=world.now)
    world.session.commit()
    manager = hire(world, "manager", program=world.euros).client
    page = manager.get("/manage/letters").text
    row = re.search(r"Application approved</a>.*?</tr>", page, flags=re.S)
    assert row is not None and re.search(r"<span>0\s*</span>", row[0])


def test_each_audience_has_a_letter() -> None:
    assert {entry.audience for entry in ENTRIES} == set(Audience)
