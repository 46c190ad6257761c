"""In which language a reader is answered: their profile, else their choice, else their browser.

Machines are answered in English: they act on codes, and a sentence in a log should be one that
can be searched for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from babel import Locale
from babel.core import negotiate_locale
from flask import Flask, Response, current_app, has_request_context, request
from flask_babel import Babel, get_domain, get_locale
from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from affiliate.core.config import ROOT, Settings
from affiliate.core.http import wants_problem

TRANSLATIONS: Final = ROOT / "translations"
SOURCE: Final = "en"
"""What the texts in the code are written in; it has no catalogue."""
LANGUAGES: Final = (
    SOURCE,
    *sorted(path.parent.parent.name for path in TRANSLATIONS.glob("*/LC_MESSAGES/messages.mo")),
)
NAMES: Final = {
    code: (Locale.parse(code).get_language_name(code) or code).capitalize() for code in LANGUAGES
}
"""What each language calls itself."""
COOKIE: Final = "kopeck_language"
COOKIE_AGE_S: Final = 365 * 86_400
TEXTS_MAX: Final = 10_000
"""Translated texts that a process keeps; there are some thousand in each language."""
_PROFILE = "kopeck.language_of_profile"


def set_up(app: Flask) -> None:
    """Install flask-babel with our way of choosing, and a shorter way for the texts of templates.

    A page has some forty of them, and Jinja's own way asks which language it is four times for
    each.
    """
    Babel(
        app,
        default_locale=SOURCE,
        default_translation_directories=str(TRANSLATIONS),
        locale_selector=of_reader,
    )
    app.jinja_env.globals.update({"_": _text, "gettext": _text})


def use_profile(app: Flask, language: Callable[[], str | None]) -> None:
    """`language()` tells what the signed-in person chose; people are not known down here."""
    app.extensions[_PROFILE] = language


@pass_eval_context
def _text(context: EvalContext, text: str, **values: object) -> str:
    """A text of a template in the reader's language, a percent sign in it written twice."""
    translated = _translated(str(get_locale() or SOURCE), str(text))
    # The texts are ours, in the code and in the catalogues; what is put into them is escaped.
    return (Markup(translated) if context.autoescape else translated) % values  # noqa: S704


@lru_cache(maxsize=TEXTS_MAX)
def _translated(_language: str, text: str) -> str:
    return str(get_domain().get_translations().ugettext(text))


def of_reader() -> str:
    """The language of whoever reads the answer to this request."""
    if not has_request_context():
        return SOURCE
    if wants_problem():
        return SOURCE
    of_profile: Callable[[], str | None] | None = current_app.extensions.get(_PROFILE)
    chosen = of_profile() if of_profile is not None else None
    for wanted in (chosen, request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return str(wanted)
    return best_of(request.headers.get("Accept-Language", "")[:200])


def best_of(accept_language: str) -> str:
    """The first language of the header that has a catalogue; browsers send the wanted first."""
    wanted = [part.partition(";")[0].strip() for part in accept_language.split(",")[:10]]
    return negotiate_locale(wanted, LANGUAGES, sep="-") or SOURCE


def remember(response: Response, code: str) -> None:
    """Keep the choice in this browser."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    response.set_cookie(
        COOKIE,
        code,
        max_age=COOKIE_AGE_S,
        secure=settings.https,
        httponly=True,
        samesite="Lax",
    )
