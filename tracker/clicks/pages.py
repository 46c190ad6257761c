"""The few pages that the front says itself, without Flask and without the database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Final

from babel.core import negotiate_locale
from babel.support import NullTranslations, Translations

from affiliate.core.config import ROOT

TRANSLATIONS: Final = ROOT / "translations"
_CHOSEN: Final = re.compile(r"(?:^|;) *kopeck_language=([a-z]+)(?: *;|$)")
"""The cookie of affiliate.core.languages, which knows Flask and is not for the front."""


def gettext_noop(text: str) -> str:
    """Mark a text for the catalogue; it is translated when the page is made."""
    return text


_ = gettext_noop

TITLES: Final = {
    400: _("This address cannot be read"),
    404: _("This link leads nowhere"),
    405: _("A link can only be followed"),
    414: _("This address is too long"),
    503: _("Links are not ready yet"),
}
SENTENCES: Final = {
    400: _("Something in it is not allowed in a link. Ask whoever gave it to you for it again."),
    404: _("It may have been mistyped or shortened on its way. The shop is still there:"),
    405: _("Open the link in a browser, with GET or HEAD."),
    414: _("Ask whoever gave it to you for a shorter one."),
    503: _("Kopeck has just been started and reads its links. Try again in a few seconds."),
}
PROGRAMS: Final = _("Partner programs")


def error_page(status: int, language: str, shops: Iterable[tuple[str, str]]) -> bytes:
    """A small page: title, sentence, ways on. ``shops`` are (name, address) pairs."""
    translate = _catalogue(language).gettext
    title, sentence = escape(translate(TITLES[status])), escape(translate(SENTENCES[status]))
    ways = [*shops, (translate(PROGRAMS), "/programs")] if status == 404 else []
    items = "".join(
        f'<li><a href="{escape(address)}" rel="noopener">{escape(name)}</a></li>'
        for name, address in ways
    )
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title></head><body><main><h1>{title}</h1><p>{sentence}</p>"
        f"<ul>{items}</ul></main></body></html>\n"
    ).encode()


def chosen_language(cookies: str) -> str:
    """What the switch at the foot of our pages left in this browser; empty without it."""
    found = _CHOSEN.search(cookies)
    return found[1] if found is not None and found[1] in _languages() else ""


@lru_cache(maxsize=64)
def language_of(accept_language: str) -> str:
    """The best language that has a catalogue; English is the source."""
    wanted = [part.partition(";")[0].strip() for part in accept_language.split(",")[:10]]
    return negotiate_locale(wanted, _languages(), sep="-") or "en"


@lru_cache(maxsize=1)
def _languages() -> tuple[str, ...]:
    found = TRANSLATIONS.glob("*/LC_MESSAGES/messages.mo")
    return ("en", *sorted(path.parent.parent.name for path in found))


@lru_cache(maxsize=8)
def _catalogue(language: str) -> NullTranslations:
    return Translations.load(str(TRANSLATIONS), [language])
