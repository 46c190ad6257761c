"""Read, bring up to date and write the catalogues, so that the same texts give the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from translations.extract import ROOT

FOLDER = ROOT / "translations"
LINE_CHARS_MAX = 100
_HEADERS = ("Language", "Plural-Forms", "Content-Type", "Content-Transfer-Encoding")


class _Undated(Catalog):
    """With the headers that gettext reads, and no moment at which somebody ran a command."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        headers = Catalog._get_mime_headers(self)
        return [(name, value) for name, value in headers if name in _HEADERS]

    @mime_headers.setter
    def mime_headers(self, headers: list[tuple[str, str]]) -> None:
        Catalog._set_mime_headers(self, headers)


def languages() -> list[str]:
    """Codes of the languages that have a catalogue; English is the source and has none."""
    return sorted(path.parent.parent.name for path in FOLDER.glob("*/LC_MESSAGES/messages.po"))


def path_of(language: str, kind: str = "po") -> Path:
    return FOLDER / language / "LC_MESSAGES" / f"messages.{kind}"


def read(language: str) -> Catalog:
    """The catalogue as it stands; a new one where there is none."""
    path = path_of(language)
    if not path.exists():
        return Catalog(locale=language, project="Kopeck")
    with path.open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def updated(catalog: Catalog, template: Catalog) -> Catalog:
    """The catalogue with exactly the texts of the template, in its order.

    What the code says no more goes, and nothing is guessed from a similar text: a text is
    translated or it is missing.
    """
    made = _Undated(
        locale=catalog.locale, project="Kopeck", charset="utf-8", fuzzy=False,
        header_comment="# Written by `make translations`; edit what stands behind msgstr.",
    )  # fmt: skip
    for message in template:
        if message.id:
            known = catalog.get(message.id, context=message.context)
            string = known.string if known is not None else ""
            flags = {"fuzzy"} if known is not None and known.fuzzy else set()
            made.add(
                message.id, string, context=message.context, locations=message.locations,
                user_comments=known.user_comments if known is not None else (), flags=flags,
            )  # fmt: skip
    return made


def po_bytes(catalog: Catalog) -> bytes:
    """The catalogue as translators edit it."""
    file = io.BytesIO()
    write_po(file, catalog, width=LINE_CHARS_MAX, include_lineno=False)
    return file.getvalue()


def mo_bytes(catalog: Catalog) -> bytes:
    """The catalogue as gettext reads it, without what is missing or fuzzy."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()
