"""No text of a template stands outside gettext."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes
from jinja2.ext import i18n

from translations.extract import JINJA_KEYWORDS, ROOT

TEMPLATES = ROOT / "templates"
WORDS = frozenset({"Kopeck", "Stripe", "OpenAPI", "CSV", "XLSX", "PDF", "EPC", "API", "UTC"})
"""Names and abbreviations, the same in every language."""
SHOWN = frozenset({"title", "alt", "placeholder", "aria-label", "label"})
CODE = frozenset({"script", "style", "code", "pre"})
HOLE = " "
_ADDRESS = re.compile(r"\S*(?:[/_=]|\w\.\w)\S*")
"""Addresses and ids are the same in every language too."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCE = re.compile(r"[A-Z][a-z]+( [a-z]|$)")


class _Text(HTMLParser):
    """What a reader of the template would read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in CODE:
            self._inside.append(tag)
        self.found += [value for name, value in attrs if name in SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.found.append(data)


def templates() -> list[Path]:
    return sorted(path for path in TEMPLATES.rglob("*.*") if path.suffix in (".html", ".txt"))


def bare(source: str) -> str:
    """The template with a hole in the place of everything that Jinja puts there."""
    parts, depth = [], 0
    for _, kind, text in Environment(extensions=[i18n]).lex(source):
        if kind == "data" and not depth:
            parts.append(text)
        elif kind.endswith("_begin"):
            depth += 1
            parts.append(HOLE)
        elif kind.endswith("_end"):
            depth -= 1
    return "".join(parts)


def untranslated(source: str, *, html: bool) -> list[str]:
    """Texts with a word in them that no catalogue will ever meet."""
    reader = _Text()
    if html:
        reader.feed(bare(source))
    else:
        reader.handle_data(bare(source))
    return [
        text.strip() for text in reader.found if set(_WORD.findall(_ADDRESS.sub("", text))) - WORDS
    ]


def sentences_in_expressions(source: str) -> list[str]:
    """Strings inside Jinja that look like words for people, and are not in a gettext call."""
    tree = Environment(extensions=[i18n]).parse(source)
    marked = {
        id(argument)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name in JINJA_KEYWORDS
        for argument in call.args
    }
    return [
        const.value
        for const in tree.find_all(nodes.Const)
        if isinstance(const.value, str)
        and id(const) not in marked
        and _SENTENCE.match(const.value)
        and const.value not in WORDS
        and not const.value.endswith("Field")
    ]


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_every_text_of_the_template_goes_through_gettext(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert untranslated(source, html=path.suffix == ".html") == []
    assert sentences_in_expressions(source) == []


def test_the_search_itself_finds_what_it_is_for() -> None:
    source = "<p title='Hover'>Pay {{ amount }} now</p>{{ word or 'Nothing here' }}{{ _('Fine') }}"
    assert untranslated(source, html=True) == ["Hover", "Pay   now"]
    assert sentences_in_expressions(source) == ["Nothing here"]
