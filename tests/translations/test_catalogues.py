"""The catalogues hold every sentence, whole, and are what `make translations` writes."""

from __future__ import annotations

import re
from functools import cache

import pytest
from babel.messages import Catalog
from babel.support import Translations

from affiliate.core.languages import LANGUAGES, NAMES, SOURCE, TRANSLATIONS
from translations import catalogues
from translations.extract import template_catalog, unfit

PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sdr%]")
FORGOTTEN = "run `make translations`, then translate what it lists"
# Words that are often written with е although they have ё; the house writes ё. Not "счета", which
# is right as the plural.
WITHOUT_YO = re.compile(
    r"\b(?:еще|все-таки|отчет\w*|зачет\w*|счет|учет\w*|идет|ждет|придет|платеж|"
    r"партнер|партнера|партнеры|партнеров|партнеру|найдет|тверд\w*|темн\w*)\b",
    re.IGNORECASE,
)


@cache
def template() -> Catalog:
    return template_catalog()


@pytest.fixture(params=catalogues.languages())
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_russian_is_there_beside_english_and_names_itself() -> None:
    assert LANGUAGES == (SOURCE, "ru")
    assert NAMES == {"en": "English", "ru": "Русский"}


def test_every_text_of_code_and_templates_is_translated(language: str) -> None:
    catalog = catalogues.read(language)
    missing = []
    for wanted in template():
        if not wanted.id:
            continue
        found = catalog.get(wanted.id, context=wanted.context)
        strings = () if found is None else found.string
        strings = (strings,) if isinstance(strings, str) else tuple(strings)
        if not strings or not all(strings):
            missing.append(wanted.id)
    assert not missing, FORGOTTEN


def test_no_translation_is_a_guess(language: str) -> None:
    assert not [message.id for message in catalogues.read(language) if message.fuzzy]


def test_every_translation_keeps_the_placeholders(language: str) -> None:
    wrong = []
    catalog = catalogues.read(language)
    for message in catalog:
        if not message.id:
            continue
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = (message.string,) if isinstance(message.string, str) else message.string
        wanted = sorted(PLACEHOLDER.findall(texts[-1]))
        wrong += [text for text in strings if sorted(PLACEHOLDER.findall(text)) != wanted]
        assert not list(message.check(catalog)), message.id
    assert not wrong


def test_a_plural_has_as_many_forms_as_the_language(language: str) -> None:
    catalog = catalogues.read(language)
    plurals = [message for message in catalog if isinstance(message.id, tuple)]
    assert plurals
    assert {len(message.string) for message in plurals} == {catalog.num_plurals}


def test_the_catalogue_is_what_make_translations_writes(language: str) -> None:
    catalog = catalogues.updated(catalogues.read(language), template())
    assert catalogues.path_of(language).read_bytes() == catalogues.po_bytes(catalog), FORGOTTEN


def test_the_compiled_catalogue_is_the_written_one(language: str) -> None:
    catalog = catalogues.updated(catalogues.read(language), template())
    assert catalogues.path_of(language, "mo").read_bytes() == catalogues.mo_bytes(catalog), (
        FORGOTTEN
    )


def test_no_refusal_has_its_values_in_it_before_it_can_be_translated() -> None:
    """An f-string in a refusal is met by nobody's catalogue; Phrase(pattern, **values) is."""
    assert not list(unfit())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 заказов"),
        (1, "1 заказ"),
        (2, "2 заказа"),
        (4, "4 заказа"),
        (5, "5 заказов"),
        (11, "11 заказов"),
        (12, "12 заказов"),
        (14, "14 заказов"),
        (21, "21 заказ"),
        (22, "22 заказа"),
        (25, "25 заказов"),
        (101, "101 заказ"),
        (111, "111 заказов"),
        (112, "112 заказов"),
        (1_004, "1004 заказа"),
    ],
)
def test_russian_counts_in_three_forms(number: int, words: str) -> None:
    russian = Translations.load(str(TRANSLATIONS), ["ru"])
    assert russian.ngettext("%(num)s order", "%(num)s orders", number) % {"num": number} == words


def test_russian_has_no_exclamation_mark_and_writes_yo() -> None:
    strings = [
        text
        for message in catalogues.read("ru")
        if message.id
        for text in ((message.string,) if isinstance(message.string, str) else message.string)
    ]
    assert not [text for text in strings if "!" in text]
    assert not [text for text in strings if WITHOUT_YO.search(text)]
    assert not [
        text for text in strings if re.search(r"(?<![.?]\s)(?<!^)\bВ(?:ы|ас|ам|аш\w*)\b", text)
    ]
